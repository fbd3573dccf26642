"""Columns that look like a verdict, or like a second answer: by their names, and by what is in them."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from prospect.feedback.files.labels import THUMBS, plain_word
from prospect.feedback.records import Kind

Looks = Literal["verdict", "second answer"]

# fmt: off
_VERDICTS = frozenset((
    "thumb", "thumbs", "rating", "ratings", "rated", "feedback", "vote", "votes", "voted", "upvote", "upvotes",
    "upvoted", "downvote", "downvotes", "downvoted", "verdict", "verdicts", "label", "labels", "reward", "rewards",
    "score", "scores", "stars", "grade", "reaction", "judgment", "judgement", "preference", "preferred", "winner",
    "better", "like", "likes", "liked", "dislike", "dislikes", "disliked", "good", "bad", "helpful", "desirable",
    "undesirable", "accepted", "approved", "annotation",
))
_SECOND_ANSWERS = frozenset((
    "rejected", "chosen", "preferred", "dispreferred", "winner", "loser", "negative", "negatives", "worse",
))
# A name that ends with one of these is about a verdict and none itself: rejected_reason, reward_model.
_ABOUT = frozenset((
    "reason", "reasons", "comment", "comments", "note", "notes", "rationale", "explanation", "critique", "model",
    "models", "id", "ids", "uuid", "at", "by", "time", "date", "timestamp", "source", "user", "type", "version",
    "name", "count", "prompt", "url", "key", "status", "margin", "tokens", "length",
))
# fmt: on
_SIDES = frozenset(("chosen", "rejected"))
# A verdict with these names is yes or no, never a number of stars or a count.
_EITHER = frozenset(("thumb", "thumbs", "like", "liked", "good", "helpful", "verdict", "desirable", "upvoted", "label"))
_THUMBS_NAMES = _EITHER | {"rating", "feedback", "vote", "voted", "reaction", "judgment", "judgement"}
_BAD = frozenset(("bad", "down", "dislike", "disliked", "downvote", "downvoted", "undesirable", "rejected"))
_PARTS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[^\W\d_a-zA-Z]+")
_LONGEST_VERDICT = 24  # characters: "not_helpful_at_all", but no sentence


def looks_like(column: str, cell: Any) -> Looks | None:
    """Return what a column looks like that no layout reads; None where it may be anything.

    A verdict is short: a number, true or false, a word. A second answer is text, turns, or a list of either.
    """
    if cell is None:
        return None
    verdict, answer = _by_name(column)
    short = isinstance(cell, bool | int | float) or (isinstance(cell, str) and len(cell) <= _LONGEST_VERDICT)
    if verdict and short:
        return "verdict"
    if answer and isinstance(cell, str | list | dict) and not (isinstance(cell, str) and not cell):
        return "second answer"
    return None


def names_a_verdict(column: str) -> bool:
    """Whether a name is one of a verdict."""
    return _by_name(column)[0]


@functools.lru_cache(maxsize=4096)
def _words(column: str) -> tuple[str, ...]:
    return tuple(word.lower() for word in _PARTS.findall(column))


@functools.lru_cache(maxsize=4096)
def _by_name(column: str) -> tuple[bool, bool]:
    """Whether the name is one of a verdict, and whether it is one of an answer."""
    words = _words(column)
    verdict, answer = not _VERDICTS.isdisjoint(words), not _SECOND_ANSWERS.isdisjoint(words)
    of_a_side = verdict and not _SIDES.isdisjoint(words)  # score_chosen belongs to a pair that is read
    if of_a_side or (words and words[-1] in _ABOUT):
        return False, False
    return verdict, answer


def ignored_verdicts(row: Mapping[str, Any], known: set[str]) -> dict[str, Looks]:
    """Return the columns of a row that look like a verdict or a second answer and are not among the known ones."""
    found = {column: looks_like(column, cell) for column, cell in row.items() if column not in known}
    return {column: looks for column, looks in found.items() if looks is not None}


def verdict_column(rows: Sequence[Mapping[str, Any]]) -> str | None:
    """Return the one column of some rows that is a verdict with a plain meaning; None where none is, or several are.

    Every value must be one of `THUMBS`. A column that may as well hold stars or votes must hold more than ones; and
    nothing is taken where a column is named for the bad (`thumbs_down`), for then true would mean no.
    """
    columns = {column for row in rows for column in row}
    if any(_is_for_the_bad(column) and names_a_verdict(column) for column in columns):
        return None
    found = [column for column in columns if names_a_verdict(column) and not _THUMBS_NAMES.isdisjoint(_words(column))]
    found = [column for column in found if _is_plain(column, [row.get(column) for row in rows])]
    return found[0] if len(found) == 1 else None


def _is_plain(column: str, cells: Sequence[Any]) -> bool:
    words = {plain_word(str(cell)).removesuffix(".0") for cell in cells if cell not in (None, "")}
    return bool(words) and words <= THUMBS.keys() and (words != {"1"} or not _EITHER.isdisjoint(_words(column)))


def _is_for_the_bad(column: str) -> bool:
    return not _BAD.isdisjoint(_words(column)) and "up" not in _words(column)


def says_no(column: str, cell: Any) -> bool:
    """Whether a verdict plainly says that a completion is bad.

    False and words for it do; 0 and -1 only in a column of thumbs, for elsewhere they may be a count or a grade. In a
    column that is named for the bad it is true that says so.
    """
    either = not _EITHER.isdisjoint(_words(column))
    if _is_for_the_bad(column):
        return cell is True
    if isinstance(cell, str):
        word = plain_word(cell)
        return THUMBS.get(word) is False and (word not in ("0", "-1") or either)
    return cell is False or (either and cell in (0, -1))


def describe_ignored(kind: Kind, column: str, looks: Looks, rows: int) -> str:
    """Return what is to be said of a column that looks like a verdict or a second answer and is not read."""
    taken = "demonstrations, all of them to be imitated" if kind == "demonstration" else kind
    read_as = "a row, which is" if rows == 1 else f"{rows:,} rows, which are"
    return f"column {column} looks like a {looks} and is ignored, in {read_as} read as {taken}"
