"""Small exports of each tool, made here after the shapes that the tools write."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from prospect.feedback.importers import get_importer
from prospect.feedback.importers.shapes.base import Dropped, Item, Options, Vote

Rows = Sequence[dict[str, Any]]
USER = {"role": "user", "content": "Where is my parcel?"}
ANSWER = {"role": "assistant", "content": "On its way."}


def write(path: Path, content: Any) -> Path:
    """Writes rows or another JSON value in the format of the path's suffix."""
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in content), encoding="utf-8")
    elif path.suffix == ".csv":
        columns = list(dict.fromkeys(column for row in content for column in row))
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows({column: _csv_cell(cell) for column, cell in row.items()} for row in content)
    else:
        path.write_text(json.dumps(content), encoding="utf-8")
    return path


def _csv_cell(cell: Any) -> Any:
    return json.dumps(cell) if isinstance(cell, list | dict) else cell


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
    score = {
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
    return score | changes


def langfuse_observation(**changes: Any) -> dict[str, Any]:
    observation = {
        "id": "o1",
        "traceId": "t1",
        "type": "GENERATION",
        "parentObservationId": None,
        "model": "small",
        "input": {"messages": [USER]},
        "output": ANSWER,
    }
    return observation | changes


def langsmith_feedback(**changes: Any) -> dict[str, Any]:
    feedback = {
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
    return feedback | changes


def langsmith_run(**changes: Any) -> dict[str, Any]:
    run = {
        "id": "r1",
        "run_type": "llm",
        "inputs": {"messages": [USER]},
        "outputs": {"choices": [{"message": ANSWER, "finish_reason": "stop"}]},
        "extra": {"metadata": {"ls_model_name": "small"}},
    }
    return run | changes


def phoenix_annotation(**changes: Any) -> dict[str, Any]:
    annotation = {
        "id": "a1",
        "span_id": "67f6740bbe1ddc3f",
        "name": "thumbs",
        "annotator_kind": "HUMAN",
        "result": {"label": "thumbs-up", "score": 1, "explanation": "kind"},
        "source": "APP",
        "user_id": "anna",
        "created_at": "2026-01-02T03:04:05+00:00",
    }
    return annotation | changes


def phoenix_span(**changes: Any) -> dict[str, Any]:
    span = {
        "name": "llm",
        "context": {"trace_id": "t", "span_id": "67f6740bbe1ddc3f"},
        "span_kind": "LLM",
        "attributes": {
            "llm.model_name": "small",
            "llm.input_messages.0.message.role": "user",
            "llm.input_messages.0.message.content": USER["content"],
            "llm.output_messages.0.message.role": "assistant",
            "llm.output_messages.0.message.content": ANSWER["content"],
        },
    }
    return span | changes


def chainlit_steps() -> list[dict[str, Any]]:
    step = {"threadId": "t", "parentId": None, "input": "", "generation": None}
    return [
        {**step, "id": "u1", "type": "user_message", "output": USER["content"], "createdAt": "2026-01-01T00:00:01Z"},
        {**step, "id": "run", "type": "run", "parentId": "u1", "output": "", "createdAt": "2026-01-01T00:00:02Z"},
        {
            **step,
            "id": "m1",
            "type": "assistant_message",
            "parentId": "run",
            "output": ANSWER["content"],
            "createdAt": "2026-01-01T00:00:03Z",
        },
    ]


def dify_feedback(**changes: Any) -> dict[str, Any]:
    feedback = {
        "feedback_id": "f1",
        "conversation_id": "c",
        "message_id": "m2",
        "user_query": "And when?",
        "ai_response": "Tomorrow.",
        "feedback_rating": "👍",
        "feedback_rating_raw": "like",
        "feedback_comment": "",
        "feedback_source": "user",
        "feedback_date": "2026-01-02 03:04:05",
        "from_account_name": "",
        "from_end_user_id": "anna",
    }
    return feedback | changes


def dify_messages() -> list[dict[str, Any]]:
    message = {"conversation_id": "c", "feedback": None}
    return [
        {**message, "id": "m2", "query": "And when?", "answer": "Tomorrow.", "created_at": 200},
        {**message, "id": "m1", "query": USER["content"], "answer": ANSWER["content"], "created_at": 100},
    ]


def argilla_record(**changes: Any) -> dict[str, Any]:
    record = {
        "id": "t1",
        "prompt": USER["content"],
        "response": ANSWER["content"],
        "thumbs.responses": ["up"],
        "thumbs.responses.users": ["anna"],
        "thumbs.responses.status": ["submitted"],
        "thumbs.suggestion": "down",
        "thumbs.suggestion.score": 0.9,
        "thumbs.suggestion.agent": "judge",
        "status": "completed",
    }
    return record | changes


def choice(value: str, control: str = "thumbs") -> dict[str, Any]:
    return {"from_name": control, "to_name": "dialog", "type": "choices", "value": {"choices": [value]}}


def annotation(*results: dict[str, Any], by: Any = 1, **changes: Any) -> dict[str, Any]:
    return {"id": 7, "completed_by": by, "was_cancelled": False, "result": list(results)} | changes


def label_studio_task(*annotations: dict[str, Any], **changes: Any) -> dict[str, Any]:
    data = {"messages": [USER, ANSWER], "topic": "parcels"}
    return {"id": 1, "data": data, "annotations": list(annotations), "predictions": []} | changes


def anythingllm_chat(**changes: Any) -> dict[str, Any]:
    chat = {
        "id": 3,
        "prompt": USER["content"],
        "response": ANSWER["content"],
        "sent_at": "2026-01-02T03:04:05.000Z",
        "workspace": "shop",
        "username": "anna",
        "rating": "GOOD",
    }
    return chat | changes


def halos_row(**changes: Any) -> dict[str, Any]:
    row = {
        "prompt_id": 5,
        "prompt": [USER],
        "output": [ANSWER],
        "label": 1,
        "reward": 0.5,
        "type": "binary_feedback",
    }
    return row | changes


HUMAN = "\n\nHuman: Where is my parcel?\n\nAssistant:"
SHAREGPT = [{"from": "human", "value": USER["content"]}, {"from": "gpt", "value": ANSWER["content"]}]

EXPORTS: dict[str, Callable[[Path], list[Path]]] = {
    "langfuse": lambda folder: [
        write(folder / "scores.json", {"data": [langfuse_score()], "meta": {"page": 1}}),
        write(folder / "observations.jsonl", [langfuse_observation()]),
    ],
    "langsmith": lambda folder: [
        write(folder / "feedback.jsonl", [langsmith_feedback()]),
        write(folder / "runs.jsonl", [langsmith_run()]),
    ],
    "phoenix": lambda folder: [
        write(folder / "annotations.json", {"data": [phoenix_annotation()], "next_cursor": None}),
        write(folder / "spans.json", {"data": [phoenix_span()], "next_cursor": None}),
    ],
    "chainlit": lambda folder: [
        write(folder / "feedbacks.csv", [{"id": "f", "forId": "m1", "threadId": "t", "value": 1, "comment": ""}]),
        write(folder / "steps.csv", chainlit_steps()),
    ],
    "dify": lambda folder: [
        write(folder / "feedback.json", {"export_info": {"app_id": "a"}, "feedback_data": [dify_feedback()]})
    ],
    "argilla": lambda folder: [write(folder / "records.jsonl", [argilla_record()])],
    "label-studio": lambda folder: [write(folder / "tasks.json", [label_studio_task(annotation(choice("up")))])],
    "anythingllm": lambda folder: [write(folder / "chats.csv", [anythingllm_chat()])],
    "halos": lambda folder: [write(folder / "samples.json", [halos_row()])],
    "llama-factory": lambda folder: [write(folder / "kto.json", [{"conversations": SHAREGPT, "kto_tag": True}])],
    "ms-swift": lambda folder: [
        write(folder / "dpo.jsonl", [{"messages": [USER, ANSWER], "rejected_response": "No idea."}])
    ],
    "transcripts": lambda folder: [
        write(folder / "pairs.jsonl", [{"chosen": f"{HUMAN} On its way.", "rejected": f"{HUMAN} No idea."}])
    ],
}
