"""One piece of a file -> what is kept of it. This runs in worker processes, millions of times: it is kept plain.

A row is read by the same parser as in training, so what can be read here can be trained on, and the other way round.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from prospect.errors import DataError
from prospect.feedback.doctor.checks.columns import Columns, Settings
from prospect.feedback.doctor.checks.reading import Piece, Problem, rows_of
from prospect.feedback.files.labels import LabelReader
from prospect.feedback.files.layouts import Layout
from prospect.feedback.files.rows import Ignored, RowParser
from prospect.feedback.findings import EXAMPLES
from prospect.feedback.records import Feedback, Kind
from prospect.feedback.texts.near_duplicates import NearDuplicates

_REASONS = 40  # different reasons in one piece; a file of unlabelled numbers has a new one in every row
OTHER_REASONS = "other reasons"


@dataclass(kw_only=True)
class Bad:
    """Rows of one piece that cannot be read for one reason; `rows` are the numbers of the first few."""

    count: int = 0
    rows: list[int] = field(default_factory=list)
    message: str = ""


@dataclass(kw_only=True)
class Part:
    """The rows of one kind in a piece.

    Attributes:
        rows: a frame of `Row`, lines counted from the piece's first.
        completions: a frame of `Completion`.
        near: the completions of sampled rows, by the number of their row.
        near_prompts: the prompts of sampled rows, likewise.
        samples: sampled records with their row, where tokens are to be counted.
    """

    rows: pl.DataFrame
    completions: pl.DataFrame
    near: NearDuplicates
    near_prompts: NearDuplicates
    samples: list[tuple[int, Feedback]]


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
    bad: dict[str, Bad]
    negatives: Counter[str]
    ignored: Counter[Ignored]


def measure(piece: Piece, settings: Settings) -> Measured:
    """Return what is kept of a piece; a row that cannot be read is counted by its reason, and the rest goes on."""
    parser = _RowParser(settings.label_map)
    kinds: dict[Kind, Columns] = {}
    bad: dict[str, Bad] = {}
    lines = 0
    for number, row in rows_of(piece):
        if isinstance(row, Problem):
            _count_bad(bad, number, row.message)
            continue
        if row is None:
            lines = number
            continue
        try:
            record = parser.parse(row, "", "")
        except DataError as error:
            _count_bad(bad, number, str(error).removeprefix(": "))
            continue
        except Exception as error:  # a cell so odd that the parser itself fails: the row is lost, the file is not
            _count_bad(bad, number, f"cannot be read ({type(error).__name__}). Mend or remove the row")
            continue
        if record.kind not in kinds:
            kinds[record.kind] = Columns(piece.file, settings)
        kinds[record.kind].add(record, number, implicit=row.get("prompt") is None)
    return Measured(
        file=piece.file,
        lines=lines,
        parts={kind: _part(columns) for kind, columns in kinds.items()},
        bad=bad,
        negatives=parser.negatives(),
        ignored=parser.ignored,
    )


def _part(columns: Columns) -> Part:
    rows, completions = columns.frames()
    return Part(
        rows=rows,
        completions=completions,
        near=columns.near,
        near_prompts=columns.near_prompts,
        samples=columns.samples,
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

    def __init__(self, label_map: Mapping[Any, bool] | None):
        super().__init__(label_map)
        self._labels: _Labels = _Labels(label_map)

    def _check_kind(self, layout: Layout, where: str) -> None:
        pass

    def negatives(self) -> Counter[str]:
        return self._labels.negatives


# -- rows that cannot be read --


def _count_bad(bad: dict[str, Bad], line: int, message: str) -> None:
    message = message.encode(errors="replace").decode()  # what was found there may hold half characters
    reason = reason_of(message)
    if reason not in bad and len(bad) >= _REASONS:
        reason = OTHER_REASONS
    entry = bad.setdefault(reason, Bad(message=message))
    entry.count += 1
    if len(entry.rows) < EXAMPLES:
        entry.rows.append(line)


def reason_of(message: str) -> str:
    """Return the part of a message that is the same for all rows with this fault: without places and values.

    A label keeps its value: `label is "good"` is one fault and `label is "bad"` another.
    """
    reason = message.split("; ")[0].split(". ")[0]
    if not reason.startswith("label is"):
        reason = re.sub(r"\s\(.*\)", "", reason)
        reason = re.sub(r"\d+", "N", reason)
    return reason[:160]
