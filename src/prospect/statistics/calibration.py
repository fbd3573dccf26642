"""Does 0.8 mean 80 %? Reliability bins and the expected calibration error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from prospect.errors import DataError
from prospect.statistics.arrays import as_labels, as_numbers
from prospect.statistics.rates import Rate, check_level, proportion


class Bin(NamedTuple):
    """A bin of rows with similar predictions: the mean prediction and what was observed.

    Attributes:
        start: least prediction of the bin.
        end: largest; a prediction on the border of two bins is in the upper one.
        predicted: mean prediction.
        observed: share of desirable rows with its exact interval; `n` is the number of rows.
    """

    start: float
    end: float
    predicted: float
    observed: Rate


class Calibration(NamedTuple):
    """How far predictions are from what happens.

    Attributes:
        ece: expected calibration error, the mean over rows of their bin's |observed - predicted|.
        by_chance: what perfectly calibrated predictions would give on average with as many rows; an `ece` near it
            shows nothing wrong.
        brier: mean squared difference of prediction and label.
        n: rows.
        bins: those that hold rows, from low to high predictions.
    """

    ece: float
    by_chance: float
    brier: float
    n: int
    bins: tuple[Bin, ...]


def measure_calibration(
    probabilities: Sequence[float], desirable: Sequence[bool], *, bins: int = 10, level: float = 0.95
) -> Calibration:
    """Return reliability bins of equal width and the expected calibration error.

    ECE = sum over bins of (n_b / n) |observed_b - predicted_b|
    by chance = sum over bins of (n_b / n) sqrt(2 / pi) sqrt(sum p (1 - p)) / n_b,  p the predictions of the bin

    Args:
        probabilities: that the completion is desirable, such as sigma(implied reward), shape (N,).
        desirable: shape (N,).
        bins: how many, of equal width from 0 to 1. Bins with few rows raise the error by chance.
        level: coverage of the intervals of the bins, which take the rows for independent.

    Raises:
        DataError: a probability is not between 0 and 1, a label is not true or false, there are none, or `bins` is
            below 1.

    Source: Naeini, Cooper and Hauskrecht, AAAI 2015; Guo et al. 2017, arXiv 1706.04599. The error by chance is the mean
    of a normal deviation, good from some five rows per bin.
    """
    check_level(level)
    if not (bins >= 1 and float(bins).is_integer()):
        raise DataError(f"bins is {bins}; expected a whole number of at least 1.")
    values = as_numbers(probabilities, "probabilities")
    labels = as_labels(desirable, "desirable", values.size)
    bad = np.flatnonzero((values < 0) | (values > 1))
    if bad.size:
        raise DataError(f"probabilities[{bad[0]}] is {values[bad[0]]}; expected 0 to 1. Of a logit, take the sigmoid.")
    index = np.minimum((values * bins).astype(int), bins - 1)
    found, error, by_chance = [], 0.0, 0.0
    for i in np.unique(index):
        inside = index == i
        p, size = values[inside], int(inside.sum())
        observed = proportion(int(labels[inside].sum()), size, level)
        found.append(Bin(float(i / bins), float((i + 1) / bins), float(p.mean()), observed))
        error += size / values.size * abs(observed.rate - float(p.mean()))
        by_chance += float(np.sqrt(2 / np.pi * np.sum(p * (1 - p)))) / values.size
    brier = float(np.mean((values - labels) ** 2))
    return Calibration(float(error), by_chance, brier, values.size, tuple(found))
