"""What the judges say of held-out samples: one threshold for all rounds, settled by the start."""

from __future__ import annotations

from pathlib import Path

import pytest

from prospect.errors import DataError
from prospect.evaluation.answers.asked import Question
from prospect.evaluation.contest.judges.function import FunctionJudge, ScoreFunctionJudge
from prospect.feedback.records import Demonstration
from prospect.rounds.outcomes import Looks, Outcomes, Written, judge_written
from prospect.rounds.recipe import LabelSettings

PROMPTS = ["p1", "p2", "p3", "p4"]


def by_number(prompt: str, completion: str) -> float | None:
    return None if completion == "?" else float(completion)


def rows(*texts: str, cut: bool = False) -> list[Demonstration]:
    return [
        Demonstration(prompt=prompt, completion=text, id=prompt, where=prompt, finished=not cut)
        for prompt, text in zip(PROMPTS, texts, strict=True)
    ]


def looks(**label: object) -> Looks:
    questions = [Question(prompt, prompt) for prompt in PROMPTS]
    return Looks(LabelSettings(**label), questions, ScoreFunctionJudge(by_number, "number", "number"), None, 0)  # type: ignore[arg-type]


def judged(where: Path, start: tuple[str, ...], now: tuple[str, ...], **label: object) -> tuple[Outcomes, Outcomes]:
    held = looks(**label)
    first = judge_written(held, Written(rows(*start), None, None), where)
    return first, judge_written(held, Written(rows(*now), rows(*start), first), where)


def test_the_median_of_the_start_holds_for_every_round(tmp_path: Path) -> None:
    start, now = judged(tmp_path, ("1", "2", "3", "4"), ("3", "4", "5", "2"))
    assert start.judge.threshold == 2.5 == now.judge.threshold
    assert start.judge.passed == [0, 0, 1, 1] and now.judge.passed == [1, 1, 1, 0]


def test_yes_and_no_stay_yes_and_no_and_what_cannot_be_read_counts_for_nobody(tmp_path: Path) -> None:
    start, now = judged(tmp_path, ("0", "0", "1", "0"), ("1", "1", "?", "1"))
    assert start.judge.threshold is None and now.judge.passed == [1, 1, None, 1]


def test_a_scale_that_shows_itself_after_the_start_is_refused_and_not_read_as_a_median(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a score is 0\.5, and the threshold equal knows 1 \(yes\) and 0 \(no\)"):
        judged(tmp_path, ("0", "0", "1", "0"), ("0.5", "1", "0", "1"))
    _, now = judged(tmp_path, ("0", "0", "1", "0"), ("0.5", "1", "0", "1"), threshold=0.5)
    assert now.judge.passed == [1, 1, 0, 1]


def test_a_cut_sample_does_not_pass_unless_it_is_judged(tmp_path: Path) -> None:
    for cut, expected in (("undesirable", 0.0), ("drop", 0.0), ("judge", 1.0)):
        held = looks(cut=cut, threshold=0.5)
        found = judge_written(held, Written(rows("1", "1", "1", "1", cut=True), None, None), tmp_path)
        assert found.judge.passed == [expected] * 4


def test_a_judge_that_only_compares_holds_each_round_against_the_start(tmp_path: Path) -> None:
    longer = FunctionJudge(lambda prompt, first, second: len(first) - len(second), "longer", "longer")
    held = Looks(LabelSettings(), [Question(prompt, prompt) for prompt in PROMPTS], longer, None, 0)
    start = rows("aa", "aa", "aa", "aa")
    first = judge_written(held, Written(start, None, None), tmp_path)
    now = judge_written(held, Written(rows("aaa", "a", "bb", "aa"), start, first), tmp_path)
    assert first.judge.passed == [0.5] * 4 and now.judge.passed == [1, 0, 0.5, 0.5]
