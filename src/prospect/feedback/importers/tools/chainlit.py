"""Chainlit: the table of feedbacks in one file, the steps of the threads in another; threads, if given, name the users.

Shapes: the tables of the SQLAlchemy data layer (feedbacks, steps, threads) and of the official one (Feedback, Step,
Thread), written as CSV, JSON, JSON lines or Parquet. A verdict is on a message, or on the run that answered one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prospect.feedback.importers import importer
from prospect.feedback.importers.shapes.base import ANSWERED, ASKED, Dropped, Item, Options, Vote
from prospect.feedback.importers.shapes.joining import NO_COMPLETION, Cells, Export, all_are, first, name_of
from prospect.feedback.times import read_time

_TABLES = {"feedback": "feedback", "step": "step", "thread": "thread"}
_ROLES = {"user_message": "user", "assistant_message": "assistant", "system_message": "system"}
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(slots=True)
class _Step:
    """One message or run of a thread."""

    id: str
    type: str
    text: str
    parent: str | None
    time: datetime | None
    model: str | None

    def turn(self) -> dict[str, Any]:
        return {"role": _ROLES[self.type], "content": self.text}


@dataclass
class _Thread:
    """The messages of a thread, in the order they were said, and its other steps."""

    steps: dict[str, _Step] = field(default_factory=dict)
    user: str | None = None

    def messages(self) -> list[_Step]:
        """By time where every message has one; else as they stand in the file."""
        found = [step for step in self.steps.values() if step.type in _ROLES]
        timed = all(step.time for step in found)
        return sorted(found, key=lambda step: step.time or _LONG_AGO) if timed else found

    def answers(self, judged: _Step) -> list[_Step]:
        """Return the messages that a verdict on this step judges: itself, or what the assistant said within the run."""
        if judged.type == "assistant_message":
            return [judged]
        if judged.type in _ROLES:
            return []
        return [step for step in self.messages() if step.type == "assistant_message" and self._within(step, judged.id)]

    def _within(self, step: _Step, run: str) -> bool:
        seen = {step.id}
        parent = step.parent
        while parent is not None and parent not in seen:
            if parent == run:
                return True
            seen.add(parent)
            above = self.steps.get(parent)
            parent = above.parent if above else None
        return False


def _kind_of(row: Cells) -> str | None:
    keys = row.keys()
    if "value" in keys and ("forId" in keys or {"stepId", "id"} <= keys):
        return "feedback"
    if {"id", "threadId", "type"} <= keys and "output" in keys:
        return "step"
    return "thread" if "id" in keys and "type" not in keys and {"userId", "userIdentifier"} & keys else None


@importer(
    "chainlit",
    title="Chainlit",
    recognises=lambda samples: all_are(_kind_of, "feedback", samples),
    polarity={"1": True, "0": False, "-1": False, "true": True, "false": False},
    example={
        "feedbacks.csv": [{"id": "f", "forId": "m1", "threadId": "t", "value": 1, "comment": ""}],
        "steps.csv": [
            {"id": "u1", "threadId": "t", "parentId": None, "type": "user_message", "output": ASKED}
            | {"input": "", "generation": None, "createdAt": "2026-01-01T00:00:01Z"},
            {"id": "run", "threadId": "t", "parentId": "u1", "type": "run", "output": ""}
            | {"input": "", "generation": None, "createdAt": "2026-01-01T00:00:02Z"},
            {"id": "m1", "threadId": "t", "parentId": "run", "type": "assistant_message", "output": ANSWERED}
            | {"input": "", "generation": None, "createdAt": "2026-01-01T00:00:03Z"},
        ],
    },
)
def _read(paths: Sequence[Path], options: Options) -> Iterator[Item]:
    export = Export(paths, _kind_of, _TABLES)
    judged = {_judged(row.cells) for row in export.verdicts()}
    thread_of = {
        name: thread
        for _, row in export.table("step")
        if (name := name_of(row["id"])) in judged and (thread := name_of(row["threadId"]))
    }
    threads = _threads(export, set(thread_of.values()))

    def read(where: str, row: Cells) -> Item:
        step = _judged(row)
        thread = threads.get(thread_of.get(step, ""))
        if step is None or thread is None or step not in thread.steps:
            return Dropped(where=where, reason="no step for this feedback")
        return _item(row, where, thread, thread.steps[step])

    yield from export.items(read)


def _threads(export: Export, wanted: set[str]) -> dict[str, _Thread]:
    threads = {name: _Thread() for name in wanted}
    for _, row in export.table("step"):
        thread, name = threads.get(name_of(row["threadId"]) or ""), name_of(row["id"])
        if thread is not None and name is not None:
            thread.steps[name] = _step(row, name)
    for _, row in export.table("thread"):
        thread = threads.get(name_of(row["id"]) or "")
        if thread is not None:
            thread.user = name_of(first(row, "userIdentifier", "userId"))
    return threads


def _step(row: Cells, name: str) -> _Step:
    text = first(row, "output", "input") if row["type"] == "user_message" else row["output"]
    return _Step(
        id=name,
        type=str(row["type"]),
        text=text if isinstance(text, str) else "",
        parent=name_of(row.get("parentId")),
        time=read_time(first(row, "createdAt", "startTime", "start")),
        model=name_of(first(row, "generation.model", "metadata.model")),
    )


def _item(row: Cells, where: str, thread: _Thread, judged: _Step) -> Item:
    answers = [step for step in thread.answers(judged) if step.text]
    completion = [step.turn() for step in answers]
    if not answers and judged.type not in _ROLES and judged.text:  # a run or call whose own output is the answer
        completion = [{"role": "assistant", "content": judged.text}]
    if not completion:
        return Dropped(where=where, reason=NO_COMPLETION)
    prompt = _before(thread, answers[0] if answers else judged)
    if not any(turn["role"] == "user" for turn in prompt):
        return Dropped(where=where, reason="no message of the user before this step")
    value = first(row, "value")
    if value is None:
        return Dropped(where=where, reason="feedback without a value")
    return Vote(
        where=where,
        prompt=prompt,
        completion=completion,
        verdict=value,
        rater=thread.user,
        completion_id=judged.id,
        source_id=name_of(row.get("id")),
        time=read_time(first(row, "updatedAt", "createdAt")),
        model=next((step.model for step in [judged, *answers] if step.model), None),
        reason=name_of(row.get("comment")),
    )


def _before(thread: _Thread, answer: _Step) -> list[dict[str, Any]]:
    """Return what was said in the thread before the answer."""
    turns: list[dict[str, Any]] = []
    for step in thread.messages():
        if step.id == answer.id:
            return turns
        # A run is no message, so only its time says where it stands.
        if answer.type not in _ROLES and (answer.time is None or step.time is None or step.time > answer.time):
            return turns if answer.time is not None and step.time is not None else []
        if step.text:
            turns.append(step.turn())
    return turns


def _judged(row: Cells) -> str | None:
    return name_of(first(row, "forId", "stepId"))
