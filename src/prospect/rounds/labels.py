"""Completions -> what a judge thinks of each: a score, a thumb by a threshold, and how many of them pass."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Literal, NamedTuple

from prospect.errors import DataError, UsageError
from prospect.evaluation.contest.judges.asking import Progress
from prospect.evaluation.contest.judges.base import Candidate, Judge
from prospect.evaluation.contest.judges.grading import GradeFile, Grading
from prospect.feedback.chat.thoughts import split_thoughts
from prospect.feedback.records import Completion, Image, Message, Text
from prospect.feedback.split import prompt_key
from prospect.statistics.means import rate_by_prompt
from prospect.statistics.rates import Rate

Rule = Literal["equal", "number", "median", "prompt_median"]
EXPECTED = "equal, a number, median or prompt_median"


@dataclass(frozen=True)
class Threshold:
    """How a score becomes a thumb.

    Attributes:
        rule: `equal`: up is a score of 1, down one of 0, and any other is refused. `number`: up is a score of at least
            `number`, as in `prospect data convert`: a scale's 4 means "4 or better". `median`, `prompt_median`: up is
            above the median of all scores, or of those of the prompt, down is below; a score on the median is
            undecided, for such a threshold only says which of these are the better ones.
        number: of that rule.
    """

    rule: Rule
    number: float = 0.5

    @classmethod
    def parse(cls, text: str) -> Threshold:
        """Return the threshold of its name, or of a number.

        Raises:
            UsageError: it is neither.
        """
        name = text.strip().replace(" ", "_").replace("-", "_")
        if name in ("equal", "median", "prompt_median"):
            return cls(name)  # type: ignore[arg-type]
        if name == "per_prompt":
            return cls("prompt_median")
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise UsageError(f'threshold "{text}": expected {EXPECTED}.')
        return cls("number", number)

    @classmethod
    def usual(cls, judge: Judge, scores: Sequence[float]) -> Threshold:
        """Return the threshold where none is named.

        One half for a judge that gives chances; `equal` where every score is 0 or 1; else the median of all scores,
        for the scale of a reward model has no point that means good.
        """
        if judge.gives_chances:
            return cls("number", 0.5)
        return cls("equal" if all(score in (0, 1) for score in scores if not math.isnan(score)) else "median")

    def __str__(self) -> str:
        words = {"equal": "a score of 1", "number": f"a score of at least {self.number:g}"}
        medians = {
            "median": "a score above the median of all",
            "prompt_median": "a score above the median of its prompt",
        }
        return (words | medians)[self.rule]


class Labels(NamedTuple):
    """What became of completions.

    Attributes:
        rows: all of them.
        kept: those with a thumb.
        desirable: thumbs up.
        undesirable: thumbs down.
        unread: those that the judge's answer said nothing of.
        undecided: those whose score is the median itself.
        rate: thumbs up among thumbs and unread ones, so that a judge that fails on hard cases flatters nobody; its
            interval draws prompts where they repeat.
    """

    rows: int
    kept: int
    desirable: int
    undesirable: int
    unread: int
    undecided: int
    rate: Rate


def answer_in(completion: Completion) -> Completion:
    """Return a completion as a judge sees it: without the thoughts before the answer."""
    if isinstance(completion, Image):
        return completion
    if isinstance(completion, str):
        return split_thoughts(completion).answer
    return tuple(Message(turn.role, split_thoughts(turn.content).answer, turn.extra) for turn in completion)


def digest_of(judge: Judge) -> str:
    """Return a short hash of everything that decides a judge's scores."""
    return hashlib.blake2b(judge.identity.encode(errors="surrogatepass"), digest_size=8).hexdigest()


def score_completions(
    judge: Judge, rows: Sequence[Candidate], *, keep: Path | None, progress: Progress | None = None
) -> list[float]:
    """Return the judge's score of each completion, NaN where there is none; equal rows are asked about once.

    Args:
        judge: who scores.
        rows: completions.
        keep: file in which scores are kept as they come, by the judge's identity, and looked up first; None keeps none.
        progress: told after each score.

    Raises:
        UsageError: the judge only compares.
        DataError, EndpointError: the judge failed; what it said until then is kept.
    """
    with GradeFile(keep) as kept:
        grades, _ = Grading(judge, rows, kept=kept).run(progress)
    return [math.nan if grade is None else grade.score for grade in grades]


def to_thumbs(scores: Sequence[float], prompts: Sequence[Text], threshold: Threshold) -> list[bool | None]:
    """Return for each score whether it is a thumb up; None where it could not be read, or is on its median.

    Args:
        scores: one for each completion, NaN where there is none.
        prompts: what each answers.
        threshold: see `Threshold`.

    Raises:
        DataError: a score is neither 0 nor 1, and the threshold is `equal`.
    """
    if threshold.rule == "number":
        return [None if math.isnan(score) else score >= threshold.number for score in scores]
    if threshold.rule == "equal":
        other = next((score for score in scores if not math.isnan(score) and score not in (0, 1)), None)
        if other is not None:
            raise DataError(
                f"a score is {other:g}, and the threshold equal knows 1 (yes) and 0 (no). Take a number of the "
                "judge's scale, median or prompt_median as the threshold."
            )
        return [None if math.isnan(score) else score == 1 for score in scores]
    groups = [""] * len(scores) if threshold.rule == "median" else [prompt_key(prompt) for prompt in prompts]
    of_group: dict[str, list[float]] = {}
    for group, score in zip(groups, scores, strict=True):
        if not math.isnan(score):
            of_group.setdefault(group, []).append(score)
    middles = {group: median(some) for group, some in of_group.items()}
    return [
        None if math.isnan(score) or score == middles[group] else score > middles[group]
        for group, score in zip(groups, scores, strict=True)
    ]


def count_labels(scores: Sequence[float], thumbs: Sequence[bool | None], prompts: Sequence[Text]) -> Labels:
    """Return the counts of thumbs, and how many pass.

    Args:
        scores: of each completion, NaN where there is none.
        thumbs: of each, as `to_thumbs` has them.
        prompts: what each answers.

    Raises:
        DataError: no completion has a thumb.
    """
    ups, downs = sum(thumb is True for thumb in thumbs), sum(thumb is False for thumb in thumbs)
    unread = sum(math.isnan(score) and thumb is None for score, thumb in zip(scores, thumbs, strict=True))
    if not ups + downs:
        raise DataError(_why_none(len(thumbs), unread))
    undecided = len(thumbs) - ups - downs - unread
    passed: list[tuple[float | None, str]] = [
        (None if thumb is None else float(thumb), prompt_key(prompt))
        for score, thumb, prompt in zip(scores, thumbs, prompts, strict=True)
        if thumb is not None or math.isnan(score)
    ]
    rate = rate_by_prompt([outcome for outcome, _ in passed], [key for _, key in passed])
    return Labels(len(thumbs), ups + downs, ups, downs, unread, undecided, rate)


def _why_none(rows: int, unread: int) -> str:
    if not rows:
        return "there are no completions to label; expected at least one."
    if unread == rows:
        return f"the judge's answer on none of the {rows} completions could be read. Ask another judge."
    return (
        f"none of {rows} completions has a thumb: {unread} have no score, and the others are equal to their median. "
        "Take a number as the threshold, or sample more completions of each prompt."
    )
