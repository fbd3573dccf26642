"""Turns and votes for tests of what is collected."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from prospect.collect.store import Store
from prospect.collect.turns import Event, Turn, Vote, new_id

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
ASKED = {"role": "user", "content": "Where is my parcel?"}
ANSWERED = {"role": "assistant", "content": "On its way."}


def a_turn(messages: Any = (ASKED,), completion: Any = ANSWERED, **fields: Any) -> Turn:
    """Return a turn with text of one user."""
    usual = {
        "id": new_id(), "tenant": "main", "rater": "anna", "consent": True, "ended": "stop", "model": "m",
        "created": NOW,
    }  # fmt: skip
    return Turn(**{**usual, "messages": messages, "completion": completion, **fields})


def after(turn: Turn, text: str, answer: str, **fields: Any) -> Turn:
    """Return the turn that follows on another."""
    messages = [*turn.messages, turn.completion, {"role": "user", "content": text}]
    usual = {"conversation": turn.conversation, "created": turn.created + timedelta(seconds=60)}
    return a_turn(messages, {"role": "assistant", "content": answer}, **{**usual, **fields})


def a_vote(turn: Turn, value: int = 1, rater: str = "anna", **fields: Any) -> Vote:
    """Return a vote on a turn."""
    return Vote(**{"turn": turn.id, "tenant": turn.tenant, "rater": rater, "value": value, "at": NOW, **fields})


def an_event(turn: Turn, kind: str, **fields: Any) -> Event:
    """Return an event on a turn."""
    return Event(**{"turn": turn.id, "tenant": turn.tenant, "rater": "anna", "kind": kind, "at": NOW, **fields})


@contextmanager
def open_store(address: str, **settings: Any) -> Iterator[Store]:
    """Give an open store, closed at the end."""
    store = Store.open(address, **settings)
    try:
        yield store
    finally:
        store.close()


def with_store(address: str, work: Callable[[Store], Awaitable[Any]]) -> Any:
    """Run a coroutine with an open store, and return what it returns."""
    with open_store(address) as store:
        return asyncio.run(_awaited(work(store)))


async def _awaited(work: Awaitable[Any]) -> Any:
    return await work


async def fill(store: Store, *things: Turn | Vote | Event) -> None:
    """Write turns, votes and events, in their order."""
    writes: list[Awaitable[Any]] = []
    for one in things:
        if isinstance(one, Turn):
            writes.append(store.record(one))
        elif isinstance(one, Vote):
            writes.append(store.vote(one))
        else:
            writes.append(store.event(one))
    await asyncio.gather(*writes)
