"""Argilla: records with the answers of several annotators to the questions of a dataset.

Shape: `dataset.records.to_list(flatten=True)` as JSON, JSON lines or Parquet, and datasets exported to the hub. Only
submitted answers count; `flatten=False` leaves out which ones those are, so it is refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from prospect.errors import DataError
from prospect.feedback.files.labels import THUMBS
from prospect.feedback.files.others.turns import decoded
from prospect.feedback.importers import importer
from prospect.feedback.importers.shapes.base import ANSWERED, ASKED, Cell, Dropped, Item, Options, Sample, Vote
from prospect.feedback.importers.shapes.joining import (
    NO_COMPLETION,
    NO_PROMPT,
    Cells,
    check_columns,
    name_of,
    the_label,
)
from prospect.feedback.importers.shapes.payloads import completion_of, prompt_of, turns_of
from prospect.feedback.importers.shapes.reading import Row, dig, rows
from prospect.feedback.times import read_time
from prospect.feedback.wording import names

_RESPONSES = ".responses"
_PROMPTS = ("prompt", "instruction", "question", "query", "input", "context", "user")
_COMPLETIONS = ("completion", "response", "answer", "output", "generation", "reply", "assistant")
_CHATS = ("messages", "chat", "conversation")


def _recognises(samples: Sequence[Sample]) -> bool:
    return bool(samples) and all(_questions(one.columns) or _is_nested(one.rows) for one in samples)


def _questions(columns: Any) -> list[str]:
    """Questions of flattened records: they have both answers and who gave them."""
    found = [column.removesuffix(_RESPONSES) for column in columns if column.endswith(_RESPONSES)]
    return [question for question in found if f"{question}{_RESPONSES}.users" in columns]


def _is_nested(found: Sequence[Mapping[str, Any]]) -> bool:
    return bool(found) and all({"fields", "responses", "suggestions"} <= row.keys() for row in found)


@importer(
    "argilla",
    title="Argilla",
    recognises=_recognises,
    polarity=THUMBS,
    options=frozenset({"columns", "label_key"}),
    example={
        "records.jsonl": [
            {
                "id": "t1",
                "prompt": ASKED,
                "response": ANSWERED,
                "thumbs.responses": ["up"],
                "thumbs.responses.users": ["anna"],
                "thumbs.responses.status": ["submitted"],
                "thumbs.suggestion": "down",
                "thumbs.suggestion.score": 0.9,
                "thumbs.suggestion.agent": "judge",
                "status": "completed",
            }
        ]
    },
)
def _read(paths: Sequence[Path], options: Options) -> Iterator[Item]:
    check_columns(options, "prompt", "completion", "correction", "reason")
    found: Counter[str] = Counter()
    columns: set[str] = set()
    for path in paths:
        for row in rows(path):
            if isinstance(row, Row):
                _refuse_nested(row)
                columns |= row.cells.keys()
                found.update(question for question in _questions(row.cells.keys()) if row.cells[question + _RESPONSES])
    known = _questions(columns)
    if not known:
        raise DataError(
            f"{names(map(str, paths))}: there is no question in it; expected columns such as thumbs.responses and "
            "thumbs.responses.users. Export with dataset.records.to_list(flatten=True)"
        )
    others = {options.columns.get(column) for column in ("correction", "reason")}
    asked = Counter({question: found[question] for question in known if question not in others})
    question = the_label(asked, options.label_key, "question", paths)
    fields = _Fields(columns, options, paths)
    for path in paths:
        for row in rows(path):
            if isinstance(row, Dropped):
                yield row
            else:
                yield from _items(row, question or "", fields, options)


def _refuse_nested(row: Row) -> None:
    if _is_nested([row.cells]):
        raise DataError(
            f"{row.where}: the record is nested (fields, responses, suggestions), a layout in which Argilla leaves out "
            "whether an answer is submitted, a draft or discarded. Export with dataset.records.to_list(flatten=True)"
        )


class _Fields:
    """Which columns hold the prompt and the completion; the user's word first, then the usual names."""

    def __init__(self, columns: set[str], options: Options, paths: Sequence[Path]):
        self._chat = None if options.columns.get("completion") else _one_of(_CHATS, columns)
        self._prompt = options.columns.get("prompt") or _one_of(_PROMPTS, columns)
        self._completion = options.columns.get("completion") or _one_of(_COMPLETIONS, columns)
        if self._completion is None and self._chat is None:
            plain = sorted(column for column in columns if "." not in column)
            raise DataError(
                f"{names(map(str, paths))}: no field is known to be the completion; found {names(plain[:12])}. "
                "Say which: --map completion=... prompt=..."
            )

    def read(self, row: Cells) -> tuple[Cell | None, Cell | None]:
        """Return the prompt and the completion of a record; a chat that ends with the assistant is both."""
        if self._completion is None:
            turns = turns_of(row.get(self._chat or ""))
            return (turns[:-1], turns[-1:]) if turns and turns[-1]["role"] == "assistant" else (None, None)
        prompt = prompt_of(dig(row, self._prompt or self._chat or ""))
        return prompt, completion_of(dig(row, self._completion), prompt)


def _one_of(known: Sequence[str], columns: set[str]) -> str | None:
    return next((name for name in known if name in columns), None)


def _items(row: Row, question: str, fields: _Fields, options: Options) -> Iterator[Item]:
    answers = _answers(row.cells, question)
    if answers is None:
        yield Dropped(where=row.where, reason="answers and annotators of the record do not match")
        return
    if not answers:
        yield Dropped(where=row.where, reason="no human annotation")
    prompt, completion = fields.read(row.cells)
    corrections = _by_user(row.cells, options.columns.get("correction"))
    comments = _by_user(row.cells, options.columns.get("reason"))
    for value, user, status in answers:
        reason = _unfit(status)
        if reason is None and value is None:
            reason = "no human annotation"
        if reason is None and (prompt is None or completion is None):
            reason = NO_COMPLETION if completion is None else NO_PROMPT
        if reason is not None or prompt is None or completion is None:
            yield Dropped(where=row.where, reason=reason or NO_PROMPT)
            continue
        name = name_of(row.cells.get("id"))
        yield Vote(
            where=row.where,
            prompt=prompt,
            completion=completion,
            verdict=_verdict(value),
            rater=user,
            completion_id=name if user else None,
            source_id=name,
            time=read_time(row.cells.get("updated_at")),
            model=name_of(row.cells.get("model")),
            reason=comments.get(user),
            correction=corrections.get(user),
        )


def _answers(row: Cells, question: str) -> list[tuple[Any, str | None, Any]] | None:
    """(answer, annotator, status) of each annotator; None where the three lists are not equally long."""
    columns = [decoded(row.get(f"{question}{_RESPONSES}{part}")) for part in ("", ".users", ".status")]
    if not columns[0]:
        return []
    if columns[2] is None and isinstance(columns[0], list):
        columns[2] = [None] * len(columns[0])
    lists = [column for column in columns if isinstance(column, list)]
    if len(lists) < 3 or len({len(column) for column in lists}) > 1:
        return None
    return [(value, name_of(user), status) for value, user, status in zip(*lists, strict=True)]


def _unfit(status: Any) -> str | None:
    if status == "submitted":
        return None
    return f"{status} response" if status in ("draft", "discarded") else "response that is not known to be submitted"


def _verdict(value: Any) -> Any:
    """Return a label; one that was chosen alone among several stands for itself."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _by_user(row: Cells, question: str | None) -> dict[str | None, str]:
    """Return what each annotator submitted to a question of text: a better answer, or why."""
    answers = _answers(row, question) if question else None
    return {user: text for text, user, status in answers or () if isinstance(text, str) and status == "submitted"}
