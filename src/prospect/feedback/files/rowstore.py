"""Rows that are read once in their order and again by number, without holding them in memory.

Legend: N rows, G groups of rows with one key.
"""

from __future__ import annotations

import os
import pickle
import tempfile
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, NamedTuple

from prospect.errors import DataError
from prospect.feedback.files.readers import parse_line, read_jsonl_places
from prospect.feedback.files.rows import RowParser
from prospect.feedback.files.sources import Source, find_places, iter_place, nothing_in
from prospect.feedback.records import Feedback

KEY_SIZE = 16  # bytes of a prompt's key: no two of a billion prompts share one
_HELD = 4096  # rows of one group that are held at once: some megabytes


class RowStore:
    """The rows of a source: iterate over them once, then ask for those that `remember` was called for.

    Of a file of JSON lines only places are remembered, 24 bytes a row, and its lines are read again. Rows of other
    sources are put into a temporary file.

    Args:
        source: as in `load_feedback`.
        label_map: as in `load_feedback`.
        folder: where the temporary file goes, if one is needed.
    """

    def __init__(self, source: Source, label_map: Mapping[Any, bool] | None, folder: Path):
        self._folder = folder
        self._places = find_places(source)
        self._parsers = [RowParser(label_map) for _ in self._places]
        self._files: dict[int, IO[bytes]] = {}
        self._states: dict[int, tuple[int, int]] = {}
        self._spool: IO[bytes] | None = None
        self._stack = ExitStack()
        self._place, self._current = 0, (0, 0, 0)
        self._row: Feedback | None = None
        self._of, self._line = array("i"), array("Q")
        self._offset, self._length = array("Q"), array("Q")

    def __enter__(self) -> RowStore:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def __len__(self) -> int:
        return len(self._of)

    def __iter__(self) -> Iterator[Feedback]:
        """Yield the rows in their order."""
        for number, place in enumerate(self._places):
            self._place = number
            if isinstance(place, Path) and place.suffix.lower() in (".jsonl", ".ndjson") and place.is_file():
                yield from self._read_lines(place)
            else:
                self._current = -1, 0, 0
                for row in iter_place(place, self._parsers[number]):
                    self._row = row
                    yield row

    def remember(self) -> None:
        """Keep the row that iteration yielded last; the first one that is kept has number 0."""
        line, offset, length = self._current
        if line < 0:
            self._of.append(-1)
            offset, length = self._put(self._row)
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
            return pickle.loads(os.pread(self._spool.fileno(), length, offset))  # noqa: S301 - our own file, unnamed
        path, line = self._places[place], self._line[number]
        assert isinstance(path, Path)
        row = parse_line(os.pread(self._files[place].fileno(), length, offset), path, line)
        if row is None:
            raise _changed(path)
        return self._parsers[place].parse(row, f"{path}:{line}", f"{path.name}:{line}")

    def check_unchanged(self) -> None:
        """Refuse files that were written to since they were first read."""
        for place, state in self._states.items():
            if _state(self._files[place]) != state:
                raise _changed(self._places[place])

    def _read_lines(self, path: Path) -> Iterator[Feedback]:
        try:
            self._files[self._place] = file = self._stack.enter_context(path.open("rb"))
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror}. Check its permissions") from error
        self._states[self._place] = _state(file)
        parse = self._parsers[self._place].parse
        place, name, found = str(path), path.name, False
        for line, offset, length, row in read_jsonl_places(path):
            self._current, found = (line, offset, length), True
            yield parse(row, f"{place}:{line}", f"{name}:{line}")
        if not found:
            raise nothing_in(path)

    def _put(self, row: Feedback | None) -> tuple[int, int]:
        if self._spool is None:
            self._spool = self._stack.enter_context(tempfile.TemporaryFile(dir=self._folder, buffering=0))  # noqa: SIM115
        data = pickle.dumps(row, protocol=pickle.HIGHEST_PROTOCOL)
        offset = self._spool.tell()
        self._spool.write(data)
        return offset, len(data)


class Remembered(Sequence[Any]):
    """Some rows of a store, read when they are asked for; a few thousand at most are held."""

    def __init__(self, store: RowStore, numbers: Sequence[int]):
        self._store, self._numbers = store, numbers
        self._held: list[Feedback] | None = [store[n] for n in numbers] if len(numbers) <= _HELD else None

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, place: Any) -> Any:
        return self._store[self._numbers[place]] if self._held is None else self._held[place]


class Groups(NamedTuple):
    """Which of N rows have the same key.

    Attributes:
        order: (N,) row numbers, group after group; within a group in the order of the rows.
        starts: (G + 1,) where in `order` each group begins, and N; the groups are in order of first appearance.
    """

    order: Any
    starts: Any


def group_keys(keys: bytearray) -> Groups:
    """Return the groups of rows whose keys, of KEY_SIZE bytes each, are the same."""
    import numpy as np

    halves = np.frombuffer(bytes(keys), dtype=np.uint64).reshape(-1, 2)
    order = np.lexsort((halves[:, 1], halves[:, 0]))  # stable: the first row of a group comes first
    ordered = halves[order]
    new = np.ones(len(order), dtype=bool)
    new[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    first = np.empty(len(order), dtype=np.int64)
    first[order] = order[np.flatnonzero(new)][np.cumsum(new) - 1]  # of each row the first row of its group
    order = np.argsort(first, kind="stable")
    return Groups(order, np.append(np.flatnonzero(np.diff(first[order], prepend=-1)), len(order)))


def _state(file: IO[bytes]) -> tuple[int, int]:
    state = os.fstat(file.fileno())
    return state.st_size, state.st_mtime_ns


def _changed(place: Path | str) -> DataError:
    return DataError(f"{place}: was written to while it was read. Wait until it is complete, and run this again")
