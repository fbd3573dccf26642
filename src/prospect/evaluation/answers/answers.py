"""A completion as a model or server gave it, with or without its thoughts, and what became of many of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from prospect.feedback.chat.thoughts import split_thoughts
from prospect.feedback.records import Text

Thoughts = Literal["strip", "keep"]
"""Whether completions are written without what a model thought before its answer, or with it."""


class Answer(NamedTuple):
    """One completion.

    Attributes:
        text: without special tokens.
        tokens: how many were generated, 0 where a server does not say.
        finished: false where the limit cut it.
        opened: the think tag that the prompt ends with, so that the completion begins in thoughts; else "".
        stripped: whether thoughts stood before it, which were left out.
    """

    text: str
    tokens: int
    finished: bool
    opened: str = ""
    stripped: bool = False

    def without_thoughts(self) -> Answer:
        """Return it from where the answer begins; one that ends in its thoughts is empty and not finished."""
        thoughts, answer, closed = split_thoughts(self.text, opened=bool(self.opened))
        return Answer(answer, self.tokens, self.finished and closed, stripped=True) if thoughts else self

    def with_thoughts(self, prompt: Text) -> Answer:
        """Return it with its think tag: in a message of its own it begins with what the chat template wrote."""
        opening = "" if isinstance(prompt, str) or not self.opened else f"{self.opened}\n"
        return Answer(opening + self.text, self.tokens, self.finished)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to read in it."""
        return not self.text.strip()

    @property
    def is_unanswered(self) -> bool:
        """Whether the limit cut it before there was anything to read, or it ends in its thoughts."""
        return self.is_empty and not self.finished


class Counts(NamedTuple):
    """What became of completions.

    Attributes:
        completions: all of them.
        empty: of them, how many hold no text.
        cut: of them, how many the limit cut.
        stripped: of them, how many had thoughts, which were left out.
    """

    completions: int
    empty: int
    cut: int
    stripped: int

    def __str__(self) -> str:
        said = (
            (self.empty, "empty"),
            (self.cut, "cut by the limit of tokens"),
            (self.stripped, "without the thoughts that stood before them"),
        )
        found = ", ".join(f"{count} {what}" for count, what in said if count)
        return f"{self.completions} completions" + (f" ({found})" if found else "")


def count_answers(answers: Sequence[Sequence[Answer]]) -> Counts:
    """Return what became of completions."""
    every = [one for row in answers for one in row]
    return Counts(
        completions=len(every),
        empty=sum(one.is_empty for one in every),
        cut=sum(not one.finished for one in every),
        stripped=sum(one.stripped for one in every),
    )
