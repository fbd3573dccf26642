"""Scores that were made elsewhere, read from files: PickScore, HPS, ImageReward, or any other scorer."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from prospect.errors import DataError
from prospect.evaluation.answers.answered import as_written
from prospect.evaluation.contest.judges.base import Candidate, Item, ScoringJudge, text_key
from prospect.evaluation.contest.judges.registry import files_named, judge
from prospect.feedback.files.sources import load_feedback
from prospect.feedback.records import Completion, Demonstration, Feedback, Scored, Unpaired


@judge("scores:FILE")
class ScoreFileJudge(ScoringJudge):
    """Look the score of a completion up: the column `score` beside it, the higher the better.

    A completion is known by its prompt and its content, wherever its file lies. A comparison of which one side has no
    score is not judged (`covers`).

    Args:
        files: rows of `prompt`, `image` (or `completion`) and `score`, or of `prompt`, `images` and `scores`.

    Raises:
        DataError: a file cannot be read, holds no score, or two scores of one completion.
    """

    sees_images = True

    def __init__(self, files: str | Sequence[str]) -> None:
        paths = [files] if isinstance(files, str) else list(files)
        self.name = f"scores:{','.join(Path(path).name for path in paths)}"
        self._scores: dict[str, float] = {}
        for row in (row for path in paths for row in load_feedback(path)):
            for completion, score in _scores_of(row):
                key = text_key(row.prompt, as_written(completion))
                if self._scores.setdefault(key, score) != score:
                    raise DataError(
                        f"{row.where}: the score is {score:g}, and an earlier row with the same prompt and completion "
                        f"has {self._scores[key]:g}. Keep one."
                    )
        if not self._scores:
            raise DataError(f"{', '.join(paths)}: no row has a score; expected numbers in the column score.")

    @classmethod
    def named(cls, rest: str) -> ScoreFileJudge:
        """Return the judge of `scores:FILE`; the name may be a glob, of one file for each side."""
        return cls(files_named(rest))

    @property
    def identity(self) -> str:
        """The scores themselves."""
        return f"scores\0{text_key(json.dumps(self._scores, sort_keys=True))}"

    def covers(self, item: Item | Candidate) -> bool:
        """Return whether every completion of an item has a score."""
        prompt, *completions = item.texts
        return all(text_key(prompt, completion) in self._scores for completion in completions)

    def score_each(self, rows: Sequence[Candidate]) -> Iterator[tuple[int, float]]:
        """Yield the scores in the order of the rows; NaN where there is none."""
        for number, row in enumerate(rows):
            yield number, self._scores.get(text_key(*row.texts), math.nan)


def _scores_of(row: Feedback) -> list[tuple[Completion, float]]:
    if isinstance(row, Scored):
        return list(zip(row.completions, row.scores, strict=True))
    if isinstance(row, Unpaired | Demonstration) and row.score is not None:
        return [(row.completion, row.score)]
    return []
