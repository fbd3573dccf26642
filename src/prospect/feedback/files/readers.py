"""Files and hub datasets -> raw rows, one at a time: `(where, default id, columns)`."""

from __future__ import annotations

import codecs
import json
import math
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import orjson

from prospect import progress
from prospect.errors import DataError
from prospect.feedback.files.json_text import DEEPEST, TOO_DEEP, Fault, is_too_deep, json_items, parse_json
from prospect.feedback.wording import type_name
from prospect.file_kinds import regular_file

RawRow = tuple[str, str, dict[str, Any]]
"""Where the row is, its id unless it brings its own, and column -> cell."""

_LONGEST_INTEGER = 2.0**63
_BUFFER = 2**20  # bytes read at once
_BATCH, _MOST_ROWS = 2**26, 1024  # bytes and rows of a Parquet file read at once
_ESCAPED_COLON = re.compile(rb"\\u003[aA]")


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines of a UTF-8 file with their numbers, from 1, without a byte order mark.

    Lines end at a line feed only: the other line separators of Unicode are text.
    """
    try:
        with regular_file(path).open("rb") as file:
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
        with regular_file(path).open("rb", buffering=_BUFFER) as file:
            size = os.fstat(file.fileno()).st_size
            for number, line in enumerate(file, start=1):
                if not number % 1024:
                    progress.count(offset >> 20, size >> 20, f"MB of {path.name}")
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
    # As many colons as keys and texts account for, none of them escaped: no key is there twice.
    escaped = b"\\u003" in line and _ESCAPED_COLON.search(line)
    if type(row) is dict and not escaped and line.count(b":") == _colons(row, DEEPEST):
        return row
    return _parse_with_care(line, path, number)


def _colons(cell: dict[str, Any] | list[Any], levels: int) -> float:
    """Return the number of colons in the JSON of a row or cell, one for each key and those within its texts.

    Not a number where the fast parser cannot be trusted with the cell: it makes a float of a whole number of more than
    64 bits, and a cell that is nested too deeply is refused with care.
    """
    if levels == 0:
        return math.nan
    count: float = 0
    values: Iterable[Any] = cell
    if type(cell) is dict:
        count = len(cell) + "".join(cell).count(":")
        values = cell.values()
    for value in values:
        kind = type(value)
        if kind is str:
            count += value.count(":")
        elif kind is float:
            if not -_LONGEST_INTEGER < value < _LONGEST_INTEGER:
                return math.nan
        elif kind is dict or kind is list:
            count += _colons(value, levels - 1)
    return count


def _parse_with_care(line: bytes, path: Path, number: int) -> dict[str, Any] | None:
    """Return what the fast parser refuses or rounds: NaN, half characters, long numbers, blank lines; and messages."""
    if number == 1:
        line = line.removeprefix(codecs.BOM_UTF8)
    text = _decoded(line, path, number).rstrip()
    if not text:
        return None
    where = f"{path}:{number}"
    try:
        row = parse_json(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{where}: {Fault(error.msg, number, error.colno, True)}") from None
    except ValueError as error:
        raise DataError(f"{where}: {Fault(str(error), number, 1, False)}") from None
    return _object(row, where)


def read_json(path: Path) -> Iterator[RawRow]:
    """Yield the rows of a JSON array of objects, of one object, or of one object per line."""
    if is_json_lines(path):
        yield from read_jsonl(path)
        return
    text = "".join(line for _, line in read_lines(path))
    for number, row in enumerate(json_items(text), start=1):
        if isinstance(row, Fault):
            raise DataError(f"{path}:{row.line}: {row}")
        where = f"{path}:row {number}"
        yield where, f"{path.name}:row {number}", _object(row, where)


def is_json_lines(path: Path) -> bool:
    """Return whether a .json file has one object per line: its first line is a whole object, and more lines follow."""
    try:
        with regular_file(path).open("rb") as file:
            filled = (line for line in (line.removeprefix(codecs.BOM_UTF8).strip() for line in file) if line)
            first = next(filled, b"")
            if not first.startswith(b"{") or next(filled, None) is None:
                return False
    except OSError as error:
        raise _unreadable(path, error) from error
    item, *rest = json_items(first.decode(errors="replace"))
    return not rest and not (isinstance(item, Fault) and item.is_last)


def read_parquet(path: Path) -> Iterator[RawRow]:
    """Yield the rows of a Parquet file, a batch in memory at a time; nulls inside objects are left out."""
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            batches = file.iter_batches(batch_size=_rows_at_once(file.metadata))
            rows = (row for batch in batches for row in _batch_rows(batch))
            for number, row in enumerate(rows, start=1):
                where = f"{path}:row {number}"
                yield where, f"{path.name}:row {number}", _without_filled_nulls(_bounded(row, where))
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path}: is not a readable Parquet file: {error}. Write it again, or use JSON lines"
        ) from error


def _rows_at_once(metadata: Any) -> int:
    """Return how many rows of a Parquet file are read at once: fewer where rows hold whole images."""
    size = sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
    return max(1, min(_MOST_ROWS, _BATCH * metadata.num_rows // max(size, 1)))


def _batch_rows(batch: Any) -> list[dict[str, Any]]:
    """Return the rows of a batch; a time that Python cannot hold comes as text that says no time."""
    import pyarrow

    names = batch.schema.names
    for place, field in enumerate(batch.schema):
        if pyarrow.types.is_timestamp(field.type) and field.type.unit == "ns":
            micro = batch.column(place).cast(pyarrow.timestamp("us", field.type.tz), safe=False)
            batch = batch.set_column(place, field.name, micro)
    try:
        return batch.to_pylist()
    except (ValueError, OverflowError, KeyError):  # a year beyond 9999, a zone that nobody knows
        columns = [[_cell(scalar) for scalar in column] for column in batch.columns]
        return [dict(zip(names, cells, strict=True)) for cells in zip(*columns, strict=True)]


def _cell(scalar: Any) -> Any:
    import pyarrow

    try:
        return scalar.as_py()
    except (ValueError, OverflowError, KeyError):
        if isinstance(scalar, pyarrow.StructScalar):
            return {name: _cell(inner) for name, inner in scalar.items()}
        if isinstance(scalar, pyarrow.ListScalar | pyarrow.LargeListScalar):
            return [_cell(inner) for inner in scalar.values]
        return f"{scalar.value} as {scalar.type}"


def _bounded(row: dict[str, Any], where: str) -> dict[str, Any]:
    if is_too_deep(row):
        raise DataError(f"{where}: {TOO_DEEP}. Flatten it, or remove it")
    return row


def read_hub(name: str, split: str) -> Iterator[RawRow]:
    """Yield the rows of one split of a hub dataset; nulls inside objects are left out."""
    import datasets

    try:
        rows = _encoded(datasets.load_dataset(name, split=split))
    except Exception as error:  # whatever went wrong there, the user gets its reason, not its traceback
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise DataError(
            f"{name}: hub dataset, split {split}, cannot be read: {reason}. Check the name and the split "
            f"(owner/name:split) and the network; if you meant a file, there is no {name} here"
        ) from error
    for number, row in enumerate(rows, start=1):
        where = f"{name}:{split}:row {number}"
        yield where, where, _without_filled_nulls(_bounded(row, where))


def is_saved_dataset(folder: Path) -> bool:
    """Whether a folder is what `save_to_disk` of Datasets writes."""
    return (folder / "state.json").is_file() or (folder / "dataset_dict.json").is_file()


def read_saved(folder: Path) -> Iterator[RawRow]:
    """Yield the rows of a dataset that was saved to disk; of several splits, those of `train`."""
    import datasets

    try:
        rows = datasets.load_from_disk(str(folder))
        if isinstance(rows, datasets.DatasetDict):
            rows = rows["train"]
        rows = _encoded(rows)
    except Exception as error:  # whatever is broken there, the user gets its reason, not its traceback
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise DataError(f"{folder}: is not a readable dataset: {reason}. Save it again, or write Parquet") from error
    for number, row in enumerate(rows, start=1):
        where = f"{folder}:row {number}"
        yield where, f"{folder.name}:row {number}", _without_filled_nulls(_bounded(row, where))


def _encoded(rows: Any) -> Any:
    """Return a dataset whose images come as the bytes of their files: they are decoded here, within bounds."""
    import datasets

    for column, feature in (getattr(rows, "features", None) or {}).items():
        if isinstance(feature, datasets.Image):
            rows = rows.cast_column(column, datasets.Image(decode=False))
    return rows


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


def _object(row: Any, where: str) -> dict[str, Any]:
    if isinstance(row, dict):
        return row
    advice = " A file that is one JSON list belongs under the name .json" if isinstance(row, list) else ""
    raise DataError(f"{where}: the row is {type_name(row)}; expected an object with named columns.{advice}")
