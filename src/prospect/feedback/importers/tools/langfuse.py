"""Langfuse: scores in one export, what was scored (observations, or whole traces) in another.

Shapes: the public API (camel case, v2 and v3 scores), the batch export of the tables (JSON, CSV) and the blob storage
export (snake case). Kept are scores of source API (an application's thumbs) and ANNOTATION; EVAL is a machine's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prospect.feedback.files.labels import THUMBS
from prospect.feedback.importers import importer
from prospect.feedback.importers.shapes.base import ANSWER, USER, Dropped, Item, Options, Vote
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
    said_by,
    the_label,
)
from prospect.feedback.importers.shapes.payloads import plain_text_of
from prospect.feedback.importers.shapes.reading import dig
from prospect.feedback.times import read_time

_SOURCES = ("API", "ANNOTATION", "EVAL")
_TYPES = ("NUMERIC", "BOOLEAN", "CATEGORICAL", "CORRECTION", "TEXT")
_VALUES = {"value", "stringValue", "string_value"}
_SUBJECTS = {"traceId", "trace_id", "observationId", "observation_id", "sessionId", "session_id", "subject"}
_TABLES = {"score": "score", "text": "trace or observation"}


@dataclass
class _Trace:
    """The calls of a trace that a score of the whole trace could mean."""

    whole: list[Said] = field(default_factory=list)
    roots: list[Said] = field(default_factory=list)
    generations: list[Said] = field(default_factory=list)

    def said(self) -> Said | None:
        """Return the trace's own input and output, else those of its one root, else of its one generation."""
        for candidates in (self.whole, self.roots, self.generations):
            if len(candidates) == 1 and candidates[0].fault is None:
                return candidates[0]
        return next(iter(self.whole or self.roots or self.generations), None)


def _kind_of(row: Cells) -> str | None:
    if _is_score(row):
        return "score"
    if "id" in row and ("input" in row or "output" in row) and not {"run_type", "threadId"} & row.keys():
        return "text"
    return None


def _is_score(row: Cells) -> bool:
    if "name" not in row or _VALUES.isdisjoint(row) or _SUBJECTS.isdisjoint(row):
        return False
    return first(row, "dataType", "data_type") in _TYPES or row.get("source") in _SOURCES


@importer(
    "langfuse",
    title="Langfuse",
    recognises=lambda samples: all_are(_kind_of, "score", samples),
    polarity=THUMBS,
    options=frozenset({"columns", "label_key"}),
    example={
        "scores.json": {
            "data": [
                {
                    "id": "s1",
                    "traceId": "t1",
                    "observationId": "o1",
                    "name": "thumbs",
                    "source": "API",
                    "dataType": "BOOLEAN",
                    "value": 1,
                    "comment": "quick",
                    "timestamp": "2026-01-02T03:04:05Z",
                }
            ],
            "meta": {"page": 1},
        },
        "observations.jsonl": [
            {
                "id": "o1",
                "traceId": "t1",
                "type": "GENERATION",
                "parentObservationId": None,
                "model": "small",
                "input": {"messages": [USER]},
                "output": ANSWER,
            }
        ],
    },
)
def _read(paths: Sequence[Path], options: Options) -> Iterator[Item]:
    check_columns(options, "prompt", "completion")
    export = Export(paths, _kind_of, _TABLES)
    found: Counter[str] = Counter()
    wanted: set[str] = set()
    for row in export.verdicts():
        if _unfit(row.cells) is None:
            trace, observation = _subject(row.cells)
            wanted.update(name for name in (trace, observation) if name)
            if not _is_correction(row.cells):
                found[str(row.cells["name"])] += 1
    label = the_label(found, options.label_key, "score", paths)
    texts = _texts(export, wanted, options)

    def read(where: str, row: Cells) -> Item:
        return _item(row, where, label, texts)

    yield from export.items(read)


def _texts(export: Export, wanted: set[str], options: Options) -> dict[str, Said | _Trace]:
    """Return what was said in each observation and each trace that has a score."""
    texts: dict[str, Said | _Trace] = {}
    for _, row in export.table("text"):
        name, trace = name_of(row.get("id")), name_of(first(row, "traceId", "trace_id"))
        if name is None or wanted.isdisjoint((name, trace)):
            continue
        said = said_by(row, options, "input", "output")._replace(
            model=name_of(first(row, "model", "providedModelName", "provided_model_name", "modelId")),
            user=name_of(first(row, "userId", "user_id")),
        )
        if trace is None:  # a trace itself
            _trace_of(texts, name).whole.append(said)
            continue
        if name in wanted:
            texts[name] = said
        if trace in wanted:
            calls = _trace_of(texts, trace)
            if first(row, "parentObservationId", "parent_observation_id") is None:
                calls.roots.append(said)
            if row.get("type") == "GENERATION":
                calls.generations.append(said)
    return texts


def _trace_of(texts: dict[str, Said | _Trace], name: str) -> _Trace:
    trace = texts.setdefault(name, _Trace())
    # An observation that bears the name of a trace gives way to it: such names are made by hand.
    if not isinstance(trace, _Trace):
        trace = texts[name] = _Trace()
    return trace


def _item(row: Cells, where: str, label: str | None, texts: dict[str, Said | _Trace]) -> Item:
    reason = _unfit(row)
    if reason is None and not _is_correction(row) and str(row["name"]) != label:
        reason = OTHER_LABEL
    if reason is not None:
        return Dropped(where=where, reason=reason)
    trace, observation = _subject(row)
    name = observation or trace
    if name is None:
        return Dropped(where=where, reason="score of a session or an experiment, not of a completion")
    found = texts.get(name)
    said = found.said() if isinstance(found, _Trace) else found
    if said is None:
        return Dropped(where=where, reason="no observation for this score")
    if said.fault is not None:
        return Dropped(where=where, reason=said.fault)
    return _vote(row, where, name, said)


def _vote(row: Cells, where: str, name: str, said: Said) -> Item:
    correction = plain_text_of(first(row, "stringValue", "string_value", "value")) if _is_correction(row) else None
    verdict = None if _is_correction(row) else _verdict(row)
    if verdict is None and correction is None:
        return Dropped(where=where, reason="score without a value")
    author = name_of(first(row, "authorUserId", "author_user_id", "authorUserName"))
    by_user = row.get("source") == "API"  # an application's own thumbs: who clicked is the user of the trace
    rater = author or (said.user if by_user else None)
    assert said.prompt is not None and said.completion is not None
    return Vote(
        where=where,
        prompt=said.prompt,
        completion=said.completion,
        verdict=verdict,
        rater=rater,
        # Of annotators without a name nobody can say whether two of them are one.
        completion_id=name if rater or by_user else None,
        source_id=name_of(row.get("id")),
        time=read_time(first(row, "updatedAt", "updated_at", "timestamp", "createdAt", "created_at")),
        model=said.model,
        reason=name_of(row.get("comment")),
        correction=correction,
    )


def _unfit(row: Cells) -> str | None:
    source = row.get("source")
    if source == "EVAL":
        return MACHINE
    if source not in _SOURCES:
        return UNKNOWN_SOURCE
    return "score that is a text" if first(row, "dataType", "data_type") == "TEXT" else None


def _is_correction(row: Cells) -> bool:
    return bool(first(row, "dataType", "data_type") == "CORRECTION")


def _subject(row: Cells) -> tuple[str | None, str | None]:
    """Return the trace and the observation that a score names; none of a session."""
    kind, name = dig(row, "subject.kind"), name_of(dig(row, "subject.id"))
    trace = first(row, "traceId", "trace_id", "subject.traceId") or (name if kind == "trace" else None)
    observation = first(row, "observationId", "observation_id") or (name if kind == "observation" else None)
    return name_of(trace), name_of(observation)


def _verdict(row: Cells) -> Any:
    text = first(row, "stringValue", "string_value")
    return text if text is not None else first(row, "value")
