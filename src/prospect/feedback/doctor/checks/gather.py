"""All files -> two frames and what could not be read, piece by piece, in this process or in several."""

from __future__ import annotations

import multiprocessing
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import polars as pl

from prospect import progress
from prospect.errors import DataError
from prospect.feedback.doctor.checks.columns import Part, Settings, keep_thumbnails, other_medium
from prospect.feedback.doctor.checks.measure import OTHER_REASONS, BadRows, Measured, count_bad, measure, reason_of
from prospect.feedback.doctor.checks.reading import Piece, estimate_rows, pieces
from prospect.feedback.files.rows import Ignored
from prospect.feedback.files.sources import Source, find_places
from prospect.feedback.findings import EXAMPLES
from prospect.feedback.images.looks import Look
from prospect.feedback.records import Feedback, Kind
from prospect.feedback.texts.near_duplicates import NearDuplicates

SAMPLE = 200_000  # rows compared for near duplicates and searched for personal data: ten seconds of work
TOKEN_SAMPLE = 10_000  # rows whose tokens are counted: a share is then known to within a percent
_WORTH_A_PROCESS = 32 << 20  # bytes; below this a second process takes longer to start than it saves
_MOST_REASONS = 100


@dataclass(kw_only=True)
class Gathered:
    """What is known of some files before anything is checked.

    Attributes:
        files: their names, short where that is clear; the column `file` is an index of it.
        file_kinds: the kind of each; None where nothing could be read.
        broken: file -> why nothing of it can be read.
        kind: the kind of most rows, which those of `rows` have.
        rows: a frame of `Row`, with their number in the column `row`.
        completions: a frame of `Completion`; of thumbs and demonstrations each row has one.
        other_kinds: kind -> rows of files of another kind, which are left out.
        bad: reason -> rows that cannot be read.
        unreadable: per file, how many rows cannot be read.
        negatives: per file, how often an undesirable label was 0 and how often -1.
        near: the completions of sampled rows, by the number of the row.
        near_prompts: prompts of sampled rows, where other files are to be compared with these.
        samples: sampled (row, record), for tokens.
        sampled: the share of prompts in the sample.
        looks: what is known of the images, where completions are images.
        ignored: (kind, column, what it looks like) -> rows, for columns that look like a verdict and are not read.
    """

    files: list[str]
    file_kinds: list[Kind | None]
    broken: dict[str, str]
    kind: Kind
    rows: pl.DataFrame
    completions: pl.DataFrame
    other_kinds: Counter[Kind]
    bad: dict[str, BadRows]
    unreadable: list[int]
    negatives: list[Counter[str]]
    near: NearDuplicates
    near_prompts: NearDuplicates
    samples: list[tuple[int, Feedback]]
    sampled: float
    looks: list[Look]
    ignored: Counter[Ignored]

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def looked_at(self) -> int:
        """How many rows are in the sample."""
        return int(self.rows["sampled"].sum())

    @cached_property
    def traits(self) -> dict[str, pl.Series]:
        """Trait -> the rows that have it, ascending."""
        each = self.rows.select("traits", "row").drop_nulls().explode("traits").sort("traits", maintain_order=True)
        return {str(trait): rows["row"] for (trait,), rows in each.group_by("traits", maintain_order=True)}

    def marked(self, trait: str) -> pl.Series:
        """Return the rows that have a trait, ascending."""
        return self.traits.get(trait, self.rows["row"].head(0))

    def frequencies(self, column: str, most: int | None = None) -> dict[Any, int]:
        """Return the values of a column -> rows, the most frequent first, and of equal ones the first seen."""
        counts = self.rows.select(column).drop_nulls().group_by(column, maintain_order=True).len()
        return dict(counts.sort("len", descending=True, maintain_order=True).head(most or len(counts)).iter_rows())

    def bad_by_count(self) -> list[tuple[str, BadRows]]:
        """Reason and rows that cannot be read, the most frequent first, those for all other reasons last."""
        return sorted(
            self.bad.items(), key=lambda entry: (entry[0] == OTHER_REASONS, -entry[1].count, entry[1].rows[:1])
        )

    def ids(self, rows: Sequence[int] | pl.Series) -> tuple[str, ...]:
        """Return what a few rows are looked up by, as examples: their own ids, else `file:line`."""
        shown = self.rows[[int(row) for row in rows[:EXAMPLES]]].select("id", "file", "line").iter_rows()
        return tuple(own or f"{self.files[file]}:{line}" for own, file, line in shown)


def gather(
    source: Source,
    *,
    label_map: Mapping[Any, bool] | None = None,
    compare_prompts: bool = False,
    with_tokens: bool = False,
    processes: int = 1,
) -> Gathered:
    """Return what the files hold.

    Args:
        source: as in `load_feedback`.
        label_map: label -> desirable.
        compare_prompts: whether the prompts will be compared with those of other files.
        with_tokens: whether records are sampled, so that their tokens can be counted.
        processes: how many processes read; used where the files are large.

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
    work = chain.from_iterable(_pieces_or_reason(file, place, broken) for file, place in enumerate(places))
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


def _pieces_or_reason(file: int, place: Path | str, broken: dict[int, str]) -> Iterator[Piece]:
    try:
        yield from pieces(file, place)
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
    parts: dict[Kind, list[Part]] = field(default_factory=dict)
    bad: dict[str, BadRows] = field(default_factory=dict)
    ignored: Counter[Ignored] = field(default_factory=Counter)
    of_images: bool | None = None

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
            bad.rows = [(file, before + line) for _, line in bad.rows]
            self._add_bad(file, reason, bad)
        if self.kinds[file] is None and piece.parts:
            self.kinds[file] = min(piece.parts, key=lambda kind: piece.parts[kind].rows["line"][0])
        for kind, part in piece.parts.items():
            part.rows = part.rows.with_columns(pl.col("line") + before)
            if self.of_images is None:
                self.of_images = bool(part.looks)
            if bool(part.looks) != self.of_images:
                self._add_odd(file, part, other_medium(bool(part.looks)))
            elif kind == self.kinds[file]:
                self.parts.setdefault(kind, []).append(part)
            else:
                message = (
                    f"the row is {kind}, but the file begins with {self.kinds[file]} rows; expected one kind in one "
                    "file. "
                    "Split the file by kind, or complete the columns of the odd rows"
                )
                self._add_odd(file, part, message)

    def _add_odd(self, file: int, part: Part, message: str) -> None:
        lines = part.rows["line"].head(EXAMPLES).to_list()
        odd = BadRows(count=len(part.rows), rows=[(file, line) for line in lines], message=message)
        self._add_bad(file, reason_of(message), odd)

    def _add_bad(self, file: int, reason: str, found: BadRows) -> None:
        self.unreadable[file] += found.count
        count_bad(self.bad, reason, found, _MOST_REASONS)

    def finish(self, names: list[str], broken: dict[str, str], sampled: float) -> Gathered:
        for file, name in enumerate(names):
            if self.kinds[file] is None and not self.unreadable[file]:
                broken.setdefault(
                    name, "there are no rows; expected at least one row of feedback. Check how it was written"
                )
        if not self.parts:
            raise DataError(_nothing_readable(names, broken, self.bad))
        rows = Counter({kind: sum(len(part.rows) for part in parts) for kind, parts in self.parts.items()})
        ((kind, _),) = rows.most_common(1)
        del rows[kind]
        near, near_prompts, samples = NearDuplicates(), NearDuplicates(), []
        looks: list[Look] = []
        start = 0
        for part in self.parts[kind]:
            near.merge(part.near, start)
            near_prompts.merge(part.near_prompts, start)
            samples += [(start + row, record) for row, record in part.samples]
            looks += [look._replace(row=start + look.row) for look in part.looks]
            part.completions = part.completions.with_columns(pl.col("row") + start)
            start += len(part.rows)
        all_rows = pl.concat([part.rows for part in self.parts[kind]])
        return Gathered(
            files=names,
            file_kinds=self.kinds,
            broken=broken,
            kind=kind,
            rows=all_rows.with_row_index("row").cast({"row": pl.Int64}),
            completions=pl.concat([part.completions for part in self.parts[kind]]),
            other_kinds=rows,
            bad=self.bad,
            unreadable=self.unreadable,
            negatives=self.negatives,
            near=near,
            near_prompts=near_prompts,
            samples=samples,
            sampled=sampled,
            looks=keep_thumbnails(looks),
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
