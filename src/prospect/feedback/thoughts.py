"""What a model thinks before it answers: found in a completion, and in what a chat template writes around one.

Thoughts are in the content of a turn, `<think>...</think>` before the answer, or in a field of its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from prospect.feedback.records import Message

REASONING_FIELDS = ("reasoning_content", "thinking", "reasoning")
"""Names that servers and datasets use for the thoughts of a turn."""

_OPEN, _CLOSE = r"(?:<(?:[a-z]+:)?think(?:ing)?>|\[THINK\])", r"(?:</(?:[a-z]+:)?think(?:ing)?>|\[/THINK\])"
_CLOSING = re.compile(_CLOSE)
_UNOPENED = re.compile(rf"^[ \t]*{_CLOSE}", re.MULTILINE)  # in the middle of a line somebody writes about tags
_CONTENT = re.compile(rf"\s*{_OPEN}")
_LEAD = re.compile(rf"\s*(?:{_OPEN}\s*)?{_CLOSE}\n*")
_TRAIL = re.compile(rf"(?P<open>{_OPEN})?(?P<space>\s*)(?P<close>{_CLOSE}\s*)?\Z")
_TAIL = 128  # characters at the end of a prompt, of which an empty block takes some thirty
DEFAULT_TAG = "<think>"
PAUSE = "\n\n"
"""What models write between their thoughts and the answer."""


class Thoughts(NamedTuple):
    """The thoughts of a turn.

    Attributes:
        text: without tags, and without white space around it.
        finished: false where the turn ends before they do.
    """

    text: str
    finished: bool


def take_thoughts(turn: Message) -> tuple[Thoughts | None, Message]:
    """Return the thoughts of a turn, if it has any, and the turn without them, empty blocks included."""
    fields = {name: turn.extra[name] for name in REASONING_FIELDS if isinstance(turn.extra.get(name), str)}
    extra: Mapping[str, Any] = turn.extra
    if fields:
        extra = {name: value for name, value in turn.extra.items() if name not in fields}
    text, rest, finished = _split(turn.content)
    text = next((field for field in fields.values() if field.strip()), "") or text
    if not fields and rest is turn.content:
        return None, turn
    return Thoughts(text.strip(), finished) if text.strip() else None, Message(turn.role, rest, extra)


def _split(content: str) -> tuple[str, str, bool]:
    """Return thoughts, answer, and whether the thoughts end; a block may have been opened before the content."""
    if "think" not in content.lower():
        return "", content, True
    opened = _CONTENT.match(content)
    start = opened.end() if opened else 0
    closed = (_CLOSING if opened else _UNOPENED).search(content, start)
    if closed:
        return content[start : closed.start()], content[closed.end() :].lstrip("\n"), True
    return (content[start:], "", False) if opened else ("", content, True)


class Opening(NamedTuple):
    """What a generation prompt ends with.

    Attributes:
        base: the prompt without its think block.
        tag: of a block that is still open; empty where none is.
        closed: whether it ends with a block that is closed.
    """

    base: str
    tag: str
    closed: bool


def read_opening(prompt: str) -> Opening:
    """Return what a generation prompt says of thoughts at its end."""
    start = max(0, len(prompt) - _TAIL)
    if "think" not in prompt[start:].lower():
        return Opening(prompt, "", False)
    found = _TRAIL.search(prompt[start:])
    assert found is not None  # it matches nothing at the end
    tag, closed = found["open"] or "", bool(found["close"])
    return Opening(prompt[: start + found.start()] if tag or closed else prompt, "" if closed else tag, closed)


def lead_of(rest: str) -> str:
    """Return the empty think block, or the end of one, that a template wrote before an answer."""
    found = _LEAD.match(rest)
    return found.group() if found else ""


def is_block(lead: str) -> bool:
    """Whether a lead opens what it closes."""
    return bool(_CONTENT.match(lead))


def closing(prompt: str, tag: str) -> str:
    """Return what closes the block that is open at the end of a prompt without a thought in it."""
    return ("\n" if prompt.endswith("\n") else "\n\n") + closing_tag(tag) + PAUSE


def closing_tag(tag: str) -> str:
    """Return `</think>` of `<think>`."""
    return f"{tag[0]}/{tag[1:]}"
