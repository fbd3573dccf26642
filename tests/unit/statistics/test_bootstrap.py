from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import bootstrap as scipy_bootstrap
from scipy.stats import norm, ttest_1samp
from scipy.stats import t as student

from prospect.errors import DataError
from prospect.statistics.bootstrap import Resampled, resample, resample_mean
from prospect.statistics.means import Student, Trials, mean_by_prompt, rate_by_prompt
from prospect.statistics.rates import proportion, win_rate

RANDOM = np.random.default_rng(0)
SKEWED = RANDOM.gamma(1.0, size=400)
OUTCOMES = RANDOM.choice([0.0, 0.5, 1.0], size=120).tolist()
PROMPTS = [f"prompt {i % 40}" for i in range(120)]


def test_the_ends_are_those_of_the_equation() -> None:
    known = Resampled(0.4, np.linspace(0, 1, 10_001), bias=0.1, acceleration=0.05, n=40, prompts=12)
    found = known.interval(0.9)
    for end, sign in ((found.low, -1), (found.high, 1)):
        z = sign * math.sqrt(12 / 11) * student.ppf(0.95, 11)
        assert end == pytest.approx(norm.cdf(0.1 + (0.1 + z) / (1 - 0.05 * (0.1 + z))), abs=1e-9)


def test_with_many_rows_the_interval_is_scipys_bca() -> None:
    ours = mean_by_prompt(SKEWED.tolist(), resamples=20_000)
    theirs = scipy_bootstrap((SKEWED,), np.mean, n_resamples=20_000, method="BCa", rng=np.random.default_rng(1))
    assert ours.value == pytest.approx(SKEWED.mean())
    # What is left is the draws of both, and 0.2 % of widening for 400 prompts.
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=0.005)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=0.005)


def test_whole_prompts_are_drawn() -> None:
    """Ten equal rows of each prompt say no more than one row of each."""
    once = mean_by_prompt(SKEWED[:50].tolist(), range(50), seed=3)
    tenfold = mean_by_prompt(np.repeat(SKEWED[:50], 10).tolist(), np.repeat(np.arange(50), 10).tolist(), seed=3)
    assert tenfold[:3] == pytest.approx(once[:3], abs=1e-12)
    assert (tenfold.n, tenfold.prompts) == (500, 50)
    blind = mean_by_prompt(np.repeat(SKEWED[:50], 10).tolist())
    assert (blind.high - blind.low) < 0.4 * (tenfold.high - tenfold.low)


def test_the_order_of_rows_and_the_names_type_change_nothing() -> None:
    order = np.random.default_rng(1).permutation(120)
    shuffled = rate_by_prompt([OUTCOMES[i] for i in order], [PROMPTS[i] for i in order])
    assert shuffled == pytest.approx(rate_by_prompt(OUTCOMES, PROMPTS), abs=1e-12)


def test_the_seed_alone_decides_the_draws() -> None:
    assert rate_by_prompt(OUTCOMES, PROMPTS, seed=5) == rate_by_prompt(OUTCOMES, PROMPTS, seed=5)
    assert rate_by_prompt(OUTCOMES, PROMPTS, seed=5) != rate_by_prompt(OUTCOMES, PROMPTS, seed=6)


def test_blocks_of_draws_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = rate_by_prompt(OUTCOMES, PROMPTS)
    monkeypatch.setattr("prospect.statistics.bootstrap.BLOCK", 1000)
    assert rate_by_prompt(OUTCOMES, PROMPTS) == whole


def test_without_repeated_prompts_a_rate_is_the_exact_one() -> None:
    wins, losses, ties = (OUTCOMES.count(value) for value in (1.0, 0.0, 0.5))
    exact = win_rate(wins, losses, ties, unparsed=2)
    assert rate_by_prompt([*OUTCOMES, None, None]) == pytest.approx(exact)
    assert rate_by_prompt([*OUTCOMES, None, None], range(122)) == pytest.approx(exact)


def test_an_unparsed_verdict_lowers_the_rate() -> None:
    found = rate_by_prompt([1.0, 1.0, None, 0.0] * 12, [i // 4 for i in range(48)])
    assert (found.rate, found.n) == (0.5, 48)


@pytest.mark.parametrize("outcome", [1.0, 0.0, 0.5])
@pytest.mark.parametrize("prompts", [2, 40])
def test_without_any_spread_each_prompt_is_one_trial(outcome: float, prompts: int) -> None:
    names = [i % prompts for i in range(4 * prompts)]
    found = rate_by_prompt([outcome] * (4 * prompts), names)
    assert found == proportion(outcome * prompts, prompts)._replace(n=4 * prompts)


def test_one_prompt_leaves_a_rate_almost_unknown_and_a_score_unknowable() -> None:
    found = rate_by_prompt([1.0, 0.0, 1.0, 1.0], ["a"] * 4)
    assert found.rate == 0.75
    assert found.low < 0.05 and found.high > 0.95
    with pytest.raises(DataError, match="all rows are of one prompt"):
        mean_by_prompt([1.0, 3.0, 2.0], ["a"] * 3)


def test_few_prompts_give_scores_students_interval() -> None:
    scores = [1.5, 2.0, 0.3, 4.0]
    theirs = ttest_1samp(scores, 0).confidence_interval(0.9)
    assert mean_by_prompt(scores, level=0.9)[1:3] == pytest.approx((theirs.low, theirs.high))
    # and of clustered rows that of the prompts' means, where all have as many
    doubled = mean_by_prompt(np.repeat(scores, 2).tolist(), [0, 0, 1, 1, 2, 2, 3, 3], level=0.9)
    assert doubled[1:3] == pytest.approx((theirs.low, theirs.high))


def test_equal_scores_have_an_interval_without_width_and_prove_nothing() -> None:
    assert mean_by_prompt([0.1] * 30)[:3] == pytest.approx((0.1, 0.1, 0.1))
    assert Student(0.1, 0.0, 30, 30).p_above(0.0) == 1.0


@pytest.mark.parametrize("level", [0.8, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("shift", np.linspace(-0.4, 0.4, 9).round(2).tolist())
def test_p_values_and_intervals_agree(level: float, shift: float) -> None:
    groups = np.repeat(np.arange(30), 2)
    known = resample_mean(SKEWED[:60], groups, resamples=2000)
    few = Student(0.5, 0.2, 8, 8)
    trials = Trials(0.6, 40, 40)
    for one, null in ((known, known.value + shift), (few, 0.5 + shift), (trials, 0.6 + shift)):
        interval = one.interval(level)
        assert (interval.low > null) == (one.p_above(null) < (1 - level) / 2)
        assert (interval.high < null) == (one.p_below(null) < (1 - level) / 2)


def test_wider_levels_contain_narrower_ones() -> None:
    known = resample_mean(SKEWED[:60], np.arange(60), resamples=2000)
    wide, narrow = known.interval(0.99), known.interval(0.5)
    assert wide.low < narrow.low < known.value < narrow.high < wide.high


def test_leaving_out_groups_of_prompts_finds_the_same_skewness(monkeypatch: pytest.MonkeyPatch) -> None:
    each = resample_mean(SKEWED, np.arange(400), resamples=200).acceleration
    monkeypatch.setattr("prospect.statistics.bootstrap.MOST_GROUPS", 200)
    assert resample_mean(SKEWED, np.arange(400), resamples=200).acceleration == pytest.approx(each, rel=0.35)
    skewness = np.mean((SKEWED - SKEWED.mean()) ** 3) / SKEWED.std() ** 3
    assert each == pytest.approx(skewness / 6 / math.sqrt(400), rel=0.02)


def test_any_statistic_of_weights_can_be_drawn() -> None:
    def ratio(weights: np.ndarray) -> np.ndarray:
        return (weights @ SKEWED[:100]) / (weights @ SKEWED[100:200])

    found = resample(ratio, 100, resamples=1000).interval()
    assert found.value == pytest.approx(SKEWED[:100].sum() / SKEWED[100:200].sum())
    assert found.low < found.value < found.high


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mean_by_prompt([]), "values is empty"),
        (lambda: mean_by_prompt([1.0, math.nan]), r"values\[1\] is nan"),
        (lambda: mean_by_prompt([1.0, math.inf]), r"values\[1\] is inf"),
        (lambda: mean_by_prompt([1.0, "much"]), r"values\[1\] is 'much'"),  # type: ignore[list-item]
        (lambda: mean_by_prompt([1.0, 2.0], ["a"]), "prompts has 1 entries; expected 2"),
        (lambda: mean_by_prompt([1.0, 2.0], ["a", None]), r"prompts\[1\] is None"),
        (lambda: mean_by_prompt([1.0, 2.0], bounds=(0, 1)), "scores go from 1.0 to 2.0; expected 0 to 1"),
        (lambda: mean_by_prompt([1.0, 2.0], level=95), "level is 95"),
        (lambda: mean_by_prompt([1.0, 2.0] * 9, resamples=10), "resamples is 10"),
        (lambda: rate_by_prompt([]), "outcomes is empty"),
        (lambda: rate_by_prompt([1.0, 2.0]), r"outcomes\[1\] is 2.0; expected 0 to 1"),
        (lambda: rate_by_prompt([1.0, math.nan]), r"outcomes\[1\] is nan"),
    ],
)
def test_what_has_no_interval_is_refused(call, message) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DataError, match=message):
        call()
