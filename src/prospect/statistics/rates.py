"""Win rates and pass rates, each with its exact interval: a number without one is no result."""

from __future__ import annotations

import math
from typing import NamedTuple

from prospect.errors import DataError


class Rate(NamedTuple):
    """A share and how sure we are of it.

    Attributes:
        rate: the share, 0 to 1.
        low: lower end of its interval.
        high: upper end of its interval.
        n: how many trials it was counted over.
    """

    rate: float
    low: float
    high: float
    n: int


def win_rate(wins: int, losses: int, ties: int = 0, unparsed: int = 0, level: float = 0.95) -> Rate:
    """Return the share of comparisons won, a tie counting half, with its exact binomial interval.

    rate = (wins + ties / 2) / n,  n = wins + losses + ties + unparsed

    A verdict that could not be parsed counts for neither side but stays in the denominator, so that a judge that
    fails on the hard cases cannot flatter anyone.

    Args:
        wins: comparisons won.
        losses: comparisons lost.
        ties: comparisons without a winner.
        unparsed: verdicts that could not be read.
        level: coverage of the interval, between 0 and 1.

    Raises:
        DataError: a count is negative or no whole number, there is no comparison at all, or `level` is not
            between 0 and 1.

    Source: Clopper and Pearson, Biometrika 26 (1934). Departure: with ties the number of successes may be a
    half; the beta quantiles take it as it is, which is conservative, for a tie varies less than a coin.
    """
    counts = {"wins": wins, "losses": losses, "ties": ties, "unparsed": unparsed}
    for name, count in counts.items():
        if not (count >= 0 and float(count).is_integer()):
            raise DataError(f"win_rate: {name} is {count}; expected a whole number of at least 0.")
    return proportion(wins + ties / 2, int(sum(counts.values())), level)


def proportion(successes: float, n: int, level: float = 0.95) -> Rate:
    """Return the share of `n` trials that succeeded, with its exact (Clopper-Pearson) interval.

    low = B(a/2; k, n - k + 1),  high = B(1 - a/2; k + 1, n - k),  a = 1 - level, B the beta quantile

    Args:
        successes: k, between 0 and `n`; half a success is a tie.
        n: number of trials, at least 1.
        level: coverage of the interval, between 0 and 1.

    Raises:
        DataError: `n` is 0, `successes` is not within 0 and `n`, or `level` is not between 0 and 1.

    Source: Clopper and Pearson, Biometrika 26 (1934).
    """
    check_counts(successes, n, level)
    # Not scipy.stats: that takes a second to import, and two quantiles are all we need.
    from scipy.special import betaincinv

    tail = (1 - level) / 2
    low = float(betaincinv(successes, n - successes + 1, tail)) if successes > 0 else 0.0
    high = float(betaincinv(successes + 1, n - successes, 1 - tail)) if successes < n else 1.0
    return Rate(successes / n, low, high, n)


def overlap(a: Rate, b: Rate) -> bool:
    """Return whether two intervals share a point.

    Intervals that do not touch show a difference at well beyond their level; intervals that overlap do not
    show that there is none.
    """
    return a.low <= b.high and b.low <= a.high


def check_level(level: float) -> None:
    """Refuse a coverage that is not between 0 and 1."""
    if not 0 < level < 1:
        raise DataError(f"level is {level}; expected a share between 0 and 1, such as 0.95.")


def check_counts(successes: float, n: int, level: float) -> None:
    """Refuse counts that have no share, and a coverage that is not between 0 and 1."""
    if n < 1:
        raise DataError(f"a rate over n = {n} trials has no value; expected at least one trial.")
    if not (math.isfinite(successes) and 0 <= successes <= n):
        raise DataError(f"{successes} successes in n = {n} trials; expected a number from 0 to {n}.")
    check_level(level)
