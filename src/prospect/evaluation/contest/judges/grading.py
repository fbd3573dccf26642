"""Completions -> the score that a judge gives each, every different one asked once, and what that costs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prospect.evaluation.answers.keyed_file import KeyedFile
from prospect.evaluation.contest.judges.asking import Price, Progress, judge_calls
from prospect.evaluation.contest.judges.base import Candidate, Grade, Judge
from prospect.evaluation.contest.judges.verdict_cache import question_key
from prospect.results.contest import JudgeCalls


class GradeFile(KeyedFile[Grade]):
    """Grades by content: of judge, rubric, prompt, completion and target; a grade that could not be read is null.

    Args:
        path: a .jsonl file, made where there is none; None keeps grades in memory.
    """

    def __init__(self, path: Path | None = None) -> None:
        super().__init__(path, _read, _write)


def _write(grade: Grade) -> dict[str, Any]:
    return {
        "score": None if math.isnan(grade.score) else grade.score,
        "note": grade.note,
        "prompt_tokens": grade.prompt_tokens,
        "completion_tokens": grade.completion_tokens,
    }


def _read(row: dict[str, Any]) -> Grade:
    score = math.nan if row["score"] is None else float(row["score"])
    return Grade(score, str(row["note"]), int(row["prompt_tokens"]), int(row["completion_tokens"]))


class Grading:
    """The questions of a run that looks at each completion by itself.

    Args:
        judge: whom to ask.
        rows: what about. What the judge has nothing to say of (`covers`) is not asked.
        kept: grades from before, and where new ones are kept; in memory by default.
        price: of a million tokens.

    Raises:
        UsageError: the judge compares, and gives no scores; or it reads text, and there are images.
    """

    def __init__(
        self, judge: Judge, rows: Sequence[Candidate], *, kept: GradeFile | None = None, price: Price | None = None
    ) -> None:
        if not judge.gives_scores:
            judge.score_many(rows)  # raises, in the judge's own words
        judge.require_sight(rows)
        self._judge, self._price = judge, price
        self._kept = kept if kept is not None else GradeFile()
        identity = judge.identity
        self._keys = [question_key(identity, row) if judge.covers(row) else None for row in rows]
        questions = {key: row for key, row in zip(self._keys, rows, strict=True) if key is not None}
        self._questions = len(questions)
        self._open = {key: row for key, row in questions.items() if self._kept.get(key) is None}
        estimates = [judge.estimate_tokens(row) for row in self._open.values()]
        read, written = (sum(column) for column in zip(*estimates, strict=True)) if estimates else (0, 0)
        self.planned = judge_calls(self._questions, len(self._open), len(self._open), (read, written), price, True)

    def run(self, progress: Progress | None = None) -> tuple[list[Grade | None], JudgeCalls]:
        """Ask what is not known yet, keep each grade as it comes, and return all of them, and what was spent.

        A grade is None where the judge has nothing to say.
        """
        keys = list(self._open)
        found: dict[str, Grade] = {}
        for number, given in self._judge.grade_each(list(self._open.values())):
            grade = given if math.isfinite(given.score) else _unread(given)
            found[keys[number]] = grade
            if grade.final:
                self._kept.put(keys[number], grade, judge=self._judge.name)
            if progress is not None:
                progress(len(found), len(keys))
        tokens = (
            sum(grade.prompt_tokens for grade in found.values()),
            sum(grade.completion_tokens for grade in found.values()),
        )
        spent = judge_calls(self._questions, len(keys), len(found), tokens, self._price, False)
        return [None if key is None else found.get(key) or self._kept.get(key) for key in self._keys], spent


def _unread(grade: Grade) -> Grade:
    note = grade.note or "no number" if math.isnan(grade.score) else f"a score of {grade.score}"
    return Grade(math.nan, note, grade.prompt_tokens, grade.completion_tokens, grade.final)
