"""Small exports of each tool, from the examples of their importers."""

from __future__ import annotations

import copy
import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prospect.feedback.importers import get_importer
from prospect.feedback.importers.shapes.base import ANSWER, ASKED, USER, Dropped, Importer, Item, Options, Vote


def write(path: Path, content: Any) -> Path:
    """Write rows, another JSON value or a text in the format of the path's suffix."""
    if isinstance(content, str):
        path.write_text(content, encoding="utf-8")
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in content), encoding="utf-8")
    elif path.suffix == ".csv":
        columns = list(dict.fromkeys(column for row in content for column in row))
        with path.open("w", newline="", encoding="utf-8", errors="replace") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows({column: _csv_cell(cell) for column, cell in row.items()} for row in content)
    else:
        path.write_text(json.dumps(content), encoding="utf-8")
    return path


def _csv_cell(cell: Any) -> Any:
    return json.dumps(cell) if isinstance(cell, list | dict) else cell


def export(importer: Importer | str, folder: Path) -> list[Path]:
    """Write the example of an importer."""
    importer = get_importer(importer) if isinstance(importer, str) else importer
    return [write(folder / name, content) for name, content in importer.example.items()]


def first_row(name: str, file: str, /, **changes: Any) -> dict[str, Any]:
    """Return the first row of a file of an importer's example, with changes."""
    content = copy.deepcopy(get_importer(name).example[file])
    if isinstance(content, dict):
        content = next(value for value in content.values() if isinstance(value, list))
    return content[0] | changes


def read(name: str, *paths: Path, **options: Any) -> list[Item]:
    return list(get_importer(name).read(paths, Options(**options)))


def outcomes(items: Sequence[Item]) -> list[Any]:
    """For each item its verdict, or the reason why it was dropped."""
    return [item.reason if isinstance(item, Dropped) else getattr(item, "verdict", "pair") for item in items]


def only(items: Sequence[Item]) -> Vote:
    (vote,) = items
    assert isinstance(vote, Vote), vote
    return vote


def langfuse_score(**changes: Any) -> dict[str, Any]:
    return first_row("langfuse", "scores.json", **changes)


def langfuse_observation(**changes: Any) -> dict[str, Any]:
    return first_row("langfuse", "observations.jsonl", **changes)


def langsmith_feedback(**changes: Any) -> dict[str, Any]:
    return first_row("langsmith", "feedback.jsonl", **changes)


def langsmith_run(**changes: Any) -> dict[str, Any]:
    return first_row("langsmith", "runs.jsonl", **changes)


def phoenix_annotation(**changes: Any) -> dict[str, Any]:
    return first_row("phoenix", "annotations.json", **changes)


def phoenix_span(**changes: Any) -> dict[str, Any]:
    return first_row("phoenix", "spans.json", **changes)


def chainlit_steps() -> list[dict[str, Any]]:
    return copy.deepcopy(get_importer("chainlit").example["steps.csv"])


def dify_feedback(**changes: Any) -> dict[str, Any]:
    said = {"user_query": "And when?", "ai_response": "Tomorrow."}
    return first_row("dify", "feedback.json", **(said | changes))


def dify_messages() -> list[dict[str, Any]]:
    message = {"conversation_id": "c", "feedback": None}
    return [
        {**message, "id": "m2", "query": "And when?", "answer": "Tomorrow.", "created_at": 200},
        {**message, "id": "m1", "query": ASKED, "answer": ANSWER["content"], "created_at": 100},
    ]


def argilla_record(**changes: Any) -> dict[str, Any]:
    return first_row("argilla", "records.jsonl", **changes)


def choice(value: str, control: str = "thumbs") -> dict[str, Any]:
    return {"from_name": control, "to_name": "dialog", "type": "choices", "value": {"choices": [value]}}


def annotation(*results: dict[str, Any], by: Any = 1, **changes: Any) -> dict[str, Any]:
    return {"id": 7, "completed_by": by, "was_cancelled": False, "result": list(results)} | changes


def label_studio_task(*annotations: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return first_row("label-studio", "tasks.json", annotations=list(annotations), **changes)


def anythingllm_chat(**changes: Any) -> dict[str, Any]:
    return first_row("anythingllm", "chats.csv", **changes)


def halos_row(**changes: Any) -> dict[str, Any]:
    return first_row("halos", "samples.json", **changes)


HUMAN = "\n\nHuman: Where is my parcel?\n\nAssistant:"
SHAREGPT = [{"from": "human", "value": USER["content"]}, {"from": "gpt", "value": ANSWER["content"]}]
