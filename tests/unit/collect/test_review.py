"""The review queue: what waits for whom, who has it open, what is decided, and what becomes rows."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sqlite3
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, insert, select

from collecting import ANSWERED, NOW, a_turn, a_vote, after, fill, with_store
from prospect.collect.canary import SHADOW
from prospect.collect.export import Contents, export
from prospect.collect.purge import Purge
from prospect.collect.redaction import MARKED, Redaction
from prospect.collect.review import OPEN, STRATEGIES, Queue, Review
from prospect.collect.review_stats import review_stats
from prospect.collect.rows import UnknownTurnError, milliseconds
from prospect.collect.stats import model_stats
from prospect.collect.store import Store
from prospect.collect.tables import event, review, reward
from prospect.collect.turns import Turn
from prospect.errors import UsageError
from prospect.feedback.files.sources import load_feedback
from prospect.feedback.files.store.selection import Selection
from prospect.feedback.frozen.pseudonym import rater_key


def a_review(turn: Turn, verdict: int, reviewer: str = "ada", **fields: Any) -> Review:
    usual = {"turn": turn.id, "tenant": turn.tenant, "reviewer": reviewer, "verdict": verdict, "at": NOW}
    return Review(**{**usual, **fields})


async def decide(store: Store, *reviews: Review) -> list[tuple[Review, list[Any]]]:
    return [await Queue(store, one.tenant, one.reviewer).decide(one) for one in reviews]


async def opened(store: Store, strategy: Any = "random", reviewer: str = "ada", at: datetime = NOW, **how: Any) -> Any:
    found = await Queue(store, how.pop("tenant", "main"), reviewer, **how).open(strategy, at)
    return None if found is None else found.id


async def redacted(store: Store, id: str, *marked: str) -> dict[str, int]:
    return await store.write(lambda connection: Redaction(marked).apply(connection, "main", id, "ada", NOW))


def turns(count: int, **fields: Any) -> list[Turn]:
    """Return turns in the order of their ids."""
    made = [a_turn(conversation=f"c{i}", **fields) for i in range(count)]
    return sorted(made, key=lambda one: one.id)


async def order(store: Store, strategy: Any) -> list[str]:
    """Return the ids in the order in which a new reviewer gets them, passing each over."""
    found: list[str] = []
    while (id := await opened(store, strategy, f"new-{strategy}")) is not None:
        found.append(id)
        await Queue(store, "main", f"new-{strategy}").decide(a_review(a_turn(id=id), 0, f"new-{strategy}"))
    return found


def test_each_strategy_has_its_turns_in_its_order(store_address: str) -> None:
    plain, split, flagged, agreed, refused = turns(5)

    async def work(store: Store) -> None:
        await fill(store, plain, split, flagged, agreed, refused)
        await fill(store, a_vote(split, 1, "anna"), a_vote(split, -1, "bob", reason="wrong"))
        await fill(store, a_vote(flagged, -1, "bob", reason="unsafe"), a_vote(refused, -1, "bob", reason="refused"))
        await fill(store, a_vote(agreed, 1, "carl"), a_vote(refused, 0, "carl"))
        busy = turns(9)
        await fill(store, *busy, *(a_vote(turn, 1, "bob") for turn in busy))
        with store.database.writing() as connection:
            row = {"tenant": "main", "policy": "p", "at": 0}
            values = [
                {**row, "turn": turn.id, "value": value}
                for turn, value in ((plain, -2.0), (split, 0.5), (agreed, -0.1))
            ]
            connection.execute(insert(reward), values)
        assert await order(store, "random") == sorted(one.id for one in (plain, split, flagged, agreed, refused, *busy))
        assert await order(store, "disagreement") == [split.id]
        assert await order(store, "new_raters") == [split.id, agreed.id], "bob has twelve votes; carl took one back"
        assert await order(store, "margin") == [agreed.id, split.id, plain.id]
        assert await order(store, "flagged") == [flagged.id, refused.id]

    with_store(store_address, work)


def test_what_nobody_may_read_is_not_reviewed(store_address: str) -> None:
    unsaid, failed, empty = a_turn(consent=False), a_turn(ended="upstream_error"), a_turn(completion=None)
    gone, theirs, cut = a_turn(), a_turn(tenant="acme"), a_turn(ended="length", conversation="x")

    async def work(store: Store) -> None:
        await fill(store, unsaid, failed, empty, gone, theirs, cut)
        Purge(store.database, "main", rater_key()).turn(gone.id)
        assert await order(store, "random") == [cut.id]
        for turn in (unsaid, failed, empty, gone, dataclasses.replace(theirs, tenant="main")):
            with pytest.raises(UnknownTurnError):
                await decide(store, a_review(turn, 1))
            with pytest.raises(UnknownTurnError):
                await store.write(
                    lambda connection, id=turn.id: Redaction([]).apply(connection, "main", id, "ada", NOW)
                )

    with_store(store_address, work)


def test_what_nobody_saw_is_not_reviewed(store_address: str, tmp_path: Path) -> None:
    seen = a_turn(id="f" * 32)
    unseen = a_turn(id="0" * 32, arm=SHADOW, beside=seen.id, completion={**ANSWERED, "content": "Ask ada@example.org."})

    async def work(store: Store) -> None:
        await fill(store, seen, unseen)
        assert review_stats(store.database, "main", 2).waiting["random"] == 1
        assert await opened(store, reviewer="ada") == seen.id
        for refused in (decide(store, a_review(unseen, 1)), redacted(store, unseen.id)):
            with pytest.raises(UnknownTurnError):
                await refused
        kept = await store.turn("main", unseen.id)
        assert kept is not None and "ada@example.org" in str(kept.completion), "what was refused has changed nothing"
        assert await redacted(store, seen.id) == {"email": 1}, "the words go with those of the answer that was seen"

    with_store(store_address, work)


def test_of_another_tenant_nothing_is_seen_counted_or_exported(store_address: str, tmp_path: Path) -> None:
    ours, theirs = a_turn(), a_turn(tenant="acme")

    async def work(store: Store) -> None:
        await fill(store, ours, theirs, a_vote(theirs, -1, reason="unsafe"), a_vote(theirs, 1, "bob"))
        await decide(store, a_review(theirs, 1), a_review(theirs, -1, "bob"))
        assert [await opened(store, name) for name in STRATEGIES] == [ours.id, None, None, None, None]
        numbers = review_stats(store.database, "main", 2)
        assert (numbers.turns, numbers.reviewers, numbers.waiting["disagreement"]) == (0, 0, 0)
        assert numbers.among_reviewers is numbers.with_votes is None
        report = export(store.database, tmp_path / "o.jsonl", Selection(), Contents(reviewed=True))
        assert report.rows_in == 0
        # The same turn in both names: ada of one tenant is not ada of the other.
        assert await opened(store, "disagreement", "carl", tenant="acme") == theirs.id

    with_store(store_address, work)


def test_an_answer_gets_as_many_reviewers_as_asked_and_who_opened_it_keeps_a_place(store_address: str) -> None:
    first, second = turns(2)

    async def work(store: Store) -> None:
        await fill(store, first, second)
        assert [await opened(store, reviewer=name) for name in ("ada", "bob", "carl")] == [
            first.id,
            first.id,
            second.id,
        ]
        assert await opened(store, reviewer="ada") == first.id, "who comes back finds what was open"
        late = NOW + OPEN
        assert await opened(store, reviewer="dora", at=late - timedelta(milliseconds=1)) == second.id
        assert await opened(store, reviewer="emma", at=late) == first.id, "ten minutes are over"
        await decide(store, a_review(first, 1), a_review(first, 1, "bob"))
        assert await opened(store, reviewer="fred", at=late + OPEN) == second.id
        assert await opened(store, reviewer="gina", at=late + OPEN, reviewers=3) == first.id
        assert review_stats(store.database, "main", 2).waiting["random"] == 1, "what is only open still waits"

    with_store(store_address, work)


def test_reviewers_who_come_at_once_get_different_answers(store_address: str) -> None:
    made = turns(6)

    async def work(store: Store) -> None:
        await fill(store, *made)
        found = await asyncio.gather(*(opened(store, reviewer=f"r{i}", reviewers=1) for i in range(6)))
        assert sorted(found) == [turn.id for turn in made]

    with_store(store_address, work)


def test_of_one_reviewer_one_answer_is_open(store_address: str) -> None:
    first, second = turns(2)

    async def work(store: Store) -> None:
        await fill(store, first, second, a_vote(second, -1, reason="unsafe"))
        assert await opened(store, reviewers=1) == first.id
        assert await opened(store, "flagged", reviewers=1) == second.id
        assert await opened(store, reviewer="bob", reviewers=1) == first.id, "ada has gone on to another"
        with store.database.reading() as connection:
            seen = connection.execute(select(event.c.rater, event.c.turn).where(event.c.kind == "opened")).all()
        assert [tuple(one) for one in seen] == [("ada", first.id), ("ada", second.id), ("bob", first.id)]

    with_store(store_address, work)


def test_a_tie_of_reviewers_gets_one_verdict_more(store_address: str) -> None:
    turn = a_turn()

    async def work(store: Store) -> None:
        await fill(store, turn)
        await decide(store, a_review(turn, 1), a_review(turn, -1, "bob"))
        assert await opened(store, "random", "carl") is None
        assert await opened(store, "disagreement", "carl") == turn.id
        assert await opened(store, "disagreement", "dora") is None, "carl has it open"
        await decide(store, a_review(turn, 1, "carl"))
        assert await opened(store, "disagreement", "dora") is None

    with_store(store_address, work)


def test_a_reviewer_and_a_rater_who_disagree_are_a_disagreement(store_address: str) -> None:
    turn, alike = turns(2)

    async def work(store: Store) -> None:
        await fill(store, turn, alike, a_vote(turn, -1), a_vote(alike, -1))
        assert await order(store, "disagreement") == []
        await decide(store, a_review(turn, 1), a_review(alike, -1))
        assert await opened(store, "disagreement", "bob") == turn.id
        assert review_stats(store.database, "main", 2).waiting["disagreement"] == 1

    with_store(store_address, work)


def test_a_verdict_can_be_changed_and_the_history_stays(store_address: str) -> None:
    turn = a_turn()

    async def work(store: Store) -> None:
        await fill(store, turn, a_vote(turn, -1, comment="No."))
        ((passed, nothing),) = await decide(store, a_review(turn, 0))
        ((first, votes),) = await decide(store, a_review(turn, 1, note="Fine.\0"))
        ((second, _),) = await decide(store, a_review(turn, -1))
        assert [one.version for one in (passed, first, second)] == [1, 2, 3]
        assert nothing == [] and [(vote.value, vote.comment) for vote in votes] == [(-1, "No.")]
        with store.database.reading() as connection:
            (row,) = connection.execute(select(review)).all()
            history = connection.execute(select(event.c.detail).where(event.c.kind == "review")).scalars()
            assert [json.loads(one)["verdict"] for one in history] == [0, 1, -1]
        assert (row.verdict, row.blind, row.note) == (-1, 1, None), "what was said before the votes were shown stays"
        assert await opened(store) is None
        # Reviewers' verdicts are no votes.
        (numbers,) = model_stats(store.database, "main")
        assert (numbers.up, numbers.down) == (0, 1)
        assert len(await store.votes("main")) == 1

    with_store(store_address, work)


def test_numbers_of_the_review_by_hand(store_address: str) -> None:
    made = turns(5)

    async def work(store: Store) -> None:
        await fill(store, *made, *(a_vote(turn, value) for turn, value in zip(made, (1, 1, -1, -1), strict=False)))
        await fill(store, a_vote(made[3], 1, "bob"))  # a tie of raters is compared with nothing
        await decide(store, *(a_review(turn, value) for turn, value in zip(made, (1, -1, -1, 1, 1), strict=True)))
        await decide(store, *(a_review(turn, value, "bob") for turn, value in zip(made, (1, -1, 1, 1), strict=False)))
        numbers = review_stats(store.database, "main", 2)
        assert (numbers.turns, numbers.good, numbers.bad, numbers.passed_over, numbers.reviewers) == (5, 6, 3, 0, 2)
        # Items of two verdicts: ++ -- -+ ++; p_o = 3/4, p_+ = 5/8, p_e = 25/64 + 9/64.
        assert numbers.among_reviewers is not None and numbers.among_reviewers.kappa is not None
        assert numbers.among_reviewers.rate.rate == 0.75
        assert numbers.among_reviewers.kappa.value == pytest.approx((3 / 4 - 34 / 64) / (1 - 34 / 64))
        # Majorities: + - (tie) + +; of votes + + - (tie): two turns have both.
        assert numbers.with_votes is not None
        assert (numbers.with_votes.rate.rate, numbers.with_votes.rate.n) == (0.5, 2)
        json.dumps(numbers.as_json())

    with_store(store_address, work)


def test_the_reviewers_majority_becomes_a_row_that_says_whose_it_is(store_address: str, tmp_path: Path) -> None:
    good, bad, tied, passed, unread = turns(5, ended="length")
    output = tmp_path / "o.jsonl"

    async def work(store: Store) -> Any:
        await fill(store, good, bad, tied, passed, unread, a_vote(bad, 1), a_vote(unread, 1))
        await decide(store, a_review(good, 1), a_review(bad, -1), a_review(bad, -1, "bob"), a_review(bad, 1, "carl"))
        await decide(store, a_review(tied, 1), a_review(tied, -1, "bob"), a_review(passed, 0))
        return export(store.database, output, Selection(), Contents(reviewed=True))

    report = with_store(store_address, work)
    assert (report.rows_in, report.kept) == (3, 2)
    assert report.dropped == {"as many reviewers for it as against it": 1}
    rows = {row.source_id: row for row in load_feedback(output)}
    assert {id: row.desirable for id, row in rows.items()} == {good.id: True, bad.id: False}
    row = rows[bad.id]
    assert (row.source, row.reason, row.rater, row.finished) == ("prospect-review", "2 of 3 reviewers", None, False)
    with pytest.raises(UsageError, match="pairs and reviewed do not go into one file"):
        Contents(reviewed=True, pairs=True)


def test_a_purge_erases_notes_and_rewards(store_address: str) -> None:
    turn = a_turn()

    async def work(store: Store) -> None:
        await fill(store, turn)
        await decide(store, a_review(turn, -1, note="says zebra"))
        with store.database.writing() as connection:
            connection.execute(
                insert(reward),
                {"turn": turn.id, "tenant": "main", "policy": "p", "value": 1.0, "at": milliseconds(NOW)},
            )
        Purge(store.database, "main", rater_key()).turn(turn.id)
        with store.database.reading() as connection:
            (row,) = connection.execute(select(review)).all()
            assert (row.verdict, row.note) == (-1, None)
            assert connection.execute(select(reward)).first() is None
            assert connection.execute(select(event.c.detail)).scalars().all() == [None]

    with_store(store_address, work)


def test_words_are_taken_out_of_the_whole_conversation_and_it_goes_on(store_address: str) -> None:
    said = [{"role": "user", "content": "I am Zoe (zoe@example.org). Where is it?"}]
    first = a_turn(
        said, {**ANSWERED, "content": "On its way, Zoe."}, conversation="c", sampling={"stop": ["Zoe:"], "n": 1}
    )
    second = after(first, "And now?", "Soon, Zoe. zoe@example.org")
    other = a_turn(said, conversation="d")

    async def work(store: Store) -> None:
        await fill(store, first, second, other, a_vote(second, -1, comment="Zoe says no", reason="wrong"))
        await decide(store, a_review(first, 1, note="Zoe again"))
        found = await redacted(store, second.id, "Zoe", "user", "wrong")
        assert found == {"marked": 6, "email": 2}
        kept = await store.turn("main", second.id)
        assert kept is not None
        assert [one["content"] for one in kept.messages] == [
            f"I am {MARKED} ([EMAIL]). Where is it?", f"On its way, {MARKED}.", "And now?",
        ]  # fmt: skip
        assert [one["role"] for one in kept.messages] == ["user", "assistant", "user"], "roles are no words"
        assert kept.completion == {**ANSWERED, "content": f"Soon, {MARKED}. [EMAIL]"}
        begun = await store.turn("main", first.id)
        assert begun is not None and begun.sampling == {"stop": [f"{MARKED}:"], "n": 1}
        with store.database.reading() as connection:
            details = " ".join(connection.execute(select(event.c.detail)).scalars())
            notes = connection.execute(select(review.c.note)).scalars().all()
        assert "Zoe" not in details and '"reason": "wrong"' in details and notes == [f"{MARKED} again"]
        assert (await store.votes("main"))[0].comment == f"{MARKED} says no"
        untouched = await store.turn("main", other.id)
        assert untouched is not None and "Zoe" in str(untouched.messages)
        # The client sends its own history again; what is new alone is kept.
        third = after(second, "Thank you.", "You are welcome.")
        await fill(store, third)
        kept = await store.turn("main", third.id)
        assert kept is not None and kept.parent == second.id and "Zoe" not in str(kept.messages)

    with_store(store_address, work)


def test_a_conversation_may_have_more_turns_than_a_statement_takes_values(tmp_path: Path) -> None:
    many = [a_turn([{"role": "user", "content": f"{i} ada@example.org"}], conversation="c") for i in range(600)]

    async def work(store: Store) -> None:
        await fill(store, *many)

        def apply(connection: Connection) -> dict[str, int]:
            file: Any = connection.connection.driver_connection
            usual = file.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 512)  # usually 32,766
            try:
                return Redaction([]).apply(connection, "main", many[0].id, "ada", NOW)
            finally:
                file.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, usual)

        assert await store.write(apply) == {"email": 600}

    with_store(str(tmp_path / "store.sqlite"), work)
