"""Which of the collected votes become rows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

MAIN = "main"
"""The tenant of a store that has only one."""

USUAL_REVIEWERS = 2
"""Verdicts of reviewers that an answer gets; with fewer there is no agreement to look at."""


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Whose votes, of what time, and how many of one rater and on one text.

    Attributes:
        tenant: whose turns.
        since: votes of then or later.
        until: votes before then.
        share: the largest share of the votes that one rater may have; 1 is no limit.
        quarantine: whether raters who only vote one way, or in bursts, are left out.
        duplicates: how many votes on nearly the same texts count; 0 is no limit.
        new_raters: how many votes a rater needs for them to weigh anything.
    """

    tenant: str = MAIN
    since: datetime | None = None
    until: datetime | None = None
    share: float = 0.1
    quarantine: bool = True
    duplicates: int = 20  # from a thousand votes on, one text has less than the 2 % that suffice to be learnt
    new_raters: int = 0

    def where(self, table: str) -> tuple[str, dict[str, Any]]:
        """Return the condition on a table of votes or events, as SQL with its values."""
        parts = [f"{table}.tenant = :tenant"]
        values: dict[str, Any] = {"tenant": self.tenant}
        for name, sign, time in (("since", ">=", self.since), ("until", "<", self.until)):
            if time is not None:
                parts.append(f"{table}.at {sign} :{name}")
                values[name] = round(time.timestamp() * 1000)
        return " AND ".join(parts), values
