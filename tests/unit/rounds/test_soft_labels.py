"""A judge's chances as soft labels: from its letters' log-probs, through the file of verdicts, to the labels."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from prospect.evaluation.answers.asked import Question
from prospect.evaluation.contest.judges.asking import Asking
from prospect.evaluation.contest.judges.base import Item, Judge, Verdict
from prospect.evaluation.contest.judges.local_lm import LocalLMJudge
from prospect.evaluation.contest.judges.verdict_cache import VerdictCache
from prospect.feedback.records import Demonstration
from prospect.rounds.feedback import judge_samples
from prospect.rounds.recipe import LabelSettings


class Biased(Judge):
    """Prefers what it sees first by .2, and the longer one by .1 a character."""

    name = "biased"
    identity = "biased"

    def __init__(self, tells: bool = True) -> None:
        self.asked, self.tells = 0, tells

    def stream(self, items: Sequence[Item]) -> Iterator[tuple[int, Verdict]]:
        for number, item in enumerate(items):
            self.asked += 1
            chance = 0.5 + 0.2 + 0.1 * (len(item.first) - len(item.second))
            choice: Any = "first" if chance > 0.5 else "second"
            yield number, Verdict(choice, credit=chance if self.tells else None)


def soft(judge: Judge, folder: Path) -> dict[tuple[int, int], float]:
    answers = [[Demonstration(prompt="p", completion=text, id=text, where=text) for text in ("aa", "b", "aa")]]
    found = judge_samples(
        LabelSettings(),
        judge,
        [Question("p", "key")],
        answers,
        {},
        round_number=1,
        verdicts=folder / "verdicts.jsonl",
        compares=True,
    )
    return found.asked[0].soft


def test_the_soft_label_is_the_mean_of_the_chances_in_both_orders(tmp_path: Path) -> None:
    judge = Biased()
    assert soft(judge, tmp_path) == {(0, 1): pytest.approx(0.6)}  # (.8 + 1 - .6) / 2: the bias is gone
    assert judge.asked == 2
    assert soft(judge, tmp_path) == {(0, 1): pytest.approx(0.6)} and judge.asked == 2, "as kept, to the last digit"


def test_a_judge_that_tells_no_chances_gives_its_words(tmp_path: Path) -> None:
    """First in both orders: the orders disagree."""
    assert soft(Biased(tells=False), tmp_path) == {(0, 1): 0.5}


def test_verdicts_of_older_files_are_read_and_lines_without_chances_stay_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.jsonl"
    with VerdictCache(path) as cache:
        cache.put("told", Verdict("first", credit=0.7))
        cache.put("plain", Verdict("second", "note", 3, 4))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert "credit" not in lines[1] and lines[0]["credit"] == 0.7
    again = VerdictCache(path)
    assert again.get("told") == Verdict("first", credit=0.7) and again.get("plain") == Verdict("second", "note", 3, 4)


def test_the_credit_of_a_local_model_is_what_its_letters_say(reader: Any) -> None:
    item = Item("which?", "this one", "that one")
    ((_, verdict),) = LocalLMJudge(reader).stream([item])
    first, second, tie = (math.exp(float(word.split()[1])) for word in verdict.note.split(", "))
    assert verdict.credit == pytest.approx((first + tie / 2) / (first + second + tie), abs=1e-3)
    assert verdict.credit is not None and 0 < verdict.credit < 1
    judged, _ = Asking(LocalLMJudge(reader), [item]).run()
    credits = [one.credit for one in judged[0].said]
    assert credits[0] == verdict.credit
    ((_, swapped),) = LocalLMJudge(reader).stream([item.mirrored()])
    assert swapped.credit is not None and credits[1] == pytest.approx(1 - swapped.credit)
