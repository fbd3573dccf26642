"""The files of an export -> rows, and the few shapes that every chat tool writes: texts, turns, nested keys."""

from __future__ import annotations

import codecs
import itertools
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from prospect.errors import DataError
from prospect.feedback.files import csv_reader
from prospect.feedback.files.json_text import TOO_DEEP, Fault, is_too_deep, json_items, parse_json
from prospect.feedback.files.others.turns import decoded
from prospect.feedback.files.readers import is_json_lines, read_lines, read_parquet
from prospect.feedback.importers.shapes.base import Dropped, Item, Sample
from prospect.feedback.wording import names
from prospect.progress import counted

WRAPPERS = (
    "items",
    "data",
    "records",
    "results",
    "feedbacks",
    "scores",
    "observations",
    "runs",
    "conversations",
    "messages",
)
"""Keys under which an object holds the rows of its file, as the answer of an API does: {"items": [...], "total": 3}."""

NOT_AN_OBJECT = "row is not an object"
TOO_DEEP_ROW = "row is nested too deeply"
_SAMPLE_ROWS = 20
_SAMPLE_BYTES = 4 << 20  # of JSON: more than 20 ordinary rows, and read in a hundredth of a second


class Row(NamedTuple):
    """One object of an export: where it is (`file:line` or `file:row N`), and key -> value."""

    where: str
    cells: dict[str, Any]


def rows(path: Path, under: Sequence[str] = ()) -> Iterator[Row | Dropped]:
    """Yield the rows of a .jsonl, .ndjson, .json, .csv, .tsv or .parquet file, in its order.

    A .json file is a list of objects, one object, one object per line, or an object that holds its rows under keys of
    `under`. What is no object, or a line that is no JSON, comes as `Dropped`, so that it is counted. CSV cells are
    text.

    Args:
        path: the file.
        under: keys that wrap rows, instead of `WRAPPERS`. The rows under all of them come, one after another. A list
            of turns ({role, content}, {from, value}) is one row's conversation and wraps nothing.

    Refuses a file of another format, one that cannot be read or decoded, and .json, CSV or Parquet that is broken.
    """
    if path.is_dir():
        raise DataError(f"{path}: is a folder; expected files. Name them")
    return counted(_reader_of(path)(path, under or WRAPPERS), f"rows of {path.name}", every=1024)


def each_row(
    paths: Iterable[Path], read: Callable[[str, dict[str, Any]], Iterable[Item]], under: Sequence[str] = ()
) -> Iterator[Item]:
    """Yield what `read(where, row)` gives for every row of the files, and what is no row as it is: dropped."""
    for path in paths:
        for row in rows(path, under):
            if isinstance(row, Dropped):
                yield row
            else:
                yield from read(row.where, row.cells)


def sample(path: Path) -> Sample:
    """Return the beginning of a file, for recognising it. Odd content gives an empty sample, never an error."""
    try:
        found = [row.cells for row in itertools.islice(_beginning(path), _SAMPLE_ROWS) if isinstance(row, Row)]
    except (DataError, OSError):
        found = []
    return Sample(path=path, rows=found, columns=frozenset(key for row in found for key in row))


def csv_records(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield (where, cells) of each record of a CSV or TSV file, the headings first, however many cells it has."""
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    for line, cells in csv_reader.csv_records(path, delimiter):
        yield f"{path}:{line}", cells


def dig(row: Any, path: str) -> Any:
    """Return the value under a dotted path, such as `reply.text` or `turns.0.content`; None where there is none.

    A key that has the dots in its own name is found too, and text on the way that is JSON is read.
    """
    if isinstance(row, dict) and (path in row or "." not in path):
        return row.get(path)
    value = row
    for key in path.split("."):
        value = decoded(value)
        if isinstance(value, dict):
            value = value.get(key)
        elif isinstance(value, list) and key.isdecimal() and int(key) < len(value):
            value = value[int(key)]
        else:
            return None
    return value


def _reader_of(path: Path) -> Callable[[Path, Sequence[str]], Iterator[Row | Dropped]]:
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        found = path.suffix or "no suffix"
        raise DataError(
            f"{path}: the name ends in {found}; expected {names(_READERS, 'or')}. "
            "Rename it if it is one of these, else convert it"
        )
    return reader


def _jsonl(path: Path, under: Sequence[str]) -> Iterator[Row | Dropped]:
    try:
        with path.open("rb") as file:
            yield from _lines(file, path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}. Check its permissions") from error


def _lines(lines: Iterable[bytes], path: Path) -> Iterator[Row | Dropped]:
    for number, line in enumerate(lines, start=1):
        line = line.removeprefix(codecs.BOM_UTF8).strip() if number == 1 else line.strip()
        if line:
            yield _line(line, f"{path}:{number}")


def _line(line: bytes, where: str) -> Row | Dropped:
    try:
        value = parse_json(line)
    except UnicodeDecodeError:
        return Dropped(where=where, reason="line is not UTF-8")
    except ValueError as error:
        return Dropped(where=where, reason=TOO_DEEP_ROW if str(error) == TOO_DEEP else "line is not JSON")
    return _row(value, where)


def _row(value: Any, where: str) -> Row | Dropped:
    if is_too_deep(value):
        return Dropped(where=where, reason=TOO_DEEP_ROW)
    return Row(where, value) if isinstance(value, dict) else Dropped(where=where, reason=NOT_AN_OBJECT)


def _json(path: Path, under: Sequence[str]) -> Iterator[Row | Dropped]:
    if is_json_lines(path):
        yield from _jsonl(path, under)
        return
    text = "".join(line for _, line in read_lines(path))
    is_list = text.lstrip().startswith("[")
    # An object may wrap rows, whose levels are then counted row by row.
    items = json_items(text) if is_list else _unwrapped(json_items(text, levels=sys.maxsize), under)
    for number, row in enumerate(items, start=1):
        where = f"{path}:row {number}"
        if not isinstance(row, Fault):
            yield _row(row, where)
        elif is_list and not row.is_last:
            yield Dropped(where=where, reason=TOO_DEEP_ROW if row.reason == TOO_DEEP else "row is not JSON")
        else:
            raise DataError(f"{path}:{row.line}: {row}, or export the file again")


def _unwrapped(values: Iterable[Any], under: Sequence[str]) -> Iterator[Any]:
    for value in values:
        wrapped = [value[key] for key in under if isinstance(value, dict) and key in value and _wraps(value[key])]
        yield from itertools.chain.from_iterable(wrapped) if wrapped else [value]


def _wraps(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value) and not any(map(_is_turn, value))


def _is_turn(item: dict[str, Any]) -> bool:
    return ("role" in item or "from" in item) and ("content" in item or "value" in item)


def _csv(path: Path, under: Sequence[str]) -> Iterator[Row | Dropped]:
    records = csv_records(path)
    _, header = next(records, ("", []))
    csv_reader.check_header(header, path, "\t" if path.suffix.lower() == ".tsv" else ",")
    for where, cells in records:
        if len(cells) != len(header):
            yield Dropped(where=where, reason="row has another number of cells than the headings")
        else:
            yield Row(where, dict(zip(header, cells, strict=True)))


def _parquet(path: Path, under: Sequence[str]) -> Iterator[Row | Dropped]:
    try:
        for where, _, row in read_parquet(path):
            yield _row(row, where)
    except (ValueError, OverflowError) as error:  # a time stamp outside of the years that Python knows
        raise DataError(f"{path}: a cell cannot be read: {error}. Write the file again, or use JSON lines") from error


_READERS: dict[str, Callable[[Path, Sequence[str]], Iterator[Row | Dropped]]] = {
    ".jsonl": _jsonl,
    ".ndjson": _jsonl,
    ".json": _json,
    ".csv": _csv,
    ".tsv": _csv,
    ".parquet": _parquet,
}


def _beginning(path: Path) -> Iterator[Row | Dropped]:
    suffix = path.suffix.lower()
    if suffix in (".jsonl", ".ndjson"):
        return _first_lines(path)
    if suffix == ".json" and path.stat().st_size > _SAMPLE_BYTES:
        return _first_of_json(path)
    if suffix == ".csv" or suffix == ".tsv":
        return _first_records(path)
    return _reader_of(path)(path, WRAPPERS)


def _first_lines(path: Path) -> Iterator[Row | Dropped]:
    with path.open("rb") as file:
        beginning = file.read(_SAMPLE_BYTES)
        if len(beginning) == _SAMPLE_BYTES:
            beginning += file.readline(_SAMPLE_BYTES)  # a row of several megabytes is whole too
    return _lines(beginning.split(b"\n"), path)


def _first_of_json(path: Path) -> Iterator[Row | Dropped]:
    """Yield the first objects of a long list; anything else that is long has to be read whole."""
    with path.open("rb") as file:
        text = file.read(_SAMPLE_BYTES).removeprefix(codecs.BOM_UTF8).decode(errors="ignore").lstrip()
    if not text.startswith("["):
        yield from _json(path, WRAPPERS)
        return
    for item in json_items(text):
        if not isinstance(item, Fault):
            yield _row(item, str(path))


def _first_records(path: Path) -> Iterator[Row]:
    """CSV rows as far as their cells go: what some tools write does not agree with its own headings."""
    records = csv_records(path)
    _, header = next(records, ("", []))
    for where, cells in records:
        yield Row(where, dict(zip(header, cells, strict=False)))
