"""What every check gets to see, and how it says what it found."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from prospect.feedback.doctor.checks.gather import Gathered
from prospect.feedback.doctor.checks.tokens import Tokens
from prospect.feedback.doctor.checks.votes import Votes
from prospect.feedback.findings import Finding, Severity


@dataclass(frozen=True, kw_only=True)
class Case:
    """One inspection.

    Attributes:
        data: what the files hold.
        held_out: what the files for evaluation hold, if there are any.
        votes: the verdicts by what they judge; None where nothing is judged one by one.
        tokens: lengths in tokens of a sample, if a model was named.
        max_length: prompt and completion together, in tokens; what is longer would be cut.
    """

    data: Gathered
    held_out: Gathered | None
    votes: Votes | None
    tokens: Tokens | None
    max_length: int

    def finding(
        self, code: str, severity: Severity, rows: Any, message: str, advice: str, count: int | None = None
    ) -> Finding:
        """Return a finding on some rows; `count` is their number unless something else is counted."""
        number = len(rows) if count is None else count
        return Finding(
            code=code, severity=severity, count=number, rows=self.data.ids(rows), message=message, advice=advice
        )

    def of_sample(self) -> str:
        """How a message ends that is about the sample alone; nothing where the sample is everything."""
        if self.data.sampled >= 1:
            return ""
        return f" (in a sample of {self.data.looked_at:,} of {len(self.data):,} rows)"


Check = Callable[[Case], Iterable[Finding]]


def several(count: int, one: str, many: str | None = None) -> str:
    """Return `1 row`, `2,000 rows`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


_ONE = {"have": "has", "are": "is", "were": "was", "do": "does", "carry": "carries"}


def that(count: int, noun: str, verb: str, share: float | None = None) -> str:
    """Return `1 row holds`, `2,000 rows hold`, `2,000 rows (3 %) hold`."""
    of_all = "" if share is None else f" ({percent(share)})"
    return f"{several(count, noun)}{of_all} {_ONE.get(verb, verb + 's') if count == 1 else verb}"


def percent(share: float) -> str:
    """Return a share as a percentage, whole except near the ends: 44 %, 0.4 %, 99.6 %."""
    near_an_end = 0 < share < 0.01 or 0.99 < share < 1
    return f"{100 * share:.{1 if near_an_end else 0}f} %"
