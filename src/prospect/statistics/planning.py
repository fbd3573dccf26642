"""Before the run: how wide will the interval be, and how small a difference can be shown?

The widths are those of the normal approximation, as the literature quotes them; the exact interval that is printed
after the run is about 1 / (2 n) wider on each side. What can be detected is computed with the exact test itself.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from prospect.errors import DataError
from prospect.statistics.rates import check_level

# More comparisons than anybody pays for; a wish that needs more is refused.
MOST = 10_000_000


class ContestPlan(NamedTuple):
    """What n comparisons against one other side can show.

    Attributes:
        n: comparisons.
        half_width: of the interval, as a share: 0.043 is 4.3 points.
        detectable: the smallest true win rate above one half that is shown as "better" with the wanted power; None
            where not even winning everything would do.
        level: coverage of the interval.
        power: share of runs in which it is shown.
        comparisons: with how many other sides, corrected by Holm.
    """

    n: int
    half_width: float
    detectable: float | None
    level: float
    power: float
    comparisons: int

    def __str__(self) -> str:
        found = f"{self.n} comparisons: the {self.level:.0%} interval will be about ±{100 * self.half_width:.1f} points"
        if self.detectable is None:
            return f"{found}; too few to show that anything is better."
        among = f" (the first of {self.comparisons} by Holm)" if self.comparisons > 1 else ""
        shown = f"a true win rate of {self.detectable:.1%} is shown to be better in {self.power:.0%} of runs"
        return f"{found}; {shown}{among}."


def plan(
    n: int, *, level: float = 0.95, power: float = 0.8, comparisons: int = 1, design_effect: float = 1.0
) -> ContestPlan:
    """Return what n comparisons can show; `str` of it is a sentence.

    Args:
        n: comparisons to be made.
        level: coverage of the interval.
        power: wanted share of runs in which the difference is shown.
        comparisons: how many other sides are compared with; the smallest p value must pass (1 - level) / comparisons.
        design_effect: of repeated prompts, see `design_effect`.

    Raises:
        DataError: n or comparisons below 1, design_effect below 1, level or power not between 0 and 1.
    """
    return ContestPlan(
        n,
        planned_half_width(n, level=level, design_effect=design_effect),
        detectable_rate(n, level=level, power=power, comparisons=comparisons, design_effect=design_effect),
        level,
        power,
        comparisons,
    )


def planned_half_width(n: int, *, rate: float = 0.5, level: float = 0.95, design_effect: float = 1.0) -> float:
    """Return half the width of the interval of a rate.

    h = z sqrt(rate (1 - rate) D / n),  z = normal quantile of (1 + level) / 2, D = design_effect

    It is largest at a rate of one half. At 95 %: 9.8 points for n = 100, 6.9 for 200, 4.3 for 512, 3.5 for 805.
    """
    _check(n, design_effect)
    _check_rate(rate)
    return _z(level) * math.sqrt(rate * (1 - rate) * design_effect / n)


def comparisons_for_half_width(
    half_width: float, *, rate: float = 0.5, level: float = 0.95, design_effect: float = 1.0
) -> int:
    """Return the smallest n whose planned half-width is at most `half_width`.

    n = ceil(z^2 rate (1 - rate) D / h^2)

    Raises:
        DataError: `half_width` is not between 0 and 1/2, or would need more than ten million comparisons.
    """
    if not 0 < half_width < 0.5:
        raise DataError(f"half_width is {half_width}; expected a share between 0 and 0.5: 0.03 is 3 points.")
    _check(1, design_effect)
    _check_rate(rate)
    needed = _z(level) ** 2 * rate * (1 - rate) * design_effect / half_width**2
    if needed > MOST:
        raise DataError(f"a half-width of {half_width} needs {needed:.2g} comparisons; ask for a wider one.")
    return max(1, math.ceil(needed - 1e-9))  # a half-width that was made from n gives that n


def detectable_rate(
    n: int, *, level: float = 0.95, power: float = 0.8, comparisons: int = 1, design_effect: float = 1.0
) -> float | None:
    """Return the smallest true win rate that the exact test shows to be above one half with the wanted power.

    k = least wins with P(X >= k; n, 1/2) < (1 - level) / (2 comparisons);  the rate p solves P(X >= k; n, p) = power

    Returns:
        None where not even n wins are enough.
    """
    _check(n, design_effect)
    _check_power(power)
    whole = int(n / design_effect + 1e-9)  # n / (n / prompts) can fall short of prompts by a rounding
    return _detectable(whole, _tail(level, comparisons), power)


def comparisons_to_detect(
    rate: float, *, level: float = 0.95, power: float = 0.8, comparisons: int = 1, design_effect: float = 1.0
) -> int:
    """Return n from which on a true win rate of `rate` is shown to differ from one half with the wanted power.

    Exact power goes up and down by a little from one n to the next; this is the n after which it stays up
    (to 0.005 % beyond 20,000).

    Raises:
        DataError: `rate` is 0.5, not between 0 and 1, or so near to 0.5 that more than ten million are needed.
    """
    from scipy.special import ndtri

    _check(1, design_effect)
    _check_rate(rate)
    _check_power(power)
    tail, effect = _tail(level, comparisons), abs(rate - 0.5)
    # The normal approximation is close; the exact answer is looked for downwards from beyond it.
    near = ((-ndtri(tail) + ndtri(power)) / (2 * effect)) ** 2 if effect else math.inf
    if near > MOST:
        raise DataError(f"a win rate of {rate} cannot be told from 0.5 with fewer than {MOST:,} comparisons.")
    n = math.ceil(1.02 * near + 50)
    step = max(1, n // 20_000)
    while n > step and (found := _detectable(n - step, tail, power)) is not None and found <= 0.5 + effect:
        n -= step
    return math.ceil(n * design_effect)


def design_effect(samples_per_prompt: float, correlation: float) -> float:
    """Return by how much repeated prompts inflate the variance: 1 + (m - 1) rho.

    Args:
        samples_per_prompt: m, rows of a prompt.
        correlation: rho, how alike the outcomes of one prompt are, 0 to 1: 0 as different as any, 1 all the same.

    Source: Kish, Survey Sampling (1965).
    """
    if not samples_per_prompt >= 1 or not math.isfinite(samples_per_prompt):
        raise DataError(f"samples_per_prompt is {samples_per_prompt}; expected a number of at least 1.")
    if not 0 <= correlation <= 1:
        raise DataError(f"correlation is {correlation}; expected a number from 0 to 1.")
    return 1 + (samples_per_prompt - 1) * correlation


def _detectable(n: int, tail: float, power: float) -> float | None:
    from scipy.special import betainc, betaincinv

    # Twelve standard deviations above one half: beyond it no tail is representable in double precision.
    wins = np.arange(max(1, n // 2), min(n, int(n / 2 + 6 * math.sqrt(n)) + 1) + 1)
    shown = wins[betainc(wins, n - wins + 1, 0.5) < tail]
    return float(betaincinv(shown[0], n - shown[0] + 1, power)) if shown.size else None


def _z(level: float) -> float:
    from scipy.special import ndtri

    check_level(level)
    return float(ndtri((1 + level) / 2))


def _tail(level: float, comparisons: int) -> float:
    check_level(level)
    if not (comparisons >= 1 and float(comparisons).is_integer()):
        raise DataError(f"comparisons is {comparisons}; expected a whole number of at least 1.")
    return (1 - level) / 2 / comparisons


def _check(n: int, effect: float) -> None:
    if not (n >= 1 and float(n).is_integer()):
        raise DataError(f"n is {n}; expected a whole number of at least 1.")
    if not (effect >= 1 and math.isfinite(effect)):
        raise DataError(f"design_effect is {effect}; expected a number of at least 1.")


def _check_rate(rate: float) -> None:
    if not 0 < rate < 1:
        raise DataError(f"rate is {rate}; expected a share between 0 and 1.")


def _check_power(power: float) -> None:
    if not 0 < power < 1:
        raise DataError(f"power is {power}; expected a share between 0 and 1, such as 0.8.")
