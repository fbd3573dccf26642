"""Turns on their way to the store. A store that is down stops no answer: what it could not keep is counted."""

from __future__ import annotations

import asyncio
import logging
import time

from prospect.collect.exchange import Exchange
from prospect.collect.metrics import Metrics
from prospect.collect.spans import Spans
from prospect.collect.store import Store
from prospect.errors import StoreError

_BETWEEN_WARNINGS = 10.0  # seconds

_log = logging.getLogger(__name__)


class Recorder:
    """Writes turns to a store.

    Args:
        store: where to.
        metrics: counts turns, and those that were not kept.
        spans: tells OpenTelemetry of them, where somebody listens.
    """

    def __init__(self, store: Store, metrics: Metrics, spans: Spans | None = None) -> None:
        self._store, self._metrics, self._spans = store, metrics, spans
        self._writing: set[asyncio.Future[None]] = set()
        self._warned = -_BETWEEN_WARNINGS

    def record(self, exchange: Exchange) -> None:
        """Hand the turns of an exchange to the store's writer.

        It works in order: a vote that comes later finds its turn. An answer does not wait for the commit of its turn,
        which takes as long as the disk.
        """
        for turn in exchange.turns():
            self._metrics.turn(turn.model, turn.arm or "", turn.ended)
            try:
                writing = self._store.record(turn)
            except Exception as error:  # whatever is wrong with the store, the answer goes on
                self._failed(error)
            else:
                self._writing.add(writing)
                writing.add_done_callback(self._written)
        if self._spans is not None:
            self._spans.exchange(exchange)

    async def finish(self) -> None:
        """Return when all that was recorded is written."""
        while self._writing:
            await asyncio.wait(self._writing)

    def _written(self, writing: asyncio.Future[None]) -> None:
        self._writing.discard(writing)
        if error := writing.exception():
            self._failed(error)

    def _failed(self, error: BaseException) -> None:
        self._metrics.unrecorded.inc()
        now = time.monotonic()
        if now - self._warned >= _BETWEEN_WARNINGS:
            self._warned = now
            reason = str(error) if isinstance(error, StoreError) else type(error).__name__  # no text of a turn
            _log.warning("a turn could not be recorded: %s", reason)
