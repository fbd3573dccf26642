"""The store of turns, votes and events: what the proxy writes, and reads back."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection

from prospect.collect import rows
from prospect.collect.database import Database
from prospect.collect.kept_text import KeptText, is_redacted
from prospect.collect.migrating import check, check_rater_key, migrate
from prospect.collect.retention import sweep
from prospect.collect.tables import owned, turn
from prospect.collect.tables import vote as votes
from prospect.collect.turns import Event, Turn, Vote
from prospect.collect.votes import as_vote, insert_event, upsert_vote
from prospect.collect.writer import Writer
from prospect.feedback.frozen.pseudonym import rater_key as usual_rater_key

Result = TypeVar("Result")

MOST_ON_A_PAGE = 1000


class Store:
    """An open store. Its coroutines may be awaited from one event loop, or from several."""

    def __init__(self, database: Database, rater_key: bytes, *, redact: bool) -> None:
        self.database = database
        self._key = rater_key
        self._redact = redact
        self._writer = Writer(database)
        self._readers = ThreadPoolExecutor(2, thread_name_prefix="store-reader")

    @classmethod
    def open(
        cls, address: str | Path, *, make: bool = True, rater_key: bytes | None = None, text: KeptText | None = None
    ) -> Store:
        """Open a store, and bring its schema up to date.

        Args:
            address: a file (SQLite), or postgresql://user:password@host/name.
            make: whether a file that is not there is made, and an older schema migrated.
            rater_key: of the raters' pseudonyms; that of `prospect.feedback.frozen.pseudonym.rater_key` if not given.
            text: `redacted` replaces personal data in everything that is written from now on, also by those who open
                the store later; `whole` no longer does. None leaves it as it was.

        Raises:
            StoreError: it cannot be opened or written, its schema is newer, it began with another key, or a driver is
                missing.
        """
        key = usual_rater_key() if rater_key is None else rater_key
        database = Database(address, make=make)
        try:
            migrate(database) if make else check(database)
            check_rater_key(database, key)
            redact = is_redacted(database, text)
        except BaseException:
            database.close()
            raise
        return cls(database, key, redact=redact)

    def record(self, one: Turn) -> asyncio.Future[None]:
        """Keep a turn; what is returned is done when it is on disk. What is asked for later finds it.

        Text is kept only with consent. A turn whose history the store knows is kept as what is new in it.

        Raises:
            StoreError: it could not be written.
        """
        return self._writer.submit(lambda connection: rows.insert_turn(connection, one, self._key, redact=self._redact))

    async def vote(self, one: Vote, key: str | None = None) -> Vote:
        """Keep a vote in place of the rater's earlier one on the turn; return it when it is on disk.

        Args:
            one: the vote; 0 takes an earlier one back.
            key: of idempotency: the same request again changes nothing and returns what it returned.

        Raises:
            UnknownTurnError: the tenant has no such turn.
            KeyReusedError: the key belongs to another request.
            StoreError: it could not be written.
        """
        return await self.write(lambda connection: upsert_vote(connection, one, key, self._key, redact=self._redact))

    async def event(self, one: Event) -> None:
        """Keep an event; errors are those of `vote`."""
        await self.write(lambda connection: insert_event(connection, one, self._key, redact=self._redact))

    async def turn(self, tenant: str, id: str) -> Turn | None:
        """Return a tenant's turn with its whole prompt; None where the tenant has none of this id."""
        return await self.read(lambda connection: rows.read_turn(connection, tenant, id))

    async def votes(
        self, tenant: str, *, after: int = 0, since: datetime | None = None, limit: int = MOST_ON_A_PAGE
    ) -> list[Vote]:
        """Return a tenant's votes as they are now, in the order of their last change.

        Args:
            tenant: whose.
            after: the `cursor` of the last vote of the page before.
            since: only those changed then or later.
            limit: how many at most; 1,000 are the most.
        """
        query = owned(votes, tenant).where(votes.c.event > after).order_by(votes.c.event)
        if since is not None:
            query = query.where(votes.c.at >= rows.milliseconds(since))
        query = query.limit(min(limit, MOST_ON_A_PAGE))
        return await self.read(lambda connection: [as_vote(row) for row in connection.execute(query)])

    async def ready(self) -> None:
        """Return if the store can be read and written.

        Raises:
            StoreError: it cannot.
        """
        await self.write(lambda connection: connection.execute(owned(turn, "", turn.c.id).limit(1)).first())

    def sweep(self, stop: threading.Event) -> dict[str, int]:
        """Erase what is older than its tenant keeps texts, where that is due; see `retention.sweep`."""
        return sweep(self.database, self._key, stop)

    @property
    def redacts(self) -> bool:
        """Whether personal data is replaced before anything is written."""
        return self._redact

    @property
    def waiting(self) -> int:
        """How many writes wait."""
        return self._writer.waiting

    def close(self) -> None:
        """Write what waits, and close."""
        self._writer.close()
        self._readers.shutdown()
        self.database.close()

    async def write(self, work: Callable[[Connection], Result]) -> Result:
        """Let `work` write in the writer's thread; return what it returned, once that is on disk.

        Raises:
            StoreError: it could not be written.
        """
        kept: Result = await self._writer.submit(work)
        return kept

    async def read(self, read: Callable[[Connection], Result]) -> Result:
        """Return what `read` finds in one state of the store.

        Raises:
            StoreError: it could not be read.
        """

        def run() -> Result:
            with self.database.reading() as connection:
                return read(connection)

        return await asyncio.get_running_loop().run_in_executor(self._readers, run)
