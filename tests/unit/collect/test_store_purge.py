"""What an erasure erases, what it leaves, and what it names."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from collecting import ANSWERED, NOW, a_turn, a_vote, after, an_event, fill, open_store, with_store
from prospect.collect.export import Contents, export
from prospect.collect.purge import Purge, Purged
from prospect.collect.rows import UnknownTurnError, insert_turn
from prospect.collect.stats import model_stats
from prospect.collect.store import Store
from prospect.collect.turns import Turn
from prospect.collect.votes import upsert_vote
from prospect.feedback.files.manifest import file_hash
from prospect.feedback.files.store.selection import Selection
from prospect.feedback.frozen.pseudonym import pseudonym, rater_key
from prospect.feedback.frozen.purge import runs_that_used


def purge(store: Store, **settings: Any) -> Purge:
    return Purge(store.database, "main", rater_key(), **settings)


def system(text: str) -> dict[str, str]:
    return {"role": "system", "content": text}


def said(content: str) -> dict[str, str]:
    return {"role": "user", "content": content}


async def texts(store: Store) -> str:
    """Return everything that the tables hold, as text."""
    found = []
    with store.database.reading() as connection:
        for table in ("turn", "vote", "event", "tombstone", "export"):
            for row in connection.execute(text(f"SELECT * FROM {table}")):
                found += [bytes(cell) if isinstance(cell, bytes | memoryview) else str(cell).encode() for cell in row]
    return b"\n".join(found).decode(errors="replace")


def test_of_a_turn_all_that_repeats_its_text_goes_and_the_rest_stays(store_address: str) -> None:
    first = a_turn([system("Be kind."), said("The secret is zebra.")], conversation="c")
    later = after(first, "Go on.", "No.")
    sibling = a_turn(first.messages, {**ANSWERED, "content": "Another."}, conversation="c")
    edited = a_turn([system("Be curt."), *later.messages[1:], said("So?")], conversation="c")
    other = a_turn([system("Be kind."), said("What is new?")], {**ANSWERED, "content": "Nothing."}, conversation="c")
    elsewhere = a_turn([said("The secret is zebra.")], conversation="d", rater="bob")
    turns = [first, later, sibling, edited, other, elsewhere]

    async def work(store: Store) -> None:
        await fill(store, *turns, a_vote(later, -1, comment="zebra", correction="zebra"))
        await fill(store, an_event(later, "edited", detail={"note": "zebra"}))
        done = purge(store).turn(first.id)
        assert (done.turns, done.votes) == (4, 0)
        kept = [await store.turn("main", turn.id) for turn in turns]
        assert [bool(turn and turn.messages) for turn in kept] == [False] * 4 + [True] * 2
        assert (await texts(store)).count("zebra") == 1  # bob's own
        # What was counted stays counted; a purged turn takes no further vote.
        (numbers,) = model_stats(store.database, "main")
        assert (numbers.turns, numbers.down) == (6, 1)
        with pytest.raises(UnknownTurnError):
            await store.vote(a_vote(first))
        assert purge(store).turn(first.id).turns == 0

    with_store(store_address, work)


def test_of_a_rater_turns_votes_and_name_go(store_address: str) -> None:
    mine, theirs = a_turn([said("I am anna.")]), a_turn(rater="bob")

    async def work(store: Store) -> None:
        await fill(store, mine, theirs, a_vote(theirs, -1, comment="says anna"), a_vote(mine, rater="bob"))
        await fill(store, an_event(theirs, "copied"))
        name = pseudonym("anna", rater_key())
        assert name in await texts(store)
        done = purge(store, reason="asked").rater("anna")
        assert (done.turns, done.votes, done.ids) == (1, 1, {mine.id, theirs.id})
        left = await texts(store)
        assert name not in left and "anna" not in left and "asked" in left
        assert [vote.rater for vote in await store.votes("main")] == [pseudonym("bob", rater_key())]
        assert (await store.turn("main", theirs.id)).messages  # type: ignore[union-attr]
        assert purge(store).rater(name) == Purged(turns=0, votes=0, ids=frozenset(), exports=())

    with_store(store_address, work)


def test_of_a_conversation_all_turns_go(store_address: str) -> None:
    first = a_turn(conversation="c")
    turns = [first, after(first, "And now?", "Soon."), a_turn([said("New")], conversation="c")]

    async def work(store: Store) -> None:
        await fill(store, *turns, a_turn(conversation="d"))
        assert purge(store).conversation("c").turns == 3
        assert purge(store).conversation("nobody's").turns == 0

    with_store(store_address, work)


def test_what_is_too_old_goes_with_what_follows_on_it(store_address: str) -> None:
    old = a_turn([said("Long ago.")], conversation="c", created=NOW - timedelta(days=40))
    follows = after(old, "Today.", "Yes.", created=NOW)
    fresh = a_turn([said("Fresh.")], conversation="c")

    async def work(store: Store) -> None:
        await fill(store, old, follows, fresh)
        assert purge(store).before(NOW - timedelta(days=30)).ids == {old.id, follows.id}
        assert purge(store).before(NOW - timedelta(days=30)).turns == 0

    with_store(store_address, work)


def test_a_turn_that_comes_while_its_conversation_is_erased_goes_too(
    store_address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, kept = a_turn(conversation="c"), a_turn(conversation="d")
    late = after(first, "My name is Zoe.", "Hello, Zoe.", created=datetime.now(UTC))

    async def work(store: Store) -> None:
        await fill(store, first, kept, a_vote(kept))

        def meanwhile(*_: Any) -> list[tuple[str, str]]:
            with store.database.writing() as connection:
                insert_turn(connection, late, rater_key())
                upsert_vote(connection, a_vote(late), None, rater_key())
            return []

        with monkeypatch.context() as patched:
            patched.setattr("prospect.collect.purge.exports_with", meanwhile)
            done = purge(store).conversation("c")
        assert (done.turns, done.ids) == (2, {first.id, late.id})
        assert "Zoe" not in await texts(store)
        # Half of a branch would have no prompt, and stop every export.
        export(store.database, tmp_path / "rows.jsonl", Selection(), Contents())
        assert len((tmp_path / "rows.jsonl").read_text().splitlines()) == 1

    with_store(store_address, work)


def test_a_dry_run_counts_the_same_and_changes_nothing(store_address: str) -> None:
    first = a_turn(conversation="c")
    second = after(first, "And now?", "Soon.")

    async def work(store: Store) -> None:
        await fill(store, first, second, a_vote(first))
        before = await texts(store)
        counts = [purge(store, dry_run=True).rater("anna"), purge(store).rater("anna")]
        assert [(done.turns, done.votes, done.ids) for done in counts] == [(2, 1, {first.id, second.id})] * 2
        assert await texts(store) != before

    with_store(store_address, work)


def test_a_tenant_erases_nothing_of_another(store_address: str) -> None:
    theirs = a_turn(tenant="acme", conversation="c")

    async def work(store: Store) -> None:
        await fill(store, theirs, a_vote(theirs))
        for done in (
            purge(store).rater("anna"), purge(store).conversation("c"), purge(store).turn(theirs.id),
            purge(store).before(NOW + timedelta(days=1)),
        ):  # fmt: skip
            assert (done.turns, done.votes) == (0, 0)
        assert len(await store.votes("acme")) == 1

    with_store(store_address, work)


@pytest.mark.parametrize("erase", [lambda purge, turn: purge.turn(turn.id), lambda purge, turn: purge.rater("anna")])
def test_no_file_of_a_sqlite_store_holds_the_text_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, erase: Callable[[Purge, Turn], Purged]
) -> None:
    monkeypatch.setenv("PROSPECT_RATER_KEY", "the key of the tests")
    path = tmp_path / "store" / "s.sqlite"
    path.parent.mkdir()
    turn = a_turn([said("The secret is zebra.")])
    filler = [a_turn([said(f"Number {i}.")], rater="bob") for i in range(50)]

    async def work(store: Store) -> None:
        await fill(store, turn, *filler, a_vote(turn, -1, comment="zebra", correction="A zebra."))
        assert any(b"zebra" in file.read_bytes() for file in path.parent.iterdir())
        assert not erase(purge(store), turn).left_in_log
        assert not [file.name for file in path.parent.iterdir() if b"zebra" in file.read_bytes()]

    with_store(str(path), work)


def test_a_reader_in_the_way_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROSPECT_RATER_KEY", "the key of the tests")
    monkeypatch.setattr("prospect.collect.database.BUSY_MS", 50)
    path, turn = tmp_path / "s.sqlite", a_turn()

    async def work(store: Store) -> None:
        await store.record(turn)
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN")
        other.execute("SELECT count(*) FROM turn").fetchone()
        assert purge(store).turn(turn.id).left_in_log
        other.close()

    with_store(str(path), work)


def test_exports_and_runs_that_had_the_rows_are_named(store_address: str, tmp_path: Path) -> None:
    turns = [a_turn([said(f"Number {i}.")]) for i in range(3)]
    output, runs = tmp_path / "o.jsonl", tmp_path / "runs"

    async def work(store: Store) -> Purged:
        await fill(store, *turns, a_vote(turns[0], rater="bob"), a_vote(turns[1]))
        export(store.database, output, Selection(), Contents())
        assert purge(store).turn(turns[2].id).exports == ()
        return purge(store).rater("bob")

    done = with_store(store_address, work)
    assert done.exports == ((str(output), file_hash(output)),)
    for name, files in {
        "by-hash": {"elsewhere.jsonl": {"sha256": file_hash(output)}},
        "by-store": {store_address: {"sha256": "what it was that day"}},
        "other": {"x.jsonl": {"sha256": "another"}},
    }.items():
        (runs / name).mkdir(parents=True)
        (runs / name / "provenance.json").write_text(json.dumps({"data": {"train": {"files": files}}}))
    found = runs_that_used([sha256 for _, sha256 in done.exports], [runs], paths=[Path(store_address)])
    assert sorted(path.name for path in found.found) == ["by-hash", "by-store"]


def test_a_copy_is_whole_and_holds_nothing_that_was_erased_before(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("PROSPECT_RATER_KEY", "the key of the tests")
    turns = [a_turn([said("The secret is zebra.")]), a_turn([said("Stay.")])]
    copy = tmp_path / "copy.sqlite"

    async def work(store: Store) -> None:
        await fill(store, *turns, *map(a_vote, turns))
        purge(store).turn(turns[0].id)
        store.database.copy_to(copy)
        await store.vote(a_vote(turns[1], -1))

    with_store(str(tmp_path / "s.sqlite"), work)
    assert b"zebra" not in copy.read_bytes() and copy.stat().st_mode & 0o777 == 0o600
    with open_store(str(copy)) as store:
        (numbers,) = model_stats(store.database, "main")
    assert (numbers.turns, numbers.up, numbers.down) == (2, 2, 0)
