"""Cells as public datasets and other trainers have them: prompts, answers, conversations and tools."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prospect.feedback.files.others.turns import decoded, own_turn

Row = Mapping[str, Any]
Turns = list[dict[str, Any]]
Cell = str | Turns

PROMPTS = ("prompt", "instruction", "question", "query", "input")
"""Columns that hold a prompt, where exactly one of them is there."""
CONVERSATIONS = ("conversations", "conversation", "messages")
NO_PROMPT = "prompt cannot be read"
NO_COMPLETION = "completion cannot be read"
_SPEECH = frozenset(("content", "value", "tool_calls"))


class UnreadableRow(Exception):  # noqa: N818 - it is a reason; whoever reads the row says where it is
    """A part of a row cannot be read; the text says which, in words that are the same for all rows like it."""


def prompt_column(columns: set[str]) -> str | None:
    """Return the one column that holds the prompt; None where there is none, or more than one."""
    found = [column for column in PROMPTS if column in columns]
    return found[0] if len(found) == 1 else None


def turns_in(value: Any) -> Turns:
    """Return the turns of a conversation as [{role, content}], from a list or from its JSON."""
    value = decoded(value)
    if not isinstance(value, list) or not value or not all(isinstance(turn, dict) for turn in value):
        raise UnreadableRow("conversation cannot be read")
    try:
        turns = [own_turn(turn) for turn in value]
    except ValueError as error:
        raise UnreadableRow(str(error)) from None
    if not all(isinstance(turn.get("role"), str) for turn in turns):
        raise UnreadableRow("conversation cannot be read")
    return turns


def tools_in(value: Any) -> Turns | None:
    """Return tool schemas, from a list, from its JSON, or from a list of JSON; None where there are none."""
    if not value:
        return None
    tools = decoded(value)
    tools = [decoded(tool) for tool in tools] if isinstance(tools, list) else None
    if tools is None or not all(isinstance(tool, dict) for tool in tools):
        raise UnreadableRow("tools cannot be read")
    return tools or None


def said(value: Any) -> Any:
    """Return the turns in a cell, alone, in a list or as JSON; any other cell as it is, JSON of another kind too."""
    found = decoded(value)
    turns = [found] if isinstance(found, dict) else found
    return turns if isinstance(turns, list) and turns and all(map(_is_turn, turns)) else value


def _is_turn(value: Any) -> bool:
    return isinstance(value, dict) and bool({"role", "from"} & value.keys()) and bool(_SPEECH & value.keys())


def answer_in(value: Any) -> Cell:
    """Return an answer as text or as turns that end with the assistant."""
    found = said(value)
    if isinstance(found, list) and found:
        turns = turns_in(found)
        if turns[-1]["role"] == "assistant":
            return turns
    if not isinstance(found, str):
        raise UnreadableRow(NO_COMPLETION)
    return found


def _history(value: Any) -> Turns:
    pairs = decoded(value) or []
    if not isinstance(pairs, list):
        raise UnreadableRow("history cannot be read")
    turns: Turns = []
    for pair in pairs:
        if not isinstance(pair, list | tuple) or len(pair) != 2 or not all(isinstance(text, str) for text in pair):
            raise UnreadableRow("history cannot be read")
        turns += [{"role": "user", "content": pair[0]}, {"role": "assistant", "content": pair[1]}]
    return turns


def with_system(turns: Turns, row: Row) -> Turns:
    """Return the turns, begun by the system prompt that stands in a column; one within the turns wins."""
    system = row.get("system")
    if not isinstance(system, str) or not system or (turns and turns[0].get("role") == "system"):
        return turns
    return [{"role": "system", "content": system}, *turns]


def prompt_in(row: Row) -> Cell:
    """Return the prompt of a row that has one, as turns where a system prompt or earlier turns belong to it.

    Instruction and input are one text, as their trainers join them.
    """
    parts = [said(row[column]) for column in PROMPTS if row.get(column) not in (None, "")]
    if not parts:
        raise UnreadableRow(NO_PROMPT)
    if len(parts) == 1 and isinstance(parts[0], list):
        return with_system(turns_in(parts[0]), row)
    if not all(isinstance(part, str) for part in parts):
        raise UnreadableRow(NO_PROMPT)
    text, history = "\n".join(parts), _history(row.get("history"))
    if not history and row.get("system") is None:
        return text
    return with_system([*history, {"role": "user", "content": text}], row)


def conversation_in(row: Row) -> Turns:
    """Return the turns of a row that is a conversation."""
    column = next(column for column in CONVERSATIONS if row.get(column) is not None)
    return with_system(turns_in(row[column]), row)


def has_prompt(columns: set[str]) -> bool:
    """Return whether one column is the prompt, or instruction and input are together."""
    return prompt_column(columns) is not None or is_alpaca(columns)


def is_alpaca(columns: set[str]) -> bool:
    """Return whether instruction and input are together the prompt."""
    return columns.intersection(PROMPTS) == {"instruction", "input"}


def split_answer(turns: Turns) -> tuple[Turns, Turns]:
    """Return the turns before the assistant's last one, and that one."""
    if turns[-1]["role"] != "assistant":
        raise UnreadableRow("conversation does not end with the assistant")
    return turns[:-1], turns[-1:]
