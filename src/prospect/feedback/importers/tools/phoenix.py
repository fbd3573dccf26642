"""Phoenix: span annotations in one export, the spans in another.

Shapes: the REST API (`span_annotations`, `spans`) and the data frames of the client, as JSON, CSV or Parquet. A span's
text is in its OpenInference attributes: llm.input_messages and llm.output_messages, else input.value and output.value.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from prospect.feedback.files.labels import THUMBS
from prospect.feedback.files.others.layouts import number_of
from prospect.feedback.files.others.turns import decoded
from prospect.feedback.importers import importer
from prospect.feedback.importers.shapes.base import ANSWERED, ASKED, Cell, Dropped, Item, Options, Vote
from prospect.feedback.importers.shapes.joining import (
    MACHINE,
    OTHER_LABEL,
    UNKNOWN_SOURCE,
    Cells,
    Export,
    Said,
    all_are,
    check_columns,
    first,
    name_of,
    the_label,
)
from prospect.feedback.importers.shapes.payloads import completion_of, prompt_of, turns_of
from prospect.feedback.importers.shapes.reading import dig
from prospect.feedback.times import read_time

_TABLES = {"annotation": "span annotation", "span": "span"}
_MOST_MESSAGES = 10_000  # of one span whose messages are spread over numbered keys


def _kind_of(row: Cells) -> str | None:
    if "annotator_kind" in row and ("span_id" in row or "result" in row or "result.label" in row):
        return "annotation"
    is_span = _span_id(row) is not None and ("attributes" in row or any(key.startswith("attributes.") for key in row))
    return "span" if is_span else None


@importer(
    "phoenix",
    title="Phoenix",
    recognises=lambda samples: all_are(_kind_of, "annotation", samples),
    polarity=THUMBS,
    options=frozenset({"columns", "label_key"}),
    example={
        "annotations.json": {
            "data": [
                {
                    "id": "a1",
                    "span_id": "67f6740bbe1ddc3f",
                    "name": "thumbs",
                    "annotator_kind": "HUMAN",
                    "result": {"label": "thumbs-up", "score": 1, "explanation": "kind"},
                    "source": "APP",
                    "user_id": "anna",
                    "created_at": "2026-01-02T03:04:05+00:00",
                }
            ],
            "next_cursor": None,
        },
        "spans.json": {
            "data": [
                {
                    "name": "llm",
                    "context": {"trace_id": "t", "span_id": "67f6740bbe1ddc3f"},
                    "span_kind": "LLM",
                    "attributes": {
                        "llm.model_name": "small",
                        "llm.input_messages.0.message.role": "user",
                        "llm.input_messages.0.message.content": ASKED,
                        "llm.output_messages.0.message.role": "assistant",
                        "llm.output_messages.0.message.content": ANSWERED,
                    },
                }
            ],
            "next_cursor": None,
        },
    },
)
def _read(paths: Sequence[Path], options: Options) -> Iterator[Item]:
    check_columns(options, "prompt", "completion")
    export = Export(paths, _kind_of, _TABLES)
    found: Counter[str] = Counter()
    wanted: set[str] = set()
    for row in export.verdicts():
        if _unfit(row.cells) is None:
            found[_label_of(row.cells)] += 1
            wanted.add(name_of(row.cells.get("span_id")) or "")
    label = the_label(found, options.label_key, "annotation", paths)
    spans = {name: _said(row, options) for _, row in export.table("span") if (name := _span_id(row)) and name in wanted}

    def read(where: str, row: Cells) -> Item:
        return _item(row, where, label, spans)

    yield from export.items(read)


def _item(row: Cells, where: str, label: str | None, spans: dict[str, Said]) -> Item:
    reason = _unfit(row)
    if reason is None and _label_of(row) != label:
        reason = OTHER_LABEL
    span = name_of(row.get("span_id"))
    said = spans.get(span) if span is not None else None
    if reason is None and said is None:
        reason = "no span for this annotation"
    if reason is not None or said is None:
        return Dropped(where=where, reason=reason or "")
    if said.prompt is None or said.completion is None:
        return Dropped(where=where, reason=said.fault or "")
    rater = name_of(row.get("user_id"))
    return Vote(
        where=where,
        prompt=said.prompt,
        completion=said.completion,
        verdict=_verdict(row),
        rater=rater,
        completion_id=span if rater else None,
        source_id=name_of(row.get("id")),
        time=read_time(first(row, "updated_at", "created_at")),
        model=said.model,
        reason=name_of(dig(row, "result.explanation")),
        score=number_of(dig(row, "result.score")),
    )


def _unfit(row: Cells) -> str | None:
    kind = row.get("annotator_kind")
    if kind in ("LLM", "CODE"):
        return MACHINE
    if kind != "HUMAN":
        return UNKNOWN_SOURCE
    return "annotation without a label or score" if _verdict(row) is None else None


def _label_of(row: Cells) -> str:
    return str(first(row, "name", "annotation_name"))


def _verdict(row: Cells) -> Any:
    """Return the label, which is what the rater chose; the number where there is no label."""
    return first(row, "result.label", "result.score")


def _span_id(row: Cells) -> str | None:
    return name_of(first(row, "context.span_id", "span_id", "spanId"))


def _said(row: Cells, options: Options) -> Said:
    prompt_path, completion_path = options.columns.get("prompt"), options.columns.get("completion")
    turns = _messages(row, "llm.input_messages")
    prompt: Cell | None = prompt_of(_attribute(row, "input.value")) if turns is None else turns
    if prompt_path:
        prompt = prompt_of(dig(row, prompt_path))
    answer: Any = _messages(row, "llm.output_messages")
    if answer is None:
        answer = _attribute(row, "output.value")
    if completion_path:
        answer = dig(row, completion_path)
    return Said(prompt, completion_of(answer, prompt), name_of(_attribute(row, "llm.model_name")))


def _attribute(row: Cells, name: str) -> Any:
    """Return an attribute, nested or under a dotted key, in `attributes` or in a data frame's columns."""
    found = dig(decoded(row.get("attributes")), name)
    return found if found is not None else dig(row, f"attributes.{name}")


def _messages(row: Cells, name: str) -> list[dict[str, Any]] | None:
    found = decoded(_attribute(row, name))
    messages = found if isinstance(found, list) else _numbered(decoded(row.get("attributes")), name)
    return turns_of([_turn(message) for message in messages]) if messages else None


def _numbered(attributes: Any, name: str) -> list[Any]:
    """Messages that are spread over keys: llm.input_messages.0.message.role, llm.input_messages.0.message.content."""
    if not isinstance(attributes, dict):
        return []
    turns: dict[int, Cells] = {}
    pattern = re.compile(re.escape(name) + r"\.(\d{1,5})\.(.+)")
    for key, value in attributes.items():
        match = pattern.fullmatch(key)
        if match and int(match[1]) < _MOST_MESSAGES:
            turns.setdefault(int(match[1]), {})[match[2]] = value
    return [turns[place] for place in sorted(turns)]


def _turn(message: Any) -> Any:
    """Return an OpenInference message as {role, content}; one that holds more than text is left, and then not read."""
    content = dig(message, "message.content")
    if content is None:
        parts = decoded(dig(message, "message.contents"))
        content = [_part(part) for part in parts] if isinstance(parts, list) else None
    calls = decoded(dig(message, "message.tool_calls"))
    turn = {"role": dig(message, "message.role"), "content": content}
    return {**turn, "tool_calls": [_call(call) for call in calls]} if isinstance(calls, list) and calls else turn


def _part(part: Any) -> Any:
    text, kind = dig(part, "message_content.text"), dig(part, "message_content.type")
    return {"type": kind, "text": text}


def _call(call: Any) -> Cells:
    function = {"name": dig(call, "tool_call.function.name"), "arguments": dig(call, "tool_call.function.arguments")}
    return {"type": "function", "function": function}
