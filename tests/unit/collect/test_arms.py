"""What the store knows of a canary, and that a canary which is worse is ended by what watches it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from collecting import NOW, a_turn, a_vote, fill, open_store, with_store
from prospect.collect.arms import RaterVotes, read_arms
from prospect.collect.database import Database
from prospect.collect.registry import Move, Registry
from prospect.collect.routes import Routes, roll_back_if_worse
from prospect.collect.store import Store
from prospect.collect.trial import look
from prospect.collect.turns import Turn, Vote
from prospect.collect.upstream import HttpUpstream
from prospect.errors import PromotionError
from prospect.feedback.frozen.pseudonym import pseudonym, rater_key

BECAUSE = Move("it is time", "anna")


def shown(arm: str, model: str, number: int, **fields: Any) -> Turn:
    usual = {"arm": arm, "model": model, "conversation": f"{arm}{number}", "ms_last": 100.0 + number}
    return a_turn(**{**usual, **fields})


def test_both_arms_are_counted_and_nothing_else_is(store_address: str) -> None:
    old = [shown("current", "old", number) for number in range(100)]
    new = [shown("canary", "new", number, ms_last=150.0 + number) for number in range(20)]
    more = [
        shown("canary", "new", 0, tenant="other"),  # another conversation, by its tenant
        shown("canary", "new", 1, ended="upstream_error", completion=None),
        shown("canary", "new", 2, ended="client_left", ms_last=9000.0),
        shown("canary", "before", 3), shown("current", "before", 4),
        shown("canary", "new", 5, created=NOW - timedelta(seconds=1)),
    ]  # fmt: skip
    votes = [
        a_vote(new[0], 1), a_vote(new[1], -1), a_vote(new[1], -1, "ben"), a_vote(new[2], -1), a_vote(new[2], 0),
        a_vote(old[0], -1), a_vote(more[0], 1), a_vote(more[1], -1), a_vote(more[3], 1), a_vote(more[5], 1),
    ]  # fmt: skip

    async def work(store: Store) -> None:
        await fill(store, *old, *new, *more, *votes)
        found = read_arms(store.database, "old", "new", NOW, 1.5)
        assert (found.current.turns, found.current.conversations, found.current.down) == (100, 100, 1)
        canary = found.canary
        assert (canary.turns, canary.errors, canary.conversations) == (22, 1, 21)
        assert (canary.voted, canary.downed, canary.up, canary.down) == (3, 1, 2, 2)
        assert found.current.p95_ms == 194.0 and found.slow_ms == 291.0
        assert (canary.timed, found.slow, canary.p95_ms) == (21, 0, 168.0)
        slower = read_arms(store.database, "old", "new", NOW, 0.8)
        assert (slower.slow_ms, slower.slow) == (pytest.approx(155.2), 14)
        anna, ben = (pseudonym(name, rater_key()) for name in ("anna", "ben"))
        assert sorted(found.raters) == sorted(
            [RaterVotes(anna, "current", 0, 1), RaterVotes(anna, "canary", 2, 1), RaterVotes(ben, "canary", 0, 1)]
        )

    with_store(store_address, work)


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """A registry in which `old` is current and `new` a canary for half of the conversations."""
    found = Registry(tmp_path / "registry")
    found.propose("old", "runs/old", BECAUSE)
    found.promote("old", BECAUSE)
    found.propose("new", "runs/new", BECAUSE)
    found.start_canary("new", 0.5, 0.05, BECAUSE)
    return found


def voted(up_of_ten: int, **arms: str) -> list[Turn | Vote]:
    """80 turns of each model that is named, each with a vote of another rater; of the canary by the share given."""
    made: list[Turn | Vote] = []
    now = datetime.now(UTC) + timedelta(seconds=1)
    for arm, model in arms.items():
        for number in range(80):
            turn = shown(arm, model, number, created=now)
            up = number % 10 < (up_of_ten if arm == "canary" else 8)
            made += [turn, a_vote(turn, 1 if up else -1, f"{arm}{number}")]
    return made


def test_a_canary_that_is_worse_is_ended_and_one_that_is_not_goes_on(registry: Registry, tmp_path: Path) -> None:
    def rolled_back(up_of_ten: int, name: str) -> str | None:
        address = str(tmp_path / name)
        with_store(address, lambda store: fill(store, *voted(up_of_ten, current="old", canary="new")))
        with open_store(address) as store:
            return roll_back_if_worse(registry, store.database)

    assert rolled_back(8, "good.sqlite") is None
    assert registry.read().canary is not None
    reason = rolled_back(1, "bad.sqlite")
    assert reason is not None and reason.startswith("its up-share is -70.0 (")
    models = registry.read()
    assert models.canary is None and models.current is not None and models.current.model == "old"
    assert models.history[-1].state == "retired" and models.history[-1].who == "prospect"
    assert models.history[-1].reason == f"worse: {reason}"
    assert rolled_back(1, "bad.sqlite") is None  # once


def test_a_look_needs_a_canary(tmp_path: Path) -> None:
    with open_store(str(tmp_path / "store.sqlite")) as store, pytest.raises(PromotionError, match="no canary is under"):
        look(store.database, Registry(tmp_path).read())


def test_routes_follow_the_registry_and_keep_what_they_had_when_it_breaks(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("prospect.collect.routes.BETWEEN_READS", 0.0)
    routes = Routes(registry.folder, HttpUpstream("http://127.0.0.1:1/v1"))
    current, canary = routes.now()
    assert current == "old" and canary is not None and (canary.model, canary.share) == ("new", 0.5)
    registry.promote("new", BECAUSE)
    assert routes.now() == ("new", None)
    good = registry.path.read_text()
    registry.path.write_text("{")
    assert routes.now() == ("new", None) and "not valid JSON" in caplog.text
    registry.path.write_text(good)
    registry.roll_back(BECAUSE)
    assert routes.now() == ("old", None)


def test_routes_of_an_empty_registry_leave_the_model_to_the_client(tmp_path: Path) -> None:
    assert Routes(tmp_path, HttpUpstream("http://127.0.0.1:1/v1")).now() == ("", None)


def test_the_counts_read_no_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All tenants are counted together, so that nothing but numbers may be asked for."""
    asked: list[str] = []
    address = str(tmp_path / "store.sqlite")
    with_store(address, lambda store: fill(store, *voted(5, current="old", canary="new")))
    database = Database(address)
    with database.reading() as connection:
        event.listen(connection.engine, "before_cursor_execute", lambda *call: asked.append(call[2]))
    read_arms(database, "old", "new", NOW, 1.5)
    database.close()
    assert asked and not any(word in sql for sql in asked for word in ("said", "answer", "comment", "correction"))
