"""Which rows are taken, and why the others are not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from prospect.feedback.frozen.tombstones import Graveyard
from prospect.feedback.records import Feedback
from prospect.feedback.times import write_time


@dataclass(frozen=True, kw_only=True)
class Filters:
    """Which rows a frozen dataset takes; what it leaves out is counted by reason.

    Attributes:
        since: verdicts given then or later.
        until: verdicts given before. With either of the two a row without a time is left out.
        sources: rows whose `source` is one of these; none named, all are taken.
        relative: whether verdicts that only compare with a sibling are taken.
        purged: rows that were removed somewhere, or whose rater was; they are left out.
    """

    since: datetime | None = None
    until: datetime | None = None
    sources: tuple[str, ...] = ()
    relative: bool = True
    purged: Graveyard | None = None

    def refusal(self, row: Feedback) -> str | None:
        """Return why a row is left out; None where it is taken."""
        if self.since or self.until:
            if row.time is None:
                return "no time"
            if self.since and row.time < self.since:
                return "too early"
            if self.until and row.time >= self.until:
                return "too late"
        if self.sources and row.source not in self.sources:
            return "other source"
        if row.relative and not self.relative:
            return "relative verdict"
        return "purged" if self.purged and self.purged.covers(row) else None

    def as_dict(self) -> dict[str, Any]:
        """Return the filters that are set, as the manifest names them."""
        named: dict[str, Any] = {}
        if self.since:
            named["since"] = write_time(self.since)
        if self.until:
            named["until"] = write_time(self.until)
        if self.sources:
            named["sources"] = list(self.sources)
        if not self.relative:
            named["relative"] = False
        if self.purged:
            named["purged"] = "left out"
        return named


def counted(reasons: Mapping[str, int]) -> str:
    """Return `3 no time, 1 too late`."""
    return ", ".join(f"{count} {reason}" for reason, count in reasons.items()) or "none"
