"""The few tests that the checks need, each with an effect size: with a million rows everything is significant."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from numpy.typing import NDArray

CONFIDENCE = 1.959964  # standard errors on either side of a 95 % interval


class Comparison(NamedTuple):
    """Two groups compared.

    Attributes:
        auc: P(a value of the first group is larger than one of the second), ties half; 0.5 is no difference.
        p: how often chance alone gives a difference as large, two-sided.
        n: values compared.
    """

    auc: float
    p: float
    n: int


def compare(values: NDArray[Any], first: NDArray[Any]) -> Comparison | None:
    """Return the Mann-Whitney test of the values where `first` is true against the rest.

    auc = U / (n_1 n_2), with the normal approximation and the variance corrected for ties. None where a group has
    fewer than 10 values, for which the approximation is poor.

    Args:
        values: (N,) numbers.
        first: (N,) bool, which values belong to the first group.
    """
    import numpy as np

    from prospect.statistics.ranking import auroc

    n_1 = int(first.sum())
    n_2 = len(values) - n_1
    if min(n_1, n_2) < 10:
        return None
    auc = auroc(values, first)
    assert auc is not None, "both groups have values"
    counts = np.unique(values, return_counts=True)[1]
    n = n_1 + n_2
    ties = float(((counts.astype(float) ** 3 - counts).sum()) / (n * (n - 1)))
    variance = ((n + 1) - ties) / (12 * n_1 * n_2)
    return Comparison(auc, two_sided((auc - 0.5) / math.sqrt(variance)) if variance > 0 else 1.0, n)


def sign_test(wins: int, losses: int) -> Comparison | None:
    """Return the sign test of paired values: how often the first is larger; ties are left out of the test.

    None with fewer than 20 pairs that differ.
    """
    n = wins + losses
    if n < 20:
        return None
    return Comparison(wins / n, two_sided((wins - n / 2) / math.sqrt(n / 4)), n)


def two_sided(z: float) -> float:
    """Return the two-sided p value of a standard normal z."""
    return math.erfc(abs(z) / math.sqrt(2))


def wilson(share: float, n: float) -> tuple[float, float]:
    """Return the 95 % interval of a share measured on n independent things (Wilson's score interval)."""
    if n <= 0:
        return 0.0, 1.0
    z2 = CONFIDENCE**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = CONFIDENCE / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def points_biserial(values: NDArray[Any], first: NDArray[Any]) -> float:
    """Return Pearson's correlation of the values with membership in the first group; 0 where either is constant."""
    import numpy as np

    if len(values) < 2 or first.all() or not first.any() or values.min() == values.max():
        return 0.0
    return float(np.corrcoef(values, first.astype(float))[0, 1])


class Noise(NamedTuple):
    """How often a verdict is the opposite of the majority's.

    Attributes:
        flip_rate: e, at most 1/2.
        low: lower end of its 95 % interval.
        high: upper end.
        disagreement: d, the chance that two votes on one completion differ.
        items: completions (or pairs) with several votes.
        votes: the votes on them.
    """

    flip_rate: float
    low: float
    high: float
    disagreement: float
    items: int
    votes: int


def estimate_noise(votes: NDArray[Any], ups: NDArray[Any]) -> Noise | None:
    """Return the flip rate that the disagreement of several votes on one thing implies.

    d = sum_i u_i (k_i - u_i) / sum_i k_i (k_i - 1) / 2,    e = (1 - sqrt(1 - 2 d)) / 2

    Two independent votes that are each wrong with probability e differ with probability d = 2 e (1 - e). Of k votes all
    pairs are compared; the interval treats completions, not votes, as the independent units. None where nothing has two
    votes.

    Args:
        votes: (I,) k_i, votes on each completion.
        ups: (I,) u_i, desirable ones among them.

    Assumes that all raters are equally reliable and err independently of one another; where all of them err on the same
    hard completions, the rate is underestimated.
    """
    several = votes > 1
    k, u = votes[several].astype(float), ups[several].astype(float)
    if not len(k):
        return None
    pairs, differing = k * (k - 1) / 2, u * (k - u)
    d = float(differing.sum() / pairs.sum())
    variance = float(((differing - d * pairs) ** 2).sum() / pairs.sum() ** 2)
    units = d * (1 - d) / variance if variance > 0 else float(len(k))
    low, high = wilson(d, min(units, float(pairs.sum())))
    return Noise(_flip(d), _flip(low), _flip(high), d, len(k), int(k.sum()))


def _flip(disagreement: float) -> float:
    return (1 - math.sqrt(max(0.0, 1 - 2 * disagreement))) / 2
