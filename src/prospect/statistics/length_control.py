"""Win rate at equal length: the judge's verdicts if both completions were equally long.

Judges like long answers. The model of AlpacaEval 2 explains each verdict by a constant and by the difference in
length, and reads off the win rate where that difference is zero.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np

from prospect.errors import DataError
from prospect.statistics.arrays import Outcomes, as_groups, as_numbers, as_outcomes, check_length
from prospect.statistics.means import Trials
from prospect.statistics.rates import check_level

# A prior of standard deviation 10 on the length effect, in log-odds: nothing beside twenty verdicts, and enough to keep
# the fit finite where length explains every one of them.
RIDGE = 0.01
STEPS = 50
# Fewer prompts than this do not determine two unknowns.
LEAST_PROMPTS = 10

# Why a rate is not more than it is.
NO_DIFFERENCE = "lengths never differ, so this is the plain win rate"
ONE_OUTCOME = "every verdict is the same whatever the lengths, so this is the plain win rate"
CONSTANT = "lengths differ by the same everywhere, so nothing is known of equal lengths"
SEPARATED = "length alone tells every verdict, so nothing is known of equal lengths"
FEW = f"fewer than {LEAST_PROMPTS} prompts, too few to tell length from quality"


class LengthControlled(NamedTuple):
    """A win rate at equal length.

    Attributes:
        rate: the win rate if both sides were equally long.
        low: lower end of its interval.
        high: upper end of its interval.
        n: comparisons, unparsed verdicts among them.
        raw: the plain win rate, `wins + ties / 2` over n.
        length_effect: gamma, log-odds of a win that a much longer completion gains; above 0 the judge likes length.
        length_difference: mean of ours less theirs, in the unit of the lengths.
        note: why `rate` is not more than it is; empty in the usual case.
    """

    rate: float
    low: float
    high: float
    n: int
    raw: float
    length_effect: float
    length_difference: float
    note: str


def length_controlled_win_rate(
    outcomes: Sequence[float | None],
    our_lengths: Sequence[float],
    their_lengths: Sequence[float],
    prompts: Sequence[Hashable] | None = None,
    *,
    level: float = 0.95,
) -> LengthControlled:
    """Return the win rate that a logistic model gives to completions of equal length.

    P(win) = sigma(theta + gamma tanh(d / s)),  d = our length - their length, s = standard deviation of d
    rate = (share of parsed verdicts) * sigma(theta)

    Fitted by Newton's method with a ridge of 0.01 on gamma. The interval is of the sandwich (robust) variance of the
    rate, clustered by prompt, on the scale of log-odds, with Student's t of K - 2 degrees of freedom, K prompts; s is
    taken as known. Where length and quality cannot be separated the interval is 0 to 1, and `note` has the reason.

    Args:
        outcomes: of each comparison: 1 won, 1/2 tied, 0 lost, a share between, None unparsed.
        our_lengths: length of our completion, in characters or tokens.
        their_lengths: of the other side's, in the same unit.
        prompts: the prompt of each comparison; None where every one is of its own.
        level: coverage of the interval.

    Raises:
        DataError: lengths are negative or of another number, an outcome is not between 0 and 1, or no verdict could be
            read.

    Source: Dubois et al. 2024, arXiv 2404.04475. Departures: one policy is looked at, so there is no term for the
    difficulty of an instruction (it was fitted on AlpacaEval's own leaderboard) and no regularisation towards its
    doctored baselines; a small ridge replaces the L1 penalty chosen by cross-validation; s is of the parsed verdicts;
    unparsed verdicts stay in the denominator; there is an interval.
    """
    check_level(level)
    credits = as_outcomes(outcomes)
    difference = _differences(our_lengths, their_lengths, credits.ours.size)
    groups, prompt_count = as_groups(prompts, credits.ours.size)
    parsed = credits.parsed
    if not parsed.any():
        raise DataError("none of the verdicts could be read, so no win rate can be controlled for length.")
    n, raw, mean = credits.ours.size, float(credits.ours.mean()), float(difference.mean())
    scale = _scale(difference[parsed])
    x = np.tanh(difference / scale) if scale else np.sign(difference)
    note = _note(credits.ours[parsed], x[parsed], prompt_count)
    if np.ptp(credits.ours[parsed]) == 0:
        known = Trials(raw, n, prompt_count).interval(level)
        low, high = (known.low, known.high) if note == ONE_OUTCOME else (0.0, 1.0)
        return LengthControlled(raw, low, high, n, raw, 0.0, mean, note)
    (theta, gamma), influence = _fit(credits.ours[parsed], x[parsed])
    rate = float(parsed.mean() * _sigmoid(theta))
    low, high = 0.0, 1.0
    if note in ("", NO_DIFFERENCE):
        low, high = _interval(rate, _influence_of_rate(credits, theta, influence), groups, level)
    return LengthControlled(rate, low, high, n, raw, gamma, mean, note)


def _differences(ours: Sequence[float], theirs: Sequence[float], n: int) -> np.ndarray:
    lengths = []
    for name, values in (("our_lengths", ours), ("their_lengths", theirs)):
        found = as_numbers(values, name)
        check_length(found.size, name, n)
        if found.min() < 0:
            raise DataError(f"{name}[{found.argmin()}] is {found.min()}; expected a length of at least 0.")
        lengths.append(found)
    return lengths[0] - lengths[1]


def _scale(difference: np.ndarray) -> float:
    """Return the standard deviation of the differences, 0 where they are all the same to rounding."""
    spread = float(difference.std(ddof=1)) if difference.size > 1 else 0.0
    return spread if spread > 1e-9 * float(np.abs(difference).max()) else 0.0


def _note(wins: np.ndarray, x: np.ndarray, prompts: int) -> str:
    """Why lengths cannot be controlled for; empty where they can. `wins` and `x` of the parsed verdicts."""
    if np.ptp(wins) == 0 and (x.min() <= 0 <= x.max() or 0 < wins[0] < 1):
        return ONE_OUTCOME
    if not x.any():
        return NO_DIFFERENCE if prompts >= LEAST_PROMPTS else FEW
    if np.ptp(x) == 0:
        return CONSTANT
    if _separated(wins, x):
        return SEPARATED
    return "" if prompts >= LEAST_PROMPTS else FEW


def _separated(wins: np.ndarray, x: np.ndarray) -> bool:
    """Whether some difference in length has all wins on one side and all losses on the other; ties are both."""
    won, lost = x[wins > 0], x[wins < 1]
    return not won.size or not lost.size or bool(won.min() >= lost.max() or won.max() <= lost.min())


def _fit(wins: np.ndarray, x: np.ndarray) -> tuple[tuple[float, float], np.ndarray]:
    """Theta and gamma, and how each verdict moves theta: row 0 of H^-1 X^T (y - p), shape (parsed,)."""
    design = np.stack([np.ones_like(x), x], axis=1)
    ridge = np.diag([0.0, RIDGE])
    found = np.zeros(2)

    def objective(at: np.ndarray) -> float:
        logits = design @ at
        return float(np.sum(np.logaddexp(0, logits) - wins * logits) + at @ ridge @ at / 2)

    value = objective(found)
    for _ in range(STEPS):
        chance = _sigmoid(design @ found)
        hessian = design.T @ (design * (chance * (1 - chance))[:, None]) + ridge
        step = np.linalg.solve(hessian, design.T @ (wins - chance) - ridge @ found)
        while (new := objective(found + step)) > value + 1e-12 * abs(value):
            step = step / 2
        found, value = found + step, new
        if np.abs(step).max() < 1e-10:
            break
    influence = np.linalg.solve(hessian, design.T * (wins - chance))[0]
    return (float(found[0]), float(found[1])), influence


def _influence_of_rate(credits: Outcomes, theta: float, influence: np.ndarray) -> np.ndarray:
    """How each comparison moves the rate, shape (N,): through theta, and by being parsed at all."""
    parsed, chance = credits.parsed, _sigmoid(theta)
    share = parsed.mean()
    moved = chance * (parsed - share) / parsed.size
    moved[parsed] += share * chance * (1 - chance) * influence
    return moved


def _interval(rate: float, influence: np.ndarray, groups: np.ndarray, level: float) -> tuple[float, float]:
    """Of the log-odds of the rate, so that it stays within 0 and 1; K - 2 degrees of freedom for two unknowns."""
    from scipy.special import stdtrit

    by_prompt = np.bincount(groups, weights=influence)
    prompts = by_prompt.size
    error = float(np.sqrt(np.sum(by_prompt**2) * prompts / (prompts - 2)))
    reach = float(stdtrit(prompts - 2, (1 + level) / 2)) * error / (rate * (1 - rate))
    middle = np.log(rate / (1 - rate))
    return float(_sigmoid(middle - reach)), float(_sigmoid(middle + reach))


def _sigmoid(x: Any) -> Any:
    return np.exp(-np.logaddexp(0, -x))
