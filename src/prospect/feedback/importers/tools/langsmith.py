"""LangSmith: feedback in one export, the runs it is about in another.

Shapes: what the SDK and the API give (`list_feedback`, `list_runs`), as JSON, JSON lines, CSV or Parquet. Kept is what
people said through an application (source type `api`) or in the web page (`app`); evaluators are `model`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from prospect.feedback.files.labels import THUMBS
from prospect.feedback.files.others.layouts import number_of
from prospect.feedback.files.others.turns import decoded
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

_PEOPLE = ("api", "app")
_MACHINES = ("model", "auto_eval", "evaluator")
_TABLES = {"feedback": "feedback", "run": "run"}


def _kind_of(row: Cells) -> str | None:
    if {"run_id", "key"} <= row.keys() and not {"score", "value", "correction", "feedback_source"}.isdisjoint(row):
        return "feedback"
    return "run" if {"id", "run_type"} <= row.keys() and not {"inputs", "outputs"}.isdisjoint(row) else None


@importer(
    "langsmith",
    title="LangSmith",
    recognises=lambda samples: all_are(_kind_of, "feedback", samples),
    polarity=THUMBS,
    options=frozenset({"columns", "label_key"}),
    example={
        "feedback.jsonl": [
            {
                "id": "f1",
                "run_id": "r1",
                "key": "user_score",
                "score": 1.0,
                "value": None,
                "comment": None,
                "correction": None,
                "feedback_source": {"type": "api", "metadata": {}, "user_id": "anna"},
                "created_at": "2026-01-02T03:04:05",
            }
        ],
        "runs.jsonl": [
            {
                "id": "r1",
                "run_type": "llm",
                "inputs": {"messages": [USER]},
                "outputs": {"choices": [{"message": ANSWER, "finish_reason": "stop"}]},
                "extra": {"metadata": {"ls_model_name": "small"}},
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
            wanted.add(name_of(row.cells["run_id"]) or "")
            if _verdict(row.cells) is not None:
                found[str(row.cells["key"])] += 1
    label = the_label(found, options.label_key, "feedback key", paths)
    runs = {
        name: _said(row, options) for _, row in export.table("run") if (name := name_of(row["id"])) and name in wanted
    }

    def read(where: str, row: Cells) -> Item:
        return _item(row, where, label, runs)

    yield from export.items(read)


def _said(run: Cells, options: Options) -> Said:
    run = {**run, "inputs": decoded(run.get("inputs")), "outputs": decoded(run.get("outputs"))}  # always objects
    model = first(
        run, "extra.metadata.ls_model_name", "extra.invocation_params.model", "extra.invocation_params.model_name"
    )
    user = first(run, "extra.metadata.user_id")
    return said_by(run, options, "inputs", "outputs")._replace(model=name_of(model), user=name_of(user))


def _item(row: Cells, where: str, label: str | None, runs: dict[str, Said]) -> Item:
    verdict, correction = _verdict(row), _correction(row)
    reason = _unfit(row)
    if reason is None and verdict is None and correction is None:
        reason = "feedback without a score"
    if reason is None and verdict is not None and str(row["key"]) != label:
        reason = OTHER_LABEL
    run = name_of(row["run_id"])
    said = runs.get(run or "")
    if reason is None and (run is None or said is None):
        reason = "no run for this feedback"
    if reason is not None or said is None:
        return Dropped(where=where, reason=reason or "no run for this feedback")
    if said.prompt is None or said.completion is None:
        return Dropped(where=where, reason=said.fault or "")
    by_user = dig(row, "feedback_source.type") == "api"  # an application's own thumbs: who clicked is the run's user
    rater = _rater(row) or (said.user if by_user else None)
    return Vote(
        where=where,
        prompt=said.prompt,
        completion=said.completion,
        verdict=verdict,
        rater=rater,
        # Of people without a name nobody can say whether two of them are one.
        completion_id=run if rater or by_user else None,
        source_id=name_of(row.get("id")),
        time=read_time(first(row, "modified_at", "created_at")),
        model=said.model,
        reason=name_of(row.get("comment")),
        score=number_of(row.get("score")),
        correction=correction,
    )


def _unfit(row: Cells) -> str | None:
    source = dig(row, "feedback_source.type")
    if source in _MACHINES:
        return MACHINE
    return None if source in _PEOPLE else UNKNOWN_SOURCE


def _verdict(row: Cells) -> Any:
    """Return the score, which is a number or true/false; else the value, which is a word."""
    return first(row, "score", "value")


def _correction(row: Cells) -> str | None:
    """Return the answer that someone wrote instead: a text, or the run's output as it should have been."""
    return plain_text_of(decoded(row.get("correction")))


def _rater(row: Cells) -> str | None:
    return name_of(
        first(row, "feedback_source.user_id", "feedback_source.metadata.user_id", "feedback_source.user_name")
    )
