"""What of the store becomes rows, and what is only counted."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from collecting import ANSWERED, ASKED, NOW, a_turn, a_vote, after, an_event, fill, open_store, with_store
from prospect.collect.export import Contents, export
from prospect.collect.store import Store
from prospect.errors import DataError, UsageError
from prospect.feedback.files.sources import load_feedback
from prospect.feedback.files.store.raters import Record, most_votes, one_sided
from prospect.feedback.files.store.selection import Selection
from prospect.feedback.frozen.pseudonym import pseudonym, rater_key
from prospect.feedback.importers.report import ImportReport
from prospect.feedback.records import Feedback, Paired, Unpaired


def exported(
    address: str, output: Path, *things: Any, selection: Selection | None = None, **what: Any
) -> tuple[ImportReport, list[Any]]:
    """Fill a store, export it, and return the account with the rows."""

    async def work(store: Store) -> ImportReport:
        await fill(store, *things)
        return export(store.database, output, selection or Selection(), Contents(**what))

    report = with_store(address, work)
    return report, load_feedback(output) if report.output else []


def test_a_vote_becomes_a_row_with_its_branch_and_where_it_is_from(store_address: str, tmp_path: Path) -> None:
    first = a_turn(conversation="c", tools=[{"type": "function", "function": {"name": "look"}}])
    second = after(first, "And now?", "Soon.", ended="length", tools=first.tools)
    vote = a_vote(second, -1, reason="too_long", comment="three words would do")
    report, (row,) = exported(store_address, tmp_path / "o.jsonl", first, second, vote)
    assert report.rows_in == report.kept == 1
    assert isinstance(row, Unpaired) and not row.desirable and not row.finished and row.weight == 1
    assert [message.as_dict() for message in row.prompt] == list(second.messages)
    assert [message.as_dict() for message in row.completion] == [second.completion]
    assert row.tools is not None and list(row.tools) == list(first.tools)
    assert row.rater == pseudonym("anna", rater_key())
    assert (row.source, row.model, row.time) == ("prospect", "m", NOW)
    assert row.reason == "too long: three words would do"
    assert row.source_id == f"{second.id}:{row.rater}" and row.id == f"prospect:{row.source_id}"


def test_what_cannot_become_a_row_is_counted_by_its_reason(store_address: str, tmp_path: Path) -> None:
    good, unsaid, failed = a_turn(), a_turn(consent=False), a_turn(ended="upstream_error")
    empty, picture = a_turn(completion=None), a_turn([{"role": "user", "content": [{"type": "image_url"}]}])
    back = a_turn()
    turns = [good, unsaid, failed, empty, picture, back]
    votes = [*map(a_vote, turns), a_vote(back, 0)]
    report, rows = exported(store_address, tmp_path / "o.jsonl", *turns, *votes)
    assert [row.source_id.partition(":")[0] for row in rows] == [good.id]
    assert report.dropped == {
        "no consent": 1, "the upstream failed": 1, "no answer": 1, "prompt cannot be read as text": 1,
        "vote taken back": 1,
    }  # fmt: skip


def test_a_correction_becomes_a_row_only_when_asked(store_address: str, tmp_path: Path) -> None:
    turn = a_turn()
    vote = a_vote(turn, -1, correction="It is in the next street.")
    assert exported(store_address, tmp_path / "a.jsonl", turn, vote)[0].rows_out == 1
    report, rows = exported(store_address, tmp_path / "b.jsonl", corrections=True)
    assert report.corrections == 1
    corrected = next(row for row in rows if row.desirable)
    assert corrected.completion[0].content == "It is in the next street." and corrected.model is None


def test_drafts_and_answers_asked_for_again_become_pairs_only_when_asked(store_address: str, tmp_path: Path) -> None:
    drafts = [a_turn(conversation="c", completion={**ANSWERED, "content": f"Draft {i}."}) for i in range(2)]
    why = {**ASKED, "content": "Why?"}
    again = [
        a_turn([why], {**ANSWERED, "content": f"Answer {i}."}, conversation="c", created=NOW + timedelta(minutes=i))
        for i in range(3)
    ]
    events = [
        an_event(drafts[1], "preferred", other=drafts[0].id, detail={"order": [1, 0]}),
        *(an_event(turn, "regenerated") for turn in again[:2]),
        an_event(again[2], "copied"),
    ]
    _, (pair,) = exported(store_address, tmp_path / "a.jsonl", *drafts, *again, *events, pairs=True)
    assert isinstance(pair, Paired) and not pair.relative and pair.weight == 1
    assert (pair.chosen[0].content, pair.rejected[0].content) == ("Draft 1.", "Draft 0.")
    _, rows = exported(store_address, tmp_path / "b.jsonl", pairs=True, regenerated=0.3)
    implied = [(row.chosen[0].content, row.rejected[0].content, row.weight) for row in rows if row.relative]
    assert sorted(implied) == [("Answer 2.", "Answer 0.", 0.3), ("Answer 2.", "Answer 1.", 0.3)] and len(rows) == 3
    # Events are never thumbs.
    assert exported(store_address, tmp_path / "c.jsonl")[0].rows_in == 0
    for wrong in ({"regenerated": 0.3}, {"pairs": True, "regenerated": 1.0}, {"pairs": True, "corrections": True}):
        with pytest.raises(UsageError):
            Contents(**wrong)


def test_a_store_that_is_a_source_gives_the_rows_of_its_export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PROSPECT_RATER_KEY", "the key of the tests")
    draw = random.Random(0)
    things: list[Any] = []
    for number in range(30):
        turn = a_turn(
            [{**ASKED, "content": f"Question {number}?"}], conversation=f"c{number % 7}", consent=number % 5 > 0
        )
        things += [turn, a_vote(turn, draw.choice([1, -1, 0]), rater=f"r{draw.randrange(4)}", comment="so")]
        things += [
            later := after(turn, "More?", "No.", ended="length"),
            a_vote(later, draw.choice([1, -1]), rater=f"s{number % 3}"),
        ]
    picture = a_turn([{"role": "user", "content": [{"type": "image_url"}]}])
    store, output = tmp_path / "s.sqlite", tmp_path / "o.jsonl"
    report, rows = exported(str(store), output, *things, picture, a_vote(picture))
    assert report.rows_out > 30
    assert [without_place(row) for row in load_feedback(store)] == [without_place(row) for row in rows]
    assert load_feedback(store)[0].where.startswith(f"{store}:")
    assert capsys.readouterr().err.count(f"{store}: {len(rows)} of {report.rows_in} votes are used") == 1


def without_place(row: Feedback) -> Feedback:
    return dataclasses.replace(row, where="")


def test_rows_of_several_tenants_never_mix(store_address: str, tmp_path: Path) -> None:
    turns = [a_turn(tenant=tenant) for tenant in ("main", "acme")]
    things = [*turns, *(a_vote(turn, rater=turn.tenant) for turn in turns)]
    selection = Selection(tenant="acme")
    _, (row,) = exported(store_address, tmp_path / "o.jsonl", *things, selection=selection)
    assert row.source_id.startswith(turns[1].id)
    assert exported(store_address, tmp_path / "p.jsonl", selection=Selection(tenant="none"))[0].rows_in == 0
    if "://" not in store_address:
        with pytest.raises(DataError, match="holds turns of 2 tenants"):
            load_feedback(store_address)


def test_a_source_that_is_no_store_or_a_newer_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    path.write_bytes(b"")
    with pytest.raises(DataError, match="is no store of"):
        load_feedback(path)
    path.write_text("nothing of the kind" * 100)
    with pytest.raises(DataError, match="cannot be read as a store"):
        load_feedback(path)
    path.unlink()
    with open_store(str(path), rater_key=b"k" * 32) as store, store.database.writing() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(DataError, match="has schema 9999, and this program knows those up to"):
        load_feedback(path)


def test_only_votes_of_the_time_are_exported(store_address: str, tmp_path: Path) -> None:
    turns = [a_turn() for _ in range(3)]
    votes = [a_vote(turn, at=NOW + timedelta(days=day)) for day, turn in enumerate(turns)]
    selection = Selection(since=NOW + timedelta(days=1), until=NOW + timedelta(days=2))
    _, (row,) = exported(store_address, tmp_path / "o.jsonl", *turns, *votes, selection=selection)
    assert row.source_id.startswith(turns[1].id)


def many(votes: dict[str, list[int]], spread: Callable[[int], timedelta] = lambda n: timedelta(minutes=n)) -> list[Any]:
    """Return a turn for every vote of every rater."""
    things: list[Any] = []
    for rater, values in votes.items():
        for number, value in enumerate(values):
            asked = [{"role": "user", "content": f"Where is parcel {len(things)}?"}]
            things += [turn := a_turn(asked), a_vote(turn, value, rater=rater, at=NOW + spread(number))]
    return things


def test_raters_who_only_vote_one_way_or_in_bursts_are_left_out(store_address: str, tmp_path: Path) -> None:
    mixed = {f"r{i}": [1, -1] * 10 for i in range(10)}
    things = many(mixed | {"up": [1] * 12, "down": [-1] * 12, "few": [1] * 9})
    things += many({"fast": [1, -1] * 16}, lambda n: timedelta(milliseconds=n))
    report, _ = exported(store_address, tmp_path / "o.jsonl", *things)
    assert report.dropped == {
        "rater with a burst of votes": 32, "rater who only votes down": 12, "rater who only votes up": 12
    }  # fmt: skip
    assert report.kept == 200 + 9
    everybody = exported(store_address, tmp_path / "p.jsonl", selection=Selection(quarantine=False, share=1))[0]
    assert everybody.kept == 200 + 9 + 12 + 12 + 32


def test_no_rater_has_more_than_the_share_and_the_same_votes_are_drawn_again(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("PROSPECT_RATER_KEY", "the key of the tests")
    things = many({f"r{i}": [1, -1] * 15 for i in range(20)} | {"loud": [1, -1] * 200})
    store = str(tmp_path / "s.sqlite")
    report, rows = exported(store, tmp_path / "o.jsonl", *things)
    loud = [row for row in rows if row.rater == pseudonym("loud", rater_key())]
    assert 40 < len(loud) < 95  # 66 of 666 is a tenth; each is drawn by itself
    assert report.dropped == {"beyond one rater's share": 400 - len(loud)}
    exported(store, tmp_path / "p.jsonl")
    assert (tmp_path / "p.jsonl").read_bytes() == (tmp_path / "o.jsonl").read_bytes()


def test_votes_of_raters_who_are_new_weigh_nothing(store_address: str, tmp_path: Path) -> None:
    things = many({"old": [1, -1, 1], "new": [1, -1]})
    _, rows = exported(store_address, tmp_path / "o.jsonl", *things, selection=Selection(new_raters=3))
    weights = {(row.rater, row.weight) for row in rows}
    assert weights == {(pseudonym("old", rater_key()), 1.0), (pseudonym("new", rater_key()), 0.0)}


@pytest.mark.parametrize(
    ("counts", "share", "most"),
    [
        ([], 0.1, None),
        ([10] * 20, 0.1, None),  # all within it
        ([1000, 1000], 0.1, None),  # too few raters for any limit
        ([1000] + [60] * 20, 0.1, 133),  # 133 <= 0.1 * (133 + 1200)
        ([1000] + [1] * 20, 0.1, 50),  # never below fifty
        ([1000] * 11, 1.0, None),
    ],
)
def test_the_most_votes_of_one_rater(counts: list[int], share: float, most: int | None) -> None:
    assert most_votes(counts, share) == most


def test_one_sidedness_is_held_against_what_others_do() -> None:
    crowd = {f"r{i}": Record(90, 100) for i in range(10)}
    assert one_sided(crowd | {"a": Record(40, 40)}) == {}  # .9 ** 40 is 1.5 %
    assert set(one_sided(crowd | {"a": Record(80, 80)})) == {"a"}
    assert set(one_sided(crowd | {"a": Record(0, 10)})) == {"a"}
    assert one_sided(crowd | {"a": Record(0, 9)}) == {}
    assert one_sided({"a": Record(500, 500)}) == {}  # nobody to hold it against


def test_personal_data_is_replaced_when_asked(store_address: str, tmp_path: Path) -> None:
    turn = a_turn([{**ASKED, "content": "I am anna@example.org."}])
    report, _ = exported(store_address, tmp_path / "o.jsonl", turn, a_vote(turn, comment="b@example.org"), redact=True)
    assert sum(report.redacted.values()) == 2 and "example.org" not in (tmp_path / "o.jsonl").read_text()


def test_an_export_is_remembered_with_its_hash(store_address: str, tmp_path: Path) -> None:
    from prospect.collect.export import exports_with
    from prospect.feedback.files.manifest import file_hash

    turns = [a_turn() for _ in range(3)]
    output = tmp_path / "o.jsonl"

    async def work(store: Store) -> None:
        await fill(store, *turns, *map(a_vote, turns[:2]))
        export(store.database, output, Selection(), Contents())
        export(store.database, None, Selection(), Contents())
        assert exports_with(store.database, "main", [turns[0].id]) == [(str(output), file_hash(output))]
        assert exports_with(store.database, "main", [turns[2].id]) == []
        assert exports_with(store.database, "other", [turns[0].id]) == []
        with store.database.reading() as connection:
            settings = json.loads(connection.exec_driver_sql("SELECT settings FROM export").scalar_one())
        assert settings["tenant"] == "main" and settings["share"] == 0.1

    with_store(store_address, work)


MANY = (
    "The parcel left our house on Monday and will be with you by {}, as the driver told us this morning, who had it in "
    "the van behind two others, and who will ring at your door twice before he takes it to the shop at the corner"
)


def votes_on_copies(count: int, answer: str = MANY, value: int = 1) -> list[Any]:
    """Return turns whose answers differ in a word, each with a vote of another rater."""
    asked = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Where is it?"}]
    turns = [
        a_turn(asked, {"role": "assistant", "content": answer.format(f"day {i}")}, rater=f"r{i}") for i in range(count)
    ]
    return [*turns, *(a_vote(turn, value, rater=turn.rater, correction="Soon, I hope.") for turn in turns)]


def test_votes_on_nearly_the_same_texts_are_capped_and_counted(store_address: str, tmp_path: Path) -> None:
    copies = votes_on_copies(30)
    others = votes_on_copies(5, "Nobody knows what became of it, but I have asked the depot twice, {}.", -1)
    report, rows = exported(store_address, tmp_path / "a.jsonl", *copies, *others)
    assert report.dropped == {"beyond the votes on nearly the same texts": 10}
    assert sum(row.desirable for row in rows) == 20 and len(rows) == 25
    again, same = exported(store_address, tmp_path / "b.jsonl")
    assert [row.id for row in same] == [row.id for row in rows] and again.kept == 25
    report, rows = exported(store_address, tmp_path / "c.jsonl", selection=Selection(duplicates=3), corrections=True)
    assert report.kept == 6 and report.corrections == 6 and len(rows) == 12  # corrections go with their votes
    assert exported(store_address, tmp_path / "d.jsonl", selection=Selection(duplicates=0))[0].kept == 35


def test_a_store_that_is_read_directly_has_the_same_cap(tmp_path: Path) -> None:
    address = str(tmp_path / "s.sqlite")
    _, rows = exported(address, tmp_path / "a.jsonl", *votes_on_copies(30))
    assert [row.id for row in load_feedback(address)] == [row.id for row in rows] and len(rows) == 20


def test_the_cap_looks_at_the_last_question_with_the_answer(store_address: str, tmp_path: Path) -> None:
    questions = ["Where is the red parcel that my aunt sent", "Who drives the van in our street"] * 3
    turns = [
        a_turn([{"role": "user", "content": f"{asked} " * 9}], {**ANSWERED, "content": MANY}, rater=f"r{i}")
        for i, asked in enumerate(questions)
    ]
    votes = [a_vote(turn, rater=turn.rater) for turn in turns]
    report, _ = exported(store_address, tmp_path / "a.jsonl", *turns, *votes, selection=Selection(duplicates=2))
    assert report.kept == 4
