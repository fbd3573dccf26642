"""The demo's support desk as a world of studies: simulated raters judge the base model's replies; rules score a model.

world:
kind: demo
prompts: 200         customers whose replies are judged
replies: 4           sampled for each
feedback: thumbs     up where a reply keeps every rule; or pairs: of replies 1 and 2, 3 and 4, the one that keeps
more rules is chosen, and equal ones are no pair
held_out: 200        customers that a run is scored on
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from prospect.atomic import write_json
from prospect.demo.base import BASE, answer, load_base
from prospect.demo.rubric import check, passes
from prospect.demo.world import REPLY_TOKENS, Inquiry, held_out_prompts, training_prompts
from prospect.errors import ConfigError
from prospect.feedback.records import Feedback, Message, Paired, Text, Unpaired
from prospect.feedback.simulated import SimulatedRater, compare
from prospect.feedback.split import prompt_key
from prospect.models.sampling import Generated
from prospect.studies.kl import KL, sampled_kl
from prospect.studies.outcome import (
    EXAMPLES,
    TEXT_MEASURES,
    Measure,
    Outcome,
    WorldSettings,
    refuse_raters,
    text_scores,
)
from prospect.studies.sections import Condition


class DemoSettings(WorldSettings):
    """What stands under `world`."""

    prompts: int = Field(default=200, ge=2)
    """Customers whose replies are judged."""
    replies: int = Field(default=4, ge=1)
    """Replies sampled for each."""
    feedback: Literal["thumbs", "pairs"] = "thumbs"
    """How they are judged."""
    held_out: int = Field(default=200, ge=2)
    """Customers that a run is scored on."""
    held_out_after: int = Field(default=0, ge=0)
    """So many held-out customers are passed over first, such as those of the study that is tuned."""


class DemoWorld:
    """See the top of this file."""

    contest = "rules"
    measures: Mapping[str, Measure] = {
        "score": Measure("keeps every rule", "share", "higher", "rate", (0.0, 1.0)),
        "rules": Measure("rules kept", "of 5", "higher", "value", (0.0, 5.0)),
        "order": Measure("names the right order", "share", "higher", "rate", (0.0, 1.0)),
        **TEXT_MEASURES,
        "cut": Measure("cut at the limit", "share", "lower", "rate", (0.0, 1.0)),
        "kl": KL,
    }

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.settings: DemoSettings = DemoSettings.read(settings)
        self.held_out = self.settings.held_out
        if self.settings.feedback == "pairs" and self.settings.replies % 2:
            raise ConfigError(f"study: world.replies is {self.settings.replies}; pairs need an even number.")
        judged = (
            "a thumb on each reply, up where it keeps every rule"
            if self.settings.feedback == "thumbs"
            else "of two replies, the one that keeps more rules is preferred"
        )
        self.says = (
            f"A support desk of simulated customers: {self.settings.replies} replies of the base model (1.1 million "
            f"parameters) to each of {self.settings.prompts} customers, {judged}; scored by five rules on one sampled "
            f"reply to each of {self.settings.held_out} other customers."
        )

    def recipe(self) -> dict[str, Any]:
        """Return the base model."""
        return {"model": {"name_or_path": str(BASE)}}

    def held_out_keys(self) -> set[str]:
        """Return the keys of the held-out customers' questions."""
        return {prompt_key(inquiry.prompt) for inquiry in self._held_out}

    def prepare(self, folder: Path, seed: int) -> None:
        """Sample the replies that are judged."""
        path = folder / "replies.json"
        if not path.exists():
            replies = answer(load_base(), self._asked(seed), self.settings.replies, seed)
            write_json(path, [[(one.text, one.tokens, one.finished) for one in row] for row in replies])

    def feedback(self, folder: Path, seed: int, condition: Condition) -> list[Feedback]:
        """Return the judged replies."""
        refuse_raters(condition, "minority", why="these raters compare every two replies once.")
        stored = json.loads((folder / "replies.json").read_text(encoding="utf-8"))
        asked = self._asked(seed)
        replies = [[Generated(*reply) for reply in row] for row in stored]
        if self.settings.feedback == "pairs":
            return list(_pairs(asked, replies, condition.intransitive, seed))
        refuse_raters(condition, "intransitive", why="only comparisons can be. Set world.feedback: pairs.")
        return [
            Unpaired(
                prompt=inquiry.prompt,
                completion=_reply(reply),
                desirable=passes(inquiry, reply.text),
                id=f"{i}-{j}",
                where=f"demo:{i}:{j}",
                finished=reply.finished,
            )
            for i, (inquiry, row) in enumerate(zip(asked, replies, strict=True))
            for j, reply in enumerate(row)
        ]

    def score(self, model: Path | None, folder: Path, seed: int) -> Outcome:
        """Ask the held-out customers' questions and count kept rules."""
        asked = self._held_out
        replies = [row[0] for row in answer(load_base(model or BASE), asked, 1, seed)]
        kept = [self.check(inquiry, reply.text) for inquiry, reply in zip(asked, replies, strict=True)]
        scores = {
            "score": [float(all(rules.values())) for rules in kept],
            "rules": [float(sum(rules.values())) for rules in kept],
            "order": [float(rules["order"]) for rules in kept],
            **text_scores([reply.text for reply in replies]),
            "cut": [float(not reply.finished) for reply in replies],
        }
        if model is not None:
            questions = [inquiry.prompt for inquiry in asked]
            scores["kl"] = sampled_kl(model, BASE, questions, max_new_tokens=REPLY_TOKENS, seed=seed)
        examples = [
            {"prompt": asked[i].message, "completion": replies[i].text, "score": scores["score"][i]}
            for i in range(min(EXAMPLES, len(asked)))
        ]
        return Outcome(scores, examples)

    def check(self, inquiry: Inquiry, reply: str) -> dict[str, bool]:
        """Return for each rule whether a reply keeps it."""
        return check(inquiry, reply)

    def _asked(self, seed: int) -> list[Inquiry]:
        return training_prompts(self.settings.prompts, seed)

    @cached_property
    def _held_out(self) -> list[Inquiry]:
        after = self.settings.held_out_after
        return held_out_prompts(after + self.settings.held_out)[after:]


def _pairs(
    asked: Sequence[Inquiry], replies: Sequence[Sequence[Generated]], intransitive: float, seed: int
) -> list[Paired]:
    """Return what a rater who counts kept rules prefers, of every two neighbouring replies that differ in that."""
    inquiries = {prompt_key(inquiry.prompt): inquiry for inquiry in asked}

    def rules_kept(prompt: Text, completion: Text) -> float:
        text = completion if isinstance(completion, str) else completion[-1].content
        return _rules_kept(inquiries[prompt_key(prompt)], text)

    rater = SimulatedRater(name="customer", utility=rules_kept, intransitive=intransitive)
    prompts: list[Text] = []
    sides: list[tuple[Text, Text]] = []
    for inquiry, row in zip(asked, replies, strict=True):
        for a, b in zip(row[0::2], row[1::2], strict=True):
            if _rules_kept(inquiry, a.text) != _rules_kept(inquiry, b.text):
                prompts.append(inquiry.prompt)
                sides.append((_reply(a), _reply(b)))
    return compare(prompts, sides, [rater], seed=seed)


def _rules_kept(inquiry: Inquiry, text: str) -> float:
    return float(sum(check(inquiry, text).values()))


def _reply(reply: Generated) -> tuple[Message, ...]:
    return (Message("assistant", reply.text),)
