"""Which raters' votes count, so that a few of them cannot decide what a model learns.

Two people in a hundred who can be won over by flattery suffice to teach it to a model (Williams et al. 2024,
arXiv 2411.02306). What is done about that here is deterministic: the same votes give the same rows.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import NamedTuple

from prospect.feedback.files.store.branches import Query
from prospect.feedback.files.store.selection import Selection

_FEWEST = 10  # votes before anything is said about a rater who only ever votes one way
_CHANCE = 1e-3  # of an honest rater with as many votes being as one-sided
_ALWAYS_KEPT = 50  # votes of a rater that count whatever the others do: a small team is no attack
_BURST = 30  # votes in one minute: more than a person can read

ALWAYS_UP, ALWAYS_DOWN = "rater who only votes up", "rater who only votes down"
BURST = "rater with a burst of votes"
BEYOND_SHARE = "beyond one rater's share"


class Record(NamedTuple):
    """How often a rater voted: up, and in all."""

    up: int
    votes: int


class Raters:
    """The rules for the raters of one selection.

    Args:
        query: asks the store.
        selection: whose votes, and which rules.
    """

    def __init__(self, query: Query, selection: Selection) -> None:
        where, values = selection.where("v")
        counted = f"FROM vote v WHERE {where} AND v.value <> 0"
        rows = query(
            f"SELECT v.rater, SUM(CASE WHEN v.value > 0 THEN 1 ELSE 0 END), COUNT(*) {counted} GROUP BY v.rater",
            values,
        )
        self.records = {rater: Record(int(up), int(votes)) for rater, up, votes in rows}
        self._new = selection.new_raters
        self.quarantined: dict[str, str] = {}
        if selection.quarantine:
            minutes = f"SELECT v.rater {counted} GROUP BY v.rater, v.at / 60000 HAVING COUNT(*) > {_BURST}"
            self.quarantined = {rater: BURST for (rater,) in query(minutes, values)} | one_sided(self.records)
        left = [record.votes for rater, record in self.records.items() if rater not in self.quarantined]
        self.most = most_votes(left, selection.share)

    def refusal(self, rater: str, turn: str) -> str | None:
        """Return why a vote does not count; None where it does."""
        if rater in self.quarantined:
            return self.quarantined[rater]
        votes = self.records[rater].votes if rater in self.records else 0
        if self.most is not None and votes > self.most and drawn(rater, turn) >= self.most / votes:
            return BEYOND_SHARE
        return None

    def weight(self, rater: str) -> float:
        """Return the weight of a rater's votes: 0 until there are enough of them."""
        return 0.0 if rater in self.records and self.records[rater].votes < self._new else 1.0


def one_sided(records: Mapping[str, Record]) -> dict[str, str]:
    """Return the raters who only vote up, or only down, more often than chance explains.

    With p the share of votes up of all other raters, n votes up in a row have the chance p^n, and n down (1 - p)^n. A
    rater is named where that is below one in a thousand, after ten votes at least.
    """
    up = sum(record.up for record in records.values())
    votes = sum(record.votes for record in records.values())
    named = {}
    for rater, record in records.items():
        others = votes - record.votes
        if record.votes < _FEWEST or not others or 0 < record.up < record.votes:
            continue
        share = (up - record.up + 1) / (others + 2)  # never 0 or 1: the others too are a sample
        always_up = record.up == record.votes
        if record.votes * math.log(share if always_up else 1 - share) < math.log(_CHANCE):
            named[rater] = ALWAYS_UP if always_up else ALWAYS_DOWN
    return named


def most_votes(counts: list[int], share: float) -> int | None:
    """Return how many votes of one rater count, so that none has more than `share` of those that count.

    The largest c with c <= share * sum(min(n, c)) over the raters' counts n, and 50 at least; None where every count is
    within it, or where there are so few raters that no c is.
    """
    counts, total = sorted(counts), sum(counts)
    if not counts or counts[-1] <= max(share * total, _ALWAYS_KEPT):
        return None
    low, high = 0, counts[-1]
    while low < high:
        middle = (low + high + 1) // 2
        if middle <= share * sum(min(count, middle) for count in counts):
            low = middle
        else:
            high = middle - 1
    return max(low, _ALWAYS_KEPT) if low else None


def drawn(rater: str, turn: str) -> float:
    """Return a number from 0 to 1 that is the same for the same vote."""
    digest = hashlib.blake2b(f"{rater}\0{turn}".encode(errors="replace"), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64
