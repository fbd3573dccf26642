"""The world of studies/circles.yaml: three replies to a customer, all three pairs judged, by tastes that go in circles.

The demo's base model answers each customer several times, and three of its replies are taken of which no two keep as
many rules of the desk: A, B and C, the best first. A rater compares every two of them, and prefers the one that keeps
more rules; but of a share of the customers (`intransitive` of the condition, an exact number of them) the rater goes in
a circle, A before B, B before C and C before A, or the other way round. Who is in a circle at 20 % is also at 40 %.
Of a circle nothing can be learnt: each of its replies is chosen once and rejected once. `circles` counts them in the
pairs themselves. Scored as the demo is.

    prospect compare studies/circles.yaml -o runs/studies/circles
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from prospect.demo.rubric import check
from prospect.demo.study_world import DemoSettings, DemoWorld
from prospect.demo.world import Inquiry
from prospect.errors import DataError
from prospect.feedback.convert.subsample import content_rank, texts_content
from prospect.feedback.records import Feedback, Message, Paired
from prospect.feedback.split import prompt_key
from prospect.models.sampling import Generated
from prospect.studies.outcome import refuse_raters
from prospect.studies.study import Condition

STRAIGHT = ((0, 1), (1, 2), (0, 2))
"""Which of two replies is preferred, by their places from best to worst, the preferred one first."""
ROUND = (((0, 1), (1, 2), (2, 0)), ((1, 0), (2, 1), (0, 2)))
"""The same of the two circles there are."""


class Settings(DemoSettings):
    """What stands under `world`: as in the demo, `prompts` customers being asked; and how many of them are judged."""

    replies: int = Field(default=6, ge=3)
    """Replies sampled for each customer, of which three are judged."""
    judged: int = Field(default=60, ge=1)
    """Customers whose three replies are judged; not all who are asked have three that differ."""


class Circles(DemoWorld):
    """See the top of this file."""

    settings: Settings

    def __init__(self, settings: Mapping[str, Any]) -> None:
        own: Settings = Settings.read(settings)
        super().__init__(own.model_dump(exclude={"judged"}))
        self.settings = own
        self.says = (
            f"Three replies of the demo's base model to each of {own.judged} customers, no two of which keep as many "
            f"rules, and all three pairs judged; scored by five rules on one sampled reply to each of {own.held_out} "
            "other customers."
        )

    def feedback(self, folder: Path, seed: int, condition: Condition) -> list[Feedback]:
        """Return the three comparisons of every customer, those of a share of the customers in a circle."""
        refuse_raters(condition, "minority", why="these raters compare every two replies once.")
        stored = json.loads((folder / "replies.json").read_text(encoding="utf-8"))
        asked = zip(self._asked(seed), ([Generated(*reply) for reply in row] for row in stored), strict=True)
        threes = [(inquiry, three) for inquiry, row in asked if (three := three_that_differ(inquiry, row)) is not None]
        if len(threes) < self.settings.judged:
            raise DataError(
                f"study: {len(threes)} of {len(stored)} customers have three replies of which no two keep as many "
                f"rules; expected {self.settings.judged}. Ask more (world.prompts)."
            )
        return list(judge(threes[: self.settings.judged], condition.intransitive, seed))


def three_that_differ(inquiry: Inquiry, replies: Sequence[Generated]) -> list[str] | None:
    """Return three replies of which no two keep as many rules, the best first; None where there are not so many."""
    found: dict[int, str] = {}
    for reply in replies:
        if reply.finished:
            found.setdefault(sum(check(inquiry, reply.text).values()), reply.text)
    return [found[kept] for kept in sorted(found, reverse=True)[:3]] if len(found) >= 3 else None


def judge(threes: Sequence[tuple[Inquiry, Sequence[str]]], intransitive: float, seed: int) -> Iterator[Paired]:
    """Yield the three comparisons of each customer, in the order of the customers.

    Args:
        threes: a customer, and three replies from best to worst.
        intransitive: share of the customers whose comparisons go in a circle, rounded to a number of them.
        seed: another seed, other customers, and other directions.
    """
    ranks = [content_rank(texts_content(inquiry.prompt) + b"circle", seed) for inquiry, _ in threes]
    number = round(intransitive * len(threes))
    in_circle = set(sorted(range(len(threes)), key=ranks.__getitem__)[:number])
    for i, (inquiry, replies) in enumerate(threes):
        sides = [(Message("assistant", text),) for text in replies]
        for better, worse in ROUND[ranks[i] % 2] if i in in_circle else STRAIGHT:
            name = f"{i}-{min(better, worse)}{max(better, worse)}"
            yield Paired(
                prompt=inquiry.prompt, chosen=sides[better], rejected=sides[worse], id=name, where=f"circles:{name}"
            )


def circles(pairs: Sequence[Paired]) -> int:
    """Return of how many prompts the three comparisons go round: each reply is chosen once and rejected once."""
    chosen: dict[str, Counter[str]] = {}
    for pair in pairs:
        chosen.setdefault(prompt_key(pair.prompt), Counter())[prompt_key(pair.chosen)] += 1
    return sum(sorted(counts.values()) == [1, 1, 1] for counts in chosen.values())
