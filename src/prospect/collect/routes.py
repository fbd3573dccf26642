"""Which model answers, as a registry says at this moment."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path

from prospect.collect.canary import Canary
from prospect.collect.database import Database
from prospect.collect.registry import Move, Registry
from prospect.collect.trial import look
from prospect.errors import ProspectError

BETWEEN_READS = 1.0  # seconds, after which it is looked whether the file has changed
BETWEEN_LOOKS = 60.0  # seconds; every look holds, so that more of them cost only time

_log = logging.getLogger(__name__)


class Routes:
    """The current model and the canary of a registry; the file is read again when it has changed.

    Args:
        folder: of the registry.

    Raises:
        CheckpointError: its file cannot be read now. Later that is logged, and what was read before holds.
    """

    def __init__(self, folder: Path) -> None:
        self.registry = Registry(folder)
        self._next = 0.0
        self._stamp = self._file_stamp()
        self._read()

    def now(self) -> tuple[str, Canary | None]:
        """Return the current model, empty where there is none, and the canary."""
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + BETWEEN_READS
            stamp = self._file_stamp()
            if stamp != self._stamp:
                self._stamp = stamp
                try:
                    self._read()
                except (ProspectError, OSError) as error:
                    _log.error("what was read before holds: %s", error)
        return self._routes

    def _read(self) -> None:
        models = self.registry.read()
        current, canary = models.current, models.canary
        share = canary.share if canary is not None else None
        tried = Canary(canary.model, share) if canary is not None and share is not None else None
        self._routes = (current.model if current else "", tried)

    def _file_stamp(self) -> tuple[int, int, int] | None:
        try:
            found = self.registry.path.stat()
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size


def roll_back_if_worse(registry: Registry, database: Database) -> str | None:
    """Look at the canary, if there is one, and end it where it is worse; return why it was, None where it was not."""
    models = registry.read()
    canary = models.canary
    if canary is None or models.current is None:
        return None
    found = look(database, models, by_rater=False)
    if found.verdict != "worse":
        return None
    reason = "; ".join(found.reasons)
    registry.end_canary(canary.model, Move(f"worse: {reason}", "prospect"))
    return reason


async def watch(registry: Registry, database: Database) -> None:
    """Roll the canary back when it is worse, until cancelled."""
    while True:
        began = time.monotonic()
        try:
            reason = await asyncio.to_thread(roll_back_if_worse, registry, database)
            if reason is not None:
                _log.warning("the canary was rolled back: %s", reason)
        except (ProspectError, OSError) as error:  # a store or a disk that is down is no reason to stop looking
            _log.error("the canary could not be looked at: %s", error)
        # A look at millions of turns takes seconds, and may have a small part of the time.
        await asyncio.sleep(max(BETWEEN_LOOKS, 50 * (time.monotonic() - began)))
