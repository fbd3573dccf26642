"""Agreement beyond what chance gives: of a judge with people who judged the same, and of several people."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from contextlib import suppress
from typing import NamedTuple

import numpy as np

from prospect.errors import DataError
from prospect.statistics.arrays import as_groups, check_length
from prospect.statistics.bootstrap import RESAMPLES, Estimate, Statistic, UndefinedError, resample
from prospect.statistics.means import FEW_PROMPTS, rate_by_prompt
from prospect.statistics.rates import Rate, check_level, proportion


class Agreement(NamedTuple):
    """A judge beside people.

    Attributes:
        rate: share of rows on which both agree, with its interval.
        kappa: Cohen's kappa: 0 is what chance gives, 1 full agreement; None where both always give one and the same
            thing, for then chance explains everything.
        labels: the labels that occur, as text, sorted.
        table: rows the people's labels, columns the judge's, in the order of `labels`: how many of each.
    """

    rate: Rate
    kappa: Estimate | None
    labels: tuple[str, ...]
    table: tuple[tuple[int, ...], ...]


def measure_agreement(
    judge: Sequence[Hashable],
    people: Sequence[Hashable],
    prompts: Sequence[Hashable] | None = None,
    *,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Agreement:
    """Return agreement and Cohen's kappa of a judge with people, row by row.

    kappa = (p_o - p_e) / (1 - p_e),  p_o share of equal labels, p_e what independent labels of these shares would give

    The interval of kappa is of large samples where no prompt repeats (of Fleiss, Cohen and Everitt), cut at -1 and 1,
    and of draws of prompts where one does. Where that cannot be (all rows agree, fewer than ten prompts, or draws that
    often hold one label alone) it is the interval of the agreement with p_e taken as it is.

    Args:
        judge: its label of each row: win, tie, loss; true, false; anything with a text. An unparsed verdict is a
            label too, "unparsed" say, so that it counts as a disagreement.
        people: the label of a person for the same rows. Agreement among people, measured the same way, is what a judge
            can reach.
        prompts: the prompt of each row; None where every row is of its own.
        level: coverage of the intervals.
        resamples: number of draws of prompts, where prompts repeat.
        seed: of the draws.

    Raises:
        DataError: there are no labels, the two are not of one length, or a label is None.

    Source: Cohen, Educational and Psychological Measurement 20 (1960); Fleiss, Cohen and Everitt, Psychological
    Bulletin 72 (1969).
    """
    check_level(level)
    said, meant, labels = _codes(judge, people)
    groups, count = as_groups(prompts, said.size)
    table = np.zeros((len(labels), len(labels)), dtype=int)
    np.add.at(table, (meant, said), 1)
    names = groups.tolist()
    rate = rate_by_prompt((said == meant).astype(float).tolist(), names, level=level, resamples=resamples, seed=seed)
    shares = table / said.size
    by_chance = float(shares.sum(axis=1) @ shares.sum(axis=0))
    kappa: Estimate | None = None
    if by_chance < 1:
        if count == said.size:
            kappa = _kappa(shares, said.size, level)
        elif count >= FEW_PROMPTS:
            statistic = _weighted_kappa(said, meant, len(labels))
            with suppress(UndefinedError):
                drawn = resample(statistic, said.size, names, resamples=resamples, seed=seed)
                kappa = None if drawn.constant else drawn.interval(level)
        kappa = kappa or _kappa_of_rate(rate, by_chance, count)
    return Agreement(rate, kappa, labels, tuple(tuple(int(cell) for cell in row) for row in table))


class RatersAgreement(NamedTuple):
    """Several people who judged the same items.

    Attributes:
        rate: share of the pairs of verdicts on an item that are equal, averaged over items, with its interval; its n
            is the number of items.
        kappa: Fleiss' kappa: 0 is what chance gives, 1 full agreement; None where all verdicts are the same, for then
            chance explains everything.
        verdicts: how many were compared.
    """

    rate: Rate
    kappa: Estimate | None
    verdicts: int


def measure_raters(
    counts: Sequence[Sequence[int]], *, level: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> RatersAgreement | None:
    """Return the agreement of people who judged the same items, whoever judged which.

    kappa = (p_o - p_e) / (1 - p_e),  p_o the mean over items of sum_j n_j (n_j - 1) / (m (m - 1)),  p_e = sum_j p_j^2

    with n_j of an item's m verdicts for label j, and p_j the label's share of all verdicts. m may differ between items;
    items with one verdict are left out. The interval of kappa is of draws of items. Where that cannot be (fewer than
    ten items, all agree) it is the interval of p_o with p_e taken as it is.

    Args:
        counts: verdicts of each item, by label.
        level: coverage of the intervals.
        resamples: number of draws of items.
        seed: of the draws.

    Returns:
        None where no item has two verdicts.

    Source: Fleiss, Psychological Bulletin 76 (1971).
    """
    check_level(level)
    table = np.array([row for row in counts if sum(row) > 1], dtype=float)
    if not table.size:
        return None
    size = table.sum(axis=1)
    agreed = (table * (table - 1)).sum(axis=1) / (size * (size - 1))
    by_chance = float(np.sum((table.sum(axis=0) / size.sum()) ** 2))
    rate = proportion(float(agreed.sum()), len(table), level)
    kappa: Estimate | None = None
    if by_chance < 1:
        if len(table) >= FEW_PROMPTS:
            with suppress(UndefinedError):
                drawn = resample(_fleiss(table, agreed), len(table), resamples=resamples, seed=seed)
                kappa = None if drawn.constant else drawn.interval(level)
        kappa = kappa or _kappa_of_rate(rate, by_chance, len(table))
    return RatersAgreement(rate, kappa, int(size.sum()))


def _fleiss(table: np.ndarray, agreed: np.ndarray) -> Statistic:
    def kappa(weights: np.ndarray) -> np.ndarray:
        labels = weights @ table
        shares = labels / labels.sum(axis=1, keepdims=True)
        observed, by_chance = weights @ agreed / weights.sum(axis=1), np.sum(shares**2, axis=1)
        return _beyond(observed, by_chance)

    return kappa


def _beyond(observed: np.ndarray, by_chance: np.ndarray) -> np.ndarray:
    """Return kappa; NaN where chance explains everything."""
    room = 1 - by_chance
    return np.divide(observed - by_chance, room, out=np.full(room.shape, np.nan), where=room > 1e-12)


def _codes(judge: Sequence[Hashable], people: Sequence[Hashable]) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    judge, people = list(judge), list(people)
    check_length(len(people), "people", len(judge))
    if not judge:
        raise DataError("there are no labels to compare; expected at least one row judged by both.")
    for name, values in (("judge", judge), ("people", people)):
        if None in values:
            raise DataError(f'{name}[{values.index(None)}] is None; expected a label, "unparsed" where none was read.')
    labels = tuple(sorted({str(label) for label in (*judge, *people)}))
    numbers = {label: i for i, label in enumerate(labels)}
    said, meant = (np.array([numbers[str(label)] for label in values]) for values in (judge, people))
    return said, meant, labels


def _kappa_of_rate(rate: Rate, by_chance: float, prompts: int) -> Estimate:
    value, low, high = ((end - by_chance) / (1 - by_chance) for end in (rate.rate, rate.low, rate.high))
    return Estimate(value, max(low, -1.0), high, rate.n, prompts)


def _kappa(shares: np.ndarray, n: int, level: float) -> Estimate | None:
    """Kappa with the interval of large samples; None where its variance is 0."""
    from scipy.special import ndtri

    rows, columns, agreed = shares.sum(axis=1), shares.sum(axis=0), float(np.trace(shares))
    by_chance = float(rows @ columns)
    kappa = (agreed - by_chance) / (1 - by_chance)
    on = np.sum(np.diag(shares) * (1 - (rows + columns) * (1 - kappa)) ** 2)
    weights = (rows[None, :] + columns[:, None]) ** 2
    off = (1 - kappa) ** 2 * (np.sum(shares * weights) - np.sum(np.diag(shares) * np.diag(weights)))
    variance = float(on + off - (kappa - by_chance * (1 - kappa)) ** 2) / (n * (1 - by_chance) ** 2)
    if agreed in (0.0, 1.0) or variance <= 1e-15:
        return None
    reach = float(ndtri((1 + level) / 2)) * np.sqrt(variance)
    return Estimate(kappa, max(float(kappa - reach), -1.0), min(float(kappa + reach), 1.0), n, n)


def _weighted_kappa(said: np.ndarray, meant: np.ndarray, labels: int) -> Statistic:
    of_judge, of_people = (np.eye(labels)[codes] for codes in (said, meant))
    agreed = (said == meant).astype(float)

    def kappa(weights: np.ndarray) -> np.ndarray:
        total = weights.sum(axis=1)
        observed = weights @ agreed / total
        by_chance = np.sum((weights @ of_judge) * (weights @ of_people), axis=1) / total**2
        return _beyond(observed, by_chance)

    return kappa
