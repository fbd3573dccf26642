from __future__ import annotations

import numpy as np
import pytest
from scipy.special import betaln

from prospect.errors import DataError
from prospect.statistics.rates import proportion
from prospect.statistics.sequential import confidence_sequence, plan_canary, sequential_gap


@pytest.mark.parametrize(("n", "points"), [(100, 13), (1000, 4.5), (10_000, 1.6)])
def test_half_widths_at_an_up_share_of_80_percent(n: int, points: float) -> None:
    found = confidence_sequence(0.8 * n, n)
    assert 50 * (found.high - found.low) == pytest.approx(points, abs=0.3)


@pytest.mark.parametrize(("up", "n"), [(0, 1), (1, 1), (0, 40), (40, 40), (3, 7), (800, 1000), (1, 100_000)])
def test_the_ends_are_where_the_martingale_reaches_its_bound(up: int, n: int) -> None:
    found = confidence_sequence(up, n, 0.9)

    def martingale(p: float) -> float:
        return float(np.exp(betaln(up + 1, n - up + 1) - up * np.log(p) - (n - up) * np.log1p(-p)))

    for end in (found.low, found.high):
        if 0 < end < 1:
            assert martingale(end) == pytest.approx(10, rel=1e-6)
    assert (found.low == 0) == (up == 0) and (found.high == 1) == (up == n)
    # Looking at all times costs width.
    once = proportion(up, n, 0.9)
    assert found.low <= once.low and found.high >= once.high


def test_the_gap_is_made_of_both_shares_at_half_the_risk_each() -> None:
    gap = sequential_gap((30, 50), (700, 1000), 0.9)
    new, old = confidence_sequence(30, 50, 0.95), confidence_sequence(700, 1000, 0.95)
    assert gap == (30 / 50 - 0.7, new.low - old.high, new.high - old.low, new, old)


@pytest.mark.parametrize("counts", [(0, 0), (-1, 5), (6, 5), (float("nan"), 5)])
def test_impossible_counts_are_refused(counts: tuple[float, int]) -> None:
    with pytest.raises(DataError):
        confidence_sequence(*counts)
    with pytest.raises(DataError):
        sequential_gap((1, 2), counts)


def test_a_planned_canary_shows_an_equal_model_as_often_as_wanted_and_a_smaller_one_does_not() -> None:
    found = plan_canary(0.2, up_share=0.8, vote_rate=0.02, margin=0.1, power=0.8)
    assert found.turns == found.votes * 50 and found.canary_votes == round(0.2 * found.votes)
    random = np.random.default_rng(0)

    def shown(votes: int) -> float:
        new, old = round(0.2 * votes), votes - round(0.2 * votes)
        draws = zip(random.binomial(new, 0.8, 400), random.binomial(old, 0.8, 400), strict=True)
        return float(np.mean([sequential_gap((a, new), (b, old)).low > -0.1 for a, b in draws]))

    assert shown(found.votes) == pytest.approx(0.8, abs=0.06)  # three standard errors
    assert shown(found.votes * 3 // 4) < 0.7


def test_a_plan_that_cannot_be_paid_for_is_refused() -> None:
    with pytest.raises(DataError, match="more than 10,000,000 votes; take a wider one"):
        plan_canary(0.05, up_share=0.8, vote_rate=0.02, margin=0.0005)
    with pytest.raises(DataError, match=r"vote_rate is 0; expected"):
        plan_canary(0.05, up_share=0.8, vote_rate=0, margin=0.05)
