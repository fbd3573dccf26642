"""From scores to verdicts: which score counts as desirable, said by the user.

Legend: N completions with a score, G prompts.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from prospect.errors import ConfigError, DataError
from prospect.feedback.convert.maker import LeftOut, Maker, made_by
from prospect.feedback.convert.subsample import uniform
from prospect.feedback.files.rowstore import Rows, scores_of
from prospect.feedback.records import Completion, Demonstration, Feedback, Paired, Scored, Unpaired, record
from prospect.feedback.split import completion_digest, group_key, group_keys, prompt_digest

Rule = float | Literal["mean", "median", "bernoulli"]
RULES = ("mean", "median", "bernoulli")


@dataclass(frozen=True)
class Threshold:
    """How a score becomes a verdict.

    Attributes:
        rule: a number, `mean` or `median`: desirable is a score that is at least that. `bernoulli`: desirable with
            probability (score - lowest) / (highest - lowest), so that the highest always is and the lowest never.
        per_prompt: mean, median, lowest and highest are those of the prompt's own completions, else those of all.
        seed: of the draws of `bernoulli`, which depend on the texts and the score and not on the order of rows.
    """

    rule: Rule
    per_prompt: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.rule, str):
            if self.rule not in RULES:
                raise ConfigError(f'threshold is "{self.rule}"; expected a number, {", ".join(RULES)}')
        elif not math.isfinite(self.rule):
            raise ConfigError(f"threshold is {self.rule}; expected a finite number")
        elif self.per_prompt:
            raise ConfigError(
                f"threshold is {self.rule}, the same for every prompt; per prompt it can be mean, median or bernoulli"
            )


def to_unpaired_by_score(rows: Iterable[Feedback], threshold: Threshold) -> list[Unpaired]:
    """Return one verdict per completion that has a score: of scored rows, and of rows with the column score.

    A label that a row has is replaced. A score that equals the threshold is desirable. Left out are rows without a
    score, and, per prompt, all completions of a prompt whose scores are all equal, as is that of a single one: they are
    at their own threshold and so neither above nor below it.

    Refuses pairs, rows of which none has a score and, over all prompts, scores that are all equal.
    """
    return made_by(ByScore(Rows(rows), threshold))


class ByScore(Maker[Unpaired]):
    """Makes the rows of `to_unpaired_by_score`, in one pass or, where a threshold follows from all scores, in two.

    Attributes:
        without_score: rows left out because they have none.
        undecided: completions left out because their prompt's scores are all equal.
        relabelled: rows whose own label said the opposite.
    """

    def __init__(self, rows: Rows, threshold: Threshold):
        self._rows = rows
        self._rule, self._seed, self._per_prompt = threshold.rule, threshold.seed, threshold.per_prompt
        self._bounds: _Bounds | None = None
        self._next = 0  # place among the scores of the first one of the next row
        self.without_score = self.undecided = self.relabelled = self._made = 0

    def __iter__(self) -> Iterator[Unpaired]:
        """Yield the verdicts on each row's completions."""
        scores, keys = self._all_scores() if isinstance(self._rule, str) else (array("d"), bytearray())
        for row in self._rows:
            if _scores_of(row):
                self._bounds = self._bounds or self._find_bounds(scores, keys)
                yield from self._label(row)
            else:
                self.without_score += 1

    def finish(self) -> list[LeftOut]:
        """Return what was left out; refuse rows of which none could be labelled."""
        missing, undecided = self.without_score, self.undecided
        if not self._made and undecided:
            raise DataError(
                f"no prompt of {undecided} completions with a score has two different ones, so none is above or "
                "below the threshold of its own prompt. Take one threshold for all of them"
            )
        if not self._made:
            raise DataError(
                f"not one of {missing} rows has a score; expected scored rows (prompt, completions, scores) or "
                "the column score. Leave the threshold out where the rows have labels"
            )
        return [
            LeftOut("no_score", missing, f"{missing} rows have no score and are left out"),
            LeftOut("only_score", undecided, f"{undecided} completions whose prompt has only one score are left out"),
        ]

    def _all_scores(self) -> tuple[array[float], bytearray]:
        """Return the scores of all rows, and the key of each one's prompt, where that matters."""
        scores, keys = array("d"), bytearray()
        if not self._per_prompt:
            for some in self._rows.scores():
                scores.extend(some)
            return scores, keys
        for row in self._rows:
            some = _scores_of(row)
            scores.extend(some)
            if some:
                keys += group_key(row) * len(some)
        return scores, keys

    def _label(self, row: Feedback) -> Iterator[Unpaired]:
        prompt = prompt_digest(row.prompt) if self._rule == "bernoulli" else b""
        for place, score in enumerate(_scores_of(row)):
            desirable = self._decide(row, place, score, prompt)
            self._next += 1
            if desirable is None:
                self.undecided += 1
                continue
            self._made += 1
            if isinstance(row, Unpaired) and row.desirable is not desirable:
                self.relabelled += 1
            yield _verdict(row, place, score, desirable)

    def _decide(self, row: Feedback, place: int, score: float, prompt: bytes) -> bool | None:
        assert self._bounds is not None
        if self._next >= self._bounds.rows:
            raise DataError(f"{row.where}: the files were written to while they were read. Run this again")
        low, cut, high = self._bounds.of(self._next)
        if low == high:
            return None
        if self._rule != "bernoulli":
            return score >= cut
        content = prompt + completion_digest(_completion(row, place)) + repr(score).encode()
        return uniform(content, self._seed) < _scaled(score, low, high)

    def _find_bounds(self, scores: array[float], keys: bytearray) -> _Bounds:
        if not isinstance(self._rule, str):
            return _Bounds(math.inf, [-math.inf], [self._rule], [math.inf], None)
        if self._per_prompt:
            return _bounds_per_prompt(scores, keys, self._rule)
        low, high = min(scores), max(scores)
        if low == high:
            raise DataError(
                f"all {len(scores)} scores are {low:g}, so none is better than another. Take a number as the "
                "threshold, or look at how the scores were made"
            )
        cut = _median(scores) if self._rule == "median" else _mean(scores)
        return _Bounds(len(scores), [low], [cut], [high], None)


@dataclass
class _Bounds:
    """Lowest score, threshold and highest score of each prompt, and the prompt of each score (None: all are one)."""

    rows: float
    low: Any
    cut: Any
    high: Any
    prompt_of: Any

    def of(self, number: int) -> tuple[float, float, float]:
        prompt = 0 if self.prompt_of is None else self.prompt_of[number]
        return self.low[prompt], self.cut[prompt], self.high[prompt]


def _bounds_per_prompt(scores: array[float], keys: bytearray, rule: str) -> _Bounds:
    import numpy as np

    order, starts = group_keys(keys)
    sizes = np.diff(starts)
    prompt_of = np.empty(len(order), dtype=np.int64)
    prompt_of[order] = np.repeat(np.arange(len(sizes)), sizes)
    values = np.frombuffer(scores, dtype=np.float64)
    values = values[np.lexsort((values, prompt_of))]  # (N,) prompt after prompt, each from low to high
    first, last = starts[:-1], starts[1:] - 1
    low, high = values[first], values[last]
    if rule == "median":
        cut = values[(first + last) // 2] / 2 + values[(first + last + 1) // 2] / 2
    else:
        cut = low.copy()
        for prompt in np.flatnonzero(low < high):
            cut[prompt] = _mean(values[first[prompt] : last[prompt] + 1].tolist())
    return _Bounds(len(scores), low.tolist(), cut.tolist(), high.tolist(), array("q", prompt_of.tobytes()))


def _mean(scores: Sequence[float]) -> float:
    """Return the mean, rounded once, so that it does not depend on the order."""
    try:
        return math.fsum(scores) / len(scores)
    except OverflowError:
        return math.fsum(score / len(scores) for score in scores)


def _median(scores: array[float]) -> float:
    import numpy as np

    ordered = np.sort(np.frombuffer(scores, dtype=np.float64))
    return float(ordered[(len(ordered) - 1) // 2] / 2 + ordered[len(ordered) // 2] / 2)


def _scaled(score: float, low: float, high: float) -> float:
    return (score / 2 - low / 2) / (high / 2 - low / 2)  # halves: the difference of two floats may be infinite


def _scores_of(row: Feedback) -> tuple[float, ...]:
    if isinstance(row, Paired):
        raise DataError(
            f"{row.where}: the row is a pair, which says itself which side is desirable; expected scored rows or the "
            "column score of one completion. Convert pairs without a threshold"
        )
    return scores_of(row)


def _completion(row: Feedback, place: int) -> Completion:
    if isinstance(row, Scored):
        return row.completions[place]
    assert isinstance(row, Unpaired | Demonstration)
    return row.completion


def _verdict(row: Feedback, place: int, score: float, desirable: bool) -> Unpaired:
    fields = {**vars(row), "completion": _completion(row, place), "score": score, "desirable": desirable}
    if isinstance(row, Scored):
        del fields["completions"], fields["scores"]
        fields["id"] = f"{row.id}/{place}"
    return record(Unpaired, fields)
