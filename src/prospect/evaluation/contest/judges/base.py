"""What a judge is: something with a name that says which of two completions of a prompt is better.

A judge says one of four words and nothing else. What it writes beside them is for people to read (`note`), and nothing
is computed from it.
"""

from __future__ import annotations

import hashlib
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

from prospect.errors import DataError
from prospect.feedback.records import Text
from prospect.feedback.split import prompt_digest

Choice = Literal["first", "second", "tie", "unparsed"]

MIRRORED: dict[Choice, Choice] = {"first": "second", "second": "first", "tie": "tie", "unparsed": "unparsed"}

# Items that a grading judge looks at before it gives its first verdicts.
GRADED_TOGETHER = 256


@dataclass(frozen=True, slots=True)
class Item:
    """Two completions of one prompt.

    Attributes:
        prompt: what both answer.
        first: a completion.
        second: another one.
        target: the right answer, where there is one; only verifiers look at it.
    """

    prompt: Text
    first: Text
    second: Text
    target: Any = None

    def mirrored(self) -> Item:
        """Return the same comparison with the completions in the other order."""
        return Item(self.prompt, self.second, self.first, self.target)

    @property
    def identical(self) -> bool:
        """Whether both completions are the same text, so that there is nothing to judge."""
        return text_key(self.first) == text_key(self.second)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a judge said of one item.

    Attributes:
        choice: "first", "second" or "tie"; "unparsed" where nothing that could be read was said.
        note: for people: scores, log-probs, the reply that could not be read.
        prompt_tokens: what the judge read, where somebody counts.
        completion_tokens: what the judge wrote.
        final: false where asking again may well give another answer, so that it must not be kept.
    """

    choice: Choice
    note: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    final: bool = True


class Judge(ABC):
    """Say which of two completions is better.

    Attributes:
        name: for people.
        position_free: whether the order in which it gets the completions cannot matter, so that it is asked once.
    """

    name: str
    position_free: ClassVar[bool] = False

    @property
    @abstractmethod
    def identity(self) -> str:
        """Everything but the item that decides its verdicts, as text: model, rubric, settings. Verdicts are kept by it.

        Never a secret.
        """

    @abstractmethod
    def stream(self, items: Sequence[Item]) -> Iterator[tuple[int, Verdict]]:
        """Yield the number of an item and its verdict, each item once, in any order, as soon as they are known."""

    def compare_many(self, items: Sequence[Item]) -> list[Verdict]:
        """Return the verdicts of items, in their order."""
        found = dict(self.stream(items))
        return [found[i] for i in range(len(items))]

    def compare(self, prompt: Text, first: Text, second: Text, target: Any = None) -> Verdict:
        """Return which of two completions of a prompt is better."""
        return self.compare_many([Item(prompt, first, second, target)])[0]

    def covers(self, item: Item) -> bool:
        """Return whether it has anything to say of an item; people may not have come to it yet."""
        return True

    def estimate_tokens(self, item: Item) -> tuple[int, int]:
        """Return about how many tokens it will read and write that somebody charges for."""
        return 0, 0


class Graded(NamedTuple):
    """One completion to be graded by itself."""

    prompt: Text
    completion: Text
    target: Any = None


class GradingJudge(Judge):
    """Grades each completion by itself; the higher grade wins, equal grades tie."""

    position_free = True

    @abstractmethod
    def grade_each(self, rows: Sequence[Graded]) -> Iterator[tuple[int, float]]:
        """Yield the number of a completion and its grade, the higher the better, NaN where there is none.

        Each completion once, in any order, as soon as its grade is known.
        """

    def grade_many(self, rows: Sequence[Graded]) -> list[float]:
        """Return the grades of completions, in their order."""
        found = dict(self.grade_each(rows))
        return [found[i] for i in range(len(rows))]

    def grade(self, prompt: Text, completion: Text, target: Any = None) -> float:
        """Return the grade of one completion."""
        return self.grade_many([Graded(prompt, completion, target)])[0]

    def stream(self, items: Sequence[Item]) -> Iterator[tuple[int, Verdict]]:
        """Look at a few hundred items at a time, and grade each different completion once, so that equal ones tie."""
        for start in range(0, len(items), GRADED_TOGETHER):
            rows: dict[bytes, Graded] = {}
            keys: list[tuple[bytes, bytes]] = []
            of_row: dict[bytes, set[int]] = {}
            for place, item in enumerate(items[start : start + GRADED_TOGETHER]):
                first, second = (
                    _remember(rows, Graded(item.prompt, text, item.target)) for text in (item.first, item.second)
                )
                keys.append((first, second))
                for key in (first, second):
                    of_row.setdefault(key, set()).add(place)
            names, grades = list(rows), dict[bytes, float]()
            for row, grade in self.grade_each(list(rows.values())):
                grades[names[row]] = grade
                for place in sorted(of_row[names[row]]):
                    if all(key in grades for key in keys[place]):
                        yield start + place, verdict_of_grades(*(grades[key] for key in keys[place]))


def verdict_of_grades(first: float, second: float) -> Verdict:
    """Return the verdict of two grades: the higher wins, equal ones tie, without a number nothing can be said."""
    note = f"{first:.6g} against {second:.6g}"
    if math.isnan(first) or math.isnan(second):
        return Verdict("unparsed", note)
    return Verdict("tie" if first == second else "first" if first > second else "second", note)


def as_grade(value: Any, what: str) -> float:
    """Return true as 1, false as 0, a number as it is; refuse anything else."""
    if isinstance(value, bool | int | float) or (hasattr(value, "__float__") and not isinstance(value, str)):
        return float(value)
    raise DataError(f"{what} returned {value!r}; expected true, false or a number.")


def plain_text(text: Text) -> str:
    """Return a prompt or completion as one string.

    A conversation's only turn is its content; several turns stand below one another, each under its role, with calls
    of tools as JSON.
    """
    if isinstance(text, str):
        return text
    if len(text) == 1 and not text[0].extra:
        return text[0].content
    return "\n\n".join(
        f"[{turn.role}]\n{turn.content}"
        + (f"\n{json.dumps(dict(turn.extra), ensure_ascii=False, sort_keys=True, default=str)}" if turn.extra else "")
        for turn in text
    )


def text_key(*texts: Text) -> str:
    """Return a key that is the same exactly for the same texts in the same order."""
    return hashlib.blake2b(b"".join(prompt_digest(text) for text in texts), digest_size=16).hexdigest()


def _remember(rows: dict[bytes, Graded], row: Graded) -> bytes:
    target = json.dumps(row.target, sort_keys=True, default=str).encode()
    key = prompt_digest(row.prompt) + prompt_digest(row.completion) + target
    rows.setdefault(key, row)
    return key
