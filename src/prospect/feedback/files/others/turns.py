"""Turns of conversations as chat tools and other trainers write them -> {role, content}."""

from __future__ import annotations

from typing import Any

from prospect.feedback.files.json_text import parse_json

_ROLES = {
    "user": ("human", "prompter", "humanmessage", "user_message", "customer"),
    "assistant": ("gpt", "ai", "bot", "model", "chatgpt", "aimessage", "assistant_message"),
    "system": ("systemmessage", "system_message"),
    "tool": ("function", "observation", "toolmessage", "functionmessage"),
}
ROLE_OF = {other: role for role, others in _ROLES.items() for other in (role, *others)}
_CALLS = ("function_call", "tool_call")
OTHER_ROLES = frozenset(("human", "gpt", "chatgpt", "ai", "bot", "tool_response", *_CALLS))
"""Roles that no chat template knows, and that mean one thing wherever they stand."""
_SILENT_PARTS = ("think", "thinking", "reasoning", "redacted_thinking")
_KEPT_FIELDS = ("name", "tool_calls", "tool_call_id")


def text_of(value: Any) -> str | None:
    """Return the text of a string, or of a list of content parts; None where a part is an image, a file, a tool call.

    Parts are strings, {"type": "text", "text": "..."}, or the same with {"value": "..."} as text. Reasoning is not
    part of the text. An object is read as one part, or by its `content`.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        if "content" in value and "text" not in value:
            content = value["content"]
            return text_of(content) if isinstance(content, str | list) else None
        value = [value]
    if not isinstance(value, list) or not value:
        return None
    texts = [_text_of_part(part) for part in value]
    return None if None in texts else "".join(text for text in texts if text)


def messages_of(value: Any) -> list[dict[str, Any]] | None:
    """Return turns as [{"role": ..., "content": ...}]; None where one of them cannot be rebuilt.

    The role may be called role, from, type or sender, and be human, gpt, ai, bot, ...; the content content, value or
    text, as a string or as parts. Tool calls and names are kept. A turn may be wrapped: {"message": {...}}. Roles that
    nobody knows stay as they are.
    """
    if not isinstance(value, list) or not value:
        return None
    turns = [_message(turn) for turn in value]
    return None if None in turns else [turn for turn in turns if turn is not None]


def own_turn(turn: dict[str, Any]) -> dict[str, Any]:
    """Return a turn of {from, value}, or of a role in `OTHER_ROLES`, as {role, content}; any other as it is.

    A turn whose value is the JSON of one or several calls becomes the assistant's with `tool_calls`. Refuses, with a
    ValueError, a call that is no such JSON.
    """
    named = turn.get("role") is not None
    role = turn["role"] if named else turn.get("from")
    if not isinstance(role, str) or (named and role not in OTHER_ROLES):
        return turn
    content = turn.get("content", turn.get("value"))
    more = {key: cell for key, cell in turn.items() if key not in ("role", "from", "content", "value")}
    if role in _CALLS:
        return {"role": "assistant", "content": "", "tool_calls": _calls_in(content), **more}
    if role == "tool_response":
        return {"role": "tool", "content": content, **more}
    return {"role": ROLE_OF.get(role.lower(), role), "content": content, **more}


def _calls_in(content: Any) -> list[dict[str, Any]]:
    calls = decoded(content)
    calls = calls if isinstance(calls, list) else [calls]
    if not all(isinstance(call, dict) and isinstance(call.get("name"), str) for call in calls):
        raise ValueError("tool call cannot be read")
    return [{"type": "function", "function": call} for call in calls]


def decoded(value: Any) -> Any:
    """Return what a text holds that is a JSON list or object, as CSV cells are; anything else as it is."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            return parse_json(value)
        except (ValueError, RecursionError):
            return value
    return value


def _text_of_part(part: Any) -> str | None:
    if isinstance(part, str):
        return part
    if not isinstance(part, dict):
        return None
    if part.get("type") in _SILENT_PARTS:
        return ""
    text = part.get("text")
    if isinstance(text, dict):
        text = text.get("value")
    return text if isinstance(text, str) and not part.get("files") else None


def _message(turn: Any) -> dict[str, Any] | None:
    if isinstance(turn, dict) and isinstance(turn.get("message"), dict):
        turn = turn["message"]
    if not isinstance(turn, dict):
        return None
    role = next((turn[key] for key in ("role", "from", "sender", "type") if isinstance(turn.get(key), str)), "")
    kept = {key: turn[key] for key in _KEPT_FIELDS if turn.get(key)}
    content = next((turn[key] for key in ("content", "value", "text") if turn.get(key) is not None), None)
    text = "" if content is None and "tool_calls" in kept else text_of(content)
    if not role or text is None:
        return None
    return {"role": ROLE_OF.get(role.lower(), role), "content": text, **kept}
