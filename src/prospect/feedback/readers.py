"""Files and hub datasets -> raw rows, one at a time: `(where, default id, columns)`."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from prospect.errors import DataError
from prospect.feedback.wording import type_name

RawRow = tuple[str, str, dict[str, Any]]
"""Where the row is, its id unless it brings its own, and column -> cell."""

_LONGEST_INTEGER = 2.0**63
_BUFFER = 2**20  # bytes read at once


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines of a UTF-8 file with their numbers, from 1, without a byte order mark.

    Lines end at a line feed only: the other line separators of Unicode are text.
    """
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if number == 1:
                    line = line.removeprefix(codecs.BOM_UTF8)
                yield number, _decoded(line, path, number)
    except OSError as error:
        raise _unreadable(path, error) from error


def read_jsonl(path: Path) -> Iterator[RawRow]:
    """Yield the rows of a file with one JSON object per line; blank lines are skipped."""
    place, name = str(path), path.name
    for number, _, _, row in read_jsonl_places(path):
        yield f"{place}:{number}", f"{name}:{number}", row


def read_jsonl_places(path: Path) -> Iterator[tuple[int, int, int, dict[str, Any]]]:
    """Yield (line number, offset, length in bytes, columns) of each row, so that a row can be read again."""
    offset = 0
    try:
        with path.open("rb", buffering=_BUFFER) as file:
            for number, line in enumerate(file, start=1):
                row = parse_line(line, path, number)
                if row is not None:
                    yield number, offset, len(line), row
                offset += len(line)
    except OSError as error:
        raise _unreadable(path, error) from error


def parse_line(line: bytes, path: Path, number: int) -> dict[str, Any] | None:
    """Return the object on one line of a file; None if the line is blank.

    Refuses broken JSON, bytes that are not UTF-8, and what is no object.
    """
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError:
        return _parse_with_care(line, path, number)
    if type(row) is dict and not any(_is_rounded(cell) for cell in row.values() if type(cell) is not str):
        return row
    return _parse_with_care(line, path, number)


def _is_rounded(cell: Any) -> bool:
    """Whether the cell may be a whole number of more than 64 bits: orjson makes a float of it, json does not."""
    if type(cell) is float:
        return not -_LONGEST_INTEGER < cell < _LONGEST_INTEGER
    if type(cell) is dict:
        return any(_is_rounded(value) for value in cell.values() if type(value) is not str)
    return type(cell) is list and any(_is_rounded(value) for value in cell if type(value) is not str)


def _parse_with_care(line: bytes, path: Path, number: int) -> dict[str, Any] | None:
    """What the fast parser refuses or rounds: NaN, half characters, long numbers, blank lines; and messages."""
    if number == 1:
        line = line.removeprefix(codecs.BOM_UTF8)
    text = _decoded(line, path, number).rstrip()
    if not text:
        return None
    where = f"{path}:{number}"
    try:
        row = json.loads(text)
    except json.JSONDecodeError as error:
        raise _broken(where, error.colno, error.msg) from None
    except (ValueError, RecursionError) as error:
        raise _broken(where, 1, str(error)) from None
    return _object(row, where)


def read_json(path: Path) -> Iterator[RawRow]:
    """Yield the rows of a JSON array of objects, of one object, or of one object per line."""
    text = "".join(line for _, line in read_lines(path)).rstrip()
    try:
        rows = json.loads(text) if text else []
    except json.JSONDecodeError as error:
        if error.msg == "Extra data" and text.lstrip().startswith("{"):
            yield from read_jsonl(path)
            return
        raise _broken(f"{path}:{error.lineno}", error.colno, error.msg) from None
    except (ValueError, RecursionError) as error:
        raise _broken(f"{path}:1", 1, str(error)) from None
    for number, row in enumerate(rows if isinstance(rows, list) else [rows], start=1):
        where = f"{path}:row {number}"
        yield where, f"{path.name}:row {number}", _object(row, where)


def read_parquet(path: Path) -> Iterator[RawRow]:
    """Yield the rows of a Parquet file, a batch in memory at a time; nulls inside objects are left out."""
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            rows = (row for batch in file.iter_batches(batch_size=1024) for row in batch.to_pylist())
            for number, row in enumerate(rows, start=1):
                yield f"{path}:row {number}", f"{path.name}:row {number}", _without_filled_nulls(row)
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path}: is not a readable Parquet file: {error}. Write it again, or use JSON lines"
        ) from error


def read_hub(name: str, split: str) -> Iterator[RawRow]:
    """Yield the rows of one split of a hub dataset; nulls inside objects are left out."""
    import datasets

    try:
        rows = datasets.load_dataset(name, split=split)
    except Exception as error:  # whatever went wrong there, the user gets its reason, not its traceback
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise DataError(
            f"{name}: hub dataset, split {split}, cannot be read: {reason}. Check the name and the split "
            f"(owner/name:split) and the network; if you meant a file, there is no {name} here"
        ) from error
    for number, row in enumerate(rows, start=1):
        where = f"{name}:{split}:row {number}"
        yield where, where, _without_filled_nulls(row)


def _without_filled_nulls(row: dict[str, Any]) -> dict[str, Any]:
    """Leave out the null fields of objects inside the cells.

    Arrow gives all objects of a column the same fields, and fills in null where one has none: the arguments of one tool
    in the calls of another, say. Which nulls were written on purpose cannot be told any more. In JSON every null was
    written, and stays. A cell that is null is an absent one in all formats.
    """
    if not any(type(cell) in (dict, list) for cell in row.values()):
        return row
    return {column: _pruned(cell) for column, cell in row.items()}


def _pruned(value: Any) -> Any:
    if type(value) is dict:
        return {name: _pruned(inner) for name, inner in value.items() if inner is not None}
    return [_pruned(inner) for inner in value] if type(value) is list else value


def _unreadable(path: Path, error: OSError) -> DataError:
    return DataError(f"{path}: cannot be read: {error.strerror}. Check its permissions")


def _decoded(line: bytes, path: Path, number: int) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}:{number}: byte {error.start + 1} of the line is 0x{line[error.start]:02x}; expected "
            "UTF-8. Save the file as UTF-8"
        ) from None


def _broken(where: str, column: int, reason: str) -> DataError:
    return DataError(
        f"{where}: broken JSON at column {column}: {reason}; expected whole JSON objects, one per line in "
        ".jsonl and .ndjson, a list of them in .json. Mend or remove it"
    )


def _object(row: Any, where: str) -> dict[str, Any]:
    if isinstance(row, dict):
        return row
    advice = " A file that is one JSON list belongs under the name .json" if isinstance(row, list) else ""
    raise DataError(f"{where}: the row is {type_name(row)}; expected an object with named columns.{advice}")
