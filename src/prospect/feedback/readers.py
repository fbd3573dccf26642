"""Files and hub datasets -> raw rows, one at a time: `(where, default id, columns)`."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prospect.errors import DataError
from prospect.feedback.wording import type_name

RawRow = tuple[str, str, dict[str, Any]]
"""Where the row is, its id unless it brings its own, and column -> cell."""


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
        raise DataError(f"{path}: cannot be read: {error.strerror}. Check its permissions") from error


def read_jsonl(path: Path) -> Iterator[RawRow]:
    """Yield the rows of a file with one JSON object per line; blank lines are skipped."""
    name = path.name
    for number, line in read_lines(path):
        line = line.rstrip()
        if line:
            where = f"{path}:{number}"
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise _broken(where, error.colno, error.msg) from None
            except (ValueError, RecursionError) as error:
                raise _broken(where, 1, str(error)) from None
            yield where, f"{name}:{number}", _object(row, where)


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
    """Yield the rows of a Parquet file, a batch in memory at a time."""
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            rows = (row for batch in file.iter_batches(batch_size=1024) for row in batch.to_pylist())
            for number, row in enumerate(rows, start=1):
                yield f"{path}:row {number}", f"{path.name}:row {number}", row
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path}: is not a readable Parquet file: {error}. Write it again, or use JSON lines"
        ) from error


def read_hub(name: str, split: str) -> Iterator[RawRow]:
    """Yield the rows of one split of a hub dataset."""
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
        yield where, where, row


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
