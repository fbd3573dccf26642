"""Rows with our own columns, or with others that the user names: thumbs, conversations with a label, and pairs."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from prospect.errors import DataError, UsageError
from prospect.feedback.implicit_prompt import split_shared_prompt
from prospect.feedback.importers.base import Cell, Dropped, Importer, Item, Options, Preference, Sample, Vote
from prospect.feedback.importers.joining import THUMBS
from prospect.feedback.importers.reading import decoded, dig, each_row, messages_of, text_of
from prospect.feedback.records import Text
from prospect.feedback.text import parse_text
from prospect.feedback.times import read_time
from prospect.feedback.wording import names

FIELDS = (
    "prompt",
    "completion",
    "label",
    "messages",
    "chosen",
    "rejected",
    "rater",
    "id",
    "completion_id",
    "time",
    "model",
    "reason",
    "score",
    "weight",
    "tools",
    "finished",
    "relative",
    "correction",
)
"""What a column may be said to be."""

_LAYOUTS = ({"prompt", "completion", "label"}, {"messages", "label"}, {"chosen", "rejected"})
_YES = (True, 1, "true", "1")
_NO = (False, 0, "false", "0")


def _recognises(samples: Sequence[Sample]) -> bool:
    return all(any(sample.columns >= layout for layout in _LAYOUTS) for sample in samples)


def _read(paths: Sequence[Path], options: Options) -> Iterator[Item]:
    columns = {field: field for field in FIELDS} | _columns(options)
    return each_row(paths, lambda where, row: [_item(where, {f: dig(row, c) for f, c in columns.items()})])


def _columns(options: Options) -> dict[str, str]:
    unknown = [field for field in options.columns if field not in FIELDS]
    if unknown:
        raise UsageError(f"--map {unknown[0]}=...: there is no such field; expected {names(FIELDS, 'or')}")
    columns = dict(options.columns)
    if options.label_key is not None and columns.setdefault("label", options.label_key) != options.label_key:
        raise UsageError("--label-key and --map label=... name two columns; leave one of them out")
    return columns


def _item(where: str, row: Mapping[str, Any]) -> Item:
    if row["chosen"] is not None and row["rejected"] is not None:
        return _preference(where, row)
    label = row["label"]
    if label is None or label == "" or (isinstance(label, float) and math.isnan(label)):
        return Dropped(where=where, reason="no label")
    prompt, completion = _cell(row["prompt"]), _cell(row["completion"])
    if completion is None and row["messages"] is not None:
        turns = _cell(row["messages"])
        if not isinstance(turns, list) or turns[-1].get("role") != "assistant":
            return Dropped(where=where, reason="messages do not end with the assistant")
        prompt, completion = turns[:-1], turns[-1:]
    if prompt is None or completion is None:
        return Dropped(where=where, reason=f"{'prompt' if prompt is None else 'completion'} is missing")
    rater = _name(row["rater"])
    return Vote(
        where=where,
        prompt=prompt,
        completion=completion,
        verdict=label,
        rater=rater,
        completion_id=_name(row["completion_id"]) or _same_text(rater, prompt, completion),
        source_id=_name(row["id"]),
        time=read_time(row["time"]),
        model=_name(row["model"]),
        reason=_name(row["reason"]),
        relative=_lower(row["relative"]) in _YES,
        score=_number(row["score"]),
        correction=text_of(row["correction"]) or None,
        tools=decoded(row["tools"]),
        finished=_lower(row["finished"]) not in _NO,
        weight=row["weight"],
    )


def _preference(where: str, row: Mapping[str, Any]) -> Item:
    prompt, chosen, rejected = _cell(row["prompt"]), _cell(row["chosen"]), _cell(row["rejected"])
    if prompt is None and chosen is not None and rejected is not None:
        prompt, chosen, rejected = _with_shared_prompt(chosen, rejected, where)
    if chosen is None or rejected is None:
        return Dropped(where=where, reason=f"{'chosen' if chosen is None else 'rejected'} is missing")
    if prompt is None:
        return Dropped(where=where, reason="prompt is missing")
    return Preference(
        where=where,
        prompt=prompt,
        chosen=chosen,
        rejected=rejected,
        rater=_name(row["rater"]),
        source_id=_name(row["id"]),
        time=read_time(row["time"]),
        model=_name(row["model"]),
        reason=_name(row["reason"]),
        weight=row["weight"],
        tools=decoded(row["tools"]),
    )


def _with_shared_prompt(chosen: Cell, rejected: Cell, where: str) -> tuple[Cell | None, Cell, Cell]:
    """What both sides begin with, as `load_feedback` finds it, and what is left of them; None where nothing is."""
    try:
        texts = parse_text(chosen, "chosen", where), parse_text(rejected, "rejected", where)
        cells = [_as_cell(text) for text in split_shared_prompt(*texts, where)]
    except DataError:
        return None, chosen, rejected
    return cells[0] or None, cells[1], cells[2]


def _as_cell(text: Text) -> Cell:
    return text if isinstance(text, str) else [message.as_dict() for message in text]


def _cell(value: Any) -> Cell | None:
    """Text as it is, and turns as they are where they have roles; those that call them otherwise are read."""
    turns = decoded(value)
    if isinstance(turns, list) and turns and all(isinstance(turn, dict) for turn in turns):
        if all("role" in turn and isinstance(turn.get("content"), str) for turn in turns):
            return turns
        read = messages_of(turns)
        if read is not None:
            return read
    return value if isinstance(value, str) else turns if isinstance(turns, list) and turns else None


def _same_text(rater: str | None, prompt: Cell, completion: Cell) -> str | None:
    """A name for a completion that the export does not name, so that a rater's later vote on the same text counts."""
    if rater is None:
        return None
    text = json.dumps([prompt, completion], sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def _name(value: Any) -> str | None:
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        return None
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _number(value: Any) -> float | None:
    try:
        return None if value is None or isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _lower(value: Any) -> Any:
    return value.strip().lower() if isinstance(value, str) else value if isinstance(value, bool | int) else None


IMPORTER = Importer(
    name="generic",
    title="rows with named columns",
    recognises=_recognises,
    read=_read,
    polarity=THUMBS,
    options=frozenset({"columns", "label_key"}),
)
