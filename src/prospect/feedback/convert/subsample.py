"""Fewer rows, chosen by what they say: a share of a class, or one row per prompt.

Whether a row is kept follows from its texts, its label and the seed. So the order of the rows does not matter, a file
that grows keeps what it kept, and 5 % of a class are among its 10 %.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from typing import NamedTuple, TypeVar

from prospect.errors import DataError
from prospect.feedback.records import Feedback, Paired, Scored, Text, Unpaired
from prospect.feedback.split import group_key, prompt_digest

Row = TypeVar("Row", bound=Feedback)

_SIZE = 8  # bytes of a rank: of a million rows two share one with probability 3e-8, and then the first row wins
_RANKS = 2 ** (8 * _SIZE)


class ClassShares(NamedTuple):
    """Which share of the desirable and of the undesirable rows to keep, each in [0, 1]."""

    desirable: float = 1.0
    undesirable: float = 1.0


def keep_shares(rows: Iterable[Unpaired], shares: ClassShares, *, seed: int = 0) -> list[Unpaired]:
    """Return a share of the rows of each class, in their order, for studies of imbalance.

    A row is kept if u(row, seed) < share, with u uniform on [0, 1). The share holds in the mean: of n rows,
    n share +- sqrt(n share (1 - share)) are kept. Rows that say the same thing are kept or dropped together.

    Refuses a share outside [0, 1].

    Source: KTO, arXiv 2402.01306, which drops up to 90 % of the desirable rows.
    """
    check_shares(shares)
    return [row for row in rows if in_share(row, shares, seed)]


def one_per_prompt(rows: Iterable[Row], *, seed: int = 0) -> list[Row]:
    """Return one row of each prompt, in the order of the rows; other tools make another prompt.

    The row with the lowest rank by its texts and the seed is kept, the first of those that say the same.

    Source: "one y per x" of KTO, arXiv 2402.01306, where pairs are taken apart and one side of each is kept.
    """
    best: dict[bytes, tuple[int, int, Row]] = {}  # prompt: rank, place, row
    for place, row in enumerate(rows):
        rank = content_rank(row_content(row), seed)
        key = group_key(row)
        if key not in best or rank < best[key][0]:
            best[key] = rank, place, row
    return [row for _, _, row in sorted(best.values(), key=lambda entry: entry[1])]


def in_share(row: Unpaired, shares: ClassShares, seed: int) -> bool:
    """Whether the row is among the share of its class that is kept."""
    share = shares.desirable if row.desirable else shares.undesirable
    return share >= 1.0 or uniform(row_content(row) + b"share", seed) < share


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


def texts_content(*texts: Text) -> bytes:
    """Return bytes that only the same texts, in the same order, share."""
    return b"".join(map(prompt_digest, texts))


def content_rank(content: bytes, seed: int) -> int:
    """Return a place in an order that the seed shuffles: the same for the same content, on every machine."""
    digest = hashlib.blake2b(content, digest_size=_SIZE, key=_key(seed)).digest()
    return int.from_bytes(digest, "big")


def uniform(content: bytes, seed: int) -> float:
    """Return a number in [0, 1) that follows from the content and the seed."""
    return min(content_rank(content, seed) / _RANKS, math.nextafter(1.0, 0.0))


def _key(seed: int) -> bytes:
    return str(seed).encode()[:64]
