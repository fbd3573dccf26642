"""Do scores separate desirable from undesirable completions? Accuracy, AUROC, margins, log loss, with intervals.

Scores are implied rewards, a reward model's or a judge's numbers; labels are the thumbs. None needs a judge.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from contextlib import suppress

import numpy as np

from prospect.errors import DataError
from prospect.statistics.arrays import as_groups, as_labels, as_numbers
from prospect.statistics.bootstrap import RESAMPLES, Estimate, Statistic, UndefinedError, resample
from prospect.statistics.means import FEW_PROMPTS, Trials, mean_by_prompt, rate_by_prompt, student
from prospect.statistics.ranking import placements
from prospect.statistics.rates import Rate, check_level


def accuracy(
    scores: Sequence[float],
    desirable: Sequence[bool],
    prompts: Sequence[Hashable] | None = None,
    *,
    threshold: float = 0.0,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Rate:
    """Return the share of completions on the right side of a threshold; one on it counts half.

    Of pairs it is the share of margins above 0: give the margins, and true for every label.

    Args:
        scores: shape (N,), any unit.
        desirable: shape (N,).
        prompts: the prompt of each row; None where every row is of its own.
        threshold: 0 for implied rewards; beta z0 for KTO's own reference point.
        level: coverage of the interval.
        resamples: number of draws of prompts, where prompts repeat.
        seed: of the draws.

    Raises:
        DataError: a score is not finite, a label is not true or false, or there are none.
    """
    values = as_numbers(scores, "scores") - threshold
    signs = np.where(as_labels(desirable, "desirable", values.size), 1.0, -1.0)
    right = (np.sign(signs * values) + 1) / 2
    return rate_by_prompt(right.tolist(), prompts, level=level, resamples=resamples, seed=seed)


def auroc(
    scores: Sequence[float],
    desirable: Sequence[bool],
    prompts: Sequence[Hashable] | None = None,
    *,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """Return the probability that a desirable completion scores above an undesirable one, ties counting half.

    The interval is DeLong's where no prompt repeats, and of draws of prompts where one does. With fewer than ten
    prompts, or where draws often miss a class, it is the exact binomial over as many comparisons as there are prompts
    of the rarer class.

    Args:
        scores: shape (N,), any unit.
        desirable: shape (N,).
        prompts: the prompt of each row; None where every row is of its own.
        level: coverage of the interval.
        resamples: number of draws of prompts, where prompts repeat.
        seed: of the draws.

    Raises:
        DataError: one class is absent, a score is not finite or a label is not true or false.
    """
    check_level(level)
    values, labels = _classes(scores, desirable)
    groups, count = as_groups(prompts, values.size)
    if count == values.size:
        return auroc_delong(scores, desirable, level=level)
    if count >= FEW_PROMPTS:
        statistic = _weighted_auroc(values, labels)
        with suppress(UndefinedError):
            found = resample(statistic, values.size, groups.tolist(), resamples=resamples, seed=seed)
            if not found.constant:
                return found.interval(level)
    pairs = min(np.unique(groups[labels]).size, np.unique(groups[~labels]).size)
    return _of_disjoint_pairs(float(placements(values, labels)[0].mean()), pairs, values.size, count, level)


def auroc_delong(scores: Sequence[float], desirable: Sequence[bool], *, level: float = 0.95) -> Estimate:
    """Return AUROC with DeLong's interval, for rows that are independent.

    V_D(i) = share of undesirable below desirable i,  V_U(j) = share of desirable above undesirable j, ties 1/2
    variance = var(V_D) / n_D + var(V_U) / n_U

    The interval is taken on the scale of log-odds, so that it stays within 0 and 1. Where there is no variance (one
    row of a class, perfect separation, or all scores the same) it is the exact binomial over min(n_D, n_U)
    comparisons: so many pairs can be made that share no row.

    Raises:
        DataError: one class is absent, a score is not finite or a label is not true or false.

    Source: DeLong, DeLong and Clarke-Pearson, Biometrics 44 (1988); computed from mid-ranks as Sun and Xu, IEEE
    Signal Processing Letters 21 (2014).
    """
    from scipy.special import expit, logit, ndtri

    check_level(level)
    values, labels = _classes(scores, desirable)
    above, below = placements(values, labels)
    area, n = float(above.mean()), values.size
    variance = 0.0
    if above.size > 1 and below.size > 1:
        variance = float(above.var(ddof=1) / above.size + below.var(ddof=1) / below.size)
    if variance <= 1e-15 or not 0 < area < 1:
        return _of_disjoint_pairs(area, min(above.size, below.size), n, n, level)
    reach = ndtri((1 + level) / 2) * np.sqrt(variance) / (area * (1 - area))
    return Estimate(area, float(expit(logit(area) - reach)), float(expit(logit(area) + reach)), n, n)


def class_margin(
    scores: Sequence[float],
    desirable: Sequence[bool],
    prompts: Sequence[Hashable] | None = None,
    *,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """Return the mean score of desirable completions less that of undesirable ones.

    The interval is of draws of prompts; with fewer than ten, or where draws often miss a class, Student's t. Of pairs,
    use `mean_by_prompt` of the margins: the two sides belong together.

    Raises:
        DataError: one class is absent, all rows are of one prompt, a score is not finite or a label is not true or
            false.
    """
    check_level(level)
    values, labels = _classes(scores, desirable)
    groups, count = as_groups(prompts, values.size)
    sides = np.stack([labels, ~labels, np.where(labels, values, 0.0), np.where(labels, 0.0, values)], axis=1)

    def margin(weights: np.ndarray) -> np.ndarray:
        good, bad, sum_good, sum_bad = (weights @ sides.astype(float)).T
        return _divide(sum_good, good) - _divide(sum_bad, bad)

    if count >= FEW_PROMPTS:
        with suppress(UndefinedError):
            return resample(margin, values.size, groups.tolist(), resamples=resamples, seed=seed).interval(level)
    means = [float(values[side].mean()) for side in (labels, ~labels)]
    influence = np.where(labels, (values - means[0]) / labels.sum(), (means[1] - values) / (~labels).sum())
    return student(means[0] - means[1], influence, groups).interval(level)


def log_loss(
    logits: Sequence[float],
    desirable: Sequence[bool],
    prompts: Sequence[Hashable] | None = None,
    *,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """Return the mean of -log sigma(+-logit), nats per row; 0.693 = log 2 is what knowing nothing gives.

    Args:
        logits: log-odds that the completion is desirable, such as implied rewards, shape (N,).
        desirable: shape (N,).
        prompts: the prompt of each row; None where every row is of its own.
        level: coverage of the interval.
        resamples: number of draws of prompts.
        seed: of the draws.

    Raises:
        DataError: a logit is not finite, a label is not true or false, or all rows are of one prompt.
    """
    values = as_numbers(logits, "logits")
    signs = np.where(as_labels(desirable, "desirable", values.size), 1.0, -1.0)
    losses = np.logaddexp(0, -signs * values).tolist()
    return mean_by_prompt(losses, prompts, level=level, resamples=resamples, seed=seed)


def _classes(scores: Sequence[float], desirable: Sequence[bool]) -> tuple[np.ndarray, np.ndarray]:
    values = as_numbers(scores, "scores")
    labels = as_labels(desirable, "desirable", values.size)
    if labels.all() or not labels.any():
        only = "desirable" if labels.all() else "undesirable"
        raise DataError(f"all {labels.size} rows are {only}; telling two classes apart needs rows of both.")
    return values, labels


def _weighted_auroc(values: np.ndarray, labels: np.ndarray) -> Statistic:
    """AUROC of weighted rows."""
    at_good, at_bad = np.flatnonzero(labels), np.flatnonzero(~labels)
    at_bad = at_bad[np.argsort(values[at_bad], kind="stable")]
    left = np.searchsorted(values[at_bad], values[at_good], side="left")
    right = np.searchsorted(values[at_bad], values[at_good], side="right")

    def area(weights: np.ndarray) -> np.ndarray:
        good = weights[:, at_good]
        bad = np.zeros((weights.shape[0], at_bad.size + 1))  # [:, k] the weight of the k lowest
        np.cumsum(weights[:, at_bad], axis=1, out=bad[:, 1:])
        below = (bad[:, left] + bad[:, right]) / 2
        return _divide(np.einsum("bi,bi->b", good, below), good.sum(axis=1) * bad[:, -1])

    return area


def _divide(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """NaN where a draw has no row of a class."""
    return np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)


def _of_disjoint_pairs(area: float, pairs: int, n: int, prompts: int, level: float) -> Estimate:
    found = Trials(area, n, pairs).interval(level)
    return Estimate(float(area), found.low, found.high, n, prompts)
