"""CSV and TSV -> raw rows: cells are text, so what JSON would say by its types is said here."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prospect.errors import DataError
from prospect.feedback.files.json_text import parse_json
from prospect.feedback.files.layouts import OPTIONAL_COLUMNS
from prospect.feedback.files.readers import RawRow, read_lines
from prospect.feedback.wording import names, show

_TEXT_COLUMNS = ("prompt", "completion", "chosen", "rejected", "messages")
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
_MESSAGE_LIKE = re.compile(r"""\[\{\s*['"](role|content)['"]""")
LONGEST_CELL = 2**31 - 1  # characters; the module's own limit of 131,072 is less than a long conversation


def read_csv(path: Path) -> Iterator[RawRow]:
    """Yield the rows of a .csv (commas) or .tsv (tabs) file whose first line names the columns.

    An empty optional cell is an absent one. A cell that holds a JSON list of messages becomes that list.

    Refuses rows with a cell too many or too few, names that occur twice, and quotes that do not close.
    """
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    records = csv_records(path, delimiter)
    _, header = next(records, (1, []))
    check_header(header, path, delimiter)
    for line, cells in records:
        where = f"{path}:{line}"
        if len(cells) != len(header):
            raise DataError(
                f"{where}: the row has {len(cells)} cells; expected {len(header)}, as in the first line. "
                "Quote cells that hold a separator or a line break"
            )
        row = dict(zip(header, cells, strict=True))
        yield where, f"{path.name}:{line}", typed_cells(row, where)


def csv_records(path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the first line number and the cells of each record; a quoted cell may span lines."""
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST_CELL))
    # strict: a quote that never closes would otherwise swallow the rest of the file without a word
    reader = csv.reader((line for _, line in read_lines(path)), delimiter=delimiter, strict=True)
    while True:
        first = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise DataError(
                f"{path}:{first}: broken CSV: {error}. Quote such cells, and double the quotes inside them"
            ) from None
        if cells is None:
            return
        if cells:
            yield first, cells


def check_header(header: list[str], path: Path, delimiter: str) -> None:
    """Refuse a header that another separator divides, or in which a name occurs twice."""
    for other in {",", ";", "\t"} - {delimiter}:
        if len(header) == 1 and other in header[0]:
            raise DataError(
                f"{path}:1: the columns are separated by {show(other)}; expected {show(delimiter)}. "
                "Use commas in .csv and tabs in .tsv"
            )
    twice = {column for column in header if column and header.count(column) > 1}
    if twice:
        raise DataError(f"{path}:1: two columns are named {names(sorted(twice))}. Rename or remove one")


def typed_cells(row: dict[str, Any], where: str) -> dict[str, Any]:
    """Return the row with its cells of the types that JSON would have given them; it is changed in place."""
    for column in _TEXT_COLUMNS:
        if column in row and row[column].startswith("[{"):
            row[column] = _messages_or_text(row[column], column, where)
    for column in OPTIONAL_COLUMNS:
        if column in row:
            row[column] = _optional(row[column], column)
    return row


def _messages_or_text(cell: str, column: str, where: str) -> Any:
    try:
        value = parse_json(cell)
    except ValueError:
        if _MESSAGE_LIKE.match(cell):
            raise DataError(
                f"{where}: {column} looks like a list of messages but is not JSON: {show(cell)}. "
                "Write it with json.dumps, or use JSON lines"
            ) from None
        return cell
    return value if all(isinstance(turn, dict) and "role" in turn for turn in value) else cell


def _optional(cell: str, column: str) -> Any:
    """Return the typed cell; one that cannot be typed stays text, and is refused where its column is read."""
    if cell == "":
        return None
    if column in ("weight", "score"):
        try:
            return float(cell)
        except ValueError:
            return cell
    return _BOOLEANS.get(cell.lower(), cell) if column in ("finished", "relative") else cell
