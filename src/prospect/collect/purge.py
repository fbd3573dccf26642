"""Erasing what people wrote: of a rater, a conversation or a turn, or what is older than it may become."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from time import sleep
from typing import Any

from sqlalchemy import Connection, delete, insert, update

from prospect.collect.database import Database
from prospect.collect.export import exports_with
from prospect.collect.migrating import check_rater_key
from prospect.collect.rows import milliseconds, text_of
from prospect.collect.tables import event, owned, review, reward, tombstone, turn, vote
from prospect.feedback.files.store.text import unpack
from prospect.feedback.frozen.pseudonym import pseudonym
from prospect.feedback.frozen.tombstones import pseudonym_of, rater_mark

_AT_ONCE = 500  # turns of one transaction, so that a server on the same store need not wait long
_PAUSE = 0.02  # seconds between them, in which that server's writer has its turn
_UNSPOKEN = ("system", "developer")  # roles whose text is the operator's


@dataclass(frozen=True, kw_only=True)
class Purged:
    """What was erased, or would be.

    Attributes:
        turns: how many lost their text.
        votes: how many votes were deleted: those of a rater. Others stay, without words.
        ids: of those turns, and of turns that the rater voted on.
        exports: (path, SHA-256) of files that hold rows of them.
        left_in_log: whether the log beside a SQLite file still holds pages, because another program reads.
    """

    turns: int
    votes: int
    ids: frozenset[str]
    exports: tuple[tuple[str, str], ...]
    left_in_log: bool = False


class Purge:
    """Erases in the turns of one tenant.

    A turn goes with all that repeats its text: the turns after it, and those of its conversation that hold one of its
    messages. What stays of it is that there was one: its model, times and counts.

    Args:
        database: of the store.
        tenant: whose.
        key: of the raters' pseudonyms.
        reason: for the tombstone.
        dry_run: whether nothing is erased.
    """

    def __init__(
        self, database: Database, tenant: str, key: bytes, *, reason: str | None = None, dry_run: bool = False
    ) -> None:
        check_rater_key(database, key)
        self._database = database
        self._tenant = tenant
        self._key = key
        self._reason = reason
        self._dry_run = dry_run

    def rater(self, name: str) -> Purged:
        """Erase a rater's turns, votes and events; `name` may be the pseudonym."""
        rater = pseudonym_of(name, self._key)
        with self._database.reading() as connection:
            asked = self._ids(connection, turn.c.rater == rater)
            voted = connection.execute(owned(vote, self._tenant, vote.c.turn).where(vote.c.rater == rater)).scalars()
            voted_on = set(voted)
            ids = self._with_copies(connection, asked)
        count = len(voted_on)
        if not self._dry_run:
            with self._database.writing() as connection:
                connection.execute(delete(vote).where(vote.c.tenant == self._tenant, vote.c.rater == rater))
                mine = (event.c.tenant == self._tenant, event.c.rater == rater)
                connection.execute(update(event).where(*mine).values(rater=None, detail=None, key=None))
        return self._erase(ids, "rater", rater_mark(name, self._key), votes=count, also=voted_on, unname=rater)

    def conversation(self, name: str) -> Purged:
        """Erase the turns of a conversation."""
        with self._database.reading() as connection:
            ids = self._ids(connection, turn.c.conversation.in_([text_of(name), pseudonym(name, self._key)]))
        return self._erase(ids, "conversation", pseudonym(f"conversation:{name}", self._key))

    def turn(self, id: str) -> Purged:
        """Erase a turn."""
        with self._database.reading() as connection:
            ids = self._with_copies(connection, self._ids(connection, turn.c.id == text_of(id)))
        return self._erase(ids, "turn", pseudonym(f"turn:{id}", self._key))

    def before(self, time: datetime, *, most: int | None = None) -> Purged:
        """Erase the turns from before a time, `most` of them if that is given, and those that repeat them."""
        words = owned(event, self._tenant, event.c.turn).where(event.c.kind == "vote", event.c.detail.is_not(None))
        with self._database.reading() as connection:
            has_text = turn.c.said.is_not(None) | turn.c.id.in_(words)
            old = self._ids(connection, turn.c.created < milliseconds(time), has_text, most=most)
            ids = self._with_later(connection, old)
        return self._erase(ids, "retention", None)

    def _ids(self, connection: Connection, *conditions: Any, most: int | None = None) -> set[str]:
        wanted = owned(turn, self._tenant, turn.c.id).where(turn.c.purged.is_(None), *conditions)
        return set(connection.execute(wanted.limit(most)).scalars())

    def _with_later(self, connection: Connection, ids: set[str]) -> set[str]:
        """Return the turns with all that follow on them."""
        return set().union(*(_later(rows, ids) for rows in self._conversations(connection, ids)), ids)

    def _with_copies(self, connection: Connection, ids: set[str]) -> set[str]:
        """Return the turns with all that repeat their text."""
        found = set(ids)
        for rows in self._conversations(connection, ids):
            said = {message for row in rows if row.id in ids for message in _messages(row)}
            same = {row.id for row in rows if not said.isdisjoint(_messages(row))}
            found |= _later(rows, same | ids)
        return found

    def _conversations(self, connection: Connection, ids: Collection[str]) -> Iterator[list[Any]]:
        """Yield the turns of each conversation that one of the turns belongs to."""
        names: dict[str, None] = {}
        for some in _some(ids):
            query = owned(turn, self._tenant, turn.c.conversation).where(turn.c.id.in_(some))
            names |= dict.fromkeys(connection.execute(query).scalars())
        columns = (turn.c.id, turn.c.parent, turn.c.said, turn.c.answer)
        for name in names:
            query = owned(turn, self._tenant, *columns).where(turn.c.conversation == name)
            yield list(connection.execute(query.order_by(turn.c.created, turn.c.id)))

    def _erase(
        self,
        ids: set[str],
        what: str,
        mark: str | None,
        *,
        votes: int = 0,
        also: Iterable[str] = (),
        unname: str | None = None,
    ) -> Purged:
        now = milliseconds(datetime.now(UTC))
        touched = frozenset(ids.union(also))
        purged = Purged(
            turns=len(ids),
            votes=votes,
            ids=touched,
            exports=tuple(exports_with(self._database, self._tenant, touched)) if touched else (),
        )
        if self._dry_run or not (touched or votes):
            return purged
        for some in _some(ids):
            with self._database.writing() as connection:
                _forget(connection, self._tenant, some, now)
            sleep(_PAUSE)
        with self._database.writing() as connection:
            if unname is not None:
                mine = (turn.c.tenant == self._tenant, turn.c.rater == unname)
                connection.execute(update(turn).where(*mine).values(rater=None))
            stone = {"tenant": self._tenant, "at": now, "what": what, "mark": mark, "reason": self._reason}
            connection.execute(insert(tombstone), {**stone, "turns": purged.turns, "votes": votes})
        return Purged(**{**vars(purged), "left_in_log": not self._database.shorten_log()})


def _forget(connection: Connection, tenant: str, ids: list[str], now: int) -> None:
    """Delete the text of some turns, and what people said about them."""
    gone: dict[str, Any] = {
        "said": None, "answer": None, "reach": None, "sibling_group": None, "parent": None, "upstream_id": None,
        "sampling": "{}", "conversation": turn.c.id, "purged": now,
    }  # fmt: skip
    connection.execute(update(turn).where(turn.c.tenant == tenant, turn.c.id.in_(ids)).values(gone))
    words: dict[str, Any] = {"comment": None, "correction": None}
    connection.execute(update(vote).where(vote.c.tenant == tenant, vote.c.turn.in_(ids)).values(words))
    reviewed = (review.c.tenant == tenant, review.c.turn.in_(ids))
    connection.execute(update(review).where(*reviewed).values(note=None))
    connection.execute(delete(reward).where(reward.c.tenant == tenant, reward.c.turn.in_(ids)))
    mine = (event.c.tenant == tenant, event.c.turn.in_(ids))
    connection.execute(update(event).where(*mine).values(detail=None, key=None))


def _later(rows: Iterable[Any], ids: Collection[str]) -> set[str]:
    """Return the turns among the rows that are named or follow on one of those."""
    found: set[str] = set()
    children: dict[str, list[str]] = {}
    for row in rows:
        if row.parent is not None:
            children.setdefault(row.parent, []).append(row.id)
        if row.id in ids:
            found.add(row.id)
    waiting = list(found)
    while waiting:
        new = [child for child in children.get(waiting.pop(), ()) if child not in found]
        found.update(new)
        waiting += new
    return found


def _messages(row: Any) -> set[str]:
    """Return what people and the model said in a turn, as it stands there."""
    said = {} if row.said is None else unpack(row.said)
    messages = [*said.get("messages", [said.get("text")]), None if row.answer is None else unpack(row.answer)]
    spoken = (message for message in messages if message and not _is_unspoken(message))
    return {json.dumps(message, sort_keys=True) for message in spoken}


def _is_unspoken(message: Any) -> bool:
    return isinstance(message, dict) and message.get("role") in _UNSPOKEN


def _some(ids: Iterable[str]) -> Iterator[list[str]]:
    ordered = sorted(ids)
    for start in range(0, len(ordered), _AT_ONCE):
        yield ordered[start : start + _AT_ONCE]
