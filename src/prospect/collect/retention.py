"""How long the texts of a tenant are kept, and the daily sweep that erases older ones."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection

from prospect.collect.database import Database
from prospect.collect.rows import milliseconds
from prospect.collect.settings import names_of_settings, read_setting, write_setting
from prospect.errors import ProspectError, UsageError

if TYPE_CHECKING:
    from prospect.collect.store import Store

_NAME = "retention:"  # of the setting, with the tenant; its value is {"days": ..., "due": the next sweep}
_DAY = timedelta(days=1)
_LEASE = timedelta(hours=1)  # renewed while a worker sweeps; after one that died, another takes over
_BETWEEN_LOOKS = 600.0  # seconds
_AT_ONCE = 5000  # turns, between two looks whether the server ends

_log = logging.getLogger(__name__)


def retention_days(database: Database, tenant: str) -> float | None:
    """Return after how many days the texts of a tenant are erased; None where they stay."""
    with database.reading() as connection:
        kept = _kept(connection, tenant)
    return None if kept is None else kept["days"]


def set_retention(database: Database, tenant: str, days: float | None) -> None:
    """Let servers erase texts that are older than `days`, from their next look on; None lets them stay.

    Raises:
        UsageError: the number of days is none above 0.
    """
    if days is not None and not 0 < days < float("inf"):
        raise UsageError(f"the retention is {days:g} days; expected a number above 0, or off.")
    with database.writing() as connection:
        write_setting(connection, _NAME + tenant, None if days is None else json.dumps({"days": days, "due": 0}))


def sweep(database: Database, key: bytes, stop: threading.Event, *, now: datetime | None = None) -> dict[str, int]:
    """Erase what is too old of every tenant whose sweep is due, and return how many turns lost their text.

    Of several workers one sweeps a tenant; the others find nothing due.

    Args:
        database: of the store.
        key: of the raters' pseudonyms.
        stop: ends the sweep after the turns that are being erased; the rest is due an hour later.
        now: the time, if it is not this moment.
    """
    now = now or datetime.now(UTC)
    with database.reading() as connection:
        tenants = [name.removeprefix(_NAME) for name in names_of_settings(connection, _NAME)]
    return {tenant: _sweep_one(database, tenant, key, stop, now) for tenant in tenants if _take(database, tenant, now)}


def _sweep_one(database: Database, tenant: str, key: bytes, stop: threading.Event, now: datetime) -> int:
    from prospect.collect.purge import Purge  # brings numpy, which a server where nothing is due starts without

    turns, exports, days = 0, dict[str, None](), retention_days(database, tenant)
    purge = Purge(database, tenant, key, reason=None if days is None else f"older than {days:g} days")
    while days is not None and not stop.is_set():
        done = purge.before(now - timedelta(days=days), most=_AT_ONCE)
        turns += done.turns
        exports |= dict.fromkeys(path for path, _ in done.exports)
        if not done.turns:
            _set_due(database, tenant, now + _DAY)
            break
        _set_due(database, tenant, datetime.now(UTC) + _LEASE)
    if turns:
        _log.info("retention: text of %d turns of tenant %s erased", turns, tenant)
    for path in exports:
        _log.warning("retention: %s holds rows of turns that were erased; use `prospect data purge`", path)
    return turns


def _take(database: Database, tenant: str, now: datetime) -> bool:
    """Take a tenant whose sweep is due, so that no other worker does; return whether it was."""
    with database.writing() as connection:
        kept = _kept(connection, tenant)
        if kept is None or kept["due"] > milliseconds(now):
            return False
        write_setting(connection, _NAME + tenant, json.dumps({**kept, "due": milliseconds(now + _LEASE)}))
    return True


def _set_due(database: Database, tenant: str, due: datetime) -> None:
    with database.writing() as connection:
        kept = _kept(connection, tenant)
        if kept is not None and kept["due"]:  # 0: the days were set anew meanwhile, so it is due at once
            write_setting(connection, _NAME + tenant, json.dumps({**kept, "due": milliseconds(due)}))


def _kept(connection: Connection, tenant: str) -> dict[str, Any] | None:
    value = read_setting(connection, _NAME + tenant)
    return None if value is None else json.loads(value)


async def sweep_when_due(store: Store) -> None:
    """Sweep when it is due, at the start and every day, until cancelled."""
    stop = threading.Event()
    try:
        while True:
            try:
                await asyncio.to_thread(store.sweep, stop)
            except (ProspectError, OSError) as error:  # a store that is down is no reason to stop
                _log.error("retention: old texts could not be erased: %s", error)
            await asyncio.sleep(_BETWEEN_LOOKS)
    finally:
        stop.set()
