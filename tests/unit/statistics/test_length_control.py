from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import expit, logit
from scipy.stats import t as student

from prospect.errors import DataError
from prospect.statistics.length_control import length_controlled_win_rate
from prospect.statistics.rates import proportion

OUTCOMES = [1, 1, 0, 0.5, 1, 0, 0, 1, 0.5, 1, 0, 1, 1, 0, 1, 0, 1, 1, 0, 0.5]
DIFFERENCES = [120, 40, -30, 10, 200, -150, 60, 90, -20, -60, -80, 15, 150, -10, 30, -200, 75, -45, 130, 5]
OURS, THEIRS = [500 + d for d in DIFFERENCES], [500] * 20
# sm.GLM(OUTCOMES, [1, tanh(d / d.std(ddof=1))], Binomial()).fit(cov_type="HC0" | "cluster") of statsmodels 0.15.0, the
# clusters being neighbours two by two, use_correction=False: without our ridge of 0.01.
THETA, GAMMA, HC0, CLUSTERED = 0.16454038, 1.62240155, 0.4464311, 0.42743116


def test_the_fit_is_that_of_statsmodels() -> None:
    found = length_controlled_win_rate(OUTCOMES, OURS, THEIRS)
    assert logit(found.rate) == pytest.approx(THETA, abs=0.002)
    assert found.length_effect == pytest.approx(GAMMA, abs=0.02)
    assert found.raw == np.mean(OUTCOMES)
    assert found.length_difference == np.mean(DIFFERENCES)
    assert found.note == ""


@pytest.mark.parametrize(("prompts", "error", "count"), [(None, HC0, 20), ([i // 2 for i in range(20)], CLUSTERED, 10)])
def test_the_interval_is_of_the_sandwich_variance(prompts: list[int] | None, error: float, count: int) -> None:
    found = length_controlled_win_rate(OUTCOMES, OURS, THEIRS, prompts, level=0.9)
    reach = student.ppf(0.95, count - 2) * error * math.sqrt(count / (count - 2))
    assert found.low == pytest.approx(expit(THETA - reach), abs=0.002)
    assert found.high == pytest.approx(expit(THETA + reach), abs=0.002)


def test_a_judge_that_only_likes_length_gives_a_half() -> None:
    random = np.random.default_rng(0)
    ours, theirs = random.integers(100, 900, 800), random.integers(50, 600, 800)
    wins = (random.random(800) < expit((ours - theirs) / 100)).astype(float)
    found = length_controlled_win_rate(wins.tolist(), ours.tolist(), theirs.tolist())
    assert found.raw > 0.65
    assert found.low < 0.5 < found.high
    assert found.length_effect > 2


def test_lengths_that_say_nothing_leave_the_rate_as_it_is() -> None:
    random = np.random.default_rng(1)
    wins = (random.random(1000) < 0.7).astype(float)
    found = length_controlled_win_rate(wins.tolist(), random.integers(1, 99, 1000).tolist(), [50] * 1000)
    exact = proportion(wins.sum(), 1000)
    assert (found.rate, found.low, found.high) == pytest.approx(exact[:3], abs=0.004)


def test_swapping_the_sides_mirrors_everything() -> None:
    one = length_controlled_win_rate(OUTCOMES, OURS, THEIRS)
    other = length_controlled_win_rate([1 - o for o in OUTCOMES], THEIRS, OURS)
    assert (one.rate, one.low, one.high) == pytest.approx((1 - other.rate, 1 - other.high, 1 - other.low), abs=1e-9)
    assert one.length_effect == pytest.approx(other.length_effect, abs=1e-9)


def test_the_unit_of_length_does_not_matter() -> None:
    one = length_controlled_win_rate(OUTCOMES, OURS, THEIRS)
    other = length_controlled_win_rate(OUTCOMES, [4 * n for n in OURS], [4 * n for n in THEIRS])
    assert one[:6] == pytest.approx(other[:6], abs=1e-9)


def test_an_unparsed_verdict_stays_in_the_denominator() -> None:
    parsed = length_controlled_win_rate(OUTCOMES, OURS, THEIRS)
    found = length_controlled_win_rate([*OUTCOMES, *[None] * 20], OURS * 2, THEIRS * 2)
    assert found.rate == pytest.approx(parsed.rate / 2)
    assert (found.raw, found.n) == (parsed.raw / 2, 40)
    assert found.length_effect == pytest.approx(parsed.length_effect)
    # Of what is read nearly all is won, so what is left to chance is how much is read: 300 of 400.
    noisy = length_controlled_win_rate([*[1.0] * 298, 0.0, 0.0, *[None] * 100], [5, 6] * 200, [6, 5] * 200)
    exact = proportion(298, 400)
    assert (noisy.low, noisy.high) == pytest.approx((exact.low, exact.high), abs=0.01)


@pytest.mark.parametrize("outcome", [0.0, 0.5, 1.0])
def test_verdicts_that_are_all_the_same_have_the_exact_interval(outcome: float) -> None:
    found = length_controlled_win_rate([outcome] * 20, OURS, THEIRS)
    assert found[:4] == proportion(outcome * 20, 20)
    assert "every verdict is the same" in found.note


def test_equal_lengths_leave_the_plain_rate() -> None:
    found = length_controlled_win_rate(OUTCOMES, THEIRS, THEIRS)
    assert found.rate == pytest.approx(np.mean(OUTCOMES))
    assert found.low < 0.4 and found.high > 0.7
    assert "lengths never differ" in found.note


@pytest.mark.parametrize(
    ("outcomes", "ours", "note"),
    [
        ([float(d > 0) for d in DIFFERENCES], OURS, "length alone tells every verdict"),
        ([float(d < 50) for d in DIFFERENCES], OURS, "length alone tells every verdict"),
        ([1.0] * 20, [600 + i for i in range(20)], "length alone tells every verdict"),  # we won, and were longer
        (OUTCOMES, [510] * 20, "lengths differ by the same everywhere"),
    ],
)
def test_where_length_cannot_be_told_from_quality_the_interval_says_so(
    outcomes: list[float], ours: list[float], note: str
) -> None:
    found = length_controlled_win_rate(outcomes, ours, THEIRS)
    assert (found.low, found.high) == (0.0, 1.0)
    assert 0 <= found.rate <= 1
    assert note in found.note


def test_few_prompts_say_too_little() -> None:
    found = length_controlled_win_rate(OUTCOMES, OURS, THEIRS, [i % 9 for i in range(20)])
    assert (found.low, found.high) == (0.0, 1.0)
    assert "fewer than 10 prompts" in found.note
    assert length_controlled_win_rate([1.0], [3], [2]).note
    assert length_controlled_win_rate([0.5], [3], [2]).note


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: length_controlled_win_rate([], [], []), "outcomes is empty"),
        (lambda: length_controlled_win_rate([None], [1], [2]), "none of the verdicts could be read"),
        (lambda: length_controlled_win_rate([1.0], [1, 2], [2]), "our_lengths has 2 entries; expected 1"),
        (lambda: length_controlled_win_rate([1.0], [1], [-2]), r"their_lengths\[0\] is -2"),
        (lambda: length_controlled_win_rate([1.0], [math.nan], [2]), r"our_lengths\[0\] is nan"),
        (lambda: length_controlled_win_rate([1.5], [1], [2]), r"outcomes\[0\] is 1.5"),
        (lambda: length_controlled_win_rate([1.0], [1], [2], level=2), "level is 2"),
    ],
)
def test_what_cannot_be_controlled_is_refused(call, message) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DataError, match=message):
        call()
