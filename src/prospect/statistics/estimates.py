"""Shares and numbers with their intervals, as every evaluation file has them."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from prospect.statistics.arrays import as_groups
from prospect.statistics.bootstrap import RESAMPLES, Estimate, resample
from prospect.statistics.means import FEW_PROMPTS, mean_by_prompt, student
from prospect.statistics.rates import Rate


class Share(NamedTuple):
    """A share of 0 to 1 with its interval, and the interval's coverage."""

    rate: float
    low: float
    high: float
    n: int
    level: float


class Number(NamedTuple):
    """A number with its interval, None where all rows are of one prompt, and the interval's coverage."""

    value: float
    low: float | None
    high: float | None
    n: int
    prompts: int
    level: float


@dataclass(frozen=True)
class Intervals:
    """How intervals are made.

    Attributes:
        level: their coverage.
        resamples: draws of prompts.
        seed: of the draws.
    """

    level: float = 0.95
    resamples: int = RESAMPLES
    seed: int = 0

    def options(self) -> dict[str, Any]:
        """As the statistics take it."""
        return {"level": self.level, "resamples": self.resamples, "seed": self.seed}


def as_share(rate: Rate, how: Intervals) -> Share:
    """Return a share with the coverage of its interval."""
    return Share(*rate, level=how.level)


def as_number(estimate: Estimate, how: Intervals) -> Number:
    """Return a number with the coverage of its interval."""
    return Number(*estimate, level=how.level)


def without_interval(value: float, n: int, how: Intervals) -> Number:
    """Return a number of one single prompt, which says nothing about other prompts."""
    return Number(float(value), None, None, n, 1, how.level)


def mean_of(values: np.ndarray, prompts: Sequence[Hashable], how: Intervals) -> Number:
    """Return the mean over rows (N,)."""
    if len(set(prompts)) < 2:
        return without_interval(values.mean(), values.size, how)
    return as_number(mean_by_prompt(values.tolist(), prompts, **how.options()), how)


def ratio_of(above: np.ndarray, below: np.ndarray, prompts: Sequence[Hashable], how: Intervals) -> Number:
    """Return sum(above) / sum(below) over rows (N,), such as nats per token; prompts are drawn, both sums with them."""
    value, groups = float(above.sum() / below.sum()), as_groups(prompts, above.size)[0]
    if groups.max() == 0:
        return without_interval(value, above.size, how)
    if groups.max() + 1 < FEW_PROMPTS:
        return as_number(student(value, (above - value * below) / below.sum(), groups).interval(how.level), how)
    columns = np.stack([above, below], axis=1)

    def ratio(weights: np.ndarray) -> np.ndarray:
        sums = weights @ columns
        return sums[:, 0] / sums[:, 1]

    drawn = resample(ratio, above.size, groups.tolist(), resamples=how.resamples, seed=how.seed)
    return as_number(drawn.interval(how.level), how)
