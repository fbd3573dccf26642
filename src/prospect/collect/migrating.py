"""Bringing a store to the newest schema, once, whoever opens it first."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection

from prospect.collect.database import Database, version
from prospect.collect.tables import SCHEMA
from prospect.errors import StoreError


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


def check(database: Database) -> None:
    """Refuse a store whose schema is not this program's."""
    with database.reading() as connection:
        if not _is_current(version(connection), database):
            raise StoreError(f"{database.name}: has an older schema. Run `prospect collect migrate` on it")


def _is_current(found: str | None, database: Database) -> bool:
    if found is not None and found > SCHEMA:
        raise StoreError(
            f"{database.name}: has schema {found}, and this program knows those up to {SCHEMA}. Use the newer Prospect "
            "that wrote it"
        )
    return found == SCHEMA


def _upgrade(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
