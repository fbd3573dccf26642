"""The schema: made once, by whoever opens a store first, and never by a program that is too old for it."""

from __future__ import annotations

import multiprocessing
import re
import sqlite3
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text

import prospect.collect.migrations
from collecting import NOW, a_turn, a_vote, fill, open_store, with_store
from prospect.collect import migrating
from prospect.collect.database import Database, version
from prospect.collect.migrating import check, migrate
from prospect.collect.purge import Purge
from prospect.collect.review import Queue
from prospect.collect.store import Store
from prospect.collect.tables import metadata
from prospect.errors import StoreError
from prospect.feedback.files.store.source import SCHEMA


def test_the_newest_migration_is_the_schema_that_programs_know() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(prospect.collect.migrations.__file__).parent))
    scripts = list(ScriptDirectory.from_config(config).walk_revisions())
    assert scripts[0].revision == SCHEMA
    assert sorted(script.revision for script in scripts) == [f"{i:04}" for i in range(1, len(scripts) + 1)]


def test_migrations_make_the_tables_of_the_code(store_address: str) -> None:
    with open_store(store_address) as store, store.database.reading() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_a_store_is_migrated_once_and_keeps_what_it_has(store_address: str) -> None:
    turn = a_turn()
    with_store(store_address, lambda store: fill(store, turn, a_vote(turn)))
    database = Database(store_address)
    assert migrate(database) is False
    check(database)
    database.close()

    async def work(store: Store) -> None:
        assert len(await store.votes("main")) == 1

    with_store(store_address, work)


def old_store(address: str) -> None:
    """Make a store of the first schema, with two turns, two votes and an event, as its version of the program did."""
    lines = (Path(__file__).parent / "store_0001.sql").read_text()
    if "://" not in address:
        connection = sqlite3.connect(address)
        connection.executescript(lines)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.close()
        return
    config = Config()
    config.set_main_option("script_location", str(Path(prospect.collect.migrations.__file__).parent))
    rows = [line for line in lines.splitlines() if line.startswith("INSERT") and "_version" not in line]
    rows = [line for table in ("setting", "turn", "event", "vote") for line in rows if f'"{table}"' in line]
    database = Database(address)
    with database.writing() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        for line in rows:
            connection.exec_driver_sql(as_postgres(line))
        connection.exec_driver_sql("SELECT setval('event_id_seq', 3)")
    database.close()


def as_postgres(line: str) -> str:
    """Return the insertion of a row with PostgreSQL's bytes, and its truth for the column `consent`."""
    line = re.sub(r"X'([0-9A-F]*)'", r"decode('\1', 'hex')", line)
    return re.sub(r"('r-[0-9a-f]{16}'),1,(decode)", r"\1,true,\2", line)


def test_a_store_of_the_first_schema_is_brought_over_with_all_it_holds(store_address: str) -> None:
    old_store(store_address)
    with pytest.raises(StoreError, match=r"has an older schema\. Run `prospect collect migrate`"):
        Store.open(store_address, make=False)

    async def work(store: Store) -> None:
        with store.database.reading() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            assert compare_metadata(context, metadata) == []
            assert version(connection) == SCHEMA
        assert [(vote.value, vote.comment, vote.cursor) for vote in await store.votes("main")] == [
            (-1, "No.", 1), (1, None, 2)
        ]  # fmt: skip
        second = await store.turn("main", "0" * 31 + "2")
        assert second is not None and [message["content"] for message in second.messages] == [
            "Where is my parcel?", "On its way.", "And now?",
        ]  # fmt: skip
        found = await Queue(store, "main", "ada").open("flagged", NOW)
        assert found is not None and found.id == "0" * 31 + "1"

    with_store(store_address, work)


def test_a_newer_schema_is_refused_and_left_alone(store_address: str) -> None:
    with open_store(store_address) as store, store.database.writing() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    for make in (True, False):
        with pytest.raises(StoreError, match="has schema 9999, and this program knows those up to"):
            Store.open(store_address, make=make)
    database = Database(store_address)
    with database.reading() as connection:
        assert version(connection) == "9999"
    database.close()


def test_a_migration_that_fails_leaves_nothing_behind(store_address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    upgrade = migrating._upgrade

    def broken(connection: object) -> None:
        upgrade(connection)  # type: ignore[arg-type]
        raise RuntimeError("in the middle")

    monkeypatch.setattr(migrating, "_upgrade", broken)
    with pytest.raises(RuntimeError):
        Store.open(store_address)
    database = Database(store_address)
    with database.reading() as connection:
        assert version(connection) is None
    monkeypatch.setattr(migrating, "_upgrade", upgrade)
    assert migrate(database) is True
    database.close()


def _open(address: str) -> bool:
    database = Database(address)
    try:
        return migrate(database)
    finally:
        database.close()


def test_of_several_that_open_a_new_store_at_once_one_migrates(store_address: str) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        assert sorted(pool.map(_open, [store_address] * 4)) == [False, False, False, True]


def test_a_store_refuses_another_key_of_pseudonyms_than_it_began_with(store_address: str) -> None:
    with open_store(store_address, rater_key=b"a" * 32):
        pass
    for make in (True, False):
        with pytest.raises(StoreError, match="its raters have pseudonyms of another key"):
            Store.open(store_address, make=make, rater_key=b"b" * 32)
    with open_store(store_address, rater_key=b"a" * 32) as store, pytest.raises(StoreError, match="of another key"):
        Purge(store.database, "main", b"b" * 32)


def test_votes_of_an_older_store_get_the_model_of_their_turn(store_address: str) -> None:
    database = Database(store_address)
    config = Config()
    config.set_main_option("script_location", str(Path(migrating.__file__).parent / "migrations"))
    with database.writing(alone=True) as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        for statement in (
            "INSERT INTO turn (id, tenant, conversation, consent, ended, model, arm, sampling, created) "
            "VALUES ('t', 'main', 'c', true, 'stop', 'm', 'canary', '{}', 7)",
            "INSERT INTO event (id, tenant, kind, turn, at) VALUES (1, 'main', 'vote', 't', 8)",
            "INSERT INTO vote (turn, rater, tenant, value, version, at, event) VALUES ('t', 'r', 'main', 1, 1, 8, 1)",
        ):
            connection.execute(text(statement))
    assert migrate(database)
    with database.reading() as connection:
        assert connection.execute(text("SELECT model, arm, shown FROM vote")).one() == ("m", "canary", 7)
    database.close()
