"""Is one policy better than another? The words, and the tests behind them.

"better" is the verdict only where the interval is above the level of no difference, and after Holm's correction where
several comparisons are made. The p values are those of the intervals: one cannot say yes where the other says no.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Literal, NamedTuple, Protocol, TypeVar

import numpy as np

from prospect.errors import DataError
from prospect.statistics.arrays import Outcomes, as_groups, as_numbers, as_outcomes, check_length
from prospect.statistics.bootstrap import RESAMPLES, Estimate
from prospect.statistics.means import Inference, Trials, infer_mean
from prospect.statistics.rates import check_level, win_rate

Verdict = Literal["better", "worse", "different", "no difference shown"]
"""What may be said of a comparison; "different" only where nobody knows which way is better."""


class Interval(Protocol):
    """Whatever has two ends: Rate, Estimate, Comparison."""

    @property
    def low(self) -> float: ...  # noqa: D102
    @property
    def high(self) -> float: ...  # noqa: D102


class Comparison(NamedTuple):
    """A win rate against the other side, and the verdict that it allows.

    Attributes:
        rate: share of comparisons won, a tie counting half.
        low: lower end of its interval.
        high: upper end of its interval.
        n: comparisons, unparsed verdicts among them.
        p: two-sided p value against a win rate of one half.
        p_holm: the same after Holm's correction; `p` where there is one comparison only.
        verdict: better, worse, or no difference shown.
    """

    rate: float
    low: float
    high: float
    n: int
    p: float
    p_holm: float
    verdict: Verdict


class Difference(NamedTuple):
    """How much more the first policy scores than the second on the same prompts.

    Attributes:
        value: mean difference, first minus second.
        low: lower end of its interval.
        high: upper end of its interval.
        n: rows.
        prompts: how many prompts these are of.
        p: two-sided p value against no difference.
        p_holm: the same after Holm's correction.
        verdict: of the first policy: better, worse, or no difference shown.
    """

    value: float
    low: float
    high: float
    n: int
    prompts: int
    p: float
    p_holm: float
    verdict: Verdict


Compared = TypeVar("Compared", Comparison, Difference)


def verdict(ours: Interval, theirs: Interval | None = None, *, null: float = 0.5) -> Verdict:
    """Return the only words an interval allows.

    better: ours.low > null;  worse: ours.high < null, or theirs.low > null where `theirs` is given

    Args:
        ours: interval of our score.
        theirs: interval of the other side's score. It matters with unparsed verdicts, which lower both sides: a low
            win rate is then no sign that the other side won.
        null: the value that means no difference: 0.5 for a win rate, 0 for a difference.
    """
    if ours.low > null:
        return "better"
    if (ours.high < null) if theirs is None else (theirs.low > null):
        return "worse"
    return "no difference shown"


def compare_counts(wins: int, losses: int, ties: int = 0, unparsed: int = 0, level: float = 0.95) -> Comparison:
    """Return `win_rate` with its exact p value and the words it allows.

    p = 2 min(P(at least so many wins), P(at least so many losses)), under a fair coin, at most 1

    The p value is below 1 - level exactly where one of the two sides' intervals is above one half. Takes and refuses
    what `win_rate` does. For comparisons that are independent: one per prompt.
    """
    rate = win_rate(wins, losses, ties, unparsed, level)
    ours, theirs = (Trials((decided + ties / 2) / rate.n, rate.n, rate.n) for decided in (wins, losses))
    _, p, word = _judge(ours, [theirs], 0.5, level)
    return Comparison(*rate, p, p, word)


def compare_outcomes(
    outcomes: Sequence[float | None],
    prompts: Sequence[Hashable] | None = None,
    *,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Comparison:
    """Return the same from single outcomes: exact where no prompt repeats, else by draws of prompts.

    Args:
        outcomes: of each comparison: 1 won, 1/2 tied, 0 lost, a share between, None unparsed.
        prompts: the prompt of each; None where every comparison is of its own prompt.
        level: coverage of the interval.
        resamples: number of draws.
        seed: of the draws.

    Raises:
        DataError: an outcome is not between 0 and 1, or there is none.
    """
    check_level(level)
    credits = as_outcomes(outcomes)
    groups, _ = as_groups(prompts, credits.ours.size)
    ours, *theirs = (
        infer_mean(side, groups, bounds=(0.0, 1.0), exact=True, resamples=resamples, seed=seed)
        for side in ([credits.ours] if credits.parsed.all() else [credits.ours, credits.theirs])
    )
    found, p, word = _judge(ours, theirs, 0.5, level)
    return Comparison(found.value, found.low, found.high, found.n, p, p, word)


def compare_paired(
    first: Sequence[float | None],
    second: Sequence[float | None],
    prompts: Sequence[Hashable] | None = None,
    *,
    bounds: tuple[float, float] | None = (0.0, 1.0),
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Difference:
    """Return how much more the first policy scores than the second, row by row on the same prompts.

    What makes a prompt easy or hard for both cancels, so the interval is narrower than that of two win rates side by
    side. Draws prompts, and keeps both policies' rows of a prompt together.

    Args:
        first: a score per row; for outcomes (`bounds` 0 to 1) None is an unparsed verdict, which neither side gets.
        second: the other policy's score of the same rows.
        prompts: the prompt of each row; None where every row is of its own.
        bounds: smallest and largest possible score; None for scores without bounds, such as rewards.
        level: coverage of the interval.
        resamples: number of draws.
        seed: of the draws.

    Raises:
        DataError: the two are not of one length, a score is not a number or out of bounds, or there are no bounds and
            one prompt.
    """
    check_level(level)
    if bounds == (0.0, 1.0):
        a, b = as_outcomes(first, "first"), as_outcomes(second, "second")
    else:
        a, b = _as_scores(first, "first", bounds), _as_scores(second, "second", bounds)
    check_length(b.ours.size, "second", a.ours.size)
    groups, _ = as_groups(prompts, a.ours.size)
    span = None if bounds is None else (bounds[0] - bounds[1], bounds[1] - bounds[0])
    all_parsed = bool(a.parsed.all() and b.parsed.all())
    ours, *theirs = (
        infer_mean(side, groups, bounds=span, resamples=resamples, seed=seed)
        for side in ([a.ours - b.ours] if all_parsed else [a.ours - b.ours, a.theirs - b.theirs])
    )
    found, p, word = _judge(ours, theirs, 0.0, level)
    return Difference(*found, p, p, word)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values corrected for their number: the chance of one false "better" among all stays at the level.

    p_holm of the i-th smallest of m = max over j <= i of min(1, (m - j + 1) p_j)

    Raises:
        DataError: a p value is not between 0 and 1.

    Source: Holm, Scandinavian Journal of Statistics 6 (1979).
    """
    if not len(p_values):
        return []
    found = as_numbers(p_values, "p_values")
    if found.min() < 0 or found.max() > 1:
        raise DataError(f"p_values go from {found.min()} to {found.max()}; expected numbers from 0 to 1.")
    order = np.argsort(found, kind="stable")
    stepped = np.maximum.accumulate(np.minimum(1.0, found[order] * np.arange(found.size, 0, -1)))
    corrected = np.empty(found.size)
    corrected[order] = stepped
    return [float(p) for p in corrected]


def correct_for_many(compared: Mapping[str, Compared], level: float = 0.95) -> dict[str, Compared]:
    """Return the comparisons of one question with `p_holm`, and "better" or "worse" only where it is below 1 - level.

    The intervals stay those of single comparisons.
    """
    check_level(level)
    corrected = holm([one.p for one in compared.values()])
    return {
        name: one._replace(p_holm=p, verdict=one.verdict if p < 1 - level else "no difference shown")
        for (name, one), p in zip(compared.items(), corrected, strict=True)
    }


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the exact two-sided p value that two policies pass equally many of the same prompts.

    p = 2 P(X <= min), X of a fair coin thrown (only_first + only_second) times, at most 1; 1 for no throws

    Prompts that both pass or both fail are not informative. One row per prompt; where prompts repeat,
    use `compare_paired`.

    Args:
        only_first: prompts that the first passes and the second fails.
        only_second: prompts that the second passes and the first fails.

    Raises:
        DataError: a count is negative or no whole number.

    Source: McNemar, Psychometrika 12 (1947), in its exact form.
    """
    for name, count in (("only_first", only_first), ("only_second", only_second)):
        if not (count >= 0 and float(count).is_integer()):
            raise DataError(f"mcnemar: {name} is {count}; expected a whole number of at least 0.")
    discordant = int(only_first + only_second)
    if not discordant:
        return 1.0
    return min(1.0, 2 * Trials(max(only_first, only_second) / discordant, discordant, discordant).p_above(0.5))


def _judge(ours: Inference, theirs: Sequence[Inference], null: float, level: float) -> tuple[Estimate, float, Verdict]:
    """Our interval, the two-sided p value, and the word that both allow.

    `theirs` is empty where the other side's score mirrors ours.
    """
    lost = theirs[0].p_above(null) if theirs else ours.p_below(null)
    p = min(1.0, 2 * min(ours.p_above(null), lost))
    found = ours.interval(level)
    word = verdict(found, theirs[0].interval(level) if theirs else None, null=null)
    return found, p, word if p < 1 - level else "no difference shown"


def _as_scores(values: Sequence[float | None], name: str, bounds: tuple[float, float] | None) -> Outcomes:
    scores = as_numbers(values, name)
    if bounds is not None and not (bounds[0] <= scores.min() and scores.max() <= bounds[1]):
        raise DataError(f"{name} goes from {scores.min()} to {scores.max()}; expected {bounds[0]} to {bounds[1]}.")
    return Outcomes(scores, -scores, np.ones(scores.size, dtype=bool))
