"""Votes and events as rows of the tables: statements of the writer's thread."""

from __future__ import annotations

import dataclasses
import json
from importlib import import_module
from typing import Any

from sqlalchemy import Connection, bindparam, insert, or_

from prospect.collect.canary import SHADOW
from prospect.collect.prepared import Prepared
from prospect.collect.rows import (
    KeyReusedError,
    UnknownTurnError,
    milliseconds,
    moment,
    name_of,
    text_of,
    without_personal_data,
    writable,
)
from prospect.collect.tables import event, owned, turn, vote
from prospect.collect.turns import EVENTS, OF_TWO, REASONS, Event, Vote
from prospect.errors import StoreError
from prospect.feedback.frozen.tombstones import pseudonym_of

_OF_TURN = {"model": "model", "arm": "arm", "shown": "created"}  # columns of a vote, and of its turn


def _upsert(dialect: str) -> Any:
    said = [column for column in vote.c if column.name not in _OF_TURN]
    values = (bindparam(column.name, type_=column.type) for column in said)
    of_turn = owned(turn, bindparam("tenant"), *values, *(turn.c[name] for name in _OF_TURN.values()))
    statement = import_module(f"sqlalchemy.dialects.{dialect}").insert(vote)
    names = [*(column.name for column in said), *_OF_TURN]
    statement = statement.from_select(names, of_turn.where(turn.c.id == bindparam("turn")))
    changed = ("value", "reason", "comment", "correction", "at", "event")
    set_ = {**{name: statement.excluded[name] for name in changed}, "version": vote.c.version + 1}
    upsert = statement.on_conflict_do_update(index_elements=["turn", "rater"], set_=set_)
    return upsert.returning(vote.c.version, vote.c.model)


_UPSERT = Prepared(_upsert)
_WRITTEN = [column for column in event.c if column.name != "id"]
_INSERT_EVENT = Prepared.everywhere(
    insert(event)
    .from_select(
        [column.name for column in _WRITTEN],
        owned(turn, bindparam("tenant"), *(bindparam(column.name, type_=column.type) for column in _WRITTEN)).where(
            turn.c.id == bindparam("turn"),
            turn.c.purged.is_(None),
            # Nobody saw a shadow's answer, so that nobody can judge it alone.
            or_(turn.c.arm.is_distinct_from(SHADOW), *(bindparam("kind") == kind for kind in OF_TWO)),
        ),
    )
    .returning(event.c.id)
)


def upsert_vote(
    connection: Connection, one: Vote, idempotency: str | None, key: bytes, *, redact: bool = False
) -> Vote:
    """Write a vote in the history and as the rater's latest on the turn; `redact` replaces personal data in it."""
    if one.value not in (1, 0, -1):
        raise StoreError(f"the vote is {one.value}; expected 1, -1, or 0 to take it back")
    if one.reason is not None and one.reason not in REASONS:
        raise StoreError(f"the reason is {one.reason}; expected {', '.join(REASONS)}")
    one = dataclasses.replace(writable(one), rater=pseudonym_of(one.rater, key))
    idempotency = None if idempotency is None else text_of(idempotency)
    if redact:
        one = without_personal_data(one, key)
        idempotency = None if idempotency is None else name_of(idempotency, key)
    detail = {
        "value": one.value, "reason": one.reason, "comment": one.comment, "correction": one.correction
    }  # fmt: skip
    if idempotency is not None and (before := _with_key(connection, one, detail, idempotency)):
        return before
    number = log_event(connection, one, "vote", detail, key=idempotency)
    place = {"turn": one.turn, "rater": one.rater, "tenant": one.tenant}
    values = {**place, **detail, "version": 1, "at": milliseconds(one.at), "event": number}
    kept = _UPSERT.run(connection, values).one()
    return dataclasses.replace(one, version=kept.version, cursor=number, model=kept.model)


def _with_key(connection: Connection, one: Vote, detail: dict[str, Any], key: str) -> Vote | None:
    """Return the vote as it was kept when this request came first; None where it did not."""
    with_key = owned(event, one.tenant, *event.c, turn.c.model).join_from(event, turn, turn.c.id == event.c.turn)
    found = connection.execute(with_key.where(event.c.key == key)).first()
    if found is None:
        return None
    same = found.turn == one.turn and found.rater == one.rater and found.kind == "vote"
    if not same or found.detail is None or json.loads(found.detail) != detail:
        raise KeyReusedError("the idempotency key belongs to another request. Send a new one with every new vote")
    earlier = owned(event, one.tenant, event.c.id).where(
        event.c.turn == one.turn, event.c.rater == one.rater, event.c.kind == "vote", event.c.id <= found.id
    )
    version = len(connection.execute(earlier).all())
    return dataclasses.replace(one, at=moment(found.at), version=version, cursor=found.id, model=found.model)


def insert_event(connection: Connection, one: Event, key: bytes, *, redact: bool = False) -> None:
    """Write an event in the history; `redact` replaces personal data in it."""
    if one.kind not in EVENTS:
        raise StoreError(f"the event is {one.kind}; expected {', '.join(EVENTS)}")
    if (one.other is not None) != (one.kind in OF_TWO):
        raise StoreError(f"the event is {one.kind}; expected another turn with {' or '.join(OF_TWO)}, and only there")
    one = writable(one)
    if redact:
        one = without_personal_data(one, key)
    if one.other is not None:
        both = owned(turn, one.tenant, turn.c.sibling_group).where(turn.c.id.in_([one.turn, one.other]))
        groups = connection.execute(both).scalars().all()
        if len(groups) != 2 or len(set(groups)) != 1 or None in groups:  # null is a turn whose text is not kept
            raise UnknownTurnError(f"{one.other}: answers no prompt that {one.turn} answers too")
    rater = None if one.rater is None else pseudonym_of(one.rater, key)
    log_event(connection, dataclasses.replace(one, rater=rater), one.kind, dict(one.detail), other=one.other)


def log_event(
    connection: Connection,
    one: Vote | Event,
    kind: str,
    detail: dict[str, Any],
    *,
    key: str | None = None,
    other: str | None = None,
) -> int:
    """Write one line of the history, if the tenant has the turn; return its number.

    Raises:
        UnknownTurnError: it has not, or the turn was purged.
    """
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
    number = _INSERT_EVENT.run(connection, values).scalar()
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
