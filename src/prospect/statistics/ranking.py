"""AUROC from ranks, once for all that ranks: training, held-out evaluation, studies and the data doctor."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def auroc(scores: Sequence[float] | np.ndarray, positive: Sequence[bool] | np.ndarray) -> float | None:
    """Return the probability that a random positive scores above a random negative, ties counting half.

    AUROC = U / (P Q), U the Mann-Whitney count of pairs in the right order, P positives, Q negatives. Counts are
    half-integers, so U is exact and the only rounding is that of the division.

    Returns:
        None where one class is absent.
    """
    values, mask = np.asarray(scores, dtype=np.float64), np.asarray(positive, dtype=bool)
    good, bad = values[mask], values[~mask]
    if not good.size or not bad.size:
        return None
    return float(count_below(bad, good).sum() / (good.size * bad.size))


def placements(values: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return DeLong's components.

    V_D(i) = share of negatives below positive i,  V_U(j) = share of positives above negative j, ties 1/2

    Args:
        values: (N,) scores.
        positive: (N,) bool, with both classes.

    Returns:
        V_D of shape (P,) and V_U of shape (Q,); the mean of each is AUROC.
    """
    good, bad = values[positive], values[~positive]
    return count_below(bad, good) / bad.size, 1 - count_below(good, bad) / good.size


def count_below(others: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return for each value how many of the others are below it, equal ones counting half."""
    ordered = np.sort(others)
    return (np.searchsorted(ordered, values, side="left") + np.searchsorted(ordered, values, side="right")) / 2
