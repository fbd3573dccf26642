"""Bringing a store to the newest schema, once, whoever opens it first."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Connection

from prospect.collect.database import Database, version
from prospect.collect.settings import read_setting, write_setting
from prospect.errors import DataError, StoreError
from prospect.feedback.files.store.source import SCHEMA, check_schema
from prospect.feedback.frozen.pseudonym import RATER_KEY, pseudonym

_RATER_KEY = "rater_key"


def migrate(database: Database) -> bool:
    """Bring the schema up to date; return whether there was anything to do.

    Of several processes one migrates under a lock and the others wait.

    Raises:
        StoreError: the schema is newer than this program, or the database cannot be written.
    """
    with database.reading() as connection:
        if _is_current(version(connection), database):
            return False
    with database.writing(alone=True) as connection:
        if _is_current(version(connection), database):
            return False
        _upgrade(connection)
    return True


@contextlib.contextmanager
def opened(address: str, *, make: bool = False) -> Iterator[Database]:
    """Give the database of a store with the newest schema.

    Args:
        address: a file, or postgresql://...
        make: whether a store that is not there is made, and an older one migrated.
    """
    database = Database(address, make=make)
    try:
        migrate(database) if make else check(database)
        yield database
    finally:
        database.close()


def check_rater_key(database: Database, key: bytes) -> None:
    """Refuse a key of pseudonyms that is not the one the store began with.

    With another key a rater would get a second name, an erasure would find nothing, and no API key would be known.
    """
    mark = pseudonym("the key of this store", key)
    with database.reading() as connection:
        found = read_setting(connection, _RATER_KEY)
    if found is None:
        with database.writing() as connection:
            found = read_setting(connection, _RATER_KEY)
            if found is None:
                write_setting(connection, _RATER_KEY, mark)
                return
    if found != mark:
        raise StoreError(
            f"{database.name}: its raters have pseudonyms of another key. Set {RATER_KEY.variable}, or the file "
            f"{RATER_KEY.path}, to what the server has that made the store"
        )


def check(database: Database) -> None:
    """Refuse a store whose schema is not this program's."""
    with database.reading() as connection:
        found = version(connection)
    if found is None:
        raise StoreError(f"{database.name}: is no store of `prospect serve`. Check the name")
    if not _is_current(found, database):
        raise StoreError(f"{database.name}: has an older schema. Run `prospect collect migrate` on it")


def _is_current(found: str | None, database: Database) -> bool:
    try:
        check_schema(found or SCHEMA, database.name)
    except DataError as error:
        raise StoreError(str(error)) from None
    return found == SCHEMA


def _upgrade(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
