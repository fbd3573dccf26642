"""Simulated raters: the frequencies are the closed forms, a verdict depends on its row alone, bad settings are refused.

Frequencies are held against the closed form within four standard deviations of a binomial; the seeds are fixed.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from itertools import combinations
from typing import Any

import pytest

from prospect.errors import ConfigError, DataError
from prospect.feedback import Message
from prospect.feedback.simulated import SimulatedRater, by_completion, compare, rate

N = 2000


def number(text: str) -> float:
    return float(text.split()[0])


def rater(name: str = "ann", **habits: Any) -> SimulatedRater:
    return SimulatedRater(**{"name": name, "utility": by_completion(number), **habits})


def thumbs(value: float, *raters: SimulatedRater, count: int = N, **settings: Any) -> list[Any]:
    """Thumbs on completions that are all worth the same."""
    return rate([f"prompt {i}" for i in range(count)], [f"{value} for {i}" for i in range(count)], raters, **settings)


def preferences(a: Any, b: Any, *raters: SimulatedRater, count: int = N, **settings: Any) -> list[Any]:
    """Preferences between completions that are worth a and b."""
    pairs = [(f"{a} for {i}", f"{b} for {i}") for i in range(count)]
    return compare([f"prompt {i}" for i in range(count)], pairs, raters, **settings)


def share(hits: Any) -> float:
    hits = list(hits)
    return sum(hits) / len(hits)


def close(found: float, expected: float, count: int = N) -> bool:
    return abs(found - expected) <= 4 * math.sqrt(max(expected * (1 - expected), 1 / count) / count)


def logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x))


@pytest.mark.parametrize(
    ("value", "habits", "expected"),
    [
        (1.0, {}, 1.0),
        (0.0, {}, 1.0),  # what reaches the threshold is good
        (-0.01, {}, 0.0),
        (1.0, {"threshold": 1.5}, 0.0),
        (1.0, {"noise": 0.3}, 0.7),
        (-1.0, {"noise": 0.3}, 0.3),
        (1.0, {"temperature": 2.0}, logistic(0.5)),
        (-1.0, {"temperature": 2.0}, logistic(-0.5)),
        (-1.0, {"temperature": 2.0, "loss_aversion": 2.25}, logistic(-2.25 / 2)),
        (1.0, {"temperature": 2.0, "loss_aversion": 2.25}, logistic(0.5)),  # gains are as they were
        (1.0, {"temperature": 2.0, "threshold": 2.0, "loss_aversion": 2.25}, logistic(-2.25 / 2)),
        (1.0, {"temperature": 2.0, "noise": 0.2}, 0.8 * logistic(0.5) + 0.2 * logistic(-0.5)),
        (-2.5, {"length_bias": 1.0}, 1.0),  # three words
        (-3.5, {"length_bias": 1.0}, 0.0),
        (-3.5, {"length_bias": 1.0, "temperature": 1.0}, logistic(-0.5)),
        (1e308, {"temperature": 1e-300}, 1.0),
    ],
)
def test_thumbs_are_up_as_often_as_the_closed_form_says(value: float, habits: Any, expected: float) -> None:
    rows = thumbs(value, rater(**habits))
    assert len(rows) == N
    assert close(share(row.desirable for row in rows), expected)


@pytest.mark.parametrize(
    ("a", "b", "habits", "expected"),
    [
        (2.0, 1.0, {}, 1.0),
        (2.0, 1.0, {"noise": 0.3}, 0.7),
        (2.0, 1.0, {"temperature": 0.7}, logistic(1 / 0.7)),
        (0.5, -0.5, {"temperature": 1.0, "loss_aversion": 2.25}, logistic(0.5 + 2.25 * 0.5)),
        (-1.0, -2.0, {"temperature": 1.0, "loss_aversion": 2.25}, logistic(2.25)),
        (2.0, 1.0, {"temperature": 1.0, "threshold": 3.0, "loss_aversion": 2.0}, logistic(2.0)),
        (2.0, 1.0, {"temperature": 1.0, "noise": 0.1}, 0.9 * logistic(1) + 0.1 * logistic(-1)),
        (2.0, 1.0, {"intransitive": 1.0}, 0.5),  # over completions, the circle knows nothing of utility
        (2.0, 1.0, {"intransitive": 0.4}, 0.8),
    ],
)
def test_preferences_fall_as_often_as_the_closed_form_says(a: float, b: float, habits: Any, expected: float) -> None:
    rows = preferences(a, b, rater(**habits))
    assert len(rows) == N
    assert {(row.chosen, row.rejected) for row in rows} <= {
        pair for i in range(N) for pair in ((f"{a} for {i}", f"{b} for {i}"), (f"{b} for {i}", f"{a} for {i}"))
    }
    assert close(share(number(row.chosen) == a for row in rows), expected)


def test_of_completions_that_are_worth_the_same_a_coin_decides() -> None:
    rows = compare(["prompt"] * N, [("1 word", "1.0 words")] * N, [rater()])
    assert close(share(row.chosen == "1 word" for row in rows), 0.5)


def test_laziness_about_good_outcomes_makes_the_imbalance_that_it_should() -> None:
    """Half of the outcomes are good; of those a tenth is rated, of the bad ones all: 1 to 10, flips included."""
    lazy = rater(rates_good=0.1, noise=0.2)
    prompts = [f"prompt {i}" for i in range(2 * N)]
    rows = rate(prompts, [f"{1 if i % 2 else -1} for {i}" for i in range(2 * N)], [lazy])
    good = [row for row in rows if number(row.completion) > 0]
    assert close(len(good) / N, 0.1)
    assert len(rows) - len(good) == N  # of the bad outcomes all
    ups = sum(row.desirable for row in rows)
    expected = 0.1 * 0.8 + 0.2
    assert abs(ups / N - expected) <= 4 * math.sqrt(expected / N)


def test_laziness_about_bad_outcomes_keeps_the_good_ones() -> None:
    assert len(thumbs(1.0, rater(rates_bad=0.0))) == N
    assert thumbs(-1.0, rater(rates_bad=0.0)) == []


def test_loss_aversion_turns_borderline_outcomes_down() -> None:
    """As much above the threshold as below, on average: a rater who dreads losses gives fewer thumbs up than half."""
    values = [-0.5, 0.5]
    calm = [row for value in values for row in thumbs(value, rater(temperature=1.0))]
    wary = [row for value in values for row in thumbs(value, rater(temperature=1.0, loss_aversion=2.25))]
    assert close(share(row.desirable for row in calm), 0.5, 2 * N)
    assert close(share(row.desirable for row in wary), (logistic(0.5) + logistic(-2.25 * 0.5)) / 2, 2 * N)


def circles(count: int, **habits: Any) -> float:
    """The share of triples of completions that go in a circle."""
    trios = [[f"{j} for {i}" for j in (1, 2, 3)] for i in range(count)]
    prompts = [f"prompt {i}" for i, trio in enumerate(trios) for _ in combinations(trio, 2)]
    rows = compare(prompts, [pair for trio in trios for pair in combinations(trio, 2)], [rater(**habits)])
    wins = Counter((row.prompt, row.chosen) for row in rows)
    return share(all(wins[f"prompt {i}", text] == 1 for text in trio) for i, trio in enumerate(trios))


def test_a_quarter_of_the_triples_go_in_a_circle_where_taste_does() -> None:
    """Three points on a circle do not fit on a half of it with probability 1/4."""
    assert circles(1000) == 0.0
    assert close(circles(1000, intransitive=1.0), 0.25, 1000)
    assert close(circles(1000, noise=0.2), 0.2 * 0.8, 1000)  # one flip of the outer pair, or both of the inner ones


def test_the_habit_prefers_one_of_two_and_the_same_every_time() -> None:
    ann, bob = rater(), rater("bob")
    habits = [ann.habit_prefers("p", "1", f"{i}") for i in range(2, 200)]
    assert habits == [not ann.habit_prefers("p", f"{i}", "1") for i in range(2, 200)]
    assert habits != [bob.habit_prefers("p", "1", f"{i}") for i in range(2, 200)]


def test_raters_judge_by_their_shares() -> None:
    often, seldom = rater("often", share=3), rater("seldom", share=1, threshold=10)
    rows = thumbs(1.0, often, seldom)
    assert close(share(row.rater == "often" for row in rows), 0.75)
    assert all(row.desirable == (row.rater == "often") for row in rows)


def test_every_vote_is_another_raters_and_shows_the_noise() -> None:
    raters = [rater(name, noise=0.2) for name in ("ann", "bob", "cid")]
    rows = thumbs(1.0, *raters, count=1000, votes=3)
    by_completion: dict[str, list[Any]] = {}
    for row in rows:
        by_completion.setdefault(row.completion, []).append(row)
    assert all({row.rater for row in group} == {"ann", "bob", "cid"} for group in by_completion.values())
    agree = share(a.desirable == b.desirable for group in by_completion.values() for a, b in [group[:2]])
    assert close(agree, 0.8**2 + 0.2**2, 1000)
    assert len({row.id for row in rows}) == 3000
    assert len(preferences(1, 2, *raters, count=10, votes=2)) == 20


HABITS = {"noise": 0.2, "temperature": 1.0, "rates_good": 0.7, "rates_bad": 0.8, "intransitive": 0.3}


def test_a_verdict_depends_on_its_row_alone() -> None:
    raters = [rater("ann", **HABITS), rater("bob", **HABITS)]
    prompts = [f"prompt {i % 50}" for i in range(300)]
    completions = [f"{i % 7 - 3} for {i % 100}" for i in range(300)]  # each row three times
    order = random.Random(0).sample(range(300), 300)

    def seen(rows: list[Any]) -> dict[str, Any]:
        return {row.id: row for row in rows}

    whole = seen(rate(prompts, completions, raters, seed=5, votes=2))
    shuffled = rate([prompts[i] for i in order], [completions[i] for i in order], raters, seed=5, votes=2)
    assert seen(shuffled) == whole
    assert seen(rate(prompts[:40], completions[:40], raters, seed=5, votes=2)).items() <= whole.items()
    assert seen(rate(prompts, completions, raters, seed=6, votes=2)) != whole

    pairs = [(f"{i} a", f"{i + 1} b") for i in range(300)]
    chosen = seen(compare(prompts, pairs, raters, seed=5))
    assert seen(compare([prompts[i] for i in order], [pairs[i][::-1] for i in order], raters, seed=5)) == chosen
    assert seen(compare(prompts, pairs, raters, seed=6)) != chosen


def test_another_seed_brings_other_verdicts_of_the_same_rater() -> None:
    one, two = (thumbs(0.0, rater(temperature=1.0), count=100, seed=seed) for seed in (0, 1))
    assert [row.desirable for row in one] != [row.desirable for row in two]
    one, two = (preferences(1, 2, rater(noise=0.5), count=100, seed=seed) for seed in (0, 1))
    assert [row.chosen for row in one] != [row.chosen for row in two]


def test_equal_rows_are_judged_one_by_one() -> None:
    rows = rate(["p"] * N, ["1 x"] * N, [rater(noise=0.3)])
    assert close(share(row.desirable for row in rows), 0.7)
    assert len({row.id for row in rows}) == N


def test_more_noise_flips_further_thumbs_and_leaves_the_others() -> None:
    little = thumbs(1.0, rater(noise=0.1))
    much = thumbs(1.0, rater(noise=0.3))
    assert all(not row.desirable for row, before in zip(much, little, strict=True) if not before.desirable)


def test_rows_carry_their_provenance_and_conversations_stay_as_they_are() -> None:
    prompt, completion = (Message("user", "hello"),), (Message("assistant", "3 words here"),)
    (row,) = rate([prompt], [completion], [rater(threshold=3)])
    assert (row.prompt, row.completion, row.desirable) == (prompt, completion, True)
    assert (row.rater, row.source, row.where) == ("ann", "simulated", f"simulated:{row.id}")
    heard: list[Any] = []
    by_both = SimulatedRater(name="eve", utility=lambda p, c: heard.append((p, c)) or 1.0)  # type: ignore[func-returns-value]
    rate([prompt], [completion], [by_both])
    assert heard == [(prompt, completion)]


@pytest.mark.parametrize(
    ("habits", "message"),
    [
        ({"noise": 1.1}, "rater ann: noise is 1.1; expected a probability, 0 to 1"),
        ({"noise": float("nan")}, "noise is nan"),
        ({"rates_good": -0.1}, "rates_good is -0.1; expected a probability"),
        ({"rates_bad": 2}, "rates_bad is 2; expected a probability"),
        ({"intransitive": 7}, "intransitive is 7; expected a probability"),
        ({"temperature": -1}, "temperature is -1; expected a number of at least 0"),
        ({"temperature": math.inf}, "temperature is inf"),
        ({"threshold": math.inf}, "threshold is inf; expected a finite number"),
        ({"length_bias": math.nan}, "length_bias is nan; expected a finite number"),
        ({"share": 0}, "share is 0; expected a number above 0"),
        ({"loss_aversion": 0}, "loss_aversion is 0; expected a number above 0"),
        ({"loss_aversion": 2}, "temperature is 0, where it changes nothing"),
        ({"utility": 3}, "utility is 3; expected a function"),
    ],
)
def test_bad_settings_are_refused(habits: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        rater(**habits)


@pytest.mark.parametrize(
    ("error", "message", "call"),
    [
        (DataError, "2 prompts and 1 completions", lambda: rate(["p", "q"], ["1"], [rater()])),
        (DataError, "1 prompts and 2 pairs", lambda: compare(["p"], [("1", "2"), ("2", "3")], [rater()])),
        (DataError, "pair 0: both completions are '2'", lambda: compare(["p"], [("2", "2")], [rater()])),
        (ConfigError, "raters is empty", lambda: rate(["p"], ["1"], [])),
        (ConfigError, "two raters are called 'ann'", lambda: rate(["p"], ["1"], [rater(), rater()])),
        (ConfigError, "votes is 2; expected 1 to 1", lambda: rate(["p"], ["1"], [rater()], votes=2)),
        (ConfigError, "votes is 0", lambda: compare(["p"], [("1", "2")], [rater()], votes=0)),
        (DataError, "utility of the completion 'nan' is nan", lambda: rate(["p"], ["nan"], [rater()])),
    ],
)
def test_bad_calls_are_refused(error: type[Exception], message: str, call: Any) -> None:
    with pytest.raises(error, match=message):
        call()
