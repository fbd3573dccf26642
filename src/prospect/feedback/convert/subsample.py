"""Fewer rows, chosen by what they say: a share of a class, or one row per prompt.

Whether a row is kept follows from its texts, its label and the seed. So the order of the rows does not matter, a file
that grows keeps what it kept, and 5 % of a class are among its 10 %.
"""

from __future__ import annotations

import hashlib
import math
from array import array
from collections.abc import Iterable, Iterator
from typing import NamedTuple, TypeVar

from prospect.errors import DataError
from prospect.feedback.convert.balance import ClassCounts
from prospect.feedback.convert.maker import LeftOut, Maker, made_by
from prospect.feedback.records import Completion, Feedback, Paired, Scored, Unpaired
from prospect.feedback.split import KEY_SIZE, completion_digest, group_key, group_keys

Row = TypeVar("Row", bound=Feedback)

_SIZE = 8  # bytes of a rank: of a million rows two share one with probability 3e-8, and then the first row wins
_RANKS = 2 ** (8 * _SIZE)


class ClassShares(NamedTuple):
    """Which share of the desirable and of the undesirable rows to keep, each in [0, 1]."""

    desirable: float = 1.0
    undesirable: float = 1.0


EVERYTHING = ClassShares()


def keep_shares(rows: Iterable[Unpaired], shares: ClassShares, *, seed: int = 0) -> list[Unpaired]:
    """Return a share of the rows of each class, in their order, for studies of imbalance.

    A row is kept if u(row, seed) < share, with u uniform on [0, 1). The share holds in the mean: of n rows,
    n share +- sqrt(n share (1 - share)) are kept. Rows that say the same thing are kept or dropped together.

    Refuses a share outside [0, 1].

    Source: KTO, arXiv 2402.01306, which drops up to 90 % of the desirable rows.
    """
    return made_by(InShares(rows, shares, seed))


def one_per_prompt(rows: Iterable[Row], *, seed: int = 0) -> list[Row]:
    """Return one row of each prompt, in the order of the rows; other tools make another prompt.

    The row with the lowest rank by its texts and the seed is kept, the first of those that say the same.

    Source: "one y per x" of KTO, arXiv 2402.01306, where pairs are taken apart and one side of each is kept.
    """
    rows, lowest = list(rows), LowestOfPrompt(seed)
    for row in rows:
        lowest.add(row)
    return [row for row, is_lowest in zip(rows, lowest.found(), strict=True) if is_lowest]


class InShares(Maker[Unpaired]):
    """Makes the rows of `keep_shares`."""

    def __init__(self, rows: Iterable[Unpaired], shares: ClassShares, seed: int) -> None:
        check_shares(shares)
        self._rows, self._shares, self._seed = rows, shares, seed
        self._keeps_all = shares == EVERYTHING
        self._counts = [0, 0, 0, 0]  # of each mark

    def __iter__(self) -> Iterator[Unpaired]:
        """Yield the rows that are kept."""
        counts, mark_of = self._counts, self.mark
        for row in self._rows:
            mark = mark_of(row)
            counts[mark] += 1
            if mark > 1:
                yield row

    def mark(self, row: Feedback) -> int:
        """Return what is to be done with a row: 1 if it is desirable, plus 2 if it is kept."""
        desirable = isinstance(row, Unpaired) and row.desirable
        if self._keeps_all:
            return 3 if desirable else 2
        share = self._shares.desirable if desirable else self._shares.undesirable
        return desirable + 2 * (share >= 1.0 or uniform(row_content(row) + b"share", self._seed) < share)

    def count(self, mark: int) -> bool:
        """Count a row by its mark, and return whether it is kept."""
        self._counts[mark] += 1
        return mark > 1

    @property
    def kept(self) -> ClassCounts:
        """How many rows of each class were kept."""
        return ClassCounts(desirable=self._counts[3], undesirable=self._counts[2])

    def finish(self) -> list[LeftOut]:
        """Return the rows of each class that are not in its share."""
        left_out = {"desirable": self._counts[1], "undesirable": self._counts[0]}
        return [
            LeftOut(f"share_of_{name}", rows, f"{rows} {name} rows are not in the share to keep and are left out")
            for name, rows in left_out.items()
        ]


class LowestOfPrompt:
    """Finds the row of lowest rank of each prompt, the first of several; of a row 24 bytes are held."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._keys, self._ranks = bytearray(), array("Q")

    def add(self, row: Feedback) -> None:
        """Add a row."""
        content = row_content(row)
        self._keys += content[:KEY_SIZE] if row.tools is None else group_key(row)  # it begins with the prompt's digest
        self._ranks.append(content_rank(content, self._seed))

    def found(self) -> bytes:
        """Return for each row, in their order, 1 if it is the one of its prompt, else 0."""
        import numpy as np

        order, starts = group_keys(self._keys)
        best = np.zeros(len(order), dtype=np.uint8)
        if len(order):
            group = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
            values = np.frombuffer(self._ranks, dtype=np.uint64)[order]
            best[order[np.lexsort((values, group))[starts[:-1]]]] = 1  # stable: the first of equal ranks
        return best.tobytes()


def check_shares(shares: ClassShares) -> None:
    """Refuse shares that are none."""
    for name, share in zip(ClassShares._fields, shares, strict=True):
        if not 0 <= share <= 1:  # NaN is in no interval
            raise DataError(f"the share of {name} rows to keep is {share}; expected a number in [0, 1]")


def row_content(row: Feedback) -> bytes:
    """Return bytes that two rows share if they have the same texts and the same label or scores."""
    if isinstance(row, Paired):
        return texts_content(row.prompt, row.chosen, row.rejected)
    if isinstance(row, Scored):
        return texts_content(row.prompt, *row.completions) + repr(row.scores).encode()
    label = (b"1" if row.desirable else b"0") if isinstance(row, Unpaired) else b""
    return texts_content(row.prompt, getattr(row, "completion")) + label  # noqa: B009 - Feedback itself has none


def texts_content(*texts: Completion) -> bytes:
    """Return bytes that only the same texts or images, in the same order, share."""
    return b"".join(map(completion_digest, texts))


def content_rank(content: bytes, seed: int) -> int:
    """Return a place in an order that the seed shuffles: the same for the same content, on every machine."""
    digest = hashlib.blake2b(content, digest_size=_SIZE, key=_key(seed)).digest()
    return int.from_bytes(digest, "big")


def uniform(content: bytes, seed: int) -> float:
    """Return a number in [0, 1) that follows from the content and the seed."""
    return min(content_rank(content, seed) / _RANKS, math.nextafter(1.0, 0.0))


def _key(seed: int) -> bytes:
    return str(seed).encode()[:64]
