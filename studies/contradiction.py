"""The world of studies/contradiction.yaml: raters who contradict each other on the same two answers.

The demo's base model greets with "Hello", "Dear" or "Hi". Of each customer two of its own replies are compared, one
that begins with "Hello" and one that does not, and the same two by every rater: a majority is for "Hello", a minority
(`minority` of the condition) against it. A model is scored by the probability that its reply to another customer
begins with "Hello": "Hello" is one token, so that a forward pass gives it exactly.

    prospect compare studies/contradiction.yaml -o runs/studies/contradiction
    python studies/contradiction.py runs/studies/contradiction [--json FILE]     the closed forms beside what was found

The optimum of DPO has, of two answers, the odds (p / (1 - p))^(1 / beta) ref_a / ref_b, p the share of the majority;
conservative DPO has the same with p (1 - smoothing) + (1 - p) smoothing in the place of p. KTO's gradient never ends,
and its limit is 1 (docs/theory.md). IPO, as it is here, takes means over tokens, and then has no such form.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import Field

from prospect.atomic import write_json
from prospect.demo.base import BASE, answer, load_base
from prospect.demo.world import REPLY_TOKENS, Inquiry, held_out_prompts, training_prompts
from prospect.errors import ConfigError, DataError
from prospect.feedback.records import Feedback, Message, Paired
from prospect.feedback.split import prompt_key
from prospect.results.study import StartOutcome, StudyCell, StudyResult
from prospect.studies.kl import KL, sampled_kl
from prospect.studies.outcome import Measure, Outcome, WorldSettings
from prospect.studies.study import Condition

GREETING, OTHERS = "Hello", ("Dear", "Hi")


class Settings(WorldSettings):
    """What stands under `world`."""

    pairs: int = Field(default=106, ge=1)
    """Customers on whose two replies the raters vote."""
    customers: int = Field(default=200, ge=1)
    """Customers who are asked for them; not all have both greetings."""
    replies: int = Field(default=4, ge=2)
    """Replies sampled for each."""
    raters: int = Field(default=10, ge=1)
    """Votes on each pair."""
    held_out: int = Field(default=60, ge=2)
    """Other customers, on whom a model is scored."""


class Contradiction:
    """See the top of this file."""

    contest = None
    measures: Mapping[str, Measure] = {
        "score": Measure("P(Hello)", "share", "higher", "rate", (0.0, 1.0)),
        "kl": KL,
    }

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.settings: Settings = Settings.read(settings)
        self.held_out = self.settings.held_out
        self.says = (
            f"Two replies of the demo's base model to each of {self.settings.pairs} customers, one beginning with "
            f'"{GREETING}", on which {self.settings.raters} raters vote; scored by the exact probability of '
            f'"{GREETING}" as the first word to {self.held_out} other customers.'
        )

    def recipe(self) -> dict[str, Any]:
        """Return the base model."""
        return {"model": {"name_or_path": str(BASE)}}

    def held_out_keys(self) -> set[str]:
        """Return the keys of the held-out customers' questions."""
        return {prompt_key(inquiry.prompt) for inquiry in self._held_out}

    def prepare(self, folder: Path, seed: int) -> None:
        """Sample the replies, and keep the first two of each customer that greet differently."""
        path = folder / "pairs.json"
        if path.exists():
            return
        asked = training_prompts(self.settings.customers, seed)
        replies = answer(load_base(), asked, self.settings.replies, seed)
        pairs = []
        for inquiry, row in zip(asked, replies, strict=True):
            ended = [one.text for one in row if one.finished]
            ours = [text for text in ended if text.startswith(f"{GREETING} ")]
            theirs = [text for text in ended if text.startswith(tuple(f"{word} " for word in OTHERS))]
            if ours and theirs:
                pairs.append((inquiry.message, ours[0], theirs[0]))
        if len(pairs) < self.settings.pairs:
            raise DataError(
                f"study: {len(pairs)} of {len(asked)} customers have replies of both kinds; expected "
                f"{self.settings.pairs}. Ask more (world.customers)."
            )
        write_json(path, pairs[: self.settings.pairs])

    def feedback(self, folder: Path, seed: int, condition: Condition) -> list[Feedback]:
        """Return every vote as a pair."""
        against = condition.minority * self.settings.raters
        if not math.isclose(against, round(against)):
            raise ConfigError(
                f"study: a minority of {condition.minority:g} of {self.settings.raters} votes is no number."
            )
        return list(self._votes(json.loads((folder / "pairs.json").read_text(encoding="utf-8")), round(against)))

    def _votes(self, pairs: Sequence[Sequence[str]], against: int) -> Iterator[Paired]:
        for i, (message, ours, theirs) in enumerate(pairs):
            for vote in range(self.settings.raters):
                sides = (ours, theirs) if vote >= against else (theirs, ours)
                chosen, rejected = ((Message("assistant", text),) for text in sides)
                prompt = (Message("user", message),)
                where = f"contradiction:{i}:{vote}"
                yield Paired(prompt=prompt, chosen=chosen, rejected=rejected, id=f"{i}-{vote}", where=where)

    def score(self, model: Path | None, folder: Path, seed: int) -> Outcome:
        """Return the probability of the greeting as the first word of each held-out reply."""
        import torch

        policy, tokenizer = load_base(model or BASE)
        (word,) = tokenizer.encode(GREETING, add_special_tokens=False)
        chances = []
        for inquiry in self._held_out:
            turns = [{"role": "user", "content": inquiry.message}]
            text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
            ids = torch.tensor([tokenizer.encode(text, add_special_tokens=False)])
            with torch.no_grad():
                chances.append(float(policy(ids).logits[0, -1].softmax(-1)[word]))
        scores = {"score": chances}
        if model is not None:
            prompts = [inquiry.prompt for inquiry in self._held_out]
            scores["kl"] = sampled_kl(model, BASE, prompts, max_new_tokens=REPLY_TOKENS, seed=seed)
        return Outcome(scores)

    @cached_property
    def _held_out(self) -> list[Inquiry]:
        return held_out_prompts(self.settings.held_out)


def closed_form(loss: Mapping[str, Any], minority: float, reference: Sequence[float]) -> float | None:
    """Return the mean probability of the majority's answer at the optimum; None where none is known.

    Args:
        loss: a recipe's, with every hyperparameter that is not its default.
        minority: share of the votes for the other answer, below 1/2.
        reference: the start's probability of the majority's answer on each prompt.
    """
    if loss["name"] in ("kto", "kto_no_z0"):
        return 1.0
    if loss["name"] != "dpo":
        return None
    smoothing, beta = loss.get("label_smoothing", 0.0), loss.get("beta", 0.1)
    share = (1 - minority) * (1 - smoothing) + minority * smoothing
    shift = math.log(share / (1 - share)) / beta
    logits = [math.log(chance / (1 - chance)) + shift for chance in reference]
    return sum(1 / (1 + math.exp(-logit)) for logit in logits) / len(logits)


def rows_of(result: StudyResult, reference: Sequence[float]) -> Iterator[dict[str, Any]]:
    """Yield what was found of each cell that is done, with its closed form."""
    losses = {one.name: one.recipe["loss"] for one in result.methods}
    votes = {one.name: one.settings.get("minority", 0.0) for one in result.conditions}
    for cell in result.cells:
        if cell.estimates:
            yield _row(cell, losses[cell.method], votes[cell.condition], reference)


def _row(cell: StudyCell, loss: Any, minority: Any, reference: Sequence[float]) -> dict[str, Any]:
    found, kl = cell.estimates["score"], cell.estimates["kl"]
    return {
        "method": cell.method,
        "beta": loss.get("beta", loss.get("tau")),
        "votes": round(1 - minority, 6),
        **{"p": found.mean, "low": found.low, "high": found.high},
        "closed_form": closed_form(loss, minority, reference),
        "kl": kl.mean,
        "seeds": found.seeds,
    }


def main() -> None:
    """Print the closed forms beside what a study found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the study's, as prospect compare wrote it")
    parser.add_argument("--json", type=Path, help="write the rows here")
    options = parser.parse_args()
    result = StudyResult.read(options.folder / "result.json")
    start = StartOutcome.read(options.folder / "shared" / f"seed-{result.seeds[0]}" / "start.json")
    rows = list(rows_of(result, start.scores["score"]))
    print("| method | votes | P(Hello), % | closed form, % | KL, nats |\n|---|---|---|---|---|")
    for row in rows:
        known = "" if row["closed_form"] is None else f"{100 * row['closed_form']:.1f}"
        found = " to ".join(f"{100 * row[end]:.1f}" for end in ("low", "high"))
        print(f"| {row['method']} | {row['votes']:g} | {100 * row['p']:.1f} ({found}) | {known} | {row['kl']:.2f} |")
    if options.json:
        write_json(options.json, rows)


if __name__ == "__main__":
    main()
