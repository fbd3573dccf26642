"""What was collected -> feedback rows, by the same way as the exports of other tools."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import insert

from prospect.collect.database import Database
from prospect.collect.kept_text import said_of
from prospect.collect.rows import milliseconds, querying
from prospect.collect.tables import export as exports
from prospect.collect.tables import owned
from prospect.errors import UsageError
from prospect.feedback.files.manifest import file_hash
from prospect.feedback.files.store.branches import Query
from prospect.feedback.files.store.duplicates import BEYOND_DUPLICATES, DuplicateCap
from prospect.feedback.files.store.reviews import Reviewed, collected_reviews
from prospect.feedback.files.store.selection import Selection
from prospect.feedback.files.store.source import SOURCE
from prospect.feedback.files.store.votes import Collected, Pair, collected_pairs, collected_votes
from prospect.feedback.frozen.tombstones import Graveyard
from prospect.feedback.importers.pipeline import import_items
from prospect.feedback.importers.report import ImportReport
from prospect.feedback.importers.shapes.base import Dropped, Importer, Item, Preference, Vote
from prospect.feedback.wording import names


@dataclass(frozen=True, kw_only=True)
class Contents:
    """Which rows an export has.

    Attributes:
        corrections: whether answers that raters wrote become desirable rows beside the votes.
        pairs: pairs of drafts instead of votes.
        reviewed: the reviewers' majority on each turn instead of votes.
        regenerated: the weight, below 1, of pairs in which an answer that was asked for again loses; None for none.
        redact: whether personal data in the texts is replaced.
    """

    corrections: bool = False
    pairs: bool = False
    reviewed: bool = False
    regenerated: float | None = None
    redact: bool = False

    def __post_init__(self) -> None:
        if self.regenerated is not None and not (0 < self.regenerated < 1 and self.pairs):
            raise UsageError(
                f"the weight of regenerated answers is {self.regenerated}; expected a number between 0 and 1, with "
                "pairs: that somebody wanted another answer is a weaker sign than a choice"
            )
        several = [name for name in ("pairs", "corrections", "reviewed") if getattr(self, name)]
        if len(several) > 1:
            raise UsageError(f"{names(several)} do not go into one file. Export each by itself")


def export(
    database: Database,
    output: Path | None,
    selection: Selection,
    what: Contents,
    *,
    purged: Graveyard | None = None,
) -> ImportReport:
    """Write the rows of a tenant's votes or pairs, and return the account of them.

    The store remembers which turns went into the file, so that a purge can name it. Texts of turns without consent are
    not in the store; such votes are counted.

    Args:
        database: of the store.
        output: the .jsonl file to write; None only counts.
        selection: whose votes, and the rules for raters and duplicates.
        what: which rows.
        purged: rows that were removed from a dataset, or whose rater was.
    """
    turns, cap = Turns(), DuplicateCap(selection.duplicates)
    with database.reading(much=True) as connection:
        query = querying(connection)
        report = import_items(
            _items(query, selection, what, turns, cap),
            output,
            importer=REVIEWS if what.reviewed else IMPORTER,
            why="; ".join(filter(None, (f"tenant {selection.tenant}", said_of(connection)))),
            paths=[Path(database.name)],
            corrections=what.corrections,
            redact=what.redact,
            keep_rater_names=True,  # they are pseudonyms already
            purged=purged,
            late=lambda: dict.fromkeys(cap.beyond(), BEYOND_DUPLICATES),
        )
    if report.output is not None:
        with database.writing() as connection:
            connection.execute(insert(exports), _row(Path(report.output), selection, what, turns))
    return report


def exports_with(database: Database, tenant: str, turns: Iterable[str]) -> list[tuple[str, str]]:
    """Return (path, SHA-256) of the exports that may hold one of the turns.

    Turns are remembered as 64 bits each, so that an export is named in vain once in 10^12 turns.
    """
    wanted = np.array(sorted({_digest(turn) for turn in turns}), np.uint64)
    with database.reading() as connection:
        rows = connection.execute(owned(exports, tenant).order_by(exports.c.id)).all()
    return [(row.path, row.sha256) for row in rows if np.isin(wanted, np.frombuffer(row.turns, np.uint64)).any()]


class Turns:
    """The turns that went into an export, 8 bytes each."""

    def __init__(self) -> None:
        self._digests = bytearray()

    def add(self, turn: str) -> None:
        """Remember a turn."""
        self._digests += _digest(turn).to_bytes(8, "little")

    def sorted(self) -> bytes:
        """Return the digests, each once."""
        return np.unique(np.frombuffer(bytes(self._digests), "<u8")).astype("<u8").tobytes()


def _items(query: Query, selection: Selection, what: Contents, turns: Turns, cap: DuplicateCap) -> Iterator[Item]:
    if what.reviewed:
        return _review_items(query, selection, turns)
    return _pair_items(query, selection, what, turns) if what.pairs else _vote_items(query, selection, turns, cap)


def _review_items(query: Query, selection: Selection, turns: Turns) -> Iterator[Item]:
    for one in collected_reviews(query, selection):
        if one.unusable is not None:
            yield Dropped(where=one.turn, reason=one.unusable)
            continue
        turns.add(one.turn)
        yield _review_item(one)


def _review_item(one: Reviewed) -> Vote:
    return Vote(
        where=one.turn,
        prompt=one.prompt,
        completion=one.completion,
        verdict=1 if one.good > one.bad else -1,
        source_id=one.turn,
        time=one.at,
        model=one.model,
        reason=f"{max(one.good, one.bad)} of {one.good + one.bad} reviewers",
        tools=one.tools,
        finished=one.finished,
    )


def _vote_items(query: Query, selection: Selection, turns: Turns, cap: DuplicateCap) -> Iterator[Item]:
    for vote in collected_votes(query, selection):
        cap.add(vote)
        if vote.unusable is not None:
            yield Dropped(where=f"{vote.turn}:{vote.rater}", reason=vote.unusable)
            continue
        turns.add(vote.turn)
        yield _vote_item(vote)


def _vote_item(vote: Collected) -> Vote:
    return Vote(
        where=f"{vote.turn}:{vote.rater}",
        prompt=vote.prompt,
        completion=vote.completion,
        verdict=vote.value or None,
        rater=vote.rater,
        source_id=f"{vote.turn}:{vote.rater}",
        time=vote.at,
        model=vote.model,
        reason=vote.reason,
        correction=vote.correction,
        tools=vote.tools,
        finished=vote.finished,
        weight=None if vote.weight == 1 else vote.weight,
    )


def _pair_items(query: Query, selection: Selection, what: Contents, turns: Turns) -> Iterator[Item]:
    for pair in collected_pairs(query, selection, regenerated=what.regenerated is not None):
        where = f"{pair.turn}:{pair.other}:{pair.id}"
        if pair.unusable is not None:
            yield Dropped(where=where, reason=pair.unusable)
            continue
        turns.add(pair.turn)
        turns.add(pair.other)
        yield _pair_item(pair, where, what)


def _pair_item(pair: Pair, where: str, what: Contents) -> Preference:
    return Preference(
        where=where,
        prompt=pair.prompt,
        chosen=pair.chosen,
        rejected=pair.rejected,
        rater=pair.rater,
        source_id=where,
        time=pair.at,
        model=pair.model,
        reason="regenerated" if pair.relative else None,
        relative=pair.relative,
        weight=what.regenerated if pair.relative else None,
        tools=pair.tools,
    )


def _row(path: Path, selection: Selection, what: Contents, turns: Turns) -> dict[str, Any]:
    return {
        "tenant": selection.tenant,
        "at": milliseconds(datetime.now(UTC)),
        "path": str(path.resolve()),
        "sha256": file_hash(path),
        "settings": json.dumps({**asdict(selection), **asdict(what)}, default=str),
        "turns": turns.sorted(),
    }


def _digest(turn: str) -> int:
    return int.from_bytes(hashlib.blake2b(turn.encode(), digest_size=8).digest(), "little")


def _never(paths: Sequence[Path], options: object) -> Iterator[Item]:
    raise AssertionError("items come from the store")


IMPORTER = Importer(
    name=SOURCE,
    title="Prospect",
    recognises=lambda samples: False,
    read=_never,
    polarity={"1": True, "-1": False},
)
REVIEWS = dataclasses.replace(IMPORTER, name=f"{SOURCE}-review", title="Prospect's review")
"""The source of rows whose label is the reviewers', which are thereby never taken for users'."""
