"""Opening the database of the store: SQLite in one file, or PostgreSQL by its address."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from time import sleep
from typing import Any

from sqlalchemy import Connection, Engine, QueuePool, create_engine, make_url, text
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from prospect.errors import StoreError
from prospect.feedback.files.store.source import CACHE_KB

BUSY_MS = 5000  # how long a writer of SQLite waits for another process
_ATTEMPTS = 10  # to empty the log
_USUAL_CACHE_KB = 8192  # of each connection: a server has four
_PAUSE = 0.1  # seconds between them
_POOL: dict[str, Any] = {"pool_size": 4, "max_overflow": 0, "pool_timeout": 30}
_LOCK = 7_205_911_317  # names our advisory lock in a PostgreSQL database


class Database:
    """A database and how its transactions begin.

    Args:
        address: a file's path, or an address such as postgresql://user@host/name.
        make: whether a file that is not there is made.

    Raises:
        StoreError: the address is none, its driver is not installed, or the file is not there.
    """

    def __init__(self, address: str | Path, *, make: bool = True) -> None:
        self.path, url = _read(address)
        self.name = str(self.path) if self.path else url.render_as_string()  # without the password
        if self.path:
            _check_file(self.path, make)
            self._engine = _sqlite(self.path)
        else:
            self._engine = _postgres(url)
        self.is_sqlite = self.path is not None

    @contextlib.contextmanager
    def reading(self, *, much: bool = False) -> Iterator[Connection]:
        """Give a connection that sees one state of the store.

        Args:
            much: whether most of the store will be read, for which SQLite may remember more of it.
        """
        with self._explained(), self._engine.connect() as connection:
            if self.is_sqlite:
                connection.exec_driver_sql(f"PRAGMA cache_size=-{CACHE_KB if much else _USUAL_CACHE_KB}")
            isolation = "BEGIN" if self.is_sqlite else "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"
            connection.exec_driver_sql(isolation)
            yield connection

    @contextlib.contextmanager
    def writing(self, *, alone: bool = False) -> Iterator[Connection]:
        """Give a connection on which nobody else writes, and commit at the end.

        Args:
            alone: whether readers wait as well, for migrations.
        """
        with self._explained(), self._engine.connect() as connection:
            if self.is_sqlite:
                connection.exec_driver_sql("BEGIN EXCLUSIVE" if alone else "BEGIN IMMEDIATE")
            else:  # writers take turns, so that numbers of events are committed in their order
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
            yield connection
            connection.commit()

    @contextlib.contextmanager
    def outside(self) -> Iterator[Connection]:
        """Give a connection without a transaction, for what SQLite does only there."""
        with self._explained(), self._engine.connect() as connection:
            yield connection  # the driver begins none by itself

    def shorten_log(self) -> bool:
        """Write SQLite's log into the file and empty it; return whether that was possible, and true on PostgreSQL."""
        if not self.is_sqlite:
            return True
        with self.outside() as connection:
            try:  # in short attempts, for writers wait meanwhile
                connection.exec_driver_sql(f"PRAGMA busy_timeout={BUSY_MS // _ATTEMPTS}")
                return any(_is_log_empty(connection) for _ in range(_ATTEMPTS))
            finally:
                connection.exec_driver_sql(f"PRAGMA busy_timeout={BUSY_MS}")

    def copy_to(self, path: Path) -> None:
        """Write a copy of a SQLite store as it is now, without what was deleted.

        Raises:
            StoreError: there is such a file, it cannot be written, or the store is on PostgreSQL.
        """
        if not self.is_sqlite:
            raise StoreError(f"{self.name}: PostgreSQL copies itself: pg_dump --format=custom NAME > {path}")
        if path.exists():
            raise StoreError(f"{path}: is there already. Choose another name")
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        with self.outside() as connection:
            connection.exec_driver_sql("VACUUM INTO ?", (str(path),))

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            raise self.error(error) from error

    def error(self, error: SQLAlchemyError) -> StoreError:
        """Return what went wrong in our words, without the statement and what it would have written."""
        # The first line alone: in the next ones PostgreSQL quotes the row.
        said = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
        for words, advice in _ADVICE.items():
            if words in said:
                return StoreError(f"{self.name}: {said}. {advice}")
        return StoreError(f"{self.name}: {said}. Check the database")

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()


def _is_log_empty(connection: Connection) -> bool:
    busy, _, _ = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()
    if busy:
        sleep(_PAUSE)
    return not busy


_ADVICE = {
    "is locked": "Another program holds it; end that, or wait",
    "is full": "Free some space",
    "readonly": "Make the file and its folder writable",
    "unable to open": "Check the folder and its permissions",
    "malformed": "Take it from a backup",
    "not a database": "Name a store of `prospect serve`",
    "no such table": "Name a store of `prospect serve`, or make one with `prospect collect migrate`",
    "onnect": "Check that the server runs and takes connections",
}


def _read(address: str | Path) -> tuple[Path | None, Any]:
    text_address = str(address)
    if "://" not in text_address:
        return Path(text_address).expanduser(), None
    try:
        url = make_url(text_address)
    except ArgumentError:
        raise StoreError(
            "the store's address cannot be read; expected a file, or postgresql://user@host/name"
        ) from None
    kind = url.get_backend_name()
    if kind == "sqlite" and url.database:
        return Path(url.database).expanduser(), url
    if kind not in ("postgresql", "postgres"):
        raise StoreError(f"{kind}: no database that can be a store; expected a file (SQLite) or postgresql://...")
    return None, url.set(drivername="postgresql+psycopg")


def _check_file(path: Path, make: bool) -> None:
    if path.is_dir():
        raise StoreError(f"{path}: is a folder; expected a file. Name one in it, such as {path / 'store.sqlite'}")
    if path.exists():
        return
    if not make:
        raise StoreError(f"{path}: no such file. Name the store that `prospect serve` writes")
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))  # what people wrote is for its owner
    except OSError as error:
        raise StoreError(f"{path}: cannot be made: {error.strerror}. Check the folder") from error


def _sqlite(path: Path) -> Engine:
    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=BUSY_MS / 1000)
        for setting in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
            connection.execute(f"PRAGMA {setting}")
        return connection

    return create_engine("sqlite://", creator=connect, poolclass=QueuePool, **_POOL)


def _postgres(url: Any) -> Engine:
    try:
        engine = create_engine(url, pool_pre_ping=True, **_POOL)
    except ModuleNotFoundError:
        raise StoreError(
            "PostgreSQL needs psycopg, which is not installed: pip install 'prospect-align[postgres]'"
        ) from None
    return engine


def version(connection: Connection) -> str | None:
    """Return the schema's number; None in an empty database."""
    from sqlalchemy import inspect

    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
