"""The checks of the data doctor: each takes a `Case` and yields findings."""

from prospect.feedback.doctor.checks import (
    balance,
    duplicates,
    leaks,
    lengths,
    position,
    raters,
    readable,
    texts,
    verdicts,
)
from prospect.feedback.doctor.checks.case import Check

CHECKS: tuple[Check, ...] = (
    *readable.CHECKS,
    *balance.CHECKS,
    *lengths.CHECKS,
    *duplicates.CHECKS,
    *verdicts.CHECKS,
    *raters.CHECKS,
    *position.CHECKS,
    *leaks.CHECKS,
    *texts.CHECKS,
)
"""All of them, in the order in which findings of the same severity are told."""
