"""What a judge is: it compares two completions of a prompt (`compare`), and some also score one (`score`).

A verdict is one of four words and nothing else. What a judge writes beside it is for people to read (`note`), and
nothing is computed from it.
"""

from __future__ import annotations

import hashlib
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from prospect.errors import DataError, UsageError
from prospect.feedback.records import Completion, Image, Text, text_of
from prospect.feedback.split import completion_digest, prompt_digest

Choice = Literal["first", "second", "tie", "unparsed"]

MIRRORED: dict[Choice, Choice] = {"first": "second", "second": "first", "tie": "tie", "unparsed": "unparsed"}
CREDIT: dict[Choice, float | None] = {"first": 1.0, "second": 0.0, "tie": 0.5, "unparsed": None}
"""What a choice is worth to the first completion, as the statistics take it."""

# Items that a scoring judge looks at before it gives its first verdicts.
SCORED_TOGETHER = 256


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
    first: Completion
    second: Completion
    target: Any = None

    def mirrored(self) -> Item:
        """Return the same comparison with the completions in the other order."""
        return Item(self.prompt, self.second, self.first, self.target)

    @property
    def texts(self) -> tuple[Completion, ...]:
        """What is looked at: the prompt, and the completions in their order."""
        return self.prompt, self.first, self.second

    @property
    def identical(self) -> bool:
        """Whether both completions are the same, so that there is nothing to judge."""
        return text_key(self.first) == text_key(self.second)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a judge makes of one item.

    Attributes:
        choice: "first", "second" or "tie"; "unparsed" where its answer could not be read.
        note: for people: scores, log-probs, the reply that could not be read.
        prompt_tokens: what the judge read, where that is counted.
        completion_tokens: what the judge wrote.
        final: false where asking again may well give another answer, so that it must not be kept.
        credit: where the judge tells chances, what is expected of `CREDIT`: P(first) + P(tie) / 2.
        scores: of the first and the second completion, where the judge gave them.
    """

    choice: Choice
    note: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    final: bool = True
    credit: float | None = None
    scores: tuple[float, float] | None = None

    @property
    def unread(self) -> bool:
        """Whether the judge's answer could not be read."""
        return self.choice == "unparsed"


@dataclass(frozen=True, slots=True)
class Candidate:
    """One completion, to be scored by itself; `target` is the right answer, where there is one."""

    prompt: Text
    completion: Completion
    target: Any = None

    @property
    def texts(self) -> tuple[Completion, ...]:
        """What is looked at: the prompt and the completion."""
        return self.prompt, self.completion


@dataclass(frozen=True, slots=True)
class Grade:
    """What a judge makes of one completion.

    Attributes:
        score: the higher the better, NaN where it could not be read.
        note: for people: log-probs, the reply that could not be read.
        prompt_tokens: what the judge read, where that is counted.
        completion_tokens: what the judge wrote.
        final: false where asking again may well give another answer, so that it must not be kept.
    """

    score: float
    note: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    final: bool = True

    @property
    def unread(self) -> bool:
        """Whether the judge's answer could not be read."""
        return math.isnan(self.score)


class Judge(ABC):
    """Tell which of two completions is better, and where it can, how good one is.

    Attributes:
        name: for people.
        position_free: whether the order in which it gets the completions cannot matter, so that it is asked once.
        gives_chances: whether its scores are shares of 1: how likely, or how often, a completion is called good.
        sees_images: whether completions may be images.
    """

    name: str
    position_free: ClassVar[bool] = False
    gives_chances: ClassVar[bool] = False
    sees_images: bool = False

    @classmethod
    def named(cls, rest: str) -> Judge:
        """Return the judge of `KIND:REST`; keyword-only arguments of this method are its settings."""
        return cls(rest)  # type: ignore[call-arg]

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

    def compare(self, prompt: Text, first: Completion, second: Completion, target: Any = None) -> Verdict:
        """Return which of two completions of a prompt is better."""
        return self.compare_many([Item(prompt, first, second, target)])[0]

    def score_each(self, rows: Sequence[Candidate]) -> Iterator[tuple[int, float]]:
        """Yield the number of a completion and its score, the higher the better, NaN where there is none.

        Each completion once, in any order, as soon as its score is known.

        Raises:
            UsageError: the judge compares, and gives no scores.
        """
        raise UsageError(
            f"judge {self.name}: it compares two completions and does not score one. Take a verifier, a reward model, "
            "or a function (prompt, completion)."
        )

    def grade_each(self, rows: Sequence[Candidate]) -> Iterator[tuple[int, Grade]]:
        """Yield what `score_each` yields, with what it cost and what people should read of it."""
        for number, score in self.score_each(rows):
            yield number, Grade(score)

    def score_many(self, rows: Sequence[Candidate]) -> list[float]:
        """Return the scores of completions, in their order."""
        found = dict(self.score_each(rows))
        return [found[i] for i in range(len(rows))]

    def score(self, prompt: Text, completion: Completion, target: Any = None) -> float:
        """Return the score of one completion."""
        return self.score_many([Candidate(prompt, completion, target)])[0]

    @property
    def gives_scores(self) -> bool:
        """Whether it can score one completion by itself."""
        return type(self).score_each is not Judge.score_each

    def require_sight(self, items: Sequence[Item | Candidate]) -> None:
        """Refuse images where the judge reads words alone.

        Raises:
            UsageError: naming those that see.
        """
        if any(isinstance(one, Image) for item in items for one in item.texts):
            self.require_eyes("the completions are images")

    def require_eyes(self, why: str) -> None:
        """Refuse a judge that reads words alone.

        Raises:
            UsageError: naming those that see.
        """
        if not self.sees_images:
            raise UsageError(
                f"judge {self.name}: it reads text, and {why}. Take clip:MODEL, scores:FILE, "
                "human:VOTES.json, or a function FILE.py:NAME of your own, which gets them as pictures of Pillow."
            )

    def covers(self, item: Item | Candidate) -> bool:
        """Return whether it has anything to say of an item; people may not have come to it yet."""
        return True

    def estimate_tokens(self, item: Item | Candidate) -> tuple[int, int]:
        """Return about how many tokens it will read and write that somebody charges for."""
        return 0, 0


class ScoringJudge(Judge):
    """Scores each completion by itself (`score_each`); the higher score wins, equal scores tie."""

    position_free = True

    def stream(self, items: Sequence[Item]) -> Iterator[tuple[int, Verdict]]:
        """Look at a few hundred items at a time, and score each different completion once, so that equal ones tie."""
        for start in range(0, len(items), SCORED_TOGETHER):
            rows: dict[bytes, Candidate] = {}
            keys: list[tuple[bytes, bytes]] = []
            of_row: dict[bytes, set[int]] = {}
            for place, item in enumerate(items[start : start + SCORED_TOGETHER]):
                pair = [_remember(rows, Candidate(item.prompt, one, item.target)) for one in (item.first, item.second)]
                keys.append((pair[0], pair[1]))
                for key in pair:
                    of_row.setdefault(key, set()).add(place)
            names, scores = list(rows), dict[bytes, float]()
            for row, score in self.score_each(list(rows.values())):
                scores[names[row]] = score
                for place in sorted(of_row[names[row]]):
                    if all(key in scores for key in keys[place]):
                        first, second = (scores[key] for key in keys[place])
                        verdict = verdict_of_scores(first, second)
                        yield start + place, verdict if verdict.unread else replace(verdict, scores=(first, second))


def verdict_of_scores(first: float, second: float) -> Verdict:
    """Return the verdict of two scores: the higher wins, equal ones tie, without a number nothing can be said."""
    note = f"{first:.6g} against {second:.6g}"
    if math.isnan(first) or math.isnan(second):
        return Verdict("unparsed", note)
    return Verdict("tie" if first == second else "first" if first > second else "second", note)


def as_score(value: Any, what: str) -> float:
    """Return true as 1, false as 0, a number as it is; refuse anything else."""
    if isinstance(value, bool | int | float) or (hasattr(value, "__float__") and not isinstance(value, str)):
        return float(value)
    raise DataError(f"{what} returned {value!r}; expected true, false or a number.")


def plain_text(text: Completion) -> str:
    """Return a prompt or completion as one string.

    A conversation's only turn is its content; several turns stand below one another, each under its role, with calls
    of tools as JSON.

    Raises:
        DataError: it is an image.
    """
    text = text_of(text, "judging")
    if isinstance(text, str):
        return text
    if len(text) == 1 and not text[0].extra:
        return text[0].content
    return "\n\n".join(
        f"[{turn.role}]\n{turn.content}"
        + (f"\n{json.dumps(dict(turn.extra), ensure_ascii=False, sort_keys=True, default=str)}" if turn.extra else "")
        for turn in text
    )


def text_key(*texts: Completion) -> str:
    """Return a key that is the same exactly for the same texts and images in the same order."""
    return hashlib.blake2b(b"".join(completion_digest(text) for text in texts), digest_size=16).hexdigest()


def _remember(rows: dict[bytes, Candidate], row: Candidate) -> bytes:
    target = json.dumps(row.target, sort_keys=True, default=str).encode()
    key = prompt_digest(row.prompt) + completion_digest(row.completion) + target
    rows.setdefault(key, row)
    return key
