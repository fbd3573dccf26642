"""With `redacted`, personal data is gone before anything is written, and branches are found all the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from collecting import NOW, a_turn, a_vote, after, an_event, fill, open_store, with_store
from prospect.collect.export import Contents, export
from prospect.collect.purge import Purge
from prospect.collect.review import Queue, Review
from prospect.collect.store import Store
from prospect.collect.turns import chain
from prospect.errors import StoreError
from prospect.feedback.files.sources import load_feedback
from prospect.feedback.files.store.selection import Selection
from prospect.feedback.frozen.pseudonym import rater_key

MAIL = "anna.b@example.org"


def said(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def everything(store: Store) -> str:
    """Return all that the tables hold, as text."""
    found = []
    with store.database.reading() as connection:
        for table in ("turn", "vote", "event", "setting", "review"):
            for row in connection.execute(text(f"SELECT * FROM {table}")):
                found += [bytes(cell).decode() if isinstance(cell, bytes | memoryview) else str(cell) for cell in row]
    return "\n".join(found)


async def fill_with_mail(store: Store) -> list[Any]:
    """Write a conversation, a vote and an event that say the address wherever people can say anything."""
    first = a_turn(
        [{"role": "system", "content": "Be kind."}, said([{"type": "text", "text": f"I am {MAIL}."}])],
        {"role": "assistant", "content": f"Hello {MAIL}, call +49 30 1234567."},
        conversation=f"chat of {MAIL}",
        tools=[{"type": "function", "function": {"name": "look", "description": f"Ask {MAIL}"}}],
        sampling={"stop": [MAIL]},
    )
    second = after(first, f"Write to {MAIL}!", "Done.", tools=first.tools)
    plain = a_turn(f"{MAIL} said", f"that {MAIL}")
    await fill(store, first, second, plain)
    vote = a_vote(second, -1, comment=f"not {MAIL}", correction=f"To {MAIL}: hello")
    for _ in range(2):  # the same request again is known
        assert (await store.vote(vote, key=f"key of {MAIL}")).version == 1
    await store.event(an_event(second, "edited", detail={"note": MAIL}))
    review = Review(turn=plain.id, tenant="main", reviewer="ada", verdict=1, at=NOW, note=f"Ask {MAIL}")
    await Queue(store, "main", "ada").decide(review)
    return [first, second, plain]


def test_nothing_of_it_is_written_and_the_next_request_finds_its_turn(store_address: str, tmp_path: Path) -> None:
    async def work(store: Store) -> None:
        first, second, _ = await fill_with_mail(store)
        found = everything(store)
        assert MAIL not in found and "1234567" not in found and "[EMAIL]" in found and "[PHONE]" in found
        kept = await store.turn("main", second.id)
        assert kept is not None and kept.parent == first.id
        assert [message["content"] for message in kept.messages] == [  # type: ignore[index]
            "Be kind.", "I am [EMAIL].", "Hello [EMAIL], call [PHONE].", "Write to [EMAIL]!"
        ]  # fmt: skip
        report = export(store.database, tmp_path / "o.jsonl", Selection(), Contents(corrections=True))
        assert report.why.startswith("tenant main; texts were written redacted since 20")
        assert all(
            MAIL not in line and "[EMAIL]" in line for line in Path(tmp_path / "o.jsonl").read_text().split("\n")[:-1]
        )
        assert {row.completion[0].content for row in load_feedback(tmp_path / "o.jsonl")} == {
            "Done.",
            "To [EMAIL]: hello",
        }
        purge = Purge(store.database, "main", rater_key())
        assert purge.conversation(f"chat of {MAIL}").turns == 2

    with open_store(store_address, text="redacted"):
        pass
    with_store(store_address, work)  # what the store was told holds for who opens it later


def test_histories_that_differ_in_an_address_alone_are_not_taken_for_one(store_address: str) -> None:
    anna, bob = (a_turn([said(f"I am {name}@example.org.")], rater=None, conversation="c") for name in ("anna", "bob"))

    async def work(store: Store) -> None:
        later = after(bob, "And now?", "Soon.", rater=None)
        await fill(store, anna, later)
        first, kept = [await store.turn("main", turn.id) for turn in (anna, later)]
        assert first is not None and kept is not None
        assert kept.parent is None and len(kept.messages) == 3 and MAIL not in everything(store)

    with open_store(store_address, text="redacted"):
        pass
    with_store(store_address, work)


def test_whole_texts_are_kept_until_the_store_is_told_otherwise(store_address: str) -> None:
    async def work(store: Store) -> None:
        (first, *_) = await fill_with_mail(store)
        kept = await store.turn("main", first.id)
        assert kept is not None and kept.completion == first.completion
        with store.database.reading() as connection:
            assert not connection.execute(text("SELECT 1 FROM setting WHERE name = 'store_text'")).all()

    with_store(store_address, work)
    for kept, modes in (("redacted", 1), ("redacted", 1), ("whole", 2), (None, 2)):
        with open_store(store_address, text=kept) as store:
            assert store.redacts == (kept == "redacted")
            with store.database.reading() as connection:
                query = text("SELECT value FROM setting WHERE name = 'store_text'")
                assert len(json.loads(connection.execute(query).scalar_one())) == modes
    with pytest.raises(StoreError, match="expected whole or redacted"), open_store(store_address, text="none"):
        pass


def test_the_hash_of_a_history_tells_nothing_without_the_key() -> None:
    turn = a_turn()
    with_key, other = chain(turn, b"one"), chain(turn, b"two")
    assert with_key.asked != other.asked and with_key.reach != other.reach
    assert chain(turn, b"one") == with_key
