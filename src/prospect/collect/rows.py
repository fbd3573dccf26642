"""Turns, votes and events as rows of the tables, and back; statements of the writer's thread."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

from sqlalchemy import Connection, bindparam, insert, text
from sqlalchemy.dialects import postgresql, sqlite

from prospect.collect.tables import event, owned, turn, vote
from prospect.collect.turns import EVENTS, REASONS, Event, Turn, Vote, chain, plain
from prospect.errors import StoreError
from prospect.feedback.files.store.branches import Branches, Query
from prospect.feedback.files.store.text import pack, unpack
from prospect.feedback.frozen.tombstones import pseudonym_of


class UnknownTurnError(StoreError):
    """The tenant has no such turn."""


class KeyReusedError(StoreError):
    """A key of idempotency came back with another request."""


def _upsert(dialect: Any) -> Any:
    statement = dialect.insert(vote)
    changed = ("value", "reason", "comment", "correction", "at", "event")
    set_ = {**{name: statement.excluded[name] for name in changed}, "version": vote.c.version + 1}
    return statement.on_conflict_do_update(index_elements=["turn", "rater"], set_=set_).returning(vote.c.version)


# Built once: making them costs more than the database takes.
_UPSERT = {"sqlite": _upsert(sqlite), "postgresql": _upsert(postgresql)}
_WRITTEN = [column for column in event.c if column.name != "id"]
_INSERT_EVENT = (
    insert(event)
    .from_select(
        [column.name for column in _WRITTEN],
        owned(turn, bindparam("tenant"), *(bindparam(column.name, type_=column.type) for column in _WRITTEN)).where(
            turn.c.id == bindparam("turn"), turn.c.purged.is_(None)
        ),
    )
    .returning(event.c.id)
)


def milliseconds(time: datetime) -> int:
    """Return a time as the store keeps it."""
    return round(time.timestamp() * 1000)


def moment(kept: int) -> datetime:
    """Return the time again."""
    return datetime.fromtimestamp(kept / 1000, UTC)


Kept = TypeVar("Kept", Turn, Vote, Event)


def writable(one: Kept) -> Kept:
    """Return it with names and comments that both databases take: without NUL and half characters."""
    texts = {name: getattr(one, name) for name in _NAMES[type(one)]}
    changed: dict[str, Any] = {
        name: text_of(value) for name, value in texts.items() if value is not None and text_of(value) != value
    }
    return dataclasses.replace(one, **changed) if changed else one


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


def insert_turn(connection: Connection, one: Turn, key: bytes) -> None:
    """Write a turn beside the one that it follows."""
    one = writable(one)
    links = chain(one) if one.consent else None
    parent = conversation = None
    rater = None if one.rater is None else pseudonym_of(one.rater, key)
    if links and links.known:
        follows = owned(turn, one.tenant, turn.c.id, turn.c.conversation).where(turn.c.reach == links.known)
        if one.conversation is not None:
            follows = follows.where(turn.c.conversation == one.conversation)
        else:
            follows = follows.where(turn.c.rater == rater)
        found = connection.execute(follows.order_by(turn.c.created.desc()).limit(1)).first()
        if found:
            parent, conversation = found
    connection.execute(
        insert(turn),
        {
            "id": one.id,
            "tenant": one.tenant,
            "conversation": one.conversation or conversation or one.id,
            "parent": parent,
            "sibling_group": one.sibling_group or (links.asked if links else None),
            "rater": rater,
            "consent": one.consent,
            "said": pack(_said(one, links.new if links and parent else None)) if one.consent else None,
            "answer": pack(_answer(one.completion)) if one.consent and one.completion is not None else None,
            "reach": links.reach if links else None,
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
        },
    )


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


def upsert_vote(connection: Connection, one: Vote, idempotency: str | None, key: bytes) -> Vote:
    """Write a vote in the history and as the rater's latest on the turn."""
    if one.value not in (1, 0, -1):
        raise StoreError(f"the vote is {one.value}; expected 1, -1, or 0 to take it back")
    if one.reason is not None and one.reason not in REASONS:
        raise StoreError(f"the reason is {one.reason}; expected {', '.join(REASONS)}")
    one = dataclasses.replace(writable(one), rater=pseudonym_of(one.rater, key))
    idempotency = None if idempotency is None else text_of(idempotency)
    detail = {
        "value": one.value, "reason": one.reason, "comment": one.comment, "correction": one.correction
    }  # fmt: skip
    if idempotency is not None and (before := _with_key(connection, one, detail, idempotency)):
        return before
    number = _insert_event(connection, one, "vote", detail, key=idempotency)
    place = {"turn": one.turn, "rater": one.rater, "tenant": one.tenant}
    values = {**place, **detail, "version": 1, "at": milliseconds(one.at), "event": number}
    version = connection.execute(_UPSERT[connection.dialect.name], values).scalar_one()
    return dataclasses.replace(one, version=version, cursor=number)


def _with_key(connection: Connection, one: Vote, detail: dict[str, Any], key: str) -> Vote | None:
    """Return the vote as it was kept when this request came first; None where it did not."""
    found = connection.execute(owned(event, one.tenant).where(event.c.key == key)).first()
    if found is None:
        return None
    same = found.turn == one.turn and found.rater == one.rater and found.kind == "vote"
    if not same or found.detail is None or json.loads(found.detail) != detail:
        raise KeyReusedError("the idempotency key belongs to another request. Send a new one with every new vote")
    earlier = owned(event, one.tenant, event.c.id).where(
        event.c.turn == one.turn, event.c.rater == one.rater, event.c.kind == "vote", event.c.id <= found.id
    )
    version = len(connection.execute(earlier).all())
    return dataclasses.replace(one, at=moment(found.at), version=version, cursor=found.id)


def insert_event(connection: Connection, one: Event, key: bytes) -> None:
    """Write an event in the history."""
    if one.kind not in EVENTS:
        raise StoreError(f"the event is {one.kind}; expected {', '.join(EVENTS)}")
    if (one.other is not None) != (one.kind == "preferred"):
        raise StoreError(f"the event is {one.kind}; expected another turn with `preferred`, and only there")
    one = writable(one)
    if one.other is not None:
        both = owned(turn, one.tenant, turn.c.sibling_group).where(turn.c.id.in_([one.turn, one.other]))
        groups = connection.execute(both).scalars().all()
        if len(groups) != 2 or len(set(groups)) != 1:
            raise UnknownTurnError(f"{one.other}: answers no prompt that {one.turn} answers too")
    rater = None if one.rater is None else pseudonym_of(one.rater, key)
    _insert_event(connection, dataclasses.replace(one, rater=rater), one.kind, dict(one.detail), other=one.other)


def _insert_event(
    connection: Connection,
    one: Vote | Event,
    kind: str,
    detail: dict[str, Any],
    *,
    key: str | None = None,
    other: str | None = None,
) -> int:
    """Write one line of the history, if the tenant has the turn; return its number."""
    values = {
        "tenant": one.tenant,
        "turn": one.turn,
        "kind": kind,
        "rater": one.rater,
        "other": other,
        "detail": json.dumps(detail),
        "key": key,
        "at": milliseconds(one.at),
    }
    number = connection.execute(_INSERT_EVENT, values).scalar()
    if number is None:
        raise UnknownTurnError(f"{one.turn}: there is no such turn")
    return int(number)


def as_vote(row: Any) -> Vote:
    """Return a row of the table of votes."""
    return Vote(
        turn=row.turn,
        tenant=row.tenant,
        rater=row.rater,
        value=row.value,
        at=moment(row.at),
        reason=row.reason,
        comment=row.comment,
        correction=row.correction,
        version=row.version,
        cursor=row.event,
    )


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
    """Return what asks the store by plain SQL, as readers without SQLAlchemy do; rows come one at a time."""
    streaming = connection.execution_options(stream_results=True, max_row_buffer=1000)

    def query(sql: str, values: Mapping[str, Any]) -> Iterator[Any]:
        return iter(streaming.execute(text(sql), dict(values)))

    return query
