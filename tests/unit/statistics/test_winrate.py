import math
import subprocess
import sys

import numpy as np
import pytest
from scipy.stats import binomtest

from prospect.errors import DataError
from prospect.statistics.rates import Rate, overlap, proportion, win_rate


@pytest.mark.parametrize("level", [0.8, 0.9, 0.95, 0.99])
@pytest.mark.parametrize(("wins", "losses"), [(0, 5), (1, 0), (5, 0), (3, 7), (263, 249), (1, 999)])
def test_interval_is_the_exact_binomial_one(wins, losses, level):
    got = win_rate(wins, losses, level=level)
    want = binomtest(wins, wins + losses).proportion_ci(confidence_level=level, method="exact")
    assert got.rate == wins / (wins + losses)
    assert got.low == pytest.approx(want.low, abs=1e-12)
    assert got.high == pytest.approx(want.high, abs=1e-12)


def test_a_tie_counts_half_and_lies_between_its_neighbours():
    tied = win_rate(10, 9, ties=1)
    assert tied.rate == 10.5 / 20
    assert proportion(10, 20).low < tied.low < proportion(11, 20).low
    assert proportion(10, 20).high < tied.high < proportion(11, 20).high


def test_a_judge_that_only_sees_the_order_ties_and_gives_a_half_with_an_interval_around_it():
    rate = win_rate(0, 0, ties=100)
    assert rate._fields == ("rate", "low", "high", "n")
    assert rate.rate == 0.5 and rate.low < 0.41
    assert 0.5 - rate.low == pytest.approx(rate.high - 0.5, abs=1e-12)


def test_an_unparsed_verdict_counts_for_nobody_but_stays_in_the_denominator():
    assert win_rate(6, 2, unparsed=2) == proportion(6, 10)


def test_winning_everything_is_not_certainty():
    # the rule of three: the other side's rate may still be 3 / n and more
    assert win_rate(100, 0).high == 1.0
    assert win_rate(100, 0).low == pytest.approx(0.025 ** (1 / 100))
    assert win_rate(0, 100).low == 0.0


def test_statistics_import_neither_torch_nor_scipy_stats():
    script = (
        "import sys, prospect.evaluation as e\n"
        "with_models = ('benchmarks.harness', 'answers.generate', 'contest.judged', 'contest.sides',"
        " 'held_out.preference')\n"
        "light = [module for module in e._NAMES if module.removeprefix('evaluation.') not in with_models]\n"
        "[getattr(e, name) for module in light for name in e._NAMES[module]]\n"
        "e.win_rate(3, 1), e.compare_counts(3, 1), e.plan(10), e.auroc([1, 2], [False, True])\n"
        "assert not {'torch', 'transformers', 'scipy.stats'} & sys.modules.keys()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_swapping_the_sides_mirrors_the_interval():
    ours, theirs = win_rate(30, 12, ties=5), win_rate(12, 30, ties=5)
    assert ours.low == pytest.approx(1 - theirs.high, abs=1e-12)
    assert ours.high == pytest.approx(1 - theirs.low, abs=1e-12)


@pytest.mark.parametrize(("n", "half_width"), [(100, 0.098), (200, 0.069), (512, 0.043), (805, 0.035)])
def test_half_widths_near_a_half_are_those_of_the_literature(n, half_width):
    # METHODS quotes the normal approximation; the exact interval is about 1/(2n) wider on each side.
    rate = proportion(n / 2, n)
    assert (rate.high - rate.low) / 2 == pytest.approx(half_width, abs=0.5 / n + 0.001)


@pytest.mark.parametrize("true_rate", [0.05, 0.3, 0.5, 0.85])
def test_a_95_percent_interval_covers_the_truth_at_least_95_percent_of_the_time(true_rate):
    n = 200
    counts = np.random.default_rng(0).binomial(n, true_rate, size=4000)
    rates = {int(k): proportion(int(k), n) for k in set(counts)}
    covered = np.mean([rates[int(k)].low <= true_rate <= rates[int(k)].high for k in counts])
    # An exact interval is conservative; .945 leaves room for the simulation's own error.
    assert 0.945 <= covered <= 0.985


def test_with_ties_the_interval_still_covers():
    n, wins_ties_losses = 120, (0.5, 0.3, 0.2)
    drawn = np.random.default_rng(0).multinomial(n, wins_ties_losses, size=2000)
    rates = [win_rate(int(w), int(lost), ties=int(t)) for w, t, lost in drawn]
    assert np.mean([rate.low <= 0.65 <= rate.high for rate in rates]) >= 0.95


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: win_rate(0, 0), "n = 0"),
        (lambda: proportion(0, 0), "n = 0"),
        (lambda: win_rate(-1, 3), "wins is -1"),
        (lambda: win_rate(1.5, 3), "wins is 1.5"),
        (lambda: win_rate(math.nan, 3), "wins is nan"),
        (lambda: proportion(4, 3), "4 successes in n = 3"),
        (lambda: proportion(math.nan, 3), "nan successes"),
        (lambda: win_rate(1, 1, level=1.0), "level is 1.0"),
        (lambda: win_rate(1, 1, level=95), "level is 95"),
    ],
)
def test_what_has_no_rate_is_refused(call, message):
    with pytest.raises(DataError, match=message):
        call()


@pytest.mark.parametrize(
    ("a", "b", "touch"),
    [((0.1, 0.3), (0.2, 0.4), True), ((0.1, 0.3), (0.3, 0.4), True), ((0.1, 0.3), (0.31, 0.4), False)],
)
def test_overlap_is_symmetric(a, b, touch):
    first, second = (Rate(sum(ends) / 2, *ends, 10) for ends in (a, b))
    assert overlap(first, second) is touch
    assert overlap(second, first) is touch
