"""When the rounds end: each rule by itself, and in its words."""

from __future__ import annotations

from typing import Any

import pytest

from prospect.results.rounds import HeldOut, Round
from prospect.rounds.recipe import StopSettings
from prospect.rounds.stopping import why_stop
from prospect.statistics.bootstrap import Estimate
from prospect.statistics.comparisons import Difference
from prospect.statistics.rates import Rate


def difference(value: float, low: float, high: float) -> Difference:
    return Difference(value, low, high, 100, 100, 0.5, 0.5, "better")


GAIN, LOSS = difference(0.2, 0.1, 0.3), difference(-0.2, -0.3, -0.1)
UNCLEAR = difference(0.05, -0.02, 0.12)


def look(**values: Any) -> HeldOut:
    usual: dict[str, Any] = {
        "rate": Rate(0.5, 0.4, 0.6, 100),
        "words": 20.0,
        "tokens": 30.0,
        "cut": 0,
        "repetition": 0.1,
        "distinct_2": 0.9,
        "samples": [],
        "seconds": 0.0,
        "against_last": GAIN,
        "against_start": GAIN,
    }
    return HeldOut(**{**usual, **values})


def why(settings: dict[str, Any] | None = None, **found: Any) -> tuple[str, str] | None:
    start = Round(round=0, model="m", held_out=look(against_last=None, against_start=None))
    stopped = why_stop([start, Round(round=1, model="m1", held_out=look(**found))], StopSettings(**(settings or {})))
    return None if stopped is None else (stopped.kind, stopped.text)


def test_a_round_that_shows_a_gain_goes_on() -> None:
    assert why() is None
    assert why(against_last=difference(0.2, 1e-6, 0.4)) is None


@pytest.mark.parametrize(
    ("found", "off", "kind", "words"),
    [
        ({"against_last": UNCLEAR}, {"no_gain": False}, "no_gain", "shows no gain over the model before it: +5.0%"),
        ({"against_last": difference(0.1, 0.0, 0.2)}, {"no_gain": False}, "no_gain", "(+0.0% to +20.0%)"),
        ({"kl": Estimate(12.0, 11.0, 13.0, 64, 64)}, {"kl": None}, "kl", "12.0 nats a sample from the start"),
        ({"words": 41.0}, {"length": None}, "length", "2.05 times as many, and rounds.stop.length is 2"),
        ({"words": 9.9}, {"length": None}, "length", "0.49 times as many"),
        ({"repetition": 0.31}, {"repetition": None}, "repetition", "+21%, and rounds.stop.repetition is 0.2"),
        (
            {"second_against_last": LOSS},
            {"second_judge": False},
            "second_judge",
            "pleases its own judge more than the model before it (+20.0%) and the second judge less",
        ),
        (
            {"second_against_start": LOSS, "second_against_last": UNCLEAR},
            {"second_judge": False},
            "second_judge",
            "more than the start (+20.0%)",
        ),
    ],
)
def test_each_rule_ends_the_rounds_in_its_own_words_and_can_be_turned_off(
    found: dict[str, Any], off: dict[str, Any], kind: str, words: str
) -> None:
    stopped = why(**found)
    assert stopped is not None and stopped[0] == kind and words in stopped[1] and "round 1" in stopped[1]
    assert why(off, **found) is None


@pytest.mark.parametrize(
    "found",
    [
        {"words": 40.0},
        {"words": 10.0},
        {"repetition": 0.3},
        {"kl": Estimate(10.0, 9.0, 11.0, 64, 64)},
        {"second_against_last": UNCLEAR},
        {"repetition": None},
    ],
)
def test_what_is_on_the_limit_goes_on(found: dict[str, Any]) -> None:
    assert why(**found) is None


def test_a_loss_by_both_judges_is_no_over_optimisation() -> None:
    stopped = why({"no_gain": False}, against_last=LOSS, against_start=LOSS, second_against_last=LOSS)
    assert stopped is None


def test_the_start_alone_ends_nothing() -> None:
    assert why_stop([Round(round=0, model="m", held_out=look(against_last=None))], StopSettings()) is None
