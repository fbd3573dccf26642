"""LibreChat: a mongoexport of the collection `messages`, or conversations as the application exports them.

Messages are a tree by parentMessageId; those that somebody rated carry `feedback`. They may lie anywhere in the export,
so it is read three times: for what is rated, for the texts that this needs, and for the votes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from prospect.feedback.files.others.turns import decoded, text_of
from prospect.feedback.importers import importer
from prospect.feedback.importers.shapes.base import ANSWERED, ASKED, Dropped, Item, Options, Sample, Vote
from prospect.feedback.importers.shapes.mongo import mongo_name, mongo_time
from prospect.feedback.importers.shapes.reading import Row, dig, rows

Cells = Mapping[str, Any]

_NO_PARENT = "00000000-0000-0000-0000-000000000000"
_THINKING = re.compile(r":::thinking.*?(?:\n:::|\Z)\s*", re.DOTALL)


class _Unreadable(Exception):  # noqa: N818 - it is a reason, caught where the vote is made
    """The text of a vote cannot be rebuilt."""


def _recognises(samples: Sequence[Sample]) -> bool:
    return all(any(_is_message(next(_messages(row), {})) for row in one.rows) for one in samples)


def _is_message(row: Cells) -> bool:
    return "messageId" in row and "parentMessageId" in row


@importer(
    "librechat",
    title="LibreChat",
    recognises=_recognises,
    polarity={"thumbsup": True, "thumbsdown": False},
    example={
        "messages.jsonl": [
            {
                "messageId": "u1",
                "parentMessageId": _NO_PARENT,
                "conversationId": "c",
                "isCreatedByUser": True,
                "text": ASKED,
            },
            {
                "messageId": "a1",
                "parentMessageId": "u1",
                "conversationId": "c",
                "user": "anna",
                "isCreatedByUser": False,
                "text": ANSWERED,
                "model": "small",
                "feedback": {"rating": "thumbsUp", "tag": "other"},
                "updatedAt": {"$date": "2026-01-02T03:04:05.000Z"},
            },
        ]
    },
)
def _read(paths: Sequence[Path], options: Options) -> Iterator[Item]:
    parents: dict[str, str | None] = {}
    rated: list[str] = []
    for _, message in _all_messages(paths):
        name = mongo_name(message.get("messageId"))
        if name is not None:
            parents[name] = mongo_name(message.get("parentMessageId"))
            if message.get("feedback") is not None:
                rated.append(name)
    needed: set[str] = set()
    for start in rated:
        link: str | None = start
        while link is not None and link not in needed:
            needed.add(link)
            link = parents.get(link)
    texts = {
        name: dict(message)
        for _, message in _all_messages(paths)
        if (name := mongo_name(message.get("messageId"))) is not None and name in needed
    }
    yield from _items(paths, texts)


def _items(paths: Sequence[Path], texts: Mapping[str, Cells]) -> Iterator[Item]:
    for path in paths:
        for row in rows(path):
            if isinstance(row, Dropped):
                yield row
                continue
            for message in _messages(row.cells):
                if message.get("feedback") is not None:
                    yield _vote(row.where, message, texts)
                elif not _is_message(message):
                    yield Dropped(where=row.where, reason="row is no message")


def _all_messages(paths: Sequence[Path]) -> Iterator[tuple[str, Cells]]:
    for path in paths:
        for row in rows(path):
            if isinstance(row, Row):
                for message in _messages(row.cells):
                    yield row.where, message


def _messages(row: Cells) -> Iterator[Cells]:
    """Yield the message of a row, or all of a conversation: a list, or a tree by `children`."""
    held = row.get("messages")
    waiting = list(held) if isinstance(held, list) and not _is_message(row) else [row]
    while waiting:
        message = waiting.pop(0)
        if isinstance(message, dict):
            yield message
            children = message.get("children")
            waiting += children if isinstance(children, list) else []


def _vote(where: str, message: Cells, texts: Mapping[str, Cells]) -> Item:
    feedback = decoded(message["feedback"])
    if not isinstance(feedback, dict) or "rating" not in feedback:
        return Dropped(where=where, reason="no rating")
    name, conversation = mongo_name(message.get("messageId")), mongo_name(message.get("conversationId"))
    prompt: Any = ""
    unusable = None
    try:
        if message.get("isCreatedByUser"):
            raise _Unreadable("rated message is the user's")
        if message.get("error"):
            raise _Unreadable("completion is an error message")
        completion = _said(message, "completion")
        prompt = _prompt(message, texts)
    except _Unreadable as problem:
        prompt, completion, unusable = "", "", str(problem)
    return Vote(
        where=where,
        prompt=prompt,
        completion=completion,
        verdict=feedback["rating"],
        rater=mongo_name(message.get("user")),
        completion_id=name,
        source_id=None if name is None else f"{conversation}/{name}",
        time=mongo_time(message.get("updatedAt")) or mongo_time(message.get("createdAt")),
        model=mongo_name(message.get("model")),
        reason=_reason(feedback),
        finished=not message.get("unfinished"),
        unusable=unusable,
    )


def _prompt(message: Cells, texts: Mapping[str, Cells]) -> list[dict[str, Any]]:
    """Return the chain of parents of a message, the oldest first."""
    turns: list[dict[str, Any]] = []
    seen: set[str] = set()
    parent = mongo_name(message.get("parentMessageId"))
    while parent is not None and parent != _NO_PARENT:
        if parent not in texts or parent in seen:
            raise _Unreadable("chain of parents is broken")
        seen.add(parent)
        before = texts[parent]
        if before.get("files") or before.get("image_urls"):
            raise _Unreadable("file or image in the prompt")
        role = "user" if before.get("isCreatedByUser") else "assistant"
        turns.append({"role": role, "content": _said(before, "prompt")})
        parent = mongo_name(before.get("parentMessageId"))
    if not turns:
        raise _Unreadable("prompt is missing")
    return turns[::-1]


def _said(message: Cells, side: str) -> str:
    """Return the text of a message: of its content parts, which also hold reasoning and tool calls."""
    text = text_of(message["content"]) if message.get("content") else text_of(message.get("text"))
    if text is None:
        raise _Unreadable(f"{side} cannot be read as text")
    return text if message.get("isCreatedByUser") else _THINKING.sub("", text)


def _reason(feedback: Cells) -> str | None:
    tag = feedback.get("tag")
    said = [dig(tag, "key") if isinstance(tag, dict) else tag, feedback.get("text")]
    return "; ".join(str(part) for part in said if part) or None
