"""Rounds with many thumbs of one kind."""

from __future__ import annotations

import re
from typing import Any

import pytest

from prospect.feedback.records import Unpaired
from prospect.rounds.balance import balance, mass
from prospect.rounds.recipe import BalanceSettings


def thumb(i: int, desirable: bool, weight: float = 1.0, where: str = "now") -> Unpaired:
    return Unpaired(
        prompt=f"p{i}", completion=f"{where} {i} {desirable}", desirable=desirable, id="", where="", weight=weight
    )


def a_round(up: int, down: int, where: str = "now") -> list[Unpaired]:
    return [thumb(i, i < up, where=where) for i in range(up + down)]


def counts(rows: list[Unpaired]) -> tuple[int, int]:
    return sum(row.desirable for row in rows), sum(not row.desirable for row in rows)


MEASURED = a_round(581, 19)  # the second round on the demo's desk, in which a weight of 23.5 did harm


def test_thumbs_down_get_no_weight_however_few_they_are() -> None:
    found = balance(MEASURED, [], BalanceSettings(short="keep"), 0)
    assert found.weights == {"desirable_weight": 1.0, "undesirable_weight": 1.0} and found.capped
    assert counts(found.rows) == (581, 19) and not found.note


def test_few_thumbs_up_are_balanced() -> None:
    found = balance(a_round(15, 105), [], BalanceSettings(), 0)
    assert found.weights == {"desirable_weight": pytest.approx(105 / 15 * 7 / 6), "undesirable_weight": 1.0}
    assert not found.capped and len(found.rows) == 120


def test_each_class_has_a_cap_of_its_own() -> None:
    settings = BalanceSettings(max_desirable_weight=2, max_undesirable_weight=3, short="keep")
    few_up, few_down = balance(a_round(15, 105), [], settings, 0), balance(MEASURED, [], settings, 0)
    assert few_up.weights == {"desirable_weight": 2.0, "undesirable_weight": 1.0} and few_up.capped
    assert few_down.weights == {"desirable_weight": 1.0, "undesirable_weight": 3.0} and few_down.capped


def test_the_measured_round_is_topped_up_with_the_latest_rows_first() -> None:
    earlier = a_round(0, 6, "round 1") + a_round(0, 40, "round 0")
    found = balance(MEASURED, earlier, BalanceSettings(), 0)
    assert counts(found.rows) == (581, 31)  # 31 of 612 are 5 %
    added = [row.completion for row in found.rows if "round" in str(row.completion)]
    assert added == [f"round 1 {i} False" for i in range(6)] + [f"round 0 {i} False" for i in range(6)]
    assert (found.replayed, found.left_out) == (12, 0)
    assert found.note == "19 thumbs down beside 581 up: 12 rows of earlier rounds were added"


def test_what_is_short_still_is_shortened() -> None:
    found = balance(MEASURED, [], BalanceSettings(), 0)
    assert counts(found.rows) == (361, 19) and found.left_out == 220  # 19 of 380 are 5 %
    assert found.rows == [row for row in MEASURED if row in found.rows], "in the round's own order"
    assert found.note == "19 thumbs down beside 581 up: 220 of the larger class were left out"
    again = balance(list(reversed(MEASURED)), [], BalanceSettings(), 0)
    assert {row.completion for row in again.rows} == {row.completion for row in found.rows}
    other = balance(MEASURED, [], BalanceSettings(), 1)
    assert {row.completion for row in other.rows} != {row.completion for row in found.rows}


@pytest.mark.parametrize(
    ("rows", "settings", "words"),
    [
        (a_round(600, 0), {}, "0 thumbs down beside 600 up, and with all earlier rounds 0 rows.*Take harder"),
        (a_round(3, 597), {}, "3 thumbs up beside 597 down.*nothing left to learn from these prompts. Take easier"),
        (MEASURED, {"short": "stop"}, "19 thumbs down beside 581 up, and balance.short is stop"),
    ],
)
def test_a_round_of_nearly_one_class_ends_the_rounds(rows: Any, settings: Any, words: str) -> None:
    assert re.search(words, balance(rows, [], BalanceSettings(**settings), 0).stop)


def test_earlier_rows_of_the_rounds_own_text_are_not_taken_again() -> None:
    stopped = balance(a_round(100, 4), [thumb(i, False) for i in range(100, 104)], BalanceSettings(least_rows=9), 0)
    assert "with all earlier rounds 4 rows" in stopped.stop


def test_a_sample_that_was_drawn_often_weighs_as_often() -> None:
    rows = [thumb(i, True, weight=3.0) for i in range(20)] + [thumb(i, False) for i in range(20, 60)]
    found = balance(rows, [], BalanceSettings(), 0)
    assert mass(row for row in rows if row.desirable) == 60
    assert found.weights["desirable_weight"] == found.weights["undesirable_weight"] == 1.0 and found.capped
    assert len(found.rows) == 60
