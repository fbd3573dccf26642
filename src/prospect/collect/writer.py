"""One thread that writes to the store: what waits is committed together, and each is told after the commit."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from prospect.collect.database import Database
from prospect.errors import StoreError

MOST_ROWS = 512  # of one commit: beyond it a commit is spread thin enough, and those who wait have waited long enough
MOST_WAITING = 4096  # a store that cannot keep up refuses, and does not fill the memory

Work = Callable[[Connection], Any]


@dataclass(slots=True)
class _Job:
    work: Work
    done: asyncio.Future[Any]


class Writer:
    """Writes for one store until it is closed.

    Args:
        database: where to.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._jobs: queue.Queue[_Job | None] = queue.Queue(MOST_WAITING)
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """How many writes wait."""
        return self._jobs.qsize()

    def submit(self, work: Work) -> asyncio.Future[Any]:
        """Let `work` write on a connection; its result is there once it is committed.

        What was submitted is written even if nobody waits for it any more. The future belongs to the loop that runs.

        Raises:
            StoreError: too much waits already, or the store is closed.
        """
        job = _Job(work, asyncio.get_running_loop().create_future())
        if self._closed:
            raise StoreError(f"{self._database.name}: is closed. Open it again")
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            raise StoreError(
                f"{self._database.name}: {MOST_WAITING} writes wait already. Send less, or try again"
            ) from None
        return job.done

    def close(self) -> None:
        """Write what waits, and end."""
        if not self._closed:
            self._closed = True
            self._jobs.put(None)
            self._thread.join()

    def _run(self) -> None:
        ended = False
        while not ended:
            batch = [self._jobs.get()]
            with contextlib.suppress(queue.Empty):
                while len(batch) < MOST_ROWS:
                    batch.append(self._jobs.get_nowait())
            ended = None in batch
            self._write([job for job in batch if job is not None])

    def _write(self, jobs: list[_Job]) -> None:
        """Write the jobs in one transaction; if it fails, each in its own, so that only the broken ones fail."""
        try:
            results = self._together(jobs)
        except BaseException as error:
            if len(jobs) == 1 or isinstance(error.__cause__, OperationalError):  # a disk or a lock fails all alike
                _tell(jobs, [error] * len(jobs))
            else:
                for job in jobs:
                    self._write([job])
            return
        _tell(jobs, results)

    def _together(self, jobs: list[_Job]) -> list[Any]:
        if not jobs:
            return []
        with self._database.writing() as connection:
            return [_result(job, connection) for job in jobs]


def _result(job: _Job, connection: Connection) -> Any:
    """Return what the work returns, or its refusal, which has written nothing."""
    try:
        return job.work(connection)
    except StoreError as refusal:
        return refusal


def _tell(jobs: Iterable[_Job], results: Iterable[Any]) -> None:
    """Give each job its result, or what went wrong; each loop is woken once."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], Any]]] = {}
    for job, result in zip(jobs, results, strict=True):
        by_loop.setdefault(job.done.get_loop(), []).append((job.done, result))
    for loop, told in by_loop.items():
        with contextlib.suppress(RuntimeError):  # a loop that has ended waits for nothing
            loop.call_soon_threadsafe(_settle, told)


def _settle(told: Iterable[tuple[asyncio.Future[Any], Any]]) -> None:
    for done, result in told:
        if done.done():  # whoever waited has been cancelled
            continue
        if isinstance(result, BaseException):
            done.set_exception(result)
        else:
            done.set_result(result)
