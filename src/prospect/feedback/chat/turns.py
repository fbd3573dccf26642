"""The turns of a conversation as a chat template gets them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from prospect.feedback.chat.rendering import SystemRole
from prospect.feedback.chat.thoughts import REASONING_FIELDS
from prospect.feedback.records import Message, Text

Turns = tuple[Message, ...]

SYSTEM = ("system", "developer")


def as_turns(text: Text, role: str) -> Turns:
    """Return the turns of a conversation; a plain string beside one is a turn of it."""
    return (Message(role, text),) if isinstance(text, str) else text


def has_system(turns: Turns) -> bool:
    """Whether there is a system turn."""
    return any(turn.role in SYSTEM for turn in turns)


def place_system(turns: Turns, role: SystemRole) -> Turns:
    """Return the turns with their system turns as they are, folded into user turns, or without them.

    Folded, the text of a system turn stands before that of the next user turn; after the last one where none follows;
    and where there is no user turn at all it becomes one.
    """
    if role == "keep" or not has_system(turns):
        return turns
    if role == "drop":
        return tuple(turn for turn in turns if turn.role not in SYSTEM)
    folded: list[Message] = []
    waiting: list[str] = []
    for turn in turns:
        if turn.role in SYSTEM:
            waiting.append(turn.content)
        elif turn.role == "user" and waiting:
            folded.append(_joined(turn, *waiting, turn.content))
            waiting = []
        else:
            folded.append(turn)
    if waiting:
        last = next((place for place in reversed(range(len(folded))) if folded[place].role == "user"), None)
        if last is None:
            return (Message("user", "\n\n".join(waiting)), *folded)
        folded[last] = _joined(folded[last], folded[last].content, *waiting)
    return tuple(folded)


def _joined(turn: Message, *texts: str) -> Message:
    return Message(turn.role, "\n\n".join(texts), turn.extra)


def template_message(turn: Message) -> dict[str, Any]:
    """Return a turn as Transformers hands it to a template, and with tool arguments as objects.

    It has no null fields, and its thoughts stand under each of the names that templates read.
    """
    if not turn.extra:
        return {"role": turn.role, "content": turn.content}
    fields = {name: plain_json(value) for name, value in turn.as_dict().items() if value is not None}
    if "tool_calls" in fields:
        fields["tool_calls"] = _with_read_arguments(fields["tool_calls"])
    reasoning = next((fields[name] for name in REASONING_FIELDS if name in fields), None)
    return fields if reasoning is None else {"thinking": reasoning, **fields, "reasoning_content": reasoning}


def plain_json(value: Any) -> Any:
    """Return a value made of plain JSON types, which have no methods that foreign code should not call."""
    if value is None or type(value) in (str, int, float, bool):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain_json(item) for item in value]
    return f"<{type(value).__name__}>"


def _with_read_arguments(calls: Any) -> Any:
    """Read tool arguments that are JSON text: servers send text, and templates write what they get as JSON."""
    if not isinstance(calls, list):
        return calls
    return [_with_read_argument(call) for call in calls]


def _with_read_argument(call: Any) -> Any:
    if not isinstance(call, dict):
        return call
    if isinstance(call.get("function"), dict):
        return {**call, "function": _with_read_argument(call["function"])}
    arguments = call.get("arguments")
    if isinstance(arguments, str):
        try:
            read = json.loads(arguments)
        except (ValueError, RecursionError):
            return call
        if isinstance(read, dict):
            return {**call, "arguments": read}
    return call


def template_tools(tools: Sequence[Mapping[str, Any]] | None) -> list[Any] | None:
    """Return tool schemas as a template gets them; None where there are none."""
    return [plain_json(tool) for tool in tools] if tools else None
