"""Turns as rows of the tables, and back; and what all rows have in common."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, TypeVar

from sqlalchemy import Connection, TextClause, bindparam, insert, text

from prospect.collect.prepared import Prepared
from prospect.collect.tables import owned, turn
from prospect.collect.turns import Chain, Event, Turn, Vote, chain, plain
from prospect.errors import StoreError
from prospect.feedback.files.store.branches import Branches, Query
from prospect.feedback.files.store.text import pack, unpack
from prospect.feedback.frozen.pseudonym import pseudonym
from prospect.feedback.frozen.tombstones import pseudonym_of

_FETCHED = 256  # rows at once: with their texts a few megabytes at most, as a rule


class UnknownTurnError(StoreError):
    """The tenant has no such turn."""


class KeyReusedError(StoreError):
    """A key of idempotency came back with another request."""


def milliseconds(time: datetime) -> int:
    """Return a time as the store keeps it."""
    return round(time.timestamp() * 1000)


def moment(kept: int) -> datetime:
    """Return the time again."""
    return datetime.fromtimestamp(kept / 1000, UTC)


Kept = TypeVar("Kept", Turn, Vote, Event)


def writable(one: Kept) -> Kept:
    """Return it with names and comments that both databases take: without NUL and half characters."""
    texts = {name: getattr(one, name) or "" for name in _NAMES[type(one)]}
    changed: dict[str, Any] = {name: text_of(value) for name, value in texts.items() if text_of(value) != value}
    return dataclasses.replace(one, **changed) if changed else one


def without_personal_data(one: Kept, key: bytes) -> Kept:
    """Return it with [EMAIL] and the like in its texts, and pseudonyms for names that are such data."""
    from prospect.feedback.importers.made_rows import redacted

    changed: dict[str, Any] = {name: redacted(_listed(getattr(one, name)), Counter()) for name in _TEXTS[type(one)]}
    if isinstance(one, Turn) and one.conversation is not None:
        changed["conversation"] = name_of(one.conversation, key)
    return dataclasses.replace(one, **changed)


def name_of(name: str, key: bytes) -> str:
    """Return a name that a client gave, or its pseudonym where it is personal data."""
    from prospect.feedback.texts.personal_data import find_personal_data

    return pseudonym(name, key) if find_personal_data(name) else name


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def text_of(value: str) -> str:
    """Return a text that both databases take."""
    if value.isascii() and "\0" not in value:
        return value
    return value.encode(errors="replace").decode().replace("\0", "")


_NAMES: dict[type, tuple[str, ...]] = {
    Turn: ("id", "tenant", "conversation", "model", "fingerprint", "arm", "upstream_id", "parent", "sibling_group"),
    Vote: ("turn", "tenant", "comment", "correction"),
    Event: ("turn", "tenant", "other"),
}
_TEXTS: dict[type, tuple[str, ...]] = {
    Turn: ("messages", "completion", "tools", "sampling"),
    Vote: ("comment", "correction"),
    Event: ("detail",),
}


_WRITTEN = [column.name for column in turn.c if column.name != "purged"]
_INSERT = Prepared.everywhere(insert(turn).values({name: bindparam(name) for name in _WRITTEN}))


def insert_turn(connection: Connection, one: Turn, key: bytes, *, redact: bool = False) -> None:
    """Write a turn beside the one that it follows; `redact` replaces personal data in it."""
    one = writable(one)
    links = chain(one, key) if one.consent else None  # of what was sent: the next request sends it again
    if redact:
        one = without_personal_data(one, key)
    _INSERT.run(connection, turn_row(one, key, _follows(connection, one, key, links), links))


def _follows(connection: Connection, one: Turn, key: bytes, links: Chain | None) -> Sequence[str] | None:
    """Return the turn before and its conversation; those of the turn beside, for one that nobody saw."""
    if one.beside is not None:
        seen = owned(turn, one.tenant, turn.c.parent, turn.c.conversation)
        found = connection.execute(seen.where(turn.c.id == one.beside, turn.c.purged.is_(None))).first()
        if not found:
            raise UnknownTurnError(f"{one.beside}: there is no such turn, or no longer; its shadow is not kept")
        return found
    if links is None or not links.known:
        return None
    earlier = owned(turn, one.tenant, turn.c.id, turn.c.conversation).where(turn.c.reach == links.known)
    if one.conversation is not None:
        earlier = earlier.where(turn.c.conversation == one.conversation)
    else:
        earlier = earlier.where(turn.c.rater == _rater(one, key))
    return connection.execute(earlier.order_by(turn.c.created.desc()).limit(1)).first()


def turn_row(one: Turn, key: bytes, follows: Sequence[str] | None, links: Chain | None) -> dict[str, Any]:
    """Return the row of a turn.

    Args:
        one: the turn, writable.
        key: of pseudonyms.
        follows: the turn before and its conversation.
        links: the hashes of its history; None without consent.
    """
    parent, conversation = follows or (None, None)
    return {
        "id": one.id,
        "tenant": one.tenant,
        "conversation": conversation or one.conversation or one.id,
        "parent": parent,
        "sibling_group": one.sibling_group or (links.asked if links else None),
        "rater": _rater(one, key),
        "consent": one.consent,
        "said": pack(_said(one, links.new if links and parent else None)) if one.consent else None,
        "answer": pack(_answer(one.completion)) if one.consent and one.completion is not None else None,
        "reach": links.reach if links and one.beside is None else None,  # nothing follows what nobody saw
        "ended": one.ended,
        "model": one.model,
        "fingerprint": one.fingerprint,
        "arm": one.arm,
        "sampling": json.dumps(dict(one.sampling)),
        "prompt_tokens": one.prompt_tokens,
        "completion_tokens": one.completion_tokens,
        "ms_first": one.ms_first,
        "ms_last": one.ms_last,
        "created": milliseconds(one.created),
        "upstream_id": one.upstream_id,
    }


def _rater(one: Turn, key: bytes) -> str | None:
    return None if one.rater is None else pseudonym_of(one.rater, key)


def _said(one: Turn, new: int | None) -> dict[str, Any]:
    """Return what is kept of the prompt: all of it, or the `new` last messages."""
    if isinstance(one.messages, str):
        return {"text": one.messages}
    if new is None:
        said: dict[str, Any] = {"messages": list(map(plain, one.messages))}
        return {**said, "tools": list(one.tools)} if one.tools else said
    return {"messages": list(map(plain, one.messages[len(one.messages) - new :]))}


def _answer(completion: str | Mapping[str, Any]) -> Any:
    return completion if isinstance(completion, str) else plain(completion)


def read_turn(connection: Connection, tenant: str, id: str) -> Turn | None:
    """Return a turn with its whole prompt."""
    id = text_of(id)
    row = connection.execute(owned(turn, tenant).where(turn.c.id == id)).first()
    if row is None:
        return None
    branches = Branches(querying(connection), tenant)
    messages, tools = branches.prompt(id) if row.said is not None else ([], None)
    kept = {name: getattr(row, name) for name in _AS_THEY_ARE}
    return Turn(
        **kept,
        messages=messages,
        tools=tools,
        completion=None if row.answer is None else unpack(row.answer),
        sampling=json.loads(row.sampling),
        created=moment(row.created),
    )


_AS_THEY_ARE = (
    "id", "tenant", "conversation", "parent", "sibling_group", "rater", "consent", "ended", "model", "fingerprint",
    "arm", "prompt_tokens", "completion_tokens", "ms_first", "ms_last", "upstream_id",
)  # fmt: skip


def querying(connection: Connection) -> Query:
    """Return what asks the store by plain SQL, as readers without SQLAlchemy do; some rows are fetched at a time."""
    streaming = connection.execution_options(stream_results=True, max_row_buffer=_FETCHED)

    def query(sql: str, values: Mapping[str, Any]) -> Iterator[Any]:
        parts = streaming.execute(_statement(sql), dict(values)).partitions(_FETCHED)
        return itertools.chain.from_iterable(parts)

    return query


@lru_cache(maxsize=64)
def _statement(sql: str) -> TextClause:
    return text(sql)
