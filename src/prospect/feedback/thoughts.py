"""Thoughts that a model writes before its answer, between think tags."""

from __future__ import annotations

import re
from typing import NamedTuple

# As chat models write them: most of them the first; Magistral, Seed-OSS and Kimi have tags of their own.
_PAIRS = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<seed:think>", "</seed:think>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
)
TAGS = re.compile("|".join(re.escape(tag) for pair in _PAIRS for tag in pair))
_OPENING, _CLOSING = (re.compile("|".join(re.escape(pair[side]) for pair in _PAIRS)) for side in (0, 1))
_AT_THE_END = re.compile(rf"({_OPENING.pattern})\s*\Z")


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
        opened: whether the prompt opened the block. It may have, where this is false, if the text holds a closing tag
            and no opening one before it.
    """
    first, last = _OPENING.search(text), None
    for last in _CLOSING.finditer(text):  # noqa: B007  the last one is wanted
        pass
    begins = opened or (first is not None and not text[: first.start()].strip())
    if last is not None and (begins or first is None or first.start() > last.start()):
        rest = text[last.end() :].lstrip()
        if _OPENING.match(rest):
            return Parts(text, "", False)
        return Parts(text[: last.end()], rest, True)
    return Parts(text, "", False) if begins else Parts("", text, True)


def tag_at_the_end(prompt: str) -> str:
    """Return the opening tag that a rendered prompt ends with, so that the completion begins in thoughts; else ""."""
    found = _AT_THE_END.search(prompt)
    return found[1] if found else ""


def join_thoughts(thoughts: str, answer: str, *, closed: bool) -> str:
    """Return one text of thoughts and an answer that a server gave apart."""
    if not thoughts.strip():
        return answer
    opening, closing = _PAIRS[0]
    return f"{opening}\n{thoughts.strip()}\n" + (f"{closing}\n\n{answer}" if closed else "")
