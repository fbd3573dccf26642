"""All files -> one table and what could not be read, piece by piece, in this process or in several."""

from __future__ import annotations

import multiprocessing
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from itertools import chain, count, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prospect import progress
from prospect.errors import DataError
from prospect.feedback.doctor.checks.columns import Settings, row_of_key
from prospect.feedback.doctor.checks.measure import OTHER_REASONS, Measured, measure, reason_of
from prospect.feedback.doctor.checks.reading import Piece, estimate_rows, pieces
from prospect.feedback.doctor.checks.table import Table, join_tables
from prospect.feedback.files.rows import Ignored
from prospect.feedback.files.sources import Source, find_places
from prospect.feedback.findings import EXAMPLES
from prospect.feedback.records import Feedback, Kind

if TYPE_CHECKING:
    from prospect.feedback.texts.near_duplicates import NearDuplicates

SAMPLE = 200_000  # rows compared for near duplicates and searched for personal data: ten seconds of work
TOKEN_SAMPLE = 10_000  # rows whose tokens are counted: a share is then known to within a percent
_WORTH_A_PROCESS = 32 << 20  # bytes; below this a second process takes longer to start than it saves
_MOST_REASONS = 100


@dataclass(kw_only=True)
class BadRows:
    """Rows that cannot be read for one reason, of all files.

    Attributes:
        count: how many.
        rows: (file, line) of the first few.
        message: what is wrong with the first, as `load_feedback` says it.
    """

    count: int = 0
    rows: list[tuple[int, int]] = field(default_factory=list)
    message: str = ""


@dataclass(kw_only=True)
class Gathered:
    """What is known of some files before anything is checked.

    Attributes:
        files: their names, short where that is clear; `table.file` is an index of it.
        file_kinds: the kind of each; None where nothing could be read.
        broken: file -> why nothing of it can be read.
        kind: the kind of most rows, which `table` has.
        table: the rows.
        other_kinds: kind -> rows of files of another kind, which are in no table.
        bad: reason -> rows that cannot be read.
        unreadable: per file, how many rows cannot be read.
        negatives: per file, how often an undesirable label was 0 and how often -1.
        near: the completions of sampled rows; `row` says which row a key means.
        near_prompts: prompts of sampled rows, where other files are to be compared with these.
        starts: piece -> the rows of the table before it.
        samples: sampled (row, record), for tokens.
        looked_at: how many rows are in the sample.
        sampled: the share of prompts in it.
        ignored: (kind, column, what it looks like) -> rows, for columns that look like a verdict and are not read.
    """

    files: list[str]
    file_kinds: list[Kind | None]
    broken: dict[str, str]
    kind: Kind
    table: Table
    other_kinds: Counter[Kind]
    bad: dict[str, BadRows]
    unreadable: list[int]
    negatives: list[Counter[str]]
    near: NearDuplicates
    near_prompts: NearDuplicates
    starts: dict[int, int]
    samples: list[tuple[int, Feedback]]
    looked_at: int
    sampled: float
    ignored: Counter[Ignored]

    def bad_by_count(self) -> list[tuple[str, BadRows]]:
        """Reason and rows that cannot be read, the most frequent first, those for all other reasons last."""
        return sorted(
            self.bad.items(), key=lambda entry: (entry[0] == OTHER_REASONS, -entry[1].count, entry[1].rows[:1])
        )

    def ids(self, rows: Any) -> tuple[str, ...]:
        """Return the ids of a few rows, as examples."""
        return tuple(self.table.row_id(int(row), self.files) for row in rows[:EXAMPLES])

    def row(self, key: int) -> int:
        """Return the row that a key of `near` means."""
        return row_of_key(key, self.starts)


def gather(
    source: Source,
    *,
    label_map: Mapping[Any, bool] | None = None,
    compare_prompts: bool = False,
    with_tokens: bool = False,
    processes: int = 1,
    first_piece: int = 0,
) -> Gathered:
    """Return what the files hold.

    Args:
        source: as in `load_feedback`.
        label_map: label -> desirable.
        compare_prompts: whether the prompts will be compared with those of other files.
        with_tokens: whether records are sampled, so that their tokens can be counted.
        processes: how many processes read; used where the files are large.
        first_piece: number of the first piece; keys of two results differ if their numbers do.

    Refuses sources that name no file, and files of which not one row can be read.
    """
    places = find_places(source)
    rows = sum(map(estimate_rows, places))
    settings = Settings(
        label_map=dict(label_map) if label_map else None,
        sampled=min(1.0, SAMPLE / rows),
        prompts=min(1.0, SAMPLE / rows) if compare_prompts else 0.0,
        with_tokens=min(1.0, TOKEN_SAMPLE / rows) if with_tokens else 0.0,
    )
    size = sum(place.stat().st_size for place in places if isinstance(place, Path))
    broken: dict[int, str] = {}
    numbers = count(first_piece)
    work = chain.from_iterable(_pieces_or_reason(numbers, file, place, broken) for file, place in enumerate(places))
    results = _measure_all(work, settings, processes if size > _WORTH_A_PROCESS else 1)
    merge = _Merge(len(places))
    for result in results:
        merge.add(result)
        done = sum(merge.lines)
        progress.count(done, max(rows, done), "rows (of a number that is estimated)")
    done = sum(merge.lines)
    progress.count(done, done, "rows read")  # what follows has no count of its own
    names = _names(places)
    return merge.finish(names, {names[number]: reason for number, reason in broken.items()}, settings.sampled)


def _pieces_or_reason(numbers: Iterator[int], file: int, place: Path | str, broken: dict[int, str]) -> Iterator[Piece]:
    try:
        yield from pieces(numbers, file, place)
    except DataError as error:
        broken[file] = str(error).removeprefix(f"{place}: ")


def _measure_all(work: Iterator[Piece], settings: Settings, processes: int) -> Iterator[Measured]:
    """Yield the results in the order of the pieces; no more pieces are on their way than keeps all processes busy."""
    if processes <= 1:
        yield from map(measure, work, repeat(settings))
        return
    # Spawned, not forked: the caller may have threads.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        waiting: deque[Future[Measured]] = deque()
        try:
            for piece in work:
                waiting.append(pool.submit(measure, piece, settings))
                if len(waiting) > 2 * processes:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as error:
            raise DataError(
                "a process that was reading the files ended, most likely for want of memory. Inspect fewer or smaller "
                "files at a time"
            ) from error
        finally:
            for future in waiting:
                future.cancel()


def _names(places: Sequence[Path | str]) -> list[str]:
    short = [place.name if isinstance(place, Path) else place for place in places]
    return [str(place) if short.count(name) > 1 else name for place, name in zip(places, short, strict=True)]


@dataclass
class _Merge:
    """Puts measured pieces together: line numbers become those of the file, and a file gets one kind."""

    files: int
    tables: dict[Kind, list[Table]] = field(default_factory=dict)
    near: dict[Kind, NearDuplicates] = field(default_factory=dict)
    near_prompts: dict[Kind, NearDuplicates] = field(default_factory=dict)
    starts: dict[int, dict[Kind, int]] = field(default_factory=dict)
    samples: dict[Kind, list[tuple[int, Feedback]]] = field(default_factory=dict)
    rows: Counter[Kind] = field(default_factory=Counter)
    looked_at: Counter[Kind] = field(default_factory=Counter)
    bad: dict[str, BadRows] = field(default_factory=dict)
    ignored: Counter[Ignored] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.lines = [0] * self.files
        self.unreadable = [0] * self.files
        self.kinds: list[Kind | None] = [None] * self.files
        self.negatives: list[Counter[str]] = [Counter() for _ in range(self.files)]

    def add(self, piece: Measured) -> None:
        file, before = piece.file, self.lines[piece.file]
        self.lines[file] += piece.lines
        self.negatives[file] += piece.negatives
        self.ignored += piece.ignored
        for reason, bad in piece.bad.items():
            self._add_bad(file, reason, bad.count, [before + line for line in bad.rows], bad.message)
        if self.kinds[file] is None and piece.tables:
            self.kinds[file] = min(piece.tables, key=lambda kind: int(piece.tables[kind].line[0]))
        for kind, table in piece.tables.items():
            table.line += before
            if kind == self.kinds[file]:
                self._add_table(kind, table, piece)
            else:
                message = (
                    f"the row is {kind}, but the file begins with {self.kinds[file]} rows; expected one kind in one "
                    "file. "
                    "Split the file by kind, or complete the columns of the odd rows"
                )
                self._add_bad(file, reason_of(message), len(table), table.line[:EXAMPLES].tolist(), message)

    def _add_table(self, kind: Kind, table: Table, piece: Measured) -> None:
        from prospect.feedback.texts.near_duplicates import NearDuplicates

        start = self.rows[kind]
        self.tables.setdefault(kind, []).append(table)
        self.near.setdefault(kind, NearDuplicates()).merge(piece.near[kind])
        self.near_prompts.setdefault(kind, NearDuplicates()).merge(piece.near_prompts[kind])
        self.starts.setdefault(piece.number, {})[kind] = start
        self.samples.setdefault(kind, []).extend((start + row, record) for row, record in piece.samples[kind])
        self.rows[kind] += len(table)
        self.looked_at[kind] += piece.looked_at[kind]

    def _add_bad(self, file: int, reason: str, count: int, lines: list[int], message: str) -> None:
        self.unreadable[file] += count
        if reason not in self.bad and len(self.bad) >= _MOST_REASONS:
            reason = OTHER_REASONS
        entry = self.bad.setdefault(reason, BadRows(message=message))
        entry.count += count
        entry.rows += [(file, line) for line in lines[: EXAMPLES - len(entry.rows)]]

    def finish(self, names: list[str], broken: dict[str, str], sampled: float) -> Gathered:
        for file, name in enumerate(names):
            if self.kinds[file] is None and not self.unreadable[file]:
                broken.setdefault(
                    name, "there are no rows; expected at least one row of feedback. Check how it was written"
                )
        if not self.rows:
            raise DataError(_nothing_readable(names, broken, self.bad))
        ((kind, _),) = self.rows.most_common(1)
        others = Counter({other: count for other, count in self.rows.items() if other != kind})
        return Gathered(
            files=names,
            file_kinds=self.kinds,
            broken=broken,
            kind=kind,
            table=join_tables(self.tables[kind]),
            other_kinds=others,
            bad=self.bad,
            unreadable=self.unreadable,
            negatives=self.negatives,
            near=self.near[kind],
            near_prompts=self.near_prompts[kind],
            starts={piece: starts[kind] for piece, starts in self.starts.items() if kind in starts},
            samples=self.samples[kind],
            looked_at=self.looked_at[kind],
            sampled=sampled,
            ignored=self.ignored,
        )


def _nothing_readable(names: list[str], broken: dict[str, str], bad: dict[str, BadRows]) -> str:
    if not bad:
        name, reason = next(iter(broken.items()))
        return f"{name}: {reason}"
    worst = max(bad.values(), key=lambda entry: entry.count)
    rows = sum(entry.count for entry in bad.values())
    file, line = worst.rows[0]
    first = f"{names[file]}:{line}: {worst.message}"
    if rows == 1:
        return first
    share = "all" if worst.count == rows else f"{worst.count:,} of them"
    return f"not one of {rows:,} rows can be read, {share} for this reason: {first}"
