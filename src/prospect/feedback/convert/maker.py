"""What every conversion is: rows of one kind made out of others, one after the other, and what it leaves out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Generic, NamedTuple, TypeVar

from prospect.errors import DataError
from prospect.feedback.records import Feedback

Made = TypeVar("Made", bound=Feedback)


class UnconvertibleError(DataError):
    """Rows cannot be made into the kind that is needed."""


class LeftOut(NamedTuple):
    """Rows that are not in the output, and why.

    Attributes:
        reason: a word for programs.
        rows: how many.
        message: the same for people.
    """

    reason: str
    rows: int
    message: str


class Maker(ABC, Generic[Made]):
    """Makes rows of one kind: iterate over it once, then call `finish`."""

    @abstractmethod
    def __iter__(self) -> Iterator[Made]:
        """Yield the rows that are made."""

    def finish(self) -> list[LeftOut]:
        """Return what was left out; refuse rows of which nothing could be made."""
        return []


def made_by(maker: Maker[Made]) -> list[Made]:
    """Return the rows that are made; refuse if there are none, where the maker does."""
    made = list(maker)
    maker.finish()
    return made
