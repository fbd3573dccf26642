"""Texts that are older than their tenant keeps them go by themselves, once, whoever sweeps."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from collecting import a_turn, a_vote, after, fill, with_store
from prospect.collect import retention
from prospect.collect.retention import retention_days, set_retention, sweep, sweep_when_due
from prospect.collect.stats import erased_turns
from prospect.collect.store import Store
from prospect.collect.tables import tombstone, vote
from prospect.errors import StoreError, UsageError
from prospect.feedback.frozen.pseudonym import rater_key


def old(days: float, **fields: Any) -> Any:
    return a_turn(created=datetime.now(UTC) - timedelta(days=days), **fields)


def swept(store: Store, *, later: timedelta = timedelta()) -> dict[str, int]:
    return sweep(store.database, rater_key(), threading.Event(), now=datetime.now(UTC) + later)


async def has_text(store: Store, *turns: Any) -> list[bool]:
    kept = [await store.turn(turn.tenant, turn.id) for turn in turns]
    return [turn is not None and turn.completion is not None for turn in kept]


def test_what_is_too_old_goes_with_its_words_and_is_counted(store_address: str) -> None:
    first, young, other = old(40), old(20, rater="bob"), old(40, tenant="other")
    later = after(first, "And?", "Well.", conversation=None, created=datetime.now(UTC))
    unsaid = old(40, consent=False)
    comments = [a_vote(turn, -1, comment="zebra") for turn in (first, unsaid)]

    async def work(store: Store) -> None:
        await fill(store, first, young, other, later, unsaid, *comments)
        assert swept(store) == {}
        set_retention(store.database, "main", 30)
        assert swept(store) == {"main": 3}  # with the turn that repeats one, and the comment on one without text
        assert await has_text(store, first, young, other, later) == [False, True, True, False]
        assert erased_turns(store.database, "main") == {"retention": 3}
        assert erased_turns(store.database, "other") == {}
        with store.database.reading() as connection:
            assert set(connection.execute(select(vote.c.comment)).scalars()) == {None}
            assert set(connection.execute(select(tombstone.c.reason)).scalars()) == {"older than 30 days"}

    with_store(store_address, work)


def test_a_tenant_is_swept_once_a_day_and_at_once_when_the_days_change(store_address: str) -> None:
    async def work(store: Store) -> None:
        set_retention(store.database, "main", 30)
        assert swept(store) == {"main": 0}
        await store.record(old(40))
        assert swept(store, later=timedelta(hours=23)) == {}
        assert swept(store, later=timedelta(hours=25)) == {"main": 1}
        await store.record(old(29))
        set_retention(store.database, "main", 28)
        assert swept(store) == {"main": 1}
        set_retention(store.database, "main", None)
        assert retention_days(store.database, "main") is None
        assert swept(store, later=timedelta(days=99)) == {}

    with_store(store_address, work)


def test_of_several_workers_one_sweeps(store_address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "_AT_ONCE", 2)

    async def work(store: Store) -> None:
        await fill(store, *(old(40) for _ in range(9)))
        set_retention(store.database, "main", 30)
        found = await asyncio.gather(*(asyncio.to_thread(swept, store) for _ in range(3)))
        assert sorted(found, key=len) == [{}, {}, {"main": 9}]

    with_store(store_address, work)


def test_a_sweep_that_is_stopped_goes_on_an_hour_later(store_address: str) -> None:
    stopped = threading.Event()
    stopped.set()

    async def work(store: Store) -> None:
        await store.record(old(40))
        set_retention(store.database, "main", 30)
        assert sweep(store.database, rater_key(), stopped) == {"main": 0}
        assert swept(store) == {}
        assert swept(store, later=timedelta(minutes=61)) == {"main": 1}

    with_store(store_address, work)


def test_a_server_sweeps_when_it_starts_and_goes_on_when_the_store_is_down(
    store_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "_BETWEEN_LOOKS", 0.01)
    turn, looks = old(40), []

    async def work(store: Store) -> None:
        await store.record(turn)
        set_retention(store.database, "main", 30)

        def look(stop: threading.Event) -> dict[str, int]:
            looks.append(stop)
            if len(looks) == 1:
                raise StoreError("is down")
            return Store.sweep(store, stop)

        monkeypatch.setattr(store, "sweep", look)
        task = asyncio.create_task(sweep_when_due(store))
        while await has_text(store, turn) == [True]:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(looks) > 1 and looks[-1].is_set()

    with_store(store_address, work)


@pytest.mark.parametrize("days", [0, -1, float("nan"), float("inf")])
def test_days_that_are_none_are_refused(store_address: str, days: float) -> None:
    async def work(store: Store) -> None:
        with pytest.raises(UsageError, match="expected a number above 0, or off"):
            set_retention(store.database, "main", days)

    with_store(store_address, work)
