"""What the store keeps, and gives back, on both databases."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import re
import sqlite3
import stat
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

import prospect.collect
from collecting import ANSWERED, ASKED, NOW, a_turn, a_vote, after, an_event, fill, open_store, with_store
from prospect.collect.rows import KeyReusedError, UnknownTurnError
from prospect.collect.store import Store
from prospect.collect.turns import plain
from prospect.errors import StoreError
from prospect.feedback.frozen.pseudonym import pseudonym, rater_key


def test_a_turn_comes_back_as_it_was_sent(store_address: str) -> None:
    turn = a_turn(
        tools=[{"type": "function", "function": {"name": "look"}}], conversation="c", fingerprint="f", arm="canary",
        sampling={"temperature": 0.5}, prompt_tokens=3, completion_tokens=4, ms_first=1.5, ms_last=2.5, upstream_id="u",
    )  # fmt: skip

    async def work(store: Store) -> None:
        await store.record(turn)
        kept = await store.turn("main", turn.id)
        assert kept is not None and kept.sibling_group
        assert dataclasses.replace(kept, sibling_group=None, messages=tuple(kept.messages)) == dataclasses.replace(
            turn, rater=pseudonym("anna", rater_key())
        )

    with_store(store_address, work)


def test_a_conversation_keeps_each_text_once(store_address: str) -> None:
    long = "A long question about parcels. " * 100
    first = a_turn([{"role": "system", "content": "Be kind."}, {"role": "user", "content": long}], conversation="c")
    second = after(first, "And now?", "Soon.")

    async def work(store: Store) -> None:
        await fill(store, first, second)
        kept = await store.turn("main", second.id)
        assert kept is not None and kept.parent == first.id
        assert list(kept.messages) == list(map(plain, second.messages))
        with store.database.reading() as connection:
            sizes = connection.execute(text("SELECT length(said) FROM turn ORDER BY created")).scalars().all()
        assert sizes[1] < 100 < sizes[0] < len(long) / 10

    with_store(store_address, work)


@pytest.mark.parametrize("change", ["word", "tools", "conversation", "tenant"])
def test_a_history_that_was_edited_starts_a_new_root(store_address: str, change: str) -> None:
    first = a_turn(conversation="c")
    second = after(first, "And now?", "Soon.")
    if change == "word":
        second = dataclasses.replace(second, messages=[{**ASKED, "content": "Where?"}, *second.messages[1:]])
    elif change == "tools":
        second = dataclasses.replace(second, tools=[{"type": "function", "function": {"name": "look"}}])
    else:
        second = dataclasses.replace(second, **{change: "other"})

    async def work(store: Store) -> None:
        await fill(store, first, second)
        kept = await store.turn(second.tenant, second.id)
        assert kept is not None and kept.parent is None and list(kept.messages) == list(second.messages)

    with_store(store_address, work)


def test_without_a_name_the_conversation_is_found_by_its_history_for_the_same_rater(store_address: str) -> None:
    first = a_turn()
    mine, theirs = after(first, "And now?", "Soon."), after(first, "And now?", "Soon.", rater="bob")

    async def work(store: Store) -> list[str | None]:
        await fill(store, first, mine, theirs)
        kept = [await store.turn("main", turn.id) for turn in (mine, theirs)]
        return [turn and turn.conversation for turn in kept]

    assert with_store(store_address, work) == [first.id, theirs.id]


def test_answers_to_one_prompt_are_siblings(store_address: str) -> None:
    turns = [a_turn(conversation="c"), a_turn(conversation="c", completion={**ANSWERED, "content": "Lost."})]
    other = a_turn([{**ASKED, "content": "Why?"}], conversation="c")

    async def work(store: Store) -> list[str | None]:
        await fill(store, *turns, other)
        kept = [await store.turn("main", turn.id) for turn in (*turns, other)]
        return [turn and turn.sibling_group for turn in kept]

    first, second, third = with_store(store_address, work)
    assert first == second != third


def test_without_consent_no_text_is_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROSPECT_RATER_KEY", "the key of the tests")
    turn = a_turn([{"role": "user", "content": "My name is Zebulon."}], consent=False, conversation="c")

    async def work(store: Store) -> None:
        await fill(store, turn, a_vote(turn))
        kept = await store.turn("main", turn.id)
        assert kept is not None and not kept.messages and kept.completion is None and kept.model == "m"

    with_store(str(tmp_path / "s.sqlite"), work)
    for file in tmp_path.iterdir():
        assert b"Zebulon" not in file.read_bytes() and b"On its way" not in file.read_bytes()
        assert b"anna" not in file.read_bytes()


def test_the_latest_vote_of_a_rater_counts_and_the_history_stays(store_address: str) -> None:
    turn = a_turn()

    async def work(store: Store) -> None:
        await fill(store, turn, a_vote(turn, 1), a_vote(turn, 1, rater="bob"), a_vote(turn, -1, reason="wrong"))
        votes = await store.votes("main")
        assert [(vote.value, vote.version, vote.reason) for vote in votes] == [(1, 1, None), (-1, 2, "wrong")]
        await fill(store, a_vote(turn, 0))
        assert [vote.value for vote in await store.votes("main")] == [1, 0]
        with store.database.reading() as connection:
            assert connection.execute(text("SELECT count(*) FROM event")).scalar() == 4

    with_store(store_address, work)


def test_a_request_that_comes_again_changes_nothing(store_address: str) -> None:
    turn = a_turn()

    async def work(store: Store) -> None:
        await store.record(turn)
        first = await store.vote(a_vote(turn, -1), "key")
        later = await store.vote(a_vote(turn, 1))
        again = await store.vote(a_vote(turn, -1, at=NOW + timedelta(hours=1)), "key")
        assert again == first
        assert await store.votes("main") == [later]
        for other in (a_vote(turn, 1), a_vote(turn, -1, rater="bob"), a_vote(turn, -1, comment="no")):
            with pytest.raises(KeyReusedError):
                await store.vote(other, "key")
        assert await store.votes("main") == [later]

    with_store(store_address, work)


def test_turns_without_text_are_no_answers_to_one_prompt(store_address: str) -> None:
    first, second = (a_turn(conversation=None, consent=False) for _ in range(2))

    async def work(store: Store) -> None:
        await fill(store, first, second)
        with pytest.raises(UnknownTurnError):
            await store.event(an_event(first, "preferred", other=second.id))

    with_store(store_address, work)


def test_a_second_tenant_sees_and_touches_nothing(store_address: str) -> None:
    turn = a_turn(conversation="c")
    sibling = a_turn(conversation="c")

    async def work(store: Store) -> None:
        await fill(store, turn, sibling, a_vote(turn))
        assert await store.turn("other", turn.id) is None
        assert await store.votes("other") == []
        with pytest.raises(UnknownTurnError):
            await store.vote(a_vote(turn, -1, tenant="other"))
        with pytest.raises(UnknownTurnError):
            await store.event(an_event(turn, "copied", tenant="other"))
        theirs = a_turn(tenant="other", conversation="c")
        await store.record(theirs)
        with pytest.raises(UnknownTurnError):
            await store.event(an_event(theirs, "preferred", tenant="other", other=sibling.id))
        assert [vote.value for vote in await store.votes("main")] == [1]
        # The same idempotency key is another key for another tenant.
        await store.vote(a_vote(turn, -1), "key")
        assert (await store.vote(a_vote(theirs, 1), "key")).value == 1

    with_store(store_address, work)


@pytest.mark.parametrize(
    ("vote", "message"),
    [
        ({"value": 2}, "the vote is 2; expected 1, -1"),
        ({"reason": "ugly"}, "the reason is ugly; expected not_followed"),
    ],
)
def test_a_vote_that_means_nothing_is_refused(store_address: str, vote: dict[str, object], message: str) -> None:
    turn = a_turn()

    async def work(store: Store) -> None:
        await store.record(turn)
        with pytest.raises(StoreError, match=message):
            await store.vote(dataclasses.replace(a_vote(turn), **vote))

    with_store(store_address, work)


def test_one_write_that_fails_takes_no_other_with_it(store_address: str) -> None:
    turns = [a_turn() for _ in range(20)]

    async def work(store: Store) -> None:
        await store.record(turns[0])
        done = await asyncio.gather(*(store.record(turn) for turn in turns), return_exceptions=True)
        assert [isinstance(one, StoreError) for one in done] == [True] + [False] * 19
        unknown = [a_vote(turns[1]), a_vote(a_turn()), a_vote(turns[2])]
        votes = await asyncio.gather(*(store.vote(one) for one in unknown), return_exceptions=True)
        assert isinstance(votes[1], UnknownTurnError) and len(await store.votes("main")) == 2

    with_store(store_address, work)


def test_odd_characters_are_kept_or_replaced_but_never_lose_a_row(store_address: str) -> None:
    odd = "zero \x00 half \ud800 wide 𝒳 huge"
    turn = a_turn([{"role": "user", "content": odd, "number": 2**70}], rater=odd, model=odd, conversation=odd)

    async def work(store: Store) -> None:
        await store.record(turn)
        kept = await store.turn("main", turn.id)
        assert kept is not None and kept.messages[0]["content"] == odd and kept.messages[0]["number"] == 2**70
        vote = await store.vote(a_vote(turn, rater=odd, comment=odd, correction=odd), odd)
        assert vote.comment == "zero  half ? wide 𝒳 huge"
        with pytest.raises(UnknownTurnError):
            await store.vote(dataclasses.replace(a_vote(turn), turn="\x00\ud800"))
        assert await store.turn("main", "\x00") is None

    with_store(store_address, work)


def test_votes_come_in_pages_in_the_order_of_their_last_change(store_address: str) -> None:
    turns = [a_turn() for _ in range(5)]

    async def work(store: Store) -> None:
        await fill(store, *turns, *map(a_vote, turns), a_vote(turns[0], -1))
        first = await store.votes("main", limit=3)
        second = await store.votes("main", after=first[-1].cursor, limit=3)
        assert [vote.turn for vote in first + second] == [turn.id for turn in (*turns[1:], turns[0])]
        assert await store.votes("main", since=NOW + timedelta(seconds=1)) == []

    with_store(store_address, work)


def test_the_file_is_for_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    with open_store(str(path), rater_key=b"k" * 32) as store:
        asyncio.run(store.ready())
        modes = {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    assert modes == {0o600}


def test_a_locked_store_refuses_and_goes_on_afterwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prospect.collect.database.BUSY_MS", 50)
    path, turn = tmp_path / "s.sqlite", a_turn()

    async def work(store: Store) -> None:
        await store.record(turn)
        with sqlite3.connect(path, isolation_level=None) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreError, match=r"database is locked\. Another program holds it"):
                await store.vote(a_vote(turn))
            assert await store.turn("main", turn.id) is not None  # readers do not wait
            other.execute("ROLLBACK")
        other.close()
        assert (await store.vote(a_vote(turn))).version == 1

    with_store(str(path), work)


def test_a_full_disk_refuses_a_write_and_harms_nothing(tmp_path: Path) -> None:
    path, turn = tmp_path / "s.sqlite", a_turn()

    async def work(store: Store) -> None:
        await store.record(turn)
        with store.database.outside() as connection:  # the pool gives this connection to the next writer
            connection.exec_driver_sql("PRAGMA max_page_count = 1")
        noise = os.urandom(200_000).hex()
        with pytest.raises(StoreError, match=r"is full\. Free some space"):
            await store.record(a_turn([{"role": "user", "content": noise}]))
        with store.database.outside() as connection:
            connection.exec_driver_sql("PRAGMA max_page_count = 1000000")
        assert (await store.vote(a_vote(turn))).version == 1

    with_store(str(path), work)


def test_what_is_no_store_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("not a database, though long enough to look like one " * 100)
    with sqlite3.connect(tmp_path / "other.sqlite") as other:
        other.execute("CREATE TABLE cat (name)")
    other.close()
    for address, make, message in [
        (tmp_path / "text", True, "file is not a database"),
        (tmp_path / "other.sqlite", False, "is no store of `prospect serve`"),
        (tmp_path / "missing", False, "no such file"),
        (tmp_path, True, "is a folder; expected a file"),
        (tmp_path / "no" / "folder", True, "cannot be made: No such file or directory"),
        ("mysql://localhost/x", True, "mysql: no database that can be a store"),
        ("://", True, "expected a file, or postgresql://"),
        ("postgresql://someone:secret@127.0.0.1:1/x", True, r"someone:\*\*\*@127.0.0.1:1/x: "),
    ]:
        with pytest.raises(StoreError, match=message) as refused:
            Store.open(address, make=make)
        assert "secret" not in str(refused.value)


def test_a_store_that_cannot_keep_up_refuses_instead_of_filling_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prospect.collect.writer.MOST_WAITING", 4)
    path = tmp_path / "s.sqlite"

    async def work(store: Store) -> None:
        await store.record(turn := a_turn())
        with sqlite3.connect(path, isolation_level=None) as other:
            other.execute("BEGIN IMMEDIATE")
            waiting = [asyncio.ensure_future(store.vote(a_vote(turn, rater=str(i)))) for i in range(20)]
            done, _ = await asyncio.wait(waiting, timeout=1, return_when=asyncio.FIRST_EXCEPTION)
            other.execute("ROLLBACK")
        other.close()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        refused = [str(one) for one in results if isinstance(one, StoreError)]
        assert done and refused and all("4 writes wait already" in one for one in refused)
        assert len(await store.votes("main")) == 20 - len(refused)

    with_store(str(path), work)


def test_a_vote_that_nobody_waits_for_any_more_is_kept(store_address: str) -> None:
    turn = a_turn()

    async def work(store: Store) -> None:
        await store.record(turn)
        vote = asyncio.ensure_future(store.vote(a_vote(turn)))
        await asyncio.sleep(0)
        vote.cancel()
        await store.ready()  # behind it in the queue
        assert len(await store.votes("main")) == 1

    with_store(store_address, work)


def test_turns_are_looked_up_by_their_ids_and_not_among_all_of_a_tenant(tmp_path: Path) -> None:
    some = ", ".join("?" * 64)
    for statement in (
        f"SELECT said FROM turn WHERE tenant = ? AND id IN ({some})",
        f"UPDATE turn SET said = NULL WHERE tenant = ? AND id IN ({some})",
        f"UPDATE vote SET comment = NULL WHERE tenant = ? AND turn IN ({some})",
        f"UPDATE event SET detail = NULL WHERE tenant = ? AND turn IN ({some})",
    ):
        with (
            open_store(str(tmp_path / "s.sqlite"), rater_key=b"k" * 32) as store,
            store.database.reading() as connection,
        ):
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", ("main", *"x" * 64)).all()
        assert "(id=?)" in str(plan) or "(turn=?)" in str(plan), plan


def test_queries_are_built_by_the_function_that_adds_the_tenant() -> None:
    """Some have none: a key says whose it is, settings are the store's, a canary is held on turns of all tenants."""
    folder = Path(prospect.collect.__file__).parent
    found = {path.name for path in folder.glob("*.py") if re.search(r"(?<!_)\bselect\(", path.read_text())}
    assert found == {"tables.py", "keys.py", "settings.py", "arms.py"}
