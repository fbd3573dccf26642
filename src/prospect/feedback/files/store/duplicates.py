"""How many votes on nearly the same texts count, so that one text cannot be voted into a model by many names."""

from __future__ import annotations

import json
from array import array
from typing import Any

from prospect.feedback.files.store.raters import drawn
from prospect.feedback.files.store.votes import Cell, Collected
from prospect.feedback.texts.near_duplicates import SIMILAR, NearDuplicates

BEYOND_DUPLICATES = "beyond the votes on nearly the same texts"

_AT_ONCE = 1000  # texts whose signatures are computed together


class DuplicateCap:
    """Finds the votes beyond the cap. Of a group of votes those that count are drawn by their ids, the same every time.

    Two votes are of one group where the last message of the prompt and the completion, taken together, are near
    duplicates. A vote takes some 300 bytes.

    Args:
        most: how many votes on nearly the same texts count; 0 is no limit.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._near = NearDuplicates()
        self._drawn: array[float] = array("d")  # of each vote, by its number
        self._waiting: dict[int, str] = {}

    def add(self, vote: Collected) -> None:
        """Add the next vote; one that is unusable, or taken back, has a number too."""
        number = len(self._drawn)
        self._drawn.append(drawn(vote.rater, vote.turn) if self._most else 0)
        if self._most and vote.value and vote.unusable is None:
            self._waiting[number] = f"{_last_words(vote.prompt)}\n{_last_words(vote.completion)}"
            if len(self._waiting) == _AT_ONCE:
                self._sign()

    def beyond(self) -> list[int]:
        """Return the numbers of the votes that do not count, by the order in which they were added, from 0."""
        self._sign()
        found = []
        for group in self._near.groups(SIMILAR) if self._most else []:
            found += sorted(group, key=lambda number: (self._drawn[number], number))[self._most :]
        return sorted(found)

    def _sign(self) -> None:
        self._near.add_many(list(self._waiting), list(self._waiting.values()))
        self._waiting.clear()


def _last_words(cell: Cell) -> str:
    """Return a text, or what the last of several messages says."""
    if isinstance(cell, str):
        return cell
    if not cell:
        return ""
    content: Any = cell[-1].get("content")
    return content if isinstance(content, str) and content else json.dumps(cell[-1], sort_keys=True)
