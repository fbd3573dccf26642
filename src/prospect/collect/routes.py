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
from prospect.collect.upstream import Upstream
from prospect.errors import ProspectError

BETWEEN_READS = 1.0  # seconds, after which it is looked whether the file has changed

_log = logging.getLogger(__name__)


class Routes:
    """The current model and the canary of a registry; the file is read again when it has changed.

    A model answers from when the upstream has it: until then the current model before goes on, and no canary.

    Args:
        folder: of the registry.
        upstream: who answers.
        usual: the model that answers while none is current; empty leaves the client's.

    Raises:
        CheckpointError: its file cannot be read now. Later that is logged, and what was read before holds.
    """

    def __init__(self, folder: Path, upstream: Upstream, usual: str = "") -> None:
        self.registry, self._upstream = Registry(folder), upstream
        self._next = 0.0
        self._stamp = self._file_stamp()
        self._models = self.registry.read()
        self._routes: tuple[str, Canary | None] = (usual, None)
        self._settle()

    def now(self) -> tuple[str, Canary | None]:
        """Return the model that answers, empty for the one that the client names, and the canary."""
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + BETWEEN_READS
            stamp = self._file_stamp()
            if stamp != self._stamp:
                self._stamp = stamp
                try:
                    self._models = self.registry.read()
                    self._settled = False
                except (ProspectError, OSError) as error:
                    _log.error("what was read before holds: %s", error)
        if not self._settled:
            self._settle()
        return self._routes

    def _settle(self) -> None:
        """Take over what the registry says, as far as the upstream can answer."""
        current, canary = self._models.current, self._models.canary
        wanted = [entry for entry in (current, canary) if entry is not None]
        ready = self._upstream.hold(wanted, None if current is None else current.replaces)
        answering, tried = self._routes[0], None
        if current is not None and current.model in ready:
            answering = current.model
        if canary is not None and canary.share is not None and canary.model in ready:
            tried = Canary(canary.model, canary.share)
        self._routes = (answering, tried)
        self._settled = len(ready) == len(wanted)

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


async def watch(registry: Registry, database: Database, between_looks: float) -> None:
    """Roll the canary back when it is worse, until cancelled; `between_looks` is in seconds."""
    while True:
        began = time.monotonic()
        try:
            reason = await asyncio.to_thread(roll_back_if_worse, registry, database)
            if reason is not None:
                _log.warning("the canary was rolled back: %s", reason)
        except (ProspectError, OSError) as error:  # a store or a disk that is down is no reason to stop looking
            _log.error("the canary could not be looked at: %s", error)
        # A look at millions of turns takes seconds, and may have a small part of the time.
        await asyncio.sleep(max(between_looks, 50 * (time.monotonic() - began)))
