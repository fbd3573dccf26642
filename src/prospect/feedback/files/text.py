"""Prompts and completions: what a cell holds -> a string, or the turns of a conversation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prospect.errors import DataError
from prospect.feedback.files.others.turns import OTHER_ROLES, own_turn
from prospect.feedback.records import Message, Text
from prospect.feedback.wording import found, names, show, type_name

Turns = tuple[Message, ...]
_COUNTS = ("weight", "loss")
"""Fields with which other trainers say whether a turn of the assistant is learnt from."""


class HalfCharacterError(DataError):
    """A text holds half a surrogate pair."""


class SpeakerError(DataError):
    """The turns of a completion do not begin and end with the assistant."""


def parse_text(value: Any, column: str, where: str) -> Text:
    """Return a prompt or completion: a string as it is, a list of `{role, content}` as messages.

    Refuses every other type, turns without role or content, content other than text, and characters that
    no tokenizer can encode.
    """
    if isinstance(value, str):
        return encodable(value, column, where)
    if isinstance(value, list):
        return tuple([_message(turn, i, column, where) for i, turn in enumerate(value)])
    raise DataError(
        f"{where}: {column} is {found(value)}; expected a string or a list of "
        '{"role": ..., "content": ...}. Write it as one of the two, or remove the row'
    )


def parse_turns(value: Any, column: str, where: str) -> Turns:
    """Return the turns of a column that must hold a conversation."""
    text = parse_text(value, column, where) if isinstance(value, list) else None
    if not isinstance(text, tuple):
        raise DataError(
            f'{where}: {column} is {found(value)}; expected a list of {{"role": ..., "content": ...}}. '
            "Plain text belongs in the columns prompt and completion, or text"
        )
    return text


def split_last_turn(messages: Turns, where: str) -> tuple[Turns, Turns]:
    """Return the prompt and the completion of a whole conversation: its last turn, the assistant's."""
    if not messages or messages[-1].role != "assistant":
        ending = f"ends with the {messages[-1].role}" if messages else "is an empty list"
        raise DataError(
            f"{where}: messages {ending}; expected it to end with the assistant, whose last turn is the "
            "completion. Cut the conversation after an assistant turn, or remove the row"
        )
    for field, cell in messages[-1].extra.items():
        if field in _COUNTS and cell in (0, False):
            raise DataError(
                f"{where}: the last turn of messages has {field} {show(cell)}, so it is not to be learnt from; "
                "expected to end with a turn that is. Cut the conversation after such a turn, or remove the row"
            )
    return messages[:-1], messages[-1:]


def join_prompt(prompt: Text, completions: Mapping[str, Text], where: str) -> tuple[Text, list[Text]]:
    """Return the prompt and its completions as either all strings or all conversations.

    Where one of them is a conversation, a string prompt becomes one user turn (none if it is empty) and a
    string completion one assistant turn. A completion that repeats the prompt before its answer loses the
    repetition.

    Args:
        prompt: the prompt, parsed.
        completions: column -> parsed completion.
        where: `file:line`, for messages.
    """
    if isinstance(prompt, str) and all(isinstance(text, str) for text in completions.values()):
        return prompt, list(completions.values())
    turns = _as_turns(prompt, "user")
    return turns, [_completion_turns(turns, text, column, where) for column, text in completions.items()]


def encodable(text: str, column: str, where: str) -> str:
    """Return the text, or refuse it: half a surrogate pair, which JSON can say, has no UTF-8 and no token."""
    if text.isascii():  # known without a scan: the usual case costs nothing
        return text
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise HalfCharacterError(
            f"{where}: {column} holds half a character, \\u{ord(text[error.start]):04x}, at position "
            f"{error.start}; expected whole Unicode characters. Repair the export, or remove the row"
        ) from None
    return text


def _as_turns(text: Text, role: str) -> Turns:
    if isinstance(text, tuple):
        return text
    return (Message(role, text),) if text or role == "assistant" else ()


def _completion_turns(prompt: Turns, completion: Text, column: str, where: str) -> Turns:
    turns = _as_turns(completion, "assistant")
    # Only where the first turn is not the assistant's: two equal assistant turns in a row are no repetition.
    if turns and turns[0].role != "assistant" and turns[: len(prompt)] == prompt:
        turns = turns[len(prompt) :]
    if turns and turns[0].role == turns[-1].role == "assistant":
        return turns
    roles = names(turn.role for turn in turns) if turns else "an empty list"
    raise SpeakerError(
        f"{where}: the turns of {column} are {roles}; expected them to begin and end with the assistant. "
        'Turns before the answer belong in prompt; an empty answer is [{"role": "assistant", "content": ""}]'
    )


def _message(turn: Any, place: int, column: str, where: str) -> Message:
    if type(turn) is dict and len(turn) == 2:  # as nearly all are: what follows finds nothing in them
        role, content = turn.get("role"), turn.get("content")
        if type(content) is str and type(role) is str and role and role not in OTHER_ROLES and content.isascii():
            return Message(role, content)
    column = f"{column}[{place}]"
    if not isinstance(turn, dict):
        raise DataError(f'{where}: {column} is {found(turn)}; expected {{"role": ..., "content": ...}}')
    try:
        turn = own_turn(turn)
    except ValueError as error:
        raise DataError(f"{where}: {column}: the {error}; expected the JSON of a call with its name. Mend it") from None
    role, content = turn.get("role"), turn.get("content")
    if not isinstance(role, str) or not role:
        raise DataError(f"{where}: {column} has {_role_found(turn)}; expected a role such as user or assistant")
    if not isinstance(content, str):
        content = _content_of_parts(turn, f"{column}.content", where)
    if len(turn) == 2 and "content" in turn:
        return Message(role, encodable(content, column, where))
    # Null fields are what Parquet and Arrow make of absent ones; chat templates tell the two apart.
    extra = {k: v for k, v in turn.items() if v is not None and k != "role" and k != "content"}
    return Message(role, encodable(content, column, where), extra)


def _role_found(turn: dict[str, Any]) -> str:
    if "role" in turn:
        return f"role {show(turn['role'])}"
    return f"no role, only {names(turn)}"


def _content_of_parts(turn: dict[str, Any], column: str, where: str) -> str:
    content = turn.get("content")
    if content is None and turn.get("tool_calls"):  # a turn that only calls tools says nothing
        return ""
    if not isinstance(content, list):
        raise DataError(
            f"{where}: {column} is {found(content)}; expected a string. "
            "Write the text of the turn, an empty string if it says nothing, or remove the row"
        )
    for part in content:
        if not isinstance(part, dict) or part.get("type") != "text" or not isinstance(part.get("text"), str):
            kind = show(part.get("type")) if isinstance(part, dict) else type_name(part)
            raise DataError(
                f"{where}: {column} has a part of type {kind}; expected only parts of type text, for models "
                "here read text alone. Remove the row, or the part"
            )
    return "".join(part["text"] for part in content)
