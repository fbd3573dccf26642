"""One piece of a file -> what is kept of it. This runs in worker processes, millions of times: it is kept plain.

A row is read by the same parser as in training, so what can be read here can be trained on, and the other way round.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prospect.errors import DataError
from prospect.feedback.doctor.checks.columns import Columns, Part, Settings
from prospect.feedback.doctor.checks.reading import Piece, Problem, rows_of
from prospect.feedback.files.labels import LabelReader
from prospect.feedback.files.layouts import Layout
from prospect.feedback.files.rows import Ignored, RowParser
from prospect.feedback.findings import EXAMPLES
from prospect.feedback.records import Kind

_REASONS = 40  # different reasons in one piece; a file of unlabelled numbers has a new one in every row
OTHER_REASONS = "other reasons"


@dataclass(kw_only=True)
class BadRows:
    """Rows that cannot be read for one reason.

    Attributes:
        count: how many.
        rows: (file, line) of the first few; lines of a piece are counted from its first.
        message: what is wrong with the first, as `load_feedback` says it.
    """

    count: int = 0
    rows: list[tuple[int, int]] = field(default_factory=list)
    message: str = ""


@dataclass(kw_only=True)
class Measured:
    """What one piece amounts to.

    Attributes:
        file: the number of its file.
        lines: how many lines it has; 0 where rows bring their own numbers.
        parts: kind -> its rows.
        bad: reason -> the rows.
        negatives: how often an undesirable label was 0 and how often -1.
        ignored: see `RowParser.ignored`.
    """

    file: int
    lines: int
    parts: dict[Kind, Part]
    bad: dict[str, BadRows]
    negatives: Counter[str]
    ignored: Counter[Ignored]


def measure(piece: Piece, settings: Settings) -> Measured:
    """Return what is kept of a piece; a row that cannot be read is counted by its reason, and the rest goes on."""
    place = Path(piece.path)
    parser = _RowParser(settings.label_map, place if place.exists() else piece.path)
    kinds: dict[Kind, Columns] = {}
    bad: dict[str, BadRows] = {}
    lines = 0
    for number, row in rows_of(piece):
        if isinstance(row, Problem):
            _count_one(bad, piece.file, number, row.message)
            continue
        if row is None:
            lines = number
            continue
        try:
            record = parser.parse(row, "", "")
        except DataError as error:
            _count_one(bad, piece.file, number, str(error).removeprefix(": "))
            continue
        except Exception as error:  # a cell so odd that the parser itself fails: the row is lost, the file is not
            _count_one(bad, piece.file, number, f"cannot be read ({type(error).__name__}). Mend or remove the row")
            continue
        if record.kind not in kinds:
            kinds[record.kind] = Columns(piece.file, settings)
        try:
            kinds[record.kind].add(record, number, implicit=row.get("prompt") is None)
        except DataError as error:
            _count_one(bad, piece.file, number, str(error).removeprefix(": "))
    return Measured(
        file=piece.file,
        lines=lines,
        parts={kind: columns.part() for kind, columns in kinds.items() if len(columns)},
        bad=bad,
        negatives=parser.negatives(),
        ignored=parser.ignored,
    )


class _Labels(LabelReader):
    """Counts 0 and -1 instead of refusing both in one file: which came first depends on where the file was cut."""

    def __init__(self, label_map: Mapping[Any, bool] | None):
        super().__init__(label_map)
        self.negatives: Counter[str] = Counter()

    def _check_polarity(self, key: str, where: str) -> None:
        self.negatives[key] += 1


class _RowParser(RowParser):
    """Takes rows of every kind: which kind is the file's is decided when all its pieces are together."""

    def __init__(self, label_map: Mapping[Any, bool] | None, place: Path | str):
        super().__init__(label_map, place=place)
        self._labels: _Labels = _Labels(label_map)

    def _check_kind(self, layout: Layout, where: str) -> None:
        pass

    def negatives(self) -> Counter[str]:
        return self._labels.negatives


# -- rows that cannot be read --


def _count_one(bad: dict[str, BadRows], file: int, line: int, message: str) -> None:
    message = message.encode(errors="replace").decode()  # what was found there may hold half characters
    count_bad(bad, reason_of(message), BadRows(count=1, rows=[(file, line)], message=message), _REASONS)


def count_bad(bad: dict[str, BadRows], reason: str, found: BadRows, most: int) -> None:
    """Add rows to those of their reason; there are at most `most` reasons and the other ones."""
    if reason not in bad and len(bad) >= most:
        reason = OTHER_REASONS
    entry = bad.setdefault(reason, BadRows(message=found.message))
    entry.count += found.count
    entry.rows += found.rows[: EXAMPLES - len(entry.rows)]


def reason_of(message: str) -> str:
    """Return the part of a message that is the same for all rows with this fault: without places and values.

    A label keeps its value: `label is "good"` is one fault and `label is "bad"` another.
    """
    reason = message.split("; ")[0].split(". ")[0]
    if not reason.startswith("label is"):
        reason = re.sub(r"\s\(.*\)", "", reason)
        reason = re.sub(r"\d+", "N", reason)
    return reason[:160]
