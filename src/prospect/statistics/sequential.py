"""Shares that are looked at while they are counted: intervals that hold at every look.

An ordinary 95 % interval holds for one look at a number of trials that was fixed before. Who looks every day and stops
when it excludes something is misled far more often. A confidence sequence holds the truth at all looks at once with
95 %, so that one may look as often as one likes, and stop when one likes; it is wider.

Shapes: none; S successes of n trials.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from prospect.errors import DataError
from prospect.statistics.planning import MOST
from prospect.statistics.rates import Rate, check_counts, check_level

# Halvings of an interval of length 1: what is left is below the last digit of a double near 1.
_HALVINGS = 54


class Gap(NamedTuple):
    """How much larger one share is than another, with an interval that holds at every look.

    Attributes:
        value: first share less second.
        low: lower end of its interval.
        high: upper end.
        first: the first share, with its interval.
        second: the second share, with its interval.
    """

    value: float
    low: float
    high: float
    first: Rate
    second: Rate


def confidence_sequence(successes: float, n: int, level: float = 0.95) -> Rate:
    """Return the share of n trials that succeeded, with an interval that holds at every look.

    all p with  B(S + 1, n - S + 1) / (p^S (1 - p)^(n - S)) < 1 / (1 - level),  B the beta function

    The left side is a martingale of mean 1 where p is the truth (a uniform mixture of likelihood ratios), so that it
    ever reaches 1 / (1 - level) with a chance of at most 1 - level (Ville's inequality).

    Args:
        successes: S, between 0 and `n`; a fraction is one of a plan.
        n: number of trials so far, at least 1.
        level: chance that the interval holds the truth at all looks, between 0 and 1.

    Raises:
        DataError: `n` is 0, `successes` is not within 0 and `n`, or `level` is not between 0 and 1.

    Source: Robbins, Annals of Mathematical Statistics 41 (1970), with the uniform mixture.
    """
    from scipy.special import betaln

    check_counts(successes, n, level)
    rate, failures = successes / n, n - successes
    least = float(betaln(successes + 1, failures + 1)) + math.log1p(-level)

    def excluded(p: float) -> bool:
        return _times_log(successes, p) + _times_log(failures, 1 - p) <= least

    low = _edge(0.0, rate, excluded) if excluded(0.0) else 0.0
    high = _edge(1.0, rate, excluded) if excluded(1.0) else 1.0
    return Rate(rate, low, high, n)


def sequential_gap(first: tuple[float, int], second: tuple[float, int], level: float = 0.95) -> Gap:
    """Return the difference of two independent shares, with an interval that holds at every look.

    low = low_1 - high_2,  high = high_1 - low_2,  both sequences at 1 - (1 - level) / 2

    Args:
        first: successes and trials, at least one trial.
        second: the same of the other share.
        level: chance that the interval holds the true difference at all looks.

    Raises:
        DataError: as `confidence_sequence`.
    """
    check_level(level)
    a, b = (confidence_sequence(*counts, level=(1 + level) / 2) for counts in (first, second))
    return Gap(a.rate - b.rate, a.low - b.high, a.high - b.low, a, b)


class CanaryPlan(NamedTuple):
    """How much has to be shown and voted on before two models can be told to be equally good.

    Attributes:
        turns: shown by both models together.
        votes: on them.
        canary_turns: shown by the new model.
        canary_votes: on those.
        share: of the conversations that are the new model's.
        vote_rate: votes per turn shown.
        up_share: votes up among the votes on either model.
        margin: how much lower the new model's up-share may be, as a share: 0.05 is 5 points.
        level: of the interval of the difference.
        power: chance that a new model which is as good is shown not to be worse by the margin.
    """

    turns: int
    votes: int
    canary_turns: int
    canary_votes: int
    share: float
    vote_rate: float
    up_share: float
    margin: float
    level: float
    power: float

    def __str__(self) -> str:
        return (
            f"{self.turns:,} turns with {self.votes:,} votes, of which {self.canary_turns:,} turns with "
            f"{self.canary_votes:,} votes are the canary's: then a model that is as good is shown, in "
            f"{self.power:.0%} of canaries, not to be worse by {100 * self.margin:g} points."
        )


def plan_canary(
    share: float, *, up_share: float, vote_rate: float, margin: float, level: float = 0.95, power: float = 0.8
) -> CanaryPlan:
    """Return how many turns and votes it takes to show that an equally good model is not worse by `margin`.

    The least N with  (p - low_1) + (high_2 - p) + z sqrt(p (1 - p) (1 / n_1 + 1 / n_2)) <= margin,
    n_1 = share N,  n_2 = (1 - share) N,  p = up_share,  z = normal quantile of `power`

    The ends are those of `sequential_gap` at the last look; that earlier looks may do makes N a little too large.

    Raises:
        DataError: a number is out of its bounds, or more than ten million votes are needed.
    """
    from scipy.special import ndtri

    for name, value in {"share": share, "up_share": up_share, "margin": margin, "power": power}.items():
        if not 0 < value < 1:
            raise DataError(f"{name} is {value}; expected a share between 0 and 1.")
    if not 0 < vote_rate <= 1:
        raise DataError(f"vote_rate is {vote_rate}; expected more than 0 and at most 1.")
    check_level(level)
    spread = float(ndtri(power)) * math.sqrt(up_share * (1 - up_share))

    def arms(votes: int) -> tuple[int, int]:
        canary = max(1, round(share * votes))
        return canary, max(1, votes - canary)

    def too_few(votes: int) -> bool:
        new, old = arms(votes)
        gap = sequential_gap((up_share * new, new), (up_share * old, old), level)
        return gap.low - spread * math.sqrt(1 / new + 1 / old) < -margin

    most = 1
    while too_few(most):
        most *= 2
        if most > MOST:
            raise DataError(f"a margin of {100 * margin:g} points needs more than {MOST:,} votes; take a wider one.")
    least = most // 2
    while most - least > 1:
        middle = (least + most) // 2
        least, most = (middle, most) if too_few(middle) else (least, middle)
    canary = arms(most)[0]
    turns, shown = math.ceil(most / vote_rate), math.ceil(canary / vote_rate)
    return CanaryPlan(turns, most, shown, canary, share, vote_rate, up_share, margin, level, power)


def _times_log(count: float, p: float) -> float:
    if count == 0:
        return 0.0
    return count * math.log(p) if p > 0 else -math.inf


def _edge(outside: float, inside: float, excluded: Callable[[float], bool]) -> float:
    """Return where the interval ends between a share that is excluded and one that is not."""
    for _ in range(_HALVINGS):
        middle = (outside + inside) / 2
        outside, inside = (middle, inside) if excluded(middle) else (outside, middle)
    return outside
