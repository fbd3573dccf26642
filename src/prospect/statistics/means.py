"""Means over rows whose prompts may repeat, each with the interval that is honest for so many prompts.

- Shares where no prompt repeats: exact binomial.
- Fewer than ten prompts, or no spread at all: shares and bounded scores count each prompt as one trial of an exact
  binomial, which is conservative; scores without bounds get Student's t over prompts.
- Everything else: draws of prompts (`prospect.statistics.bootstrap`).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from prospect.errors import DataError
from prospect.statistics.arrays import as_groups, as_numbers, as_outcomes
from prospect.statistics.bootstrap import RESAMPLES, Estimate, resample_mean
from prospect.statistics.rates import Rate, check_level, proportion

# With fewer prompts a bootstrap is too narrow: its ends are within the few values that were seen.
FEW_PROMPTS = 10


class Inference(Protocol):
    """What is known of a mean: an interval of any level, and one-sided p values that agree with it."""

    def interval(self, level: float = 0.95) -> Estimate: ...  # noqa: D102
    def p_above(self, null: float) -> float: ...  # noqa: D102
    def p_below(self, null: float) -> float: ...  # noqa: D102


@dataclass(frozen=True)
class Trials:
    """A mean of bounded values, each prompt one trial of an exact binomial.

    Conservative: of all values within the bounds with this mean, those at the bounds vary most.
    """

    value: float
    n: int
    prompts: int
    bounds: tuple[float, float] = (0.0, 1.0)

    def interval(self, level: float = 0.95) -> Estimate:
        """Return the Clopper-Pearson interval, moved to the bounds."""
        least, most = self.bounds
        rate = proportion(self._successes, self.prompts, level)
        low, high = (least + end * (most - least) for end in (rate.low, rate.high))
        return Estimate(self.value, low, high, self.n, self.prompts)

    def p_above(self, null: float) -> float:
        """Return P(at least so many successes) where the true mean is `null`; between whole numbers as the interval."""
        from scipy.special import betainc

        successes, (least, most) = self._successes, self.bounds
        share = (null - least) / (most - least)
        return float(betainc(successes, self.prompts - successes + 1, share)) if successes > 0 else 1.0

    def p_below(self, null: float) -> float:
        """Return P(at most so many successes) where the true mean is `null`."""
        return Trials(-self.value, self.n, self.prompts, (-self.bounds[1], -self.bounds[0])).p_above(-null)

    @property
    def _successes(self) -> float:
        least, most = self.bounds
        # The mean of n equal numbers may be a rounding error outside of them.
        return min(max((self.value - least) / (most - least), 0.0), 1.0) * self.prompts


@dataclass(frozen=True)
class Student:
    """A score without bounds, of a few prompts: value -+ t standard errors, K - 1 degrees of freedom."""

    value: float
    error: float
    n: int
    prompts: int

    def interval(self, level: float = 0.95) -> Estimate:
        """Return the interval; values without any spread have one without width, and a p value of 1."""
        from scipy.special import stdtrit

        check_level(level)
        reach = self.error * float(stdtrit(self.prompts - 1, (1 + level) / 2))
        return Estimate(self.value, self.value - reach, self.value + reach, self.n, self.prompts)

    def p_above(self, null: float) -> float:
        """Return the one-sided p value against "the truth is at most `null`"."""
        from scipy.special import stdtr

        return float(stdtr(self.prompts - 1, (null - self.value) / self.error)) if self.error > 0 else 1.0

    def p_below(self, null: float) -> float:
        """Return the one-sided p value against "the truth is at least `null`"."""
        return Student(-self.value, self.error, self.n, self.prompts).p_above(-null)


def infer_mean(
    values: np.ndarray,
    groups: np.ndarray,
    *,
    bounds: tuple[float, float] | None = None,
    exact: bool = False,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Inference:
    """Return what is known of the mean over rows, by the rule at the top of this file.

    Args:
        values: shape (N,), checked.
        groups: the prompt of each row as numbers 0 to K - 1, shape (N,).
        bounds: smallest and largest possible value, None for no bounds.
        exact: take the exact binomial where no prompt repeats: for shares.
        resamples: number of draws.
        seed: of the draws.

    Raises:
        DataError: a value is out of bounds, or there is one prompt and no bounds.
    """
    prompts, mean = int(groups.max()) + 1, float(values.mean())
    if bounds is not None and not (bounds[0] <= values.min() and values.max() <= bounds[1]):
        raise DataError(f"scores go from {values.min()} to {values.max()}; expected {bounds[0]} to {bounds[1]}.")
    if bounds is not None and (prompts < FEW_PROMPTS or (exact and prompts == values.size) or np.ptp(values) == 0):
        return Trials(mean, values.size, prompts, bounds)
    if bounds is None and (prompts < FEW_PROMPTS or np.ptp(values) == 0):
        return student(mean, (values - mean) / values.size, groups)
    drawn = resample_mean(values, groups, resamples=resamples, seed=seed)
    if not drawn.constant:
        return drawn
    # Rows differ, and yet each prompt has the same mean.
    return Student(mean, 0.0, values.size, prompts) if bounds is None else Trials(mean, values.size, prompts, bounds)


def student(value: float, influence: np.ndarray, groups: np.ndarray) -> Student:
    """Return an estimate with the standard error that the rows' influence on it gives, summed by prompt.

    error^2 = K / (K - 1) sum over prompts of (sum of influence)^2

    Args:
        value: the estimate.
        influence: by how much each row moves it, shape (N,), of mean 0.
        groups: the prompt of each row as numbers 0 to K - 1.

    Raises:
        DataError: all rows are of one prompt.
    """
    by_prompt = np.bincount(groups, weights=influence)
    if by_prompt.size < 2:
        raise DataError("all rows are of one prompt, which says nothing about other prompts; expected two or more.")
    error = float(np.sqrt(np.sum(by_prompt**2) * by_prompt.size / (by_prompt.size - 1)))
    # What is left of equal numbers after rounding is no spread.
    return Student(value, error if error > 1e-12 * abs(value) else 0.0, groups.size, by_prompt.size)


def mean_by_prompt(
    values: Sequence[float],
    prompts: Sequence[Hashable] | None = None,
    *,
    level: float = 0.95,
    bounds: tuple[float, float] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """Return the mean over rows, with an interval that knows that prompts repeat.

    Args:
        values: shape (N,), any unit.
        prompts: the prompt of each row; None where every row is of its own.
        level: coverage of the interval.
        bounds: smallest and largest possible value, None for no bounds. Without them, values that are all the same
            have an interval without width, for nothing is known of how they might differ.
        resamples: number of draws.
        seed: of the draws.

    Raises:
        DataError: a value is not finite or out of bounds; or there is one prompt and there are no bounds.
    """
    numbers = as_numbers(values, "values")
    groups, _ = as_groups(prompts, numbers.size)
    return infer_mean(numbers, groups, bounds=bounds, resamples=resamples, seed=seed).interval(level)


def rate_by_prompt(
    outcomes: Sequence[float | None],
    prompts: Sequence[Hashable] | None = None,
    *,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Rate:
    """Return a win rate or pass rate: the exact interval where no prompt repeats, else that of draws of prompts.

    Args:
        outcomes: 1 won or passed, 1/2 tied, 0 not; None is an unparsed verdict, which counts for neither side and in n.
        prompts: the prompt of each row; None where every row is of its own.
        level: coverage of the interval.
        resamples: number of draws.
        seed: of the draws.

    Raises:
        DataError: an outcome is not between 0 and 1, or there is none.
    """
    credit = as_outcomes(outcomes).ours
    groups, _ = as_groups(prompts, credit.size)
    known = infer_mean(credit, groups, bounds=(0.0, 1.0), exact=True, resamples=resamples, seed=seed)
    found = known.interval(level)
    return Rate(found.value, found.low, found.high, found.n)
