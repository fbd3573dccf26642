"""What became of the rows of an export: a table that adds up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from prospect.feedback.records import Kind


@dataclass(frozen=True, kw_only=True)
class ImportReport:
    """The account of one import: rows_in = kept + the sum of dropped.

    Attributes:
        format: the importer's name.
        title: the tool's name.
        why: how the format was found.
        files: what was read.
        output: what was written; None in a dry run, and where nothing was kept.
        kind: unpaired (votes), paired (preferences) or scored (rankings); None where nothing was kept.
        rows_in: verdicts that the export holds, usable or not.
        kept: how many of them were written, or would be.
        desirable: how many of those kept are desirable; of pairs none is.
        undesirable: how many are undesirable.
        dropped: reason -> how many, the most frequent first.
        examples: reason -> the first row dropped for it, as `file:line`.
        corrections: desirable rows added from the raters' own answers.
        unusable_corrections: such answers that are no text.
        unusable_weights: weights of rows written that are no number of at least 0; those rows weigh 1.
        relative: how many of those kept compare with a sibling.
        raters: how many raters those kept have.
        redacted: kind of personal data -> how many were replaced in the rows written.
    """

    format: str
    title: str
    why: str
    files: tuple[str, ...]
    output: str | None
    kind: Kind | None
    rows_in: int
    kept: int
    desirable: int
    undesirable: int
    dropped: Mapping[str, int]
    examples: Mapping[str, str] = field(default_factory=dict)
    corrections: int = 0
    unusable_corrections: int = 0
    unusable_weights: int = 0
    relative: int = 0
    raters: int = 0
    redacted: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse an account that does not add up."""
        assert self.rows_in == self.kept + sum(self.dropped.values()), (self.rows_in, self.kept, self.dropped)

    @property
    def rows_out(self) -> int:
        """Rows of the output: those kept and the corrections."""
        return self.kept + self.corrections

    def as_json(self) -> dict[str, Any]:
        """Return the account as a JSON object."""
        return {**asdict(self), "files": list(self.files), "rows_out": self.rows_out}

    def table(self) -> str:
        """Return the account as lines of text, the numbers in one column."""
        lines = [("rows in", self.rows_in, "")]
        lines += [(f"- {reason}", count, self._first(reason)) for reason, count in self.dropped.items()]
        lines.append(("kept", self.kept, self._of_kept()))
        if self.corrections:
            lines.append(("+ corrections", self.corrections, "desirable"))
            lines.append(("rows out", self.rows_out, ""))
        width = max(len(name) for name, _, _ in lines)
        digits = len(f"{self.rows_in + self.corrections:,}")
        text = [f"{name:<{width}}  {count:>{digits},}  {note}".rstrip() for name, count, note in lines]
        if self.unusable_weights:
            text.append(f"{self.unusable_weights:,} weights are no number of at least 0; those rows weigh 1")
        if self.unusable_corrections:
            text.append(f"not added: {self.unusable_corrections:,} corrections that are no text")
        if self.redacted:
            text.append("redacted: " + ", ".join(f"{count:,} {kind}" for kind, count in self.redacted.items()))
        return "\n".join(text)

    def _first(self, reason: str) -> str:
        return f"first: {self.examples[reason]}" if reason in self.examples else ""

    def _of_kept(self) -> str:
        if self.kind != "unpaired":
            return "" if not self.kept else "pairs" if self.kind == "paired" else "scored"
        relative = f", {self.relative:,} of them relative" if self.relative else ""
        raters = f", {self.raters:,} rater{'s' * (self.raters > 1)}" if self.raters else ""
        return f"{self.desirable:,} desirable, {self.undesirable:,} undesirable{relative}{raters}"


def by_frequency(counts: Mapping[str, int] | Iterable[str]) -> dict[str, int]:
    """Return name -> count, the most frequent first, and of equal ones the first in the alphabet."""
    return dict(sorted(Counter(counts).items(), key=lambda item: (-item[1], item[0])))


def file_names(paths: Iterable[Path]) -> tuple[str, ...]:
    """Return the paths as text."""
    return tuple(str(path) for path in paths)
