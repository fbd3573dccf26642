"""The balance of the two classes: how many rows of each, and the weights that make up for it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from prospect.errors import DataError
from prospect.feedback.convert.verdicts import unpaired_of
from prospect.feedback.records import Feedback


class ClassCounts(NamedTuple):
    """How many completions were judged desirable and how many undesirable; a pair is one of each."""

    desirable: int
    undesirable: int


class ClassWeights(NamedTuple):
    """lambda_D and lambda_U of KTO."""

    desirable: float
    undesirable: float


def class_counts(rows: Iterable[Feedback]) -> ClassCounts:
    """Return the number of desirable and undesirable completions; refuse demonstrations and scored rows."""
    verdicts = [verdict.desirable for row in rows for verdict in unpaired_of(row)]
    return ClassCounts(desirable=sum(verdicts), undesirable=len(verdicts) - sum(verdicts))


def suggest_class_weights(n_desirable: int, n_undesirable: int) -> ClassWeights:
    """Return class weights under which desirable rows have a little more say, whatever their number.

    lambda_D n_D / (lambda_U n_U) in [1, 4/3]

    Both weights are 1 where n_D / n_U is in that interval. Else one stays 1 and the other is raised until the
    quotient is 7/6, the centre.

    Refuses an empty class.

    Source: KTO, arXiv 2402.01306v1, section 4.2. In later versions the upper end is 3/2. To aim at the centre
    of the interval is ours.
    """
    if n_desirable < 1 or n_undesirable < 1:
        raise DataError(_one_class(n_desirable, n_undesirable))
    quotient = n_desirable / n_undesirable
    if quotient < 1:
        return ClassWeights(desirable=7 / 6 / quotient, undesirable=1.0)
    if 3 * n_desirable > 4 * n_undesirable:  # in whole numbers, so that 4:3 is inside
        return ClassWeights(desirable=1.0, undesirable=quotient / (7 / 6))
    return ClassWeights(1.0, 1.0)


def _one_class(n_desirable: int, n_undesirable: int) -> str:
    found = f"found {n_desirable} desirable and {n_undesirable} undesirable rows; class weights need both"
    if n_desirable > 0:
        return f"{found}. Train on the desirable ones with loss sft, or collect undesirable ones"
    return f"{found}. Check the labels (data.label_map), or collect desirable ones"
