"""Gradio: the log of a chat's thumbs, `.gradio/flagged/log.csv`.

Its headings are five (conversation, index, value, flag, timestamp), but Gradio writes four values below them: without
the text of the rated message, so that the verdict stands under `value` and the time under `flag`. Rows with all five
are read by their headings. Every click is a row; nobody is named.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from prospect.errors import DataError
from prospect.feedback.files.others.turns import decoded, messages_of
from prospect.feedback.importers import importer
from prospect.feedback.importers.shapes.base import ANSWERED, ASKED, Dropped, Item, Options, Sample, Vote
from prospect.feedback.importers.shapes.reading import csv_records
from prospect.feedback.times import read_time

_HEADINGS = ("conversation", "index", "value", "flag", "timestamp")

Turns = list[dict[str, Any]]


def _recognises(samples: Sequence[Sample]) -> bool:
    return all({"conversation", "index", "value"} <= one.columns for one in samples)


@importer(
    "gradio",
    title="Gradio",
    recognises=_recognises,
    polarity={"like": True, "dislike": False},
    example={
        "log.csv": "conversation,index,value,flag,timestamp\n"
        f'"[[""{ASKED}"", ""{ANSWERED}""]]","[0, 1]",Like,2026-01-02 03:04:05\n'
    },
)
def _read(paths: Sequence[Path], options: Options) -> Iterator[Item]:
    for path in paths:
        if path.suffix.lower() not in (".csv", ".tsv"):
            raise DataError(f"{path}: is no CSV file; expected the log.csv that Gradio writes")
        records = csv_records(path)
        _, header = next(records, ("", []))
        if header[:2] != list(_HEADINGS[:2]):
            found = ", ".join(header) or "nothing"
            raise DataError(f"{path}:1: the headings are {found}; expected those of Gradio: {', '.join(_HEADINGS)}")
        for where, cells in records:
            yield _item(where, header, cells)


def _item(where: str, header: list[str], cells: list[str]) -> Item:
    if len(cells) == len(header):
        row = dict(zip(header, cells, strict=True))
        verdict, time = row.get("flag") or row.get("value"), row.get("timestamp")
    elif len(cells) == 4:
        verdict, time = cells[2:]
    else:
        return Dropped(where=where, reason="row has another number of cells than Gradio writes")
    conversation, index = decoded(cells[0]), decoded(cells[1].strip())
    turns = _of_pairs(conversation, index) if _is_pairs(conversation) else _of_messages(conversation, index)
    if isinstance(turns, str):
        return Dropped(where=where, reason=turns)
    if turns[-1]["role"] != "assistant":
        return Dropped(where=where, reason="rated message is not an assistant's")
    if len(turns) == 1:
        return Dropped(where=where, reason="prompt is missing")
    return Vote(
        where=where,
        prompt=turns[:-1],
        completion=turns[-1]["content"],
        verdict=verdict or None,
        completion_id=hashlib.blake2b(json.dumps(turns).encode(), digest_size=12).hexdigest(),
        time=read_time(time),
    )


def _is_pairs(conversation: Any) -> bool:
    return isinstance(conversation, list) and all(isinstance(pair, list) and len(pair) == 2 for pair in conversation)


def _of_messages(conversation: Any, index: Any) -> Turns | str:
    """Return the turns up to the rated one; a text is the reason why there are none."""
    if not isinstance(conversation, list):
        return "conversation cannot be read"
    place = _whole(index[0] if isinstance(index, list) and index else index)
    if place is None or place >= len(conversation):
        return "index names no message"
    until = conversation[: place + 1]
    if _is_thought(until[-1]):
        return "rated message is a thought, not an answer"
    return messages_of([turn for turn in until if not _is_thought(turn)]) or "message cannot be read as text"


def _is_thought(turn: Any) -> bool:
    """Gradio shows reasoning and tool calls as messages with a title of their own."""
    metadata = turn.get("metadata") if isinstance(turn, dict) else None
    return isinstance(metadata, dict) and bool(metadata.get("title"))


def _of_pairs(conversation: list[Any], index: Any) -> Turns | str:
    """Return the same of the older form, pairs of what the user and what the bot said; the index is [pair, 0 or 1]."""
    pair, side = index if isinstance(index, list) and len(index) == 2 else (index, 1)
    pair, side = _whole(pair), _whole(side)
    if pair is None or side not in (0, 1) or pair >= len(conversation) or conversation[pair][side] is None:
        return "index names no message"
    said = [
        {"role": role, "content": text}
        for place, both in enumerate(conversation[: pair + 1])
        for role, text in zip(("user", "assistant"), both[: side + 1] if place == pair else both, strict=False)
        if text is not None
    ]
    return said if all(isinstance(turn["content"], str) for turn in said) else "message cannot be read as text"


def _whole(value: Any) -> int | None:
    """Return a whole number from 0, also as text."""
    if isinstance(value, str) and value.isdecimal() and len(value) < 10:
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
