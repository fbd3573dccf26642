"""Label Studio: tasks with the annotations of several people, as JSON, or flattened as JSON-MIN and CSV.

What the project's controls are called is up to the project, so where there are several, `label_key` (a control's name)
says which is the verdict. Predictions of models are no votes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from prospect.errors import DataError
from prospect.feedback.files.labels import THUMBS
from prospect.feedback.files.others.turns import decoded
from prospect.feedback.importers import importer
from prospect.feedback.importers.shapes.base import ANSWER, USER, Cell, Dropped, Item, Options, Sample, Vote
from prospect.feedback.importers.shapes.joining import (
    NO_COMPLETION,
    NO_PROMPT,
    Cells,
    check_columns,
    first,
    name_of,
    the_label,
)
from prospect.feedback.importers.shapes.payloads import completion_of, prompt_of, turns_of
from prospect.feedback.importers.shapes.reading import Row, dig, rows
from prospect.feedback.times import read_time
from prospect.feedback.wording import names

_VERDICTS = ("choices", "rating", "number")
_MINIMAL = {"annotation_id", "lead_time", "annotator"}
_ABOUT = {*_MINIMAL, "id", "created_at", "updated_at", "agreement", "inner_id", "total_annotations", "predictions"}
_PROMPTS = ("prompt", "instruction", "question", "query", "input")
_COMPLETIONS = ("completion", "response", "answer", "output", "generation", "reply")
_CHATS = ("messages", "dialogue", "dialog", "conversation", "chat")
_TEXTS = {*_PROMPTS, *_COMPLETIONS, *_CHATS, "text", "system", "model"}


class _Annotation(NamedTuple):
    """One person's annotation of a task.

    Attributes:
        said: control -> what was said with it.
        verdicts: the controls that can hold a verdict: choices, ratings and numbers.
        rater: who.
        id: the annotation's own.
        time: when.
        fault: why it does not count, if so.
    """

    said: Mapping[str, Any]
    verdicts: Sequence[str]
    rater: str | None
    id: str | None
    time: Any
    fault: str | None = None


def _recognises(samples: Sequence[Sample]) -> bool:
    return bool(samples) and all(
        one.rows and all(_is_task(row) or _is_minimal(row) for row in one.rows) for one in samples
    )


def _is_task(row: Mapping[str, Any]) -> bool:
    return isinstance(row.get("data"), dict) and "annotations" in row


def _is_minimal(row: Mapping[str, Any]) -> bool:
    return row.keys() >= _MINIMAL


@importer(
    "label-studio",
    title="Label Studio",
    recognises=_recognises,
    polarity=THUMBS,
    options=frozenset({"columns", "label_key"}),
    example={
        "tasks.json": [
            {
                "id": 1,
                "data": {"messages": [USER, ANSWER], "topic": "parcels"},
                "annotations": [
                    {
                        "id": 7,
                        "completed_by": 1,
                        "was_cancelled": False,
                        "result": [
                            {
                                "from_name": "thumbs",
                                "to_name": "dialog",
                                "type": "choices",
                                "value": {"choices": ["up"]},
                            }
                        ],
                    }
                ],
                "predictions": [],
            }
        ]
    },
)
def _read(paths: Sequence[Path], options: Options) -> Iterator[Item]:
    check_columns(options, "prompt", "completion", "correction", "reason")
    found: Counter[str] = Counter()
    known = False
    not_verdicts = {*options.columns.values(), *_TEXTS}
    for path in paths:
        for row in rows(path):
            if isinstance(row, Row) and (_is_task(row.cells) or _is_minimal(row.cells)):
                known = True
                for annotation in _annotations(row.cells):
                    found.update(name for name in annotation.verdicts if name not in not_verdicts)
    if not known:
        raise DataError(
            f"{names(map(str, paths))}: there is no task of Label Studio in it; expected tasks with data and "
            "annotations (JSON), or with annotation_id, annotator and lead_time (JSON-MIN). Export again as JSON"
        )
    label = the_label(found, options.label_key, "control", paths)
    for path in paths:
        for row in rows(path):
            yield from [row] if isinstance(row, Dropped) else _items(row, label or "", options)


def _items(row: Row, label: str, options: Options) -> Iterator[Item]:
    if not (_is_task(row.cells) or _is_minimal(row.cells)):
        yield Dropped(where=row.where, reason="row is no task")
        return
    annotations = _annotations(row.cells)
    if not annotations:
        yield Dropped(where=row.where, reason="no human annotation")
    data = row.cells["data"] if _is_task(row.cells) else row.cells
    prompt, completion = _texts(data, options)
    for annotation in annotations:
        said = annotation.said.get(label)
        reason = annotation.fault
        if reason is None and (said is None or said == "" or said == []):
            reason = "annotation without a label"
        if reason is None and (prompt is None or completion is None):
            reason = NO_COMPLETION if completion is None else NO_PROMPT
        if reason is None and _verdict(said) is None:
            reason = "several labels in one annotation"
        if reason is not None or prompt is None or completion is None:
            yield Dropped(where=row.where, reason=reason or NO_PROMPT)
            continue
        task = name_of(row.cells.get("id"))
        yield Vote(
            where=row.where,
            prompt=prompt,
            completion=completion,
            verdict=_verdict(said),
            rater=annotation.rater,
            completion_id=task if annotation.rater else None,
            source_id=annotation.id,
            time=read_time(annotation.time),
            model=name_of(data.get("model")),
            reason=_one_text(annotation.said.get(options.columns.get("reason", ""))),
            correction=_one_text(annotation.said.get(options.columns.get("correction", ""))),
        )


def _annotations(row: Cells) -> list[_Annotation]:
    if _is_task(row):
        found = decoded(row["annotations"])
        return [_annotation(one) for one in found] if isinstance(found, list) else []
    if first(row, "annotation_id") is None:
        return []
    # Nothing tells the controls of a flattened task from its data, so any short value may be a verdict.
    verdicts = [name for name, value in row.items() if name not in _ABOUT and _verdict(value) is not None]
    time = first(row, "updated_at", "created_at")
    return [_Annotation(row, verdicts, _person(row["annotator"]), name_of(row["annotation_id"]), time)]


def _annotation(found: Any) -> _Annotation:
    if not isinstance(found, dict) or not isinstance(found.get("result"), list):
        return _Annotation({}, [], None, None, None, "broken annotation")
    said: dict[str, Any] = {}
    verdicts = []
    for result in found["result"]:
        kind, name = dig(result, "type"), dig(result, "from_name")
        value = dig(result, "value.text" if kind == "textarea" else f"value.{kind}")
        if not isinstance(name, str) or value is None:
            continue
        said[name] = said[name] + value if isinstance(said.get(name), list) and isinstance(value, list) else value
        if kind in _VERDICTS:
            verdicts.append(name)
    return _Annotation(
        said,
        verdicts,
        _person(found.get("completed_by")),
        name_of(found.get("id")),
        first(found, "updated_at", "created_at"),
        "cancelled annotation" if found.get("was_cancelled") else None,
    )


def _person(value: Any) -> str | None:
    return name_of(first(value, "email", "id")) if isinstance(value, dict) else name_of(value)


def _verdict(said: Any) -> Any:
    """Return a single choice or number; None where there are several, or none."""
    said = decoded(said)
    if isinstance(said, dict):
        said = said.get("choices")
    if isinstance(said, list):
        said = said[0] if len(said) == 1 else None
    return said if isinstance(said, str | int | float) and said != "" else None


def _one_text(said: Any) -> str | None:
    said = decoded(said)
    if isinstance(said, list):
        said = "\n".join(text for text in said if isinstance(text, str))
    return said if isinstance(said, str) and said else None


def _texts(data: Mapping[str, Any], options: Options) -> tuple[Cell | None, Cell | None]:
    """Return the prompt and the completion of a task; a conversation that ends with the assistant is both."""
    columns = options.columns
    answer = dig(data, columns["completion"]) if "completion" in columns else first(data, *_COMPLETIONS)
    chat = next((turns for name in _CHATS if (turns := turns_of(data.get(name)))), None)
    if answer is None and chat is not None:
        return (chat[:-1], chat[-1:]) if chat[-1]["role"] == "assistant" else (None, None)
    asked = dig(data, columns["prompt"]) if "prompt" in columns else first(data, *_PROMPTS)
    prompt = prompt_of(asked) if asked is not None or chat is None else chat
    return prompt, completion_of(answer, prompt)
