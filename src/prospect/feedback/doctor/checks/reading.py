"""Files -> pieces of work, and pieces -> rows, without stopping at what cannot be read."""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from prospect.errors import DataError
from prospect.feedback.files.csv_reader import LONGEST_CELL, check_header, typed_cells
from prospect.feedback.files.json_text import Fault, json_items
from prospect.feedback.files.readers import is_json_lines, parse_line
from prospect.feedback.files.sources import folder_contents, raw_rows
from prospect.feedback.wording import type_name

PIECE_BYTES = 8 << 20  # of a JSON lines file: some 8,000 rows, a fifth of a second of work
PIECE_ROWS = 4096  # of other files, which one process reads and the others only measure
PIECE_IMAGES = 64  # of files that hold the bytes of images
_LINES = (".jsonl", ".ndjson")
_LINE_GUESS = 500  # bytes of a row, where a file does not show its rows at once


class Problem(NamedTuple):
    """Why a row cannot be read, as `load_feedback` would say it, without its place."""

    message: str


class Piece(NamedTuple):
    """Some rows of one file, small enough to be sent to another process.

    Attributes:
        file: the number of the file among those inspected.
        path: where it is.
        start: first byte, for JSON lines; the lines that begin in [start, end) are meant.
        end: the byte after the last.
        rows: line or row number and what is there, for other files; None for JSON lines.
    """

    file: int
    path: str
    start: int = 0
    end: int = 0
    rows: list[tuple[int, dict[str, Any] | Problem]] | None = None


def pieces(file: int, place: Path | str) -> Iterator[Piece]:
    """Yield the pieces of a file or hub dataset, in its order.

    Refuses a file that cannot be opened, or is no file of its format at all.
    """
    suffix = place.suffix.lower() if isinstance(place, Path) else ""
    if isinstance(place, Path) and (suffix in _LINES or (suffix == ".json" and is_json_lines(place))):
        size = _size(place)
        for start in range(0, size, PIECE_BYTES):
            yield Piece(file, str(place), start, min(start + PIECE_BYTES, size))
        return
    rows = _other_rows(place)
    first = next(rows, None)
    if first is None:
        return
    rows = chain([first], rows)
    while batch := list(islice(rows, PIECE_IMAGES if _holds_files(first[1]) else PIECE_ROWS)):
        yield Piece(file, str(place), rows=batch)


def _holds_files(row: dict[str, Any] | Problem) -> bool:
    """Whether a row holds the bytes of images, which are not to be sent to another process by the thousand."""
    cells = row.values() if isinstance(row, dict) else ()
    return any(isinstance(cell.get("bytes") if isinstance(cell, dict) else cell, bytes) for cell in cells)


def rows_of(piece: Piece) -> Iterator[tuple[int, dict[str, Any] | Problem | None]]:
    """Yield number and content of each row; of JSON lines the number counts from the piece's first line, from 1.

    Blank lines count and are not yielded. At the end of JSON lines comes (number of lines, None), from which the
    numbers in the next piece follow.
    """
    if piece.rows is not None:
        yield from piece.rows
        return
    path, number = Path(piece.path), 0
    with path.open("rb") as file:
        position = _first_line_in(file, piece.start)
        while position < piece.end and (line := file.readline()):
            number += 1
            position += len(line)
            row = _line(line, path, number if piece.start == 0 else number + 1)
            if row is not None:
                yield number, row
    yield number, None


def estimate_rows(place: Path | str) -> int:
    """Return about how many rows a file has, without reading it; a hub dataset is taken as large."""
    if isinstance(place, str):
        return 1_000_000
    if place.is_dir():
        return len(folder_contents(place)) + 1
    size = _size(place)
    if place.suffix.lower() == ".parquet":
        return size // _LINE_GUESS + 1
    with place.open("rb") as file:
        beginning = file.read(1 << 20)
    lines = beginning.count(b"\n") if place.suffix.lower() != ".json" else len(beginning) // _LINE_GUESS
    return size * max(lines, 1) // max(len(beginning), 1) + 1


def _size(path: Path) -> int:
    try:
        with path.open("rb"):
            return path.stat().st_size
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}. Check its permissions") from error


def _first_line_in(file: Any, start: int) -> int:
    """Move to the first line that begins at `start` or later, and return its offset."""
    if start == 0:
        return 0
    file.seek(start - 1)
    return start - 1 + len(file.readline())


def _line(line: bytes, path: Path, number: int) -> dict[str, Any] | Problem | None:
    try:
        return parse_line(line, path, number)
    except DataError as error:
        return Problem(str(error).removeprefix(f"{path}:{number}: "))


# -- files that are not lines of JSON --


def _other_rows(place: Path | str) -> Iterator[tuple[int, dict[str, Any] | Problem]]:
    suffix = place.suffix.lower() if isinstance(place, Path) else ""
    if suffix == ".json":
        assert isinstance(place, Path)
        return _json_rows(place)
    if suffix in (".csv", ".tsv"):
        assert isinstance(place, Path)
        return _csv_rows(place)
    return _numbered(place)


def _numbered(place: Path | str) -> Iterator[tuple[int, dict[str, Any] | Problem]]:
    """Parquet and hub datasets: their readers know types, so a row is an object or the whole file is broken."""
    number = 0
    try:
        for number, (_, _, row) in enumerate(raw_rows(place), start=1):
            yield number, row
    except DataError as error:
        if number == 0:
            raise
        yield number + 1, Problem(f"the file breaks off after row {number}: {error}")
    except Exception as error:
        # pyarrow has an error of its own for each way in which a file can be broken, and more in other modules.
        message = f"is not a readable file: {type(error).__name__}: {error}. Write it again, or use JSON lines"
        if number == 0:
            raise DataError(f"{place}: {message}") from error
        yield number + 1, Problem(f"the file breaks off after row {number}: it {message}")


def _json_rows(path: Path) -> Iterator[tuple[int, dict[str, Any] | Problem]]:
    """Yield the objects of a JSON list, one after another, up to where the file breaks; or the file's one object."""
    # A byte that is not UTF-8 becomes half a character, and so marks the row that it is in.
    text = path.read_bytes().removeprefix(codecs.BOM_UTF8).decode(errors="surrogateescape")
    for number, row in enumerate(json_items(text), start=1):
        if isinstance(row, Fault):
            if number == 1 and row.is_last:
                raise DataError(f"{path}:{row.line}: {row}")
            rest = ", and nothing after it can be read" if row.is_last else ""
            yield number, Problem(f"line {row.line}: {row}{rest}")
        elif isinstance(row, dict):
            yield number, row
        else:
            yield number, Problem(f"the row is {type_name(row)}; expected an object with named columns. Mend it")


def _csv_rows(path: Path) -> Iterator[tuple[int, dict[str, Any] | Problem]]:
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST_CELL))
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    header: list[str] = []
    with path.open("rb") as file:
        lines = _Lines(file)
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        while True:
            first = reader.line_num + 1
            lines.broken = False
            try:
                cells = next(reader, None)
            except csv.Error as error:
                advice = "Quote such cells, and double the quotes inside them"
                span = f" (lines {first} to {reader.line_num})" if reader.line_num > first else ""
                yield first, Problem(f"broken CSV: {error}{span}. {advice}")
                continue
            if cells is None:
                return
            if not header:
                header = cells
                check_header(header, path, delimiter)
            elif cells:
                yield first, Problem(_NOT_UTF8) if lines.broken else _cells(header, cells)


_NOT_UTF8 = "a byte of the line is no UTF-8; expected UTF-8. Save the file as UTF-8"


class _Lines:
    """The lines of a file; `broken` is set at one that is not UTF-8, and stays until it is taken back."""

    def __init__(self, file: BinaryIO):
        self._lines = iter(file)
        self._first = True
        self.broken = False

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        if self._first:
            line, self._first = line.removeprefix(codecs.BOM_UTF8), False
        try:
            return line.decode()
        except UnicodeDecodeError:
            self.broken = True
            return line.decode(errors="replace")


def _cells(header: list[str], cells: list[str]) -> dict[str, Any] | Problem:
    if len(cells) != len(header):
        advice = "Quote cells that hold a separator or a line break"
        return Problem(f"the row has {len(cells)} cells; expected {len(header)}, as in the first line. {advice}")
    try:
        return typed_cells(dict(zip(header, cells, strict=True)), "")
    except DataError as error:
        return Problem(str(error).removeprefix(": "))
