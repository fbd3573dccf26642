"""What judges say of the samples of held-out prompts, prompt by prompt."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import NamedTuple

from prospect import progress
from prospect.errors import DataError
from prospect.evaluation.answers.asked import Question
from prospect.evaluation.contest.judges.asking import Asking
from prospect.evaluation.contest.judges.base import CREDIT, Item, Judge
from prospect.evaluation.contest.judges.verdict_cache import VerdictCache
from prospect.feedback.records import Demonstration
from prospect.results.stored import Part, Stored
from prospect.rounds.feedback import candidate, threshold_of
from prospect.rounds.labels import Threshold, digest_of, score_completions, to_thumbs
from prospect.rounds.recipe import LabelSettings


class Passed(Part):
    """What one judge says."""

    identity: str
    """Hash of everything that decides its verdicts."""
    passed: list[float | None]
    """1 passes, 0 does not, null could not be read; of a judge that only compares 1, 1/2 or 0 against the start."""
    scores: list[float | None]
    threshold: float | None
    """Scores above it pass, where that was the median of the start's; null where the recipe's threshold holds."""


class Outcomes(Stored):
    """`evaluation/outcomes.json` of a round: what the judges say of each held-out sample, in their order."""

    format: str = "prospect.rounds.outcomes/1"
    judge: Passed
    second: Passed | None

    @classmethod
    def of(cls, folder: Path) -> Outcomes:
        """Return those of a round's evaluation folder."""
        return cls.read(folder / "outcomes.json")


@dataclass(frozen=True)
class Looks:
    """What all rounds are looked at with.

    Attributes:
        label: how samples become thumbs.
        questions: the held-out prompts; of each sample, where they are judged.
        judge: who says which samples pass.
        second: another one, which training never hears.
        seed: of the samples.
    """

    label: LabelSettings
    questions: Sequence[Question]
    judge: Judge
    second: Judge | None
    seed: int


class Written(NamedTuple):
    """What a model wrote to the held-out prompts.

    Attributes:
        rows: one for each question.
        start: what the start wrote; None for the start itself.
        outcomes: what was said of that.
    """

    rows: Sequence[Demonstration]
    start: Sequence[Demonstration] | None
    outcomes: Outcomes | None


def judge_written(looks: Looks, written: Written, folder: Path) -> Outcomes:
    """Return what the judges say; verdicts are kept in the folder as they come."""
    known = written.outcomes
    with progress.phase(f"judging {len(written.rows)} held-out samples by {looks.judge.name}"):
        first = _passed(looks, looks.judge, written, known.judge if known else None, folder / "verdicts.jsonl")
    if known is None and not any(one is not None for one in first.passed):
        raise DataError(
            f"judge {looks.judge.name}: none of its answers on {len(first.passed)} held-out samples of the start could "
            "be read. Try it on a few completions with prospect label, and name another judge or rubric."
        )
    if looks.second is None:
        return Outcomes(judge=first, second=None)
    with progress.phase(f"judging them by {looks.second.name}"):
        before = known.second if known else None
        second = _passed(looks, looks.second, written, before, folder / "second_verdicts.jsonl")
    return Outcomes(judge=first, second=second)


def _passed(looks: Looks, judge: Judge, written: Written, start: Passed | None, keep: Path) -> Passed:
    if not judge.gives_scores:
        return _against_start(looks, judge, written, keep)
    asked = [looks.label.cut == "judge" or row.finished for row in written.rows]
    rows = [
        candidate(question, row.completion)
        for question, row, wanted in zip(looks.questions, written.rows, asked, strict=True)
        if wanted
    ]
    given = iter(score_completions(judge, rows, keep=keep))
    scores = [next(given) if wanted else math.nan for wanted in asked]
    of_start = scores if start is None else [math.nan if score is None else score for score in start.scores]
    threshold = threshold_of(looks.label, judge, of_start)  # settled by the start, or each round had a rule of its own
    middle = _median(threshold, of_start)
    if middle is None:
        thumbs = to_thumbs(scores, [row.prompt for row in written.rows], threshold)
    else:
        thumbs = [None if math.isnan(score) else score > middle for score in scores]
    passed = [
        0.0 if not wanted else None if up is None else float(up) for up, wanted in zip(thumbs, asked, strict=True)
    ]
    said = [None if math.isnan(score) else score for score in scores]
    return Passed(identity=digest_of(judge), passed=passed, scores=said, threshold=middle)


def _median(threshold: Threshold, scores: Sequence[float]) -> float | None:
    """Return the median of the start's scores, against which every round is held; None for other thresholds."""
    read = [score for score in scores if not math.isnan(score)]
    return median(read) if threshold.rule in ("median", "prompt_median") and read else None


def _against_start(looks: Looks, judge: Judge, written: Written, keep: Path) -> Passed:
    """Return the verdicts of a judge that only compares: each sample against the start's."""
    nothing: list[float | None] = [None] * len(written.rows)
    if written.start is None:
        passed: list[float | None] = [0.5] * len(written.rows)
        return Passed(identity=digest_of(judge), passed=passed, scores=nothing, threshold=None)
    items = []
    for question, ours, theirs in zip(looks.questions, written.rows, written.start, strict=True):
        first, second = (candidate(question, one.completion) for one in (ours, theirs))
        items.append(Item(first.prompt, first.completion, second.completion, first.target))
    with VerdictCache(keep) as cache:
        judged, _ = Asking(judge, items, seed=looks.seed, cache=cache).run()
    credits = [CREDIT[one.choice] for one in judged]
    return Passed(identity=digest_of(judge), passed=credits, scores=nothing, threshold=None)
