"""Rows with our own columns, or with others: thumbs, conversations with a label, pairs, and scored completions.

Which columns are meant is said by the user, or plain: one column that can only be the prompt, one that can only be the
completion, and one verdict whose words have one meaning. Where two could be meant, nothing is taken.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from prospect.errors import DataError, UsageError
from prospect.feedback.files.implicit_prompt import split_shared_prompt
from prospect.feedback.files.labels import THUMBS
from prospect.feedback.files.others.cells import PROMPTS, UnreadableRow
from prospect.feedback.files.others.layouts import number_of, own_columns
from prospect.feedback.files.others.turns import decoded, messages_of, text_of
from prospect.feedback.files.text import parse_text
from prospect.feedback.files.verdict_columns import verdict_column
from prospect.feedback.importers import importer
from prospect.feedback.importers.shapes.base import (
    ANSWERED,
    ASKED,
    Cell,
    Dropped,
    Item,
    Options,
    Preference,
    Ranking,
    Sample,
    Vote,
)
from prospect.feedback.importers.shapes.reading import dig, each_row, sample
from prospect.feedback.records import Text
from prospect.feedback.times import read_time
from prospect.feedback.wording import names

FIELDS = (
    "prompt",
    "completion",
    "label",
    "messages",
    "chosen",
    "rejected",
    "completions",
    "scores",
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

_LAYOUTS = (
    {"prompt", "completion", "label"},
    {"messages", "label"},
    {"chosen", "rejected"},
    {"prompt", "completions", "scores"},
)
_COMPLETIONS = ("response", "answer", "output", "reply", "generation")
_YES = (True, 1, "true", "1")
_NO = (False, 0, "false", "0")


def _recognises(samples: Sequence[Sample]) -> bool:
    return all(_layout_of(sample, other_names(sample)) for sample in samples)


def _layout_of(sample: Sample, others: Mapping[str, str]) -> set[str] | None:
    columns = {column for row in _readable(sample) for column in row} | others.keys()
    return next((layout for layout in _LAYOUTS if columns >= layout), None)


def _readable(sample: Sample) -> list[Mapping[str, Any]]:
    """Return the first rows with our columns, without those that cannot be read."""
    found = []
    for row in sample.rows:
        with suppress(UnreadableRow):
            found.append(own_columns(row))
    return found


def other_names(sample: Sample) -> dict[str, str]:
    """Return our field -> the column that can only mean it, for fields that a file has under another name."""
    rows = _readable(sample)
    columns = {column for row in rows for column, cell in row.items() if cell is not None}
    found: dict[str, str] = {}
    for field, others in (("prompt", PROMPTS), ("completion", _COMPLETIONS)):
        named = [column for column in others if column in columns]
        if field not in columns and len(named) == 1 and "messages" not in columns:
            found[field] = named[0]
    if "label" not in columns and columns.isdisjoint(("chosen", "completions")):
        label = verdict_column(rows)
        found |= {"label": label} if label is not None else {}
    return found


@importer(
    "generic",
    title="rows with named columns",
    recognises=_recognises,
    polarity=THUMBS,
    options=frozenset({"columns", "label_key"}),
    example={"thumbs.jsonl": [{"prompt": ASKED, "completion": ANSWERED, "label": "up", "rater": "anna", "id": 1}]},
)
def _read(paths: Sequence[Path], options: Options) -> Iterator[Item]:
    said = _columns(options)
    for path in paths:
        found = sample(path)
        others = other_names(found)
        if said:  # then columns are meant as they stand in the file
            others = {field: column for field, column in others.items() if column in found.columns}
        columns = {field: field for field in FIELDS} | others | said
        yield from each_row([path], partial(_items, columns=columns, as_said=bool(said)))


def _items(where: str, row: Mapping[str, Any], columns: Mapping[str, str], as_said: bool) -> Iterator[Item]:
    try:
        row = row if as_said else own_columns(row)
    except UnreadableRow as problem:
        yield Dropped(where=where, reason=str(problem))
        return
    yield _item(where, {field: dig(row, column) for field, column in columns.items()})


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
    if row["completions"] is not None and row["scores"] is not None:
        return _ranking(where, row)
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
        score=number_of(row["score"]),
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


def _ranking(where: str, row: Mapping[str, Any]) -> Item:
    completions, scores = decoded(row["completions"]), decoded(row["scores"])
    if not isinstance(completions, list) or not isinstance(scores, list):
        return Dropped(where=where, reason="completions and scores are no lists")
    numbers = [number for score in scores if (number := number_of(score)) is not None]
    prompt, cells = _cell(row["prompt"]), [_cell(completion) for completion in completions]
    if prompt is None or None in cells:
        return Dropped(where=where, reason=f"{'prompt' if prompt is None else 'completion'} is missing")
    if len(numbers) < len(scores) or len(numbers) != len(cells) or len(cells) < 2:
        return Dropped(where=where, reason="there are not two or more completions with a score each")
    return Ranking(
        where=where,
        prompt=prompt,
        completions=[cell for cell in cells if cell is not None],
        scores=numbers,
        rater=_name(row["rater"]),
        source_id=_name(row["id"]),
        time=read_time(row["time"]),
        model=_name(row["model"]),
        reason=_name(row["reason"]),
        weight=row["weight"],
        tools=decoded(row["tools"]),
    )


def _with_shared_prompt(chosen: Cell, rejected: Cell, where: str) -> tuple[Cell | None, Cell, Cell]:
    """Return the common beginning of both sides, as `load_feedback` finds it, and the rest; None without one."""
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
    """Return a name for an unnamed completion, so that a rater's later vote on the same text counts."""
    if rater is None:
        return None
    text = json.dumps([prompt, completion], sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def _name(value: Any) -> str | None:
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        return None
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _lower(value: Any) -> Any:
    return value.strip().lower() if isinstance(value, str) else value if isinstance(value, bool | int) else None
