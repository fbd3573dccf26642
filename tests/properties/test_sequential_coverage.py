"""Simulated coverage at every look: a sequence holds the truth at all looks at once, an ordinary interval does not."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import betaln, stdtrit

from prospect.statistics.sequential import confidence_sequence, sequential_gap

SETS, VOTES = 400, 1000


def ever_missed(truth: float, level: float) -> float:
    """Share of simulated streams of votes whose interval misses the truth at one look or more."""
    random = np.random.default_rng(3)
    up = np.cumsum(random.random((SETS, VOTES)) < truth, axis=1)
    n = np.arange(1, VOTES + 1)
    # The truth is in the interval where the martingale is below the bound; the ends are tested elsewhere.
    log = betaln(up + 1, n - up + 1) - up * np.log(truth) - (n - up) * np.log1p(-truth)
    missed = log >= -np.log1p(-level)
    for row, column in random.integers(0, (SETS, VOTES), size=(60, 2)):
        found = confidence_sequence(int(up[row, column]), int(n[column]), level)
        assert (found.low <= truth <= found.high) != missed[row, column]
    return float(missed.any(axis=1).mean())


@pytest.mark.parametrize("truth", [0.5, 0.8, 0.98])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_looking_after_every_vote_misses_no_more_often_than_the_level_says(truth: float, level: float) -> None:
    assert ever_missed(truth, level) <= 1 - level + 3 * np.sqrt(level * (1 - level) / SETS)


def test_an_ordinary_interval_that_is_looked_at_again_and_again_misses_often() -> None:
    up = np.cumsum(np.random.default_rng(3).random((SETS, VOTES)) < 0.8, axis=1)
    n = np.arange(1, VOTES + 1)
    rate = up / n
    half = stdtrit(1e6, 0.975) * np.sqrt(rate * (1 - rate) / n)
    assert (np.abs(rate - 0.8) > half)[:, 49:].any(axis=1).mean() > 0.2


def test_the_gap_of_two_equal_shares_holds_nothing_at_every_look() -> None:
    random, wrong = np.random.default_rng(4), 0
    for _ in range(100):
        new, old = np.cumsum(random.random((2, 300)) < 0.7, axis=1)
        gaps = (sequential_gap((int(new[n - 1]), n), (int(old[n - 1]), n)) for n in range(10, 301, 10))
        wrong += any(not gap.low <= 0 <= gap.high for gap in gaps)
    assert wrong <= 5
