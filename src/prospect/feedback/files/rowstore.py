"""Rows that are read in their order, and some of them again by number: of a list, or of files of any size."""

from __future__ import annotations

import os
import pickle
import tempfile
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

from prospect.errors import DataError
from prospect.feedback.files.readers import parse_line, read_jsonl_places
from prospect.feedback.files.rows import RowParser
from prospect.feedback.files.sources import Source, find_places, iter_place, iter_scores, nothing_in
from prospect.feedback.records import Feedback, Kind, Scored

_HELD = 4096  # rows of one group that are held at once: some megabytes


class Rows:
    """Rows to iterate over, as often as needed, and to ask for by number, those that `remember` was called for.

    Args:
        rows: records of any kind.
        first: the kinds whose rows come first.

    Attributes:
        kinds: kind -> rows, complete after an iteration.
    """

    def __init__(self, rows: Iterable[Feedback] = (), first: Sequence[Kind] = ()) -> None:
        self._rows = list(rows)
        if first:
            self._rows.sort(key=lambda row: first.index(row.kind) if row.kind in first else len(first))
        self._remembered: list[Feedback] = []
        self.kinds: Counter[str] = Counter(row.kind for row in self._rows)

    def __iter__(self) -> Iterator[Feedback]:
        """Yield the rows in their order."""
        return iter(self._rows)

    def scores(self) -> Iterator[tuple[float, ...]]:
        """Yield the scores of each row, none where it has none."""
        return map(scores_of, self._rows)

    def remember(self, row: Feedback) -> None:
        """Keep the row that iteration yielded last; the first one that is kept has number 0."""
        self._remembered.append(row)

    def __getitem__(self, number: int) -> Feedback:
        """Return a remembered row."""
        return self._remembered[number]

    def check_unchanged(self) -> None:
        """Refuse rows that have changed since they were first read; those of a list have not."""


def scores_of(row: Feedback) -> tuple[float, ...]:
    """Return the scores of a row's completions, none where it has none."""
    if isinstance(row, Scored):
        return row.scores
    return () if row.score is None else (row.score,)


class RowStore(Rows):
    """The rows of a source, which may be larger than memory.

    Of a file of JSON lines only places are remembered, 24 bytes a row, and its lines are read again. Rows of other
    sources are put into a temporary file.

    Args:
        source: as in `load_feedback`.
        label_map: as in `load_feedback`.
        folder: where the temporary file goes, if one is needed.
    """

    def __init__(self, source: Source, label_map: Mapping[Any, bool] | None, folder: Path):
        super().__init__()
        self._source = source
        self._folder = folder
        self._places = find_places(source)
        self._parsers = [RowParser(label_map, place=place) for place in self._places]
        self._files: dict[int, IO[bytes]] = {}
        self._states: dict[int, tuple[int, int]] = {}
        self._spool: IO[bytes] | None = None
        self._stack = ExitStack()
        self._place, self._current = 0, (0, 0, 0)
        self._of, self._line = array("i"), array("Q")
        self._offset, self._length = array("Q"), array("Q")

    def __enter__(self) -> RowStore:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def __iter__(self) -> Iterator[Feedback]:
        """Yield the rows in their order."""
        self.kinds.clear()
        for number, place in enumerate(self._places):
            self._place, rows, row = number, 0, None
            for rows, row in enumerate(self._read(place), start=1):  # noqa: B007 - counted after the loop
                yield row
            if row is not None:
                self.kinds[row.kind] += rows  # all rows of one file are of one kind

    def scores(self) -> Iterator[tuple[float, ...]]:
        """Yield the scores of each row, none where it has none; nothing else is read or checked."""
        return iter_scores(self._source)

    def remember(self, row: Feedback) -> None:
        """Keep the row that iteration yielded last; the first one that is kept has number 0."""
        line, offset, length = self._current
        if line < 0:
            self._of.append(-1)
            offset, length = self._put(row)
        else:
            self._of.append(self._place)
        self._line.append(max(line, 0))
        self._offset.append(offset)
        self._length.append(length)

    def __getitem__(self, number: int) -> Feedback:
        """Return a remembered row."""
        place, offset, length = self._of[number], self._offset[number], self._length[number]
        if place < 0:
            assert self._spool is not None
            return pickle.loads(_read_at(self._spool, length, offset))  # noqa: S301 - our own file, unnamed
        path, line = self._places[place], self._line[number]
        assert isinstance(path, Path)
        row = parse_line(_read_at(self._files[place], length, offset), path, line)
        if row is None:
            raise _changed(path)
        return self._parsers[place].parse(row, f"{path}:{line}", f"{path.name}:{line}")

    def check_unchanged(self) -> None:
        """Refuse files that were written to since they were first read."""
        for place, state in self._states.items():
            if _state(self._files[place]) != state:
                raise _changed(self._places[place])

    def _read(self, place: Path | str) -> Iterator[Feedback]:
        if isinstance(place, Path) and place.suffix.lower() in (".jsonl", ".ndjson") and place.is_file():
            return self._read_lines(place)
        self._current = -1, 0, 0
        return iter_place(place, self._parsers[self._place])

    def _read_lines(self, path: Path) -> Iterator[Feedback]:
        self._open(path)
        parse = self._parsers[self._place].parse
        place, name, found = str(path), path.name, False
        for line, offset, length, row in read_jsonl_places(path):
            self._current, found = (line, offset, length), True
            yield parse(row, f"{place}:{line}", f"{name}:{line}")
        if not found:
            raise nothing_in(path)

    def _open(self, path: Path) -> None:
        if self._place in self._files:
            return
        try:
            self._files[self._place] = file = self._stack.enter_context(path.open("rb"))
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror}. Check its permissions") from error
        self._states[self._place] = _state(file)

    def _put(self, row: Feedback) -> tuple[int, int]:
        if self._spool is None:
            self._spool = self._stack.enter_context(tempfile.TemporaryFile(dir=self._folder, buffering=0))  # noqa: SIM115
        data = pickle.dumps(row, protocol=pickle.HIGHEST_PROTOCOL)
        offset = self._spool.tell()
        self._spool.write(data)
        return offset, len(data)


class Remembered(Sequence[Any]):
    """Some remembered rows, read when they are asked for; a few thousand at most are held."""

    def __init__(self, rows: Rows, numbers: Sequence[int]):
        self._rows, self._numbers = rows, numbers
        self._held: list[Feedback] | None = [rows[n] for n in numbers] if len(numbers) <= _HELD else None

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, place: Any) -> Any:
        return self._rows[self._numbers[place]] if self._held is None else self._held[place]


def _read_at(file: IO[bytes], length: int, offset: int) -> bytes:
    """Return bytes of a file; the place where it is read and written otherwise stays."""
    handle = file.fileno()
    if hasattr(os, "pread"):
        return os.pread(handle, length, offset)
    before = os.lseek(handle, 0, os.SEEK_CUR)
    os.lseek(handle, offset, os.SEEK_SET)
    data = os.read(handle, length)
    os.lseek(handle, before, os.SEEK_SET)
    return data


def _state(file: IO[bytes]) -> tuple[int, int]:
    state = os.fstat(file.fileno())
    return state.st_size, state.st_mtime_ns


def _changed(place: Path | str) -> DataError:
    return DataError(f"{place}: was written to while it was read. Wait until it is complete, and run this again")
