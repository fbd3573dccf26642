"""Records -> a JSON lines file in the ecosystem's columns."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from prospect.atomic import atomic_file
from prospect.errors import DataError
from prospect.feedback.files.layouts import OPTIONAL_COLUMNS
from prospect.feedback.records import Completion, Demonstration, Feedback, Image, Paired, Scored, Unpaired
from prospect.feedback.times import write_time

_IMAGE_COLUMNS = {
    "completion": "image",
    "chosen": "chosen_image",
    "rejected": "rejected_image",
    "completions": "images",
}
"""What a column of completions is called where these are images."""
IMAGE_COLUMNS = frozenset(_IMAGE_COLUMNS.values())
_COLUMNS = (
    *("prompt", "completion", "label", "chosen", "rejected", "completions", "scores"),
    *_IMAGE_COLUMNS.values(),
    *OPTIONAL_COLUMNS,
)
_KEYS = {name: f'{"{" if name == "prompt" else ", "}"{name}": '.encode() for name in _COLUMNS}  # prompt comes first
_JSON = json.JSONEncoder(ensure_ascii=False, allow_nan=False)
_PROVENANCE_TEXT = ("source", "source_id", "model", "reason")


def write_jsonl(rows: Iterable[Feedback], path: str | Path) -> int:
    """Write records of one kind to a .jsonl file and return how many there were.

    Images are named by their paths from the file's folder, and must lie in it.

    `load_feedback` reads them back as they were, but for `where`. The file appears whole or not at all: it is
    written beside its place and moved there.

    Refuses no rows, two kinds, what JSON cannot say (NaN, half characters), and a folder that is not there.
    """
    path = Path(path)
    count = 0
    with jsonl_file(path) as file:
        for line in encoded(rows, path):
            file.write(line)
            count += 1
        if count == 0:
            raise nothing_to_write(path)
    return count


@contextmanager
def jsonl_file(path: Path) -> Iterator[BinaryIO]:
    """Give a file for encoded rows that becomes `path` when the block ends well, and vanishes when not."""
    if path.suffix.lower() not in (".jsonl", ".ndjson"):
        raise DataError(f"{path}: JSON lines are written to .jsonl or .ndjson. Change the name")
    try:
        with atomic_file(path) as file:
            yield file
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror}. Check the folder") from error


def nothing_to_write(path: Path) -> DataError:
    """Return the refusal to write a file without rows."""
    return DataError(f"{path}: there are no rows to write; expected at least one")


def encoded(rows: Iterable[Feedback], path: Path) -> Iterator[bytes]:
    """Yield the line of each row; refuse two kinds, and what JSON cannot say. `path` is for messages."""
    kind, folder = None, path.parent
    for row in rows:
        kind = kind or row.kind
        if row.kind != kind:
            raise DataError(f"{row.where}: the row is {row.kind}, but {path} began {kind}. Write one file per kind")
        yield encode(row, folder)


def encode(row: Feedback, folder: Path) -> bytes:
    """Return the row as one line of JSON, with its line feed; refuse what JSON cannot say.

    Args:
        row: a record.
        folder: where the file will be, from which paths of images count.
    """
    dumps = orjson.dumps
    try:
        columns = as_columns(row, _encoded_text)
        if not IMAGE_COLUMNS.isdisjoint(columns):
            columns |= {name: path_cell(row, name, folder) for name in columns if name in IMAGE_COLUMNS}
        parts, place = [b"}\n"] * (2 * len(columns) + 1), 0
        for name, cell in columns.items():
            parts[place] = _KEYS[name]
            parts[place + 1] = dumps(cell) if type(cell) is str else _encode(cell)
            place += 2
    except (ValueError, TypeError, RecursionError) as error:
        raise DataError(f"{row.where}: the row cannot be written as JSON: {error}. Mend or remove it") from error
    return b"".join(parts)


def _encode(cell: Any) -> bytes:
    """Return the bytes that json makes of a cell; numbers and verdicts without its set-up."""
    if cell is True or cell is False:
        return b"true" if cell else b"false"
    if type(cell) is float and -math.inf < cell < math.inf:  # NaN is not
        return repr(cell).encode()
    if type(cell) is bytes:  # the turns of a text
        return cell
    return _JSON.encode(cell).encode()


def _encoded_text(completion: Completion) -> str | bytes:
    """Return a text, or the bytes that json makes of its turns; of an image its name."""
    if isinstance(completion, Image):
        return completion.name
    if isinstance(completion, str):
        return completion
    dumps, parts = orjson.dumps, []
    for message in completion:
        if message.extra:
            return _JSON.encode([turn.as_dict() for turn in completion]).encode()
        parts.append(b'{"role": %b, "content": %b}' % (dumps(message.role), dumps(message.content)))
    return b"[%b]" % b", ".join(parts)


def _as_cell(completion: Completion) -> str | list[dict[str, Any]]:
    if isinstance(completion, Image):
        return completion.name
    return completion if isinstance(completion, str) else [message.as_dict() for message in completion]


def as_columns(row: Feedback, as_cell: Callable[[Completion], Any] = _as_cell) -> dict[str, Any]:
    """Return the record as column -> cell, without the optional columns that say nothing.

    The cell of an image is its name by content, so that the columns are the same wherever the file lies.

    Args:
        row: the record.
        as_cell: what a prompt or completion becomes; a list of messages, if it is one.
    """
    columns: dict[str, Any] = {"prompt": as_cell(row.prompt)}
    if isinstance(row, Unpaired):
        columns[_column("completion", row.completion)] = as_cell(row.completion)
        columns["label"] = row.desirable
    elif isinstance(row, Paired):
        columns[_column("chosen", row.chosen)] = as_cell(row.chosen)
        columns[_column("rejected", row.rejected)] = as_cell(row.rejected)
    elif isinstance(row, Demonstration):
        columns[_column("completion", row.completion)] = as_cell(row.completion)
    elif isinstance(row, Scored):
        columns[_column("completions", row.completions[0])] = [_as_cell(text) for text in row.completions]
        columns["scores"] = list(row.scores)
    columns["id"] = row.id
    if row.weight != 1.0:
        columns["weight"] = row.weight
    if row.score is not None:
        columns["score"] = row.score
    if row.rater is not None:
        columns["rater"] = row.rater
    if row.tools is not None:
        columns["tools"] = [dict(tool) for tool in row.tools]
    if not row.finished:
        columns["finished"] = False
    given = vars(row)
    for name in _PROVENANCE_TEXT:
        if (value := given.get(name)) is not None:
            columns[name] = value
    if row.time is not None:
        columns["time"] = _time_text(row.time)
    if row.relative:
        columns["relative"] = True
    return columns


def _time_text(time: datetime) -> str:
    """Return what `write_time` returns, in a fifth of the time for a time in UTC, as nearly all are."""
    if time.tzinfo is UTC:
        return orjson.dumps(time, option=orjson.OPT_UTC_Z)[1:-1].decode()
    return write_time(time)


def path_cell(row: Feedback, column: str, folder: Path) -> str | list[str]:
    """Return the cell of an image column with paths from a folder; refuse images outside it, or inside another file."""
    images = getattr(row, next(name for name, of_images in _IMAGE_COLUMNS.items() if of_images == column))
    if isinstance(images, tuple):
        return [_path_from(image, folder, row.where) for image in images]
    return _path_from(images, folder, row.where)


def _path_from(image: Image, folder: Path, where: str) -> str:
    if image.data is not None:
        raise DataError(
            f"{where}: the image ({image.path}) is inside another file; expected an image file, for rows to name it. "
            "Write the images out first: prospect data freeze FILE -o FOLDER, and use that folder"
        )
    path = Path(os.path.abspath(image.path))  # noqa: PTH100 - links stay: they are the user's names
    root = Path(os.path.abspath(folder))  # noqa: PTH100
    if not path.is_relative_to(root):
        raise DataError(
            f"{where}: the image ({image.path}) is not in {root} or below; expected a file beside its images. "
            "Write the file into a folder that holds them, or use a frozen dataset: prospect data freeze FILE -o FOLDER"
        )
    return path.relative_to(root).as_posix()


def _column(column: str, completion: Completion) -> str:
    return _IMAGE_COLUMNS[column] if isinstance(completion, Image) else column
