"""Open WebUI: the export of its evaluations, and of chats, whose messages older versions annotated themselves.

A feedback row points at a message (meta.chat_id, meta.message_id) of a chat of which it holds a snapshot. Chats are
trees: what the model was given is the chain of parents of the rated message, not the list of all. A snapshot may be
null, for privacy; then the message is looked for in the chats that are named as further files.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from prospect.feedback.files.others.turns import decoded, messages_of, text_of
from prospect.feedback.importers import importer
from prospect.feedback.importers.shapes.base import ANSWERED, ASKED, Dropped, Item, Options, Sample, Vote
from prospect.feedback.importers.shapes.reading import Row, dig, rows
from prospect.feedback.times import read_time

Cells = Mapping[str, Any]

# An answer that was stopped may have no closing tag: then all that follows is reasoning.
_REASONING = re.compile(r"<details\s[^>]*type=[\"']reasoning[\"'][^>]*>.*?(?:</details>|\Z)\s*", re.DOTALL)
_TOOL_CALLS = re.compile(r"<details\s[^>]*type=[\"'](?:tool_calls|code_interpreter)[\"']")


class _Unreadable(Exception):  # noqa: N818 - it is a reason, caught where the vote is made
    """The text of a vote cannot be rebuilt."""


class _Chat(NamedTuple):
    """The messages of one chat, by id where it has them as a tree, and its system prompt."""

    messages: Mapping[str, Any]
    listed: list[Any]
    system: str | None
    model: str | None


def _recognises(samples: Sequence[Sample]) -> bool:
    return all(any(_is_feedback(row) or _is_chat(row) for row in one.rows) for one in samples)


def _is_feedback(row: Cells) -> bool:
    data = decoded(row.get("data"))
    return isinstance(data, dict) and "rating" in data and ("meta" in row or "snapshot" in row)


def _is_chat(row: Cells) -> bool:
    return isinstance(dig(row, "chat.history.messages"), dict)


@importer(
    "open-webui",
    title="Open WebUI",
    recognises=_recognises,
    polarity={"1": True, "10": True, "-1": False},
    example={
        "feedback.json": [
            {
                "id": "f1",
                "user_id": "anna",
                "type": "rating",
                "data": {"rating": 1, "model_id": "small", "reason": "right", "comment": "thanks", "tags": []},
                "meta": {"arena": False, "chat_id": "c1", "message_id": "a1"},
                "snapshot": {
                    "chat": {
                        "id": "c1",
                        "chat": {
                            "history": {
                                "messages": {
                                    "u1": {"id": "u1", "parentId": None, "role": "user", "content": ASKED},
                                    "a1": {"id": "a1", "parentId": "u1", "role": "assistant", "content": ANSWERED},
                                }
                            }
                        },
                    }
                },
                "updated_at": 1732000001,
            }
        ]
    },
)
def _read(paths: Sequence[Path], options: Options) -> Iterator[Item]:
    wanted = {chat for path in paths for row in _feedback(path) if (chat := _chat_id(row)) and _snapshot(row) is None}
    chats: dict[str, _Chat] = {}
    has_chats = False
    for path in paths:
        for row in rows(path):
            if isinstance(row, Row) and _is_chat(row.cells):
                has_chats = True
                name = str(row.cells.get("id"))
                if name in wanted:
                    chats[name] = _chat_of(row.cells)
    for path in paths:
        for row in rows(path):
            if isinstance(row, Dropped):
                yield row
            elif _is_chat(row.cells):
                yield from _annotations(row)
            else:
                yield _vote(row, chats, has_chats)


def _feedback(path: Path) -> Iterator[Cells]:
    return (row.cells for row in rows(path) if isinstance(row, Row) and not _is_chat(row.cells))


def _chat_id(row: Cells) -> str | None:
    return _name(dig(row, "meta.chat_id") or dig(row, "snapshot.chat.id"))


def _snapshot(row: Cells) -> _Chat | None:
    snapshot = decoded(row.get("snapshot"))
    if not isinstance(snapshot, dict):
        return None
    chat = _chat_of(snapshot)
    return chat if chat.messages or chat.listed else None


def _chat_of(value: Cells) -> _Chat:
    """Return the chat within a row or snapshot: {"chat": {"chat": {...}}}, one level less, or {"messages": [...]}."""
    system, model = None, None
    for _ in range(3):
        system = system or text_of(value.get("system")) or text_of(dig(value, "params.system"))
        model = model or _name(value.get("model")) or _name(dig(value, "models.0"))
        messages = dig(value, "history.messages")
        listed = value.get("messages")
        if isinstance(messages, dict) or isinstance(listed, list):
            tree = messages if isinstance(messages, dict) else {}
            return _Chat(tree, listed if isinstance(listed, list) else [], system, model)
        inner = decoded(value.get("chat"))
        if not isinstance(inner, dict):
            break
        value = inner
    return _Chat({}, [], system, model)


def _vote(row: Row, chats: Mapping[str, _Chat], has_chats: bool) -> Item:
    cells = row.cells
    data = decoded(cells.get("data"))
    if not isinstance(data, dict) or "rating" not in data:
        return Dropped(where=row.where, reason="no rating")
    chat_id, message_id = _chat_id(cells), _name(dig(cells, "meta.message_id"))
    chat = _snapshot(cells) or chats.get(chat_id or "")
    message: dict[str, Any] = {}
    prompt: Any = ""
    unusable = None
    try:
        if chat is None:
            raise _Unreadable(_missing(chat_id, message_id, has_chats))
        message, prompt = _rated(chat, message_id, dig(cells, "meta.message_index"))
        completion = _completion(message)
    except _Unreadable as problem:
        prompt, completion, unusable = "", "", str(problem)
    return Vote(
        where=row.where,
        prompt=prompt,
        completion=completion,
        verdict=data.get("rating"),
        rater=_name(cells.get("user_id")),
        completion_id=None if message_id is None else f"{chat_id}/{message_id}",
        source_id=_name(cells.get("id")),
        time=read_time(cells.get("updated_at")) or read_time(cells.get("created_at")),
        model=_name(data.get("model_id")) or _name(dig(cells, "meta.model_id")) or _model(message, chat),
        reason=_reason(data),
        relative=dig(cells, "meta.arena") is True or message.get("arena") is True,
        score=dig(data, "details.rating"),
        finished=message.get("done") is not False,
        unusable=unusable,
    )


def _missing(chat_id: str | None, message_id: str | None, has_chats: bool) -> str:
    if chat_id is None or message_id is None:
        return "snapshot is null, and no chat and message are named"
    return "snapshot is null, and the chats have no such chat" if has_chats else "snapshot is null"


def _annotations(row: Row) -> Iterator[Item]:
    """Yield the votes on messages of a chat, of older versions; newer ones repeat feedback rows there."""
    chat = _chat_of(row.cells)
    chat_id, rater = _name(row.cells.get("id")), _name(row.cells.get("user_id"))
    for name, message in chat.messages.items():
        annotation = message.get("annotation") if isinstance(message, dict) else None
        if not isinstance(annotation, dict):
            continue
        where = f"{row.where}, message {name}"
        if "rating" not in annotation:
            yield Dropped(where=where, reason="no rating")
            continue
        prompt: Any = ""
        unusable = None
        try:
            _, prompt = _rated(chat, name, None)
            completion = _completion(message)
        except _Unreadable as problem:
            prompt, completion, unusable = "", "", str(problem)
        yield Vote(
            where=where,
            prompt=prompt,
            completion=completion,
            verdict=annotation.get("rating"),
            rater=rater,
            completion_id=f"{chat_id}/{name}",
            source_id=f"{chat_id}/{name}",
            model=_model(message, chat),
            reason=_reason(annotation),
            relative=message.get("arena") is True,
            score=dig(annotation, "details.rating"),
            finished=message.get("done") is not False,
            unusable=unusable,
        )


def _rated(chat: _Chat, message_id: str | None, index: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the rated message, and the turns before it."""
    tree = chat.messages or {m["id"]: m for m in chat.listed if isinstance(m, dict) and isinstance(m.get("id"), str)}
    if message_id is not None and message_id in tree and (chat.messages or "parentId" in tree[message_id]):
        chain = _chain(tree, message_id)
    else:
        chain = _beginning(chat.listed, message_id, index)
    rated = chain[-1] if chain else None
    if not isinstance(rated, dict) or rated.get("role") != "assistant":
        raise _Unreadable("rated message is not an assistant's")
    turns = [_turn(message) for message in chain[:-1]]
    if not turns:
        raise _Unreadable("prompt is missing")
    system = [{"role": "system", "content": chat.system}] if chat.system else []
    return rated, (system if turns[0]["role"] != "system" else []) + turns


def _chain(tree: Mapping[str, Any], message_id: str) -> list[Any]:
    """Return the rated message and its parents, the oldest first."""
    chain: list[Any] = []
    seen: set[str] = set()
    name: Any = message_id
    while name is not None:
        if not isinstance(name, str) or not isinstance(tree.get(name), dict) or name in seen:
            raise _Unreadable("chain of parents is broken")
        seen.add(name)
        chain.append(tree[name])
        name = tree[name].get("parentId")
    return chain[::-1]


def _beginning(listed: list[Any], message_id: str | None, index: Any) -> list[Any]:
    """Return the list of messages up to the rated one: by its id, else its index; without either it is the last."""
    ids = [message.get("id") if isinstance(message, dict) else None for message in listed]
    if message_id is not None and message_id in ids:
        return listed[: ids.index(message_id) + 1]
    if not listed or any(ids):
        raise _Unreadable("rated message is not in the snapshot")
    if isinstance(index, int) and not isinstance(index, bool) and 0 <= index < len(listed):
        return listed[: index + 1]
    return listed


def _turn(message: Any) -> dict[str, Any]:
    turns = messages_of([message])
    if turns is None:
        raise _Unreadable("message of the prompt cannot be read")
    if message.get("files"):
        raise _Unreadable("file or image in the prompt")
    turn = turns[0]
    return {**turn, "content": _said(turn["content"])} if turn["role"] == "assistant" else turn


def _completion(message: dict[str, Any]) -> str:
    if message.get("error"):
        raise _Unreadable("completion is an error message")
    text = text_of(message.get("content"))
    if text is None:
        raise _Unreadable("completion cannot be read")
    said = _said(text)
    if text and not said:
        raise _Unreadable("completion is only reasoning")
    return said


def _said(text: str) -> str:
    """Return what the assistant said, without the reasoning before it."""
    if _TOOL_CALLS.search(text):
        raise _Unreadable("tool calls within a text")
    return _REASONING.sub("", text)


def _model(message: Mapping[str, Any], chat: _Chat | None) -> str | None:
    return _name(message.get("model")) or (chat.model if chat else None)


def _reason(data: Cells) -> str | None:
    tags = data.get("tags")
    said = [data.get("reason"), data.get("comment"), *(tags if isinstance(tags, list) else [])]
    return "; ".join(str(part) for part in said if part) or None


def _name(value: Any) -> str | None:
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) and value != "" else None
