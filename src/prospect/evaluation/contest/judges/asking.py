"""Items -> what the judge says of them in both orders, each question asked once, and what that costs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from prospect.errors import UsageError
from prospect.evaluation.contest.judges.base import CREDIT, MIRRORED, Choice, Item, Judge, Verdict, text_key
from prospect.evaluation.contest.judges.verdict_cache import VerdictCache, question_key
from prospect.results.contest import JudgeCalls

Progress = Callable[[int, int], None]
"""Told after each verdict how many questions are answered, and of how many."""


class Price(NamedTuple):
    """What a million tokens cost, in the currency of your bill.

    Attributes:
        prompt: a million tokens read.
        completion: a million tokens written.
    """

    prompt: float
    completion: float

    @classmethod
    def parse(cls, text: str) -> Price:
        """Return the price of `PROMPT,COMPLETION`, such as `0.15,0.60`; one number stands for both."""
        try:
            numbers = [float(part) for part in text.split(",")]
        except ValueError:
            numbers = []
        if len(numbers) not in (1, 2) or not all(0 <= number < float("inf") for number in numbers):
            raise UsageError(f'price "{text}": expected what a million tokens cost, read and written: 0.15,0.60.')
        return cls(numbers[0], numbers[-1])


class Said(NamedTuple):
    """One verdict as the judge gave it.

    Attributes:
        choice: by position: "first" is the completion that was shown first.
        swapped: whether the item's second completion was shown first.
        note: for people.
        chance: see `Verdict.credit`.
        scores: see `Verdict.scores`.
    """

    choice: Choice
    swapped: bool
    note: str
    chance: float | None = None
    scores: tuple[float, float] | None = None

    @property
    def meant(self) -> Choice:
        """The choice by the item's own order, whatever was shown first."""
        return MIRRORED[self.choice] if self.swapped else self.choice

    @property
    def credit(self) -> float | None:
        """What it is worth to the item's first completion, from 0 to 1; None where it could not be read."""
        if self.chance is None:
            return CREDIT[self.meant]
        return 1 - self.chance if self.swapped else self.chance


class Judged(NamedTuple):
    """What became of one item.

    Attributes:
        choice: by the item's own order; orders that disagree are a tie, and one unparsed order leaves it unparsed.
        said: verdict by verdict; none for identical completions.
        flipped: whether the orders disagreed.
    """

    choice: Choice
    said: tuple[Said, ...]
    flipped: bool


class Asking:
    """The questions of a run.

    Identical completions are a tie without a question. A judge that looks at each completion by itself is asked once.

    Args:
        judge: whom to ask.
        items: what about.
        both_orders: ask with each completion first; else one order, drawn for each item by the seed.
        seed: of the draw.
        cache: verdicts from before, and where new ones are kept; in memory by default.
        price: of a million tokens.
    """

    def __init__(
        self,
        judge: Judge,
        items: Sequence[Item],
        *,
        both_orders: bool = True,
        seed: int = 0,
        cache: VerdictCache | None = None,
        price: Price | None = None,
    ) -> None:
        judge.require_sight(items)
        self._judge, self._price = judge, price
        self._cache = cache if cache is not None else VerdictCache()
        self._orders = [_orders(judge, item, both_orders, seed) for item in items]
        self._questions: dict[str, Item] = {}
        identity = judge.identity
        self._keys: list[list[str]] = []
        for item, orders in zip(items, self._orders, strict=True):
            shown = [item.mirrored() if swapped else item for swapped in orders]
            self._keys.append([question_key(identity, one) for one in shown])
            self._questions.update(zip(self._keys[-1], shown, strict=True))
        self._open = {key: one for key, one in self._questions.items() if self._cache.get(key) is None}
        estimates = [judge.estimate_tokens(one) for one in self._open.values()]
        read, written = (sum(column) for column in zip(*estimates, strict=True)) if estimates else (0, 0)
        self.planned = self._calls(len(self._open), read, written, estimated=True)

    def run(self, progress: Progress | None = None) -> tuple[list[Judged], JudgeCalls]:
        """Ask what is not known yet, keep each verdict as it comes, and return all of them, and what was spent."""
        keys = list(self._open)
        found: dict[str, Verdict] = {}
        for number, verdict in self._judge.stream(list(self._open.values())):
            found[keys[number]] = verdict
            if verdict.final:
                self._cache.put(keys[number], verdict, judge=self._judge.name)
            if progress is not None:
                progress(len(found), len(keys))
        read = sum(verdict.prompt_tokens for verdict in found.values())
        written = sum(verdict.completion_tokens for verdict in found.values())
        spent = self._calls(len(found), read, written, estimated=False)
        judged = [self._judged(*row, found) for row in zip(self._orders, self._keys, strict=True)]
        return judged, spent

    def _judged(self, orders: list[bool], keys: list[str], found: dict[str, Verdict]) -> Judged:
        verdicts = [found.get(key) or self._cache.get(key) for key in keys]
        said = tuple(
            Said(one.choice, swapped, one.note, one.credit, one.scores)
            for one, swapped in zip(verdicts, orders, strict=True)
            if one is not None
        )
        meant = {one.meant for one in said}
        if not said:
            return Judged("tie", (), False)
        if "unparsed" in meant:
            return Judged("unparsed", said, False)
        return Judged(meant.pop(), said, False) if len(meant) == 1 else Judged("tie", said, True)

    def _calls(self, calls: int, read: int, written: int, *, estimated: bool) -> JudgeCalls:
        return judge_calls(len(self._questions), len(self._open), calls, (read, written), self._price, estimated)


def judge_calls(
    questions: int, asked: int, calls: int, tokens: tuple[int, int], price: Price | None, estimated: bool
) -> JudgeCalls:
    """Return how often a judge is asked, and what that costs.

    Args:
        questions: all different ones.
        asked: those of which nothing was kept from before.
        calls: made until now, or planned.
        tokens: read and written.
        price: of a million of them.
        estimated: whether tokens are an estimate.
    """
    read, written = tokens
    return JudgeCalls(
        questions=questions,
        cached=questions - asked,
        calls=calls,
        prompt_tokens=read,
        completion_tokens=written,
        cost=None if price is None else (read * price.prompt + written * price.completion) / 1e6,
        estimated=estimated,
    )


def _orders(judge: Judge, item: Item, both: bool, seed: int) -> list[bool]:
    """Return for each question of an item whether its second completion comes first."""
    if item.identical:
        return []
    if judge.position_free:
        return [False]
    return [False, True] if both else [draw_side(item, seed)]


def draw_side(item: Item, seed: int) -> bool:
    """Return a fair coin that depends on the seed and the item, and on nothing else that is asked."""
    text: Any = f"{seed} {text_key(item.prompt, item.first, item.second)}"
    return bool(hashlib.blake2b(text.encode(), digest_size=1).digest()[0] & 1)
