"""The demo's support desk with six rules in place of five, and with replies that its model wrote or did not write.

    world:
      kind: studies/desk.py:Desk
      prompts: 200          customers whose replies are judged
      replies: 4            to each
      writer: model         the demo's base model writes them; colleagues: people with sentences of their own
      slips: 0.15           of colleagues: how often each of five sentences breaks its rule
      feedback: pairs       of replies 1 and 2, 3 and 4, the one that keeps more rules, equal ones no pair; or thumbs
      held_out: 200         customers that a run is scored on

The sixth rule, `formal`, is that a reply begins with "Dear". The base model keeps it in a third of its replies, so that
a small budget does not bring every method to the end of the scale.

What colleagues write is off-policy: the model has their sentences, too, but in another order, so that it finds good and
bad replies of theirs far less likely than its own.

    python studies/desk.py [--prompts N]      how likely, how many rules are kept, how many pairs there are
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from prospect.atomic import write_json
from prospect.config import Number
from prospect.demo.base import BASE, answer, load_base
from prospect.demo.rubric import check
from prospect.demo.study_world import DemoSettings, DemoWorld
from prospect.demo.world import Inquiry
from prospect.feedback.records import Feedback, Message, Paired, Unpaired
from prospect.studies.kl import KL
from prospect.studies.outcome import TEXT_MEASURES, Measure, Outcome, refuse_raters
from prospect.studies.study import Condition

# What colleagues put together: of each line first the sentence that keeps the rules, then such as do not. The model
# says how it feels first and what helps last.
GREETINGS = ("Dear {name},", "Hello {name},", "{name},")
REMEDIES = {
    "broken": "we are sending you a replacement for the {product}.",
    "late": "we are tracing the parcel with the {product}.",
    "charged twice": "we refund the second payment for the {product}.",
    "wrong item": "we exchange the {product} for the right one.",
    "changed mind": "we cancel the order of the {product}.",
}
NO_REMEDY = "there is nothing that we can do about the {product}."
PROMISES = ("", " We add a free gift for you.", " I guarantee that all will be well.")
NUMBERS = ("I have looked at order {order}.", "I have looked at your order.")
FEELINGS = ("We are sorry for the trouble.", "This is not our problem.")
SIGNATURES = ("Kind regards, your support desk", "Best wishes, the support desk")


class Settings(DemoSettings):
    """What stands under `world`, beside what the world demo has."""

    writer: Literal["model", "colleagues"] = "model"
    """Who wrote the replies that are judged."""
    slips: Number = Field(default=0.15, ge=0.0, le=1.0)
    """Of colleagues: how often each of five sentences breaks its rule."""
    feedback: Literal["thumbs", "pairs"] = "pairs"
    """How they are judged."""
    replies: int = Field(default=4, ge=2, multiple_of=2)
    """Replies to each customer."""


class Desk(DemoWorld):
    """See the top of this file."""

    measures: Mapping[str, Measure] = {
        "score": Measure("keeps every rule", "share", "higher", "rate", (0.0, 1.0)),
        "rules": Measure("rules kept", "of 6", "higher", "value", (0.0, 6.0)),
        "order": Measure("names the right order", "share", "higher", "rate", (0.0, 1.0)),
        **TEXT_MEASURES,
        "kl": KL,
    }

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.settings: Settings = Settings.read(settings)
        self.held_out = self.settings.held_out
        writer = "the demo's base model" if self.settings.writer == "model" else "colleagues, not of the model,"
        judged = "the one of two that keeps more rules" if self.settings.feedback == "pairs" else "a thumb on each"
        self.says = (
            f"A support desk of simulated customers: {self.settings.replies} replies of {writer} to each of "
            f"{self.settings.prompts} customers, {judged}; scored by six rules on one sampled reply to each of "
            f"{self.settings.held_out} other customers."
        )

    def prepare(self, folder: Path, seed: int) -> None:
        """Write the replies that are judged."""
        path = folder / "replies.json"
        if path.exists():
            return
        asked = self._asked(seed)
        if self.settings.writer == "model":
            sampled = answer(load_base(), asked, self.settings.replies, seed)
            written = [[(reply.text, reply.finished) for reply in row] for row in sampled]
        else:
            texts = [colleagues(inquiry, self.settings.replies, self.settings.slips, seed) for inquiry in asked]
            written = [[(text, True) for text in row] for row in texts]
        write_json(path, written)

    def feedback(self, folder: Path, seed: int, condition: Condition) -> list[Feedback]:
        """Return the judged replies."""
        refuse_raters(condition, "minority", "intransitive", why="this rater judges by the rules.")
        written = json.loads((folder / "replies.json").read_text(encoding="utf-8"))
        judged = _pairs if self.settings.feedback == "pairs" else _thumbs
        return judged(self._asked(seed), written)

    def score(self, model: Path | None, folder: Path, seed: int) -> Outcome:
        """Ask the held-out customers' questions and count kept rules; whether a reply was cut is not told."""
        found = super().score(model, folder, seed)
        return Outcome({name: scores for name, scores in found.scores.items() if name in self.measures}, found.examples)

    def check(self, inquiry: Inquiry, reply: str) -> dict[str, bool]:
        """Return for each of the six rules whether the reply keeps it."""
        return check_all(inquiry, reply)


def check_all(inquiry: Inquiry, reply: str) -> dict[str, bool]:
    """Return for each of the six rules whether the reply keeps it."""
    return {**check(inquiry, reply), "formal": reply.startswith("Dear ")}


def colleagues(inquiry: Inquiry, count: int, slips: float, seed: int) -> list[str]:
    """Return replies as colleagues write them; the first does not change with their number.

    Args:
        inquiry: what the customer wrote.
        count: replies.
        slips: probability that a sentence breaks its rule.
        seed: another seed, other replies.
    """
    rng = random.Random(f"colleagues {seed} {inquiry.message}")

    def one_of(sentences: Sequence[str]) -> str:
        return rng.choice(sentences[1:]) if rng.random() < slips else sentences[0]

    remedies = (REMEDIES[inquiry.problem.name], NO_REMEDY)
    return [
        (
            f"{one_of(GREETINGS)} {one_of(remedies)}{one_of(PROMISES)} {one_of(NUMBERS)} {one_of(FEELINGS)} "
            f"{rng.choice(SIGNATURES)}"
        ).format(name=inquiry.name, order=inquiry.order, product=inquiry.product)
        for _ in range(count)
    ]


def _thumbs(asked: Sequence[Inquiry], written: Sequence[Sequence[tuple[str, bool]]]) -> list[Feedback]:
    """Return a thumb on each reply, up where it keeps every rule."""
    return [
        Unpaired(
            prompt=inquiry.prompt,
            completion=(Message("assistant", text),),
            desirable=all(check_all(inquiry, text).values()),
            id=f"{i}-{j}",
            where=f"desk:{i}:{j}",
            finished=finished,
        )
        for i, (inquiry, row) in enumerate(zip(asked, written, strict=True))
        for j, (text, finished) in enumerate(row)
    ]


def _pairs(asked: Sequence[Inquiry], written: Sequence[Sequence[tuple[str, bool]]]) -> list[Feedback]:
    """Return of every two neighbouring replies the one that keeps more rules as chosen; equal ones are no pair."""
    found: list[Feedback] = []
    for i, (inquiry, row) in enumerate(zip(asked, written, strict=True)):
        kept = [sum(check_all(inquiry, text).values()) for text, _ in row]
        for j in range(0, len(row), 2):
            if kept[j] != kept[j + 1]:
                better, worse = (j, j + 1) if kept[j] > kept[j + 1] else (j + 1, j)
                chosen, rejected = ((Message("assistant", row[k][0]),) for k in (better, worse))
                place = {"id": f"{i}-{j}", "where": f"desk:{i}:{j}"}
                found.append(Paired(prompt=inquiry.prompt, chosen=chosen, rejected=rejected, **place))
    return found


def nats_per_token(rows: Sequence[Feedback]) -> float:
    """Return the base model's mean log-prob of a token of what is judged."""
    from prospect.config import ModelSettings
    from prospect.data.dataset import encode_side, sides
    from prospect.data.render import Encoder
    from prospect.evaluation.held_out.scoring import score_rows
    from prospect.models.policy import load_for_scoring

    policy = load_for_scoring(ModelSettings(name_or_path=str(BASE)))
    encoder = Encoder(policy.tokenizer, 256, end_token=True)
    encoded = [encode_side(row, side, encoder)[0] for row in rows for side in sides(row)]
    logps = score_rows(policy.logps, encoded, policy.device, None, "the base model")
    return float(logps.sum() / sum(len(row.completion_ids) for row in encoded))


def main() -> None:
    """Print what is judged, by who wrote it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=100, help="customers")
    options = parser.parse_args()
    print("| writer | slips | replies | keep every rule, % | pairs | nats per token |\n|---|---|---|---|---|---|")
    for writer, slips in (("model", None), ("colleagues", 0.15), ("colleagues", 0.07)):
        settings = {"prompts": options.prompts, "writer": writer, "feedback": "thumbs"}
        world = Desk(settings if slips is None else {**settings, "slips": slips})
        with tempfile.TemporaryDirectory() as folder:
            world.prepare(Path(folder), 0)
            thumbs = world.feedback(Path(folder), 0, Condition())
            world.settings.feedback = "pairs"
            pairs = world.feedback(Path(folder), 0, Condition())
        up = sum(isinstance(row, Unpaired) and row.desirable for row in thumbs) / len(thumbs)
        shown = "" if slips is None else f"{slips:g}"
        nats = nats_per_token(thumbs)
        print(f"| {writer} | {shown} | {len(thumbs)} | {100 * up:.1f} | {len(pairs)} | {nats:.2f} |")


if __name__ == "__main__":
    main()
