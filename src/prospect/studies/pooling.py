"""Means over prompts and seeds, with intervals that are about other prompts and other seeds too.

Three runs answer the same 200 prompts. To call that 600 independent answers would be wrong twice: what makes a prompt
hard acts on all runs, and what made a run lucky acts on all its answers. benchmarks/pooling.py simulates how often an
interval holds the truth.

Letters: S seeds, P prompts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from prospect.errors import DataError
from prospect.statistics.rates import check_level, proportion

Bounds = tuple[float, float]
_LEAST_P, _MOST_P = 1e-12, 1 - 1e-9  # at 1 the interval has no width, and a share no trials to be worth


@dataclass(frozen=True)
class Pooled:
    """A mean over S x P scores, and its error.

    Attributes:
        value: the mean.
        parts: of the squared error, (variance, degrees of freedom): that of the prompts and that of the seeds.
        n: S P.
        prompts: P.
        seeds: S.
    """

    value: float
    parts: tuple[tuple[float, int], ...]
    n: int
    prompts: int
    seeds: int

    @property
    def error(self) -> float:
        """The standard error; 0 where nothing varies."""
        return math.sqrt(sum(part for part, _ in self.parts))

    def interval(self, level: float = 0.95, bounds: Bounds | None = None) -> Bounds:
        """Return value -+ t error, kept within the bounds.

        Where all scores are equal, as of two methods that answer alike, others may be elsewhere: as large a share of
        the prompts as could have shown none in P, anywhere within the bounds. Without bounds nothing is known of them,
        and the interval has no width.
        """
        check_level(level)
        if self.error == 0:
            least, most = bounds or (self.value, self.value)
            unseen = proportion(0, self.prompts, level).high
            return self.value - unseen * (self.value - least), self.value + unseen * (most - self.value)
        reach = self._t(1 - level) * self.error
        low, high = self.value - reach, self.value + reach
        return (low, high) if bounds is None else (max(low, bounds[0]), min(high, bounds[1]))

    def p_differs(self, null: float, bounds: Bounds | None = None) -> float:
        """Return the two-sided p value against "the truth is `null`": the least alpha whose interval leaves it out.

        1 for scores without bounds that do not vary.
        """
        if self.error > 0:
            far = abs(self.value - null) / self.error
            return _least_alpha(lambda alpha: far > self._t(alpha))
        if bounds is None or null == self.value:
            return 1.0
        beyond = bounds[0] if null < self.value else bounds[1]
        unseen = min(1.0, (null - self.value) / (beyond - self.value)) if beyond != self.value else 1.0
        return min(1.0, 2 * (1 - unseen) ** self.prompts)

    def rate_interval(self, level: float = 0.95) -> Bounds:
        """Return the interval of a share: the exact binomial over as many trials as the error is worth.

        n' = min(n, v (1 - v) / error^2) (z / t)^2

        It stays within 0 and 1, and is honest near them. Source: Korn and Graubard, Survey Methodology 24 (1998).
        """
        check_level(level)
        trials = self._trials(1 - level)
        found = proportion(self.value * trials, trials, level)  # type: ignore[arg-type]
        return found.low, found.high

    def p_rate_differs(self, null: float) -> float:
        """Return the same of a share: the least alpha whose `rate_interval` leaves out `null`."""
        return _least_alpha(lambda alpha: self._tail(null, self._trials(alpha)) < alpha)

    def detectable(self, alpha: float, power: float = 0.8) -> float | None:
        """Return the smallest true difference from a null that p < alpha would show in `power` of repetitions.

        (t_(1 - alpha / 2) + t_power) error, both t by Cochran's weights. None where nothing varies.
        """
        if self.error == 0:
            return None
        return (self._t(alpha) + self._t(2 * (1 - power))) * self.error

    def _tail(self, null: float, trials: float) -> float:
        """Return the two-sided p value of so many trials."""
        from scipy.special import betainc

        wins = self.value * trials
        above = float(betainc(wins, trials - wins + 1, null)) if wins > 0 else 1.0
        below = float(betainc(trials - wins, wins + 1, 1 - null)) if wins < trials else 1.0
        return min(1.0, 2 * min(above, below))

    def _trials(self, alpha: float) -> float:
        from scipy.special import ndtri

        if self.error == 0:
            return float(self.prompts)
        worth = min(float(self.n), self.value * (1 - self.value) / self.error**2)
        return max(1.0, worth * (float(ndtri(1 - alpha / 2)) / self._t(alpha)) ** 2)

    def _t(self, alpha: float) -> float:
        """Cochran's critical value: Student's for each part, weighted with the parts."""
        from scipy.special import stdtrit

        weighted = sum(part * -float(stdtrit(freedom, alpha / 2)) for part, freedom in self.parts)
        return weighted / sum(part for part, _ in self.parts)


def _least_alpha(excludes: Callable[[float], bool]) -> float:
    """Return the least alpha at which a 1 - alpha interval excludes something, by halving; 1 where none does."""
    if excludes(_LEAST_P):
        return _LEAST_P
    if not excludes(_MOST_P):
        return 1.0
    low, high = math.log(_LEAST_P), math.log(_MOST_P)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if excludes(math.exp(middle)) else (middle, high)
    return math.exp(high)


def pool(scores: Sequence[Sequence[float]]) -> Pooled:
    """Return the mean of scores, prompts and seeds both taken as draws.

    error^2 = s_P^2 / P + s_S^2 / S,  s_P^2 the variance of the prompts' means, s_S^2 that of the seeds' means

    with a critical value between that of P - 1 and that of S - 1 degrees of freedom, by their shares of the error. It
    counts what varies in single answers twice and is wide rather than narrow; with 3 seeds one cannot know better. One
    seed tells nothing of other seeds: then only prompts are draws.

    Satterthwaite's degrees of freedom, the usual choice, will not do where many cells are compared: three seeds that
    agree by chance then count for nothing, and small p values are several times as frequent as they say.

    Args:
        scores: of each seed, a score for every prompt, the same prompts in the same order.

    Refuses fewer than two prompts, and seeds with different numbers of them.

    Source: the conservative variance of a crossed design with two random factors; for the critical value Cochran,
    Biometrics 20 (1964).
    """
    if not scores or len({len(row) for row in scores}) != 1:
        raise DataError(f"scores of {len(scores)} seeds have different numbers of prompts; expected the same prompts.")
    table = np.array(scores, dtype=float)
    seeds, prompts = table.shape
    if prompts < 2:
        raise DataError(f"there are scores of {prompts} prompts; expected two or more.")
    if not np.isfinite(table).all():
        raise DataError("a score is not finite; expected numbers.")
    parts = [(float(table.mean(0).var(ddof=1)) / prompts, prompts - 1)]
    if seeds > 1:
        parts.append((float(table.mean(1).var(ddof=1)) / seeds, seeds - 1))
    value = float(table.mean())
    if sum(part for part, _ in parts) <= (1e-12 * max(1.0, abs(value))) ** 2:  # what rounding leaves of equal numbers
        parts = []
    return Pooled(value, tuple(parts), table.size, prompts, seeds)
