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

# As chat models write them: most of them the first; Magistral, Seed-OSS and Kimi have tags of their own.
_PAIRS = {
    "<think>": "</think>",
    "<thinking>": "</thinking>",
    "<thought>": "</thought>",
    "<seed:think>": "</seed:think>",
    "[THINK]": "[/THINK]",
    "◁think▷": "◁/think▷",
}
DEFAULT_TAG = "<think>"
PAUSE = "\n\n"
"""What models write between their thoughts and the answer."""

_OPEN, _CLOSE = ("|".join(map(re.escape, tags)) for tags in (_PAIRS.keys(), _PAIRS.values()))
TAGS = re.compile(f"{_OPEN}|{_CLOSE}")
_OPENING, _CLOSING = re.compile(_OPEN), re.compile(_CLOSE)
# In the middle of a line somebody writes about tags.
_UNOPENED = re.compile(rf"^[ \t]*(?:{_CLOSE})|(?:{_CLOSE})[ \t]*$", re.MULTILINE)
_BLOCK = re.compile(rf"\s*(?:{_OPEN})")
_LEAD = re.compile(rf"\s*(?:(?:{_OPEN})\s*)?(?:{_CLOSE})\n*")
_TRAIL = re.compile(rf"(?P<open>{_OPEN})?\s*(?P<close>(?:{_CLOSE})\s*)?\Z")
_TAIL = 128  # characters at the end of a prompt, of which an empty block takes some thirty


class Parts(NamedTuple):
    """A text in two parts.

    Attributes:
        thoughts: what stands before the answer, tags included; empty where the model wrote no thoughts.
        answer: the rest.
        closed: false where the text ends within the thoughts, so that there is no answer.
    """

    thoughts: str
    answer: str
    closed: bool


def split_thoughts(text: str, *, opened: bool = False) -> Parts:
    """Return thoughts and answer apart.

    Thoughts begin with an opening tag that only white space precedes, or, where the prompt opened the block, without
    one; they end with the last closing tag, as in the templates of Qwen and DeepSeek. Tags in the middle of a text that
    begins with something else belong to the answer: somebody explains them.

    Args:
        text: what a model wrote.
        opened: whether the prompt opened the block. It may have, where this is false, if a line of the text begins or
            ends with a closing tag and no opening one stands before it.
    """
    first, last = _OPENING.search(text), None
    begins = opened or (first is not None and not text[: first.start()].strip())
    for last in (_CLOSING if begins else _UNOPENED).finditer(text):  # noqa: B007  the last one is wanted
        pass
    if last is not None and (begins or first is None or first.start() > last.start()):
        rest = text[last.end() :].lstrip()
        if _OPENING.match(rest):
            return Parts(text, "", False)
        return Parts(text[: last.end()], rest, True)
    return Parts(text, "", False) if begins else Parts("", text, True)


def join_thoughts(thoughts: str, answer: str, *, closed: bool) -> str:
    """Return one text of thoughts and an answer that a server gave apart."""
    if not thoughts.strip():
        return answer
    opening = f"{DEFAULT_TAG}\n{thoughts.strip()}\n"
    return f"{opening}{closing_tag(DEFAULT_TAG)}{PAUSE}{answer}" if closed else opening


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
    parts = split_thoughts(turn.content)
    if not fields and not parts.thoughts:
        return None, turn
    extra: Mapping[str, Any] = turn.extra
    if fields:
        extra = {name: value for name, value in turn.extra.items() if name not in fields}
    inside = _CLOSING.sub("", _OPENING.sub("", parts.thoughts, count=1)) if parts.thoughts else ""
    text = next((field for field in fields.values() if field.strip()), inside).strip()
    return Thoughts(text, parts.closed) if text else None, Message(turn.role, parts.answer, extra)


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
    if not TAGS.search(prompt, start):
        return Opening(prompt, "", False)
    found = _TRAIL.search(prompt, start)
    assert found is not None  # it matches nothing at the end
    tag, closed = found["open"] or "", bool(found["close"])
    return Opening(prompt[: found.start()] if tag or closed else prompt, "" if closed else tag, closed)


def lead_of(rest: str) -> str:
    """Return the empty think block, or the end of one, that a template wrote before an answer."""
    found = _LEAD.match(rest)
    return found.group() if found else ""


def is_block(lead: str) -> bool:
    """Whether a lead opens what it closes."""
    return bool(_BLOCK.match(lead))


def closing(prompt: str, tag: str) -> str:
    """Return what closes the block that is open at the end of a prompt without a thought in it."""
    return ("\n" if prompt.endswith("\n") else "\n\n") + closing_tag(tag) + PAUSE


def closing_tag(tag: str) -> str:
    """Return `</think>` of `<think>`."""
    return _PAIRS[tag]
