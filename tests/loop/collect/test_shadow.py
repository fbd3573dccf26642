"""A model that answers again, unseen: what it says stands beside what people saw, and is no verdict's object."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from collecting import NOW, a_turn
from prospect.collect import shadow
from prospect.collect.arms import count_model, read_arms
from prospect.collect.canary import Canary
from prospect.collect.export import Contents, export
from prospect.collect.purge import Purge
from prospect.collect.stats import model_stats
from prospect.feedback.files.store.selection import Selection
from serving import eventually
from upstreams import FakeUpstream

ALL = Canary("openai-cut", 1.0)


def shadows(one: Any, count: int = 1) -> list[tuple[Any, ...]]:
    """Return id, model and how it ended of the shadow's turns, once there are so many."""
    query = "select id, model, ended from turn where arm = 'shadow'"
    return eventually(lambda: len(found := one.rows(query)) == count and found)


@pytest.mark.parametrize("stream", [False, True])
def test_its_answer_stands_beside_the_one_that_people_saw(
    stream: bool, desk: Callable[..., Any], upstream: FakeUpstream
) -> None:
    one = desk(model="openai-stream" if stream else "openai", shadow=ALL)
    seen = one.chat("any", stream=stream, rater="ada")
    [(id, model, ended)] = shadows(one)
    assert (model, ended) == ("openai-cut", "length")
    assert seen.headers["x-prospect-model"] == one.rows("select model from turn where arm = 'current'")[0][0]
    assert id not in seen.text + str(seen.headers)
    groups = one.rows("select conversation, sibling_group, parent, rater from turn")
    assert len(groups) == 2 and groups[0] == groups[1] and groups[0][1] is not None
    asked, again = (request.body for request in upstream.asked)
    assert again["messages"] == asked["messages"] and "stream" not in again
    assert upstream.asked[1].headers.keys() <= {"host", "content-type", "accept-encoding", "content-length", "accept"}


def test_nobody_votes_on_it_and_it_counts_for_no_arm(desk: Callable[..., Any], tmp_path: Path) -> None:
    one = desk(model="openai", shadow=ALL)
    turn = one.chat("any").headers["x-prospect-turn"]
    [(id, *_)] = shadows(one)
    for path, said in (("feedback", {"value": 1}), ("events", {"kind": "regenerated"})):
        assert one.client.post(f"/v1/{path}", json={"id": id, **said}).status_code == 404
        assert one.client.post(f"/v1/{path}", json={"id": turn, **said}).status_code == 200
    arms = read_arms(one.store.database, "openai", "openai-cut", NOW.replace(year=2000), 2.0)
    assert (arms.current.turns, arms.canary.turns) == (1, 0)
    assert count_model(one.store.database, "openai-cut").turns == 0
    assert {row.arm: row.coverage is None for row in model_stats(one.store.database, "main")} == {
        "current": False,
        "shadow": True,
    }
    thumbs = export(one.store.database, tmp_path / "votes.jsonl", Selection(share=1, quarantine=False), Contents())
    assert (thumbs.rows_in, thumbs.kept) == (1, 1)
    # Its answer came after the one that was asked for again, and is still none that anybody kept.
    pairs = export(one.store.database, None, Selection(), Contents(pairs=True, regenerated=0.5))
    assert pairs.rows_in == 0


def test_what_a_reviewer_prefers_is_a_pair(desk: Callable[..., Any], tmp_path: Path) -> None:
    one = desk(model="openai", shadow=ALL)
    turn = one.chat("any").headers["x-prospect-turn"]
    [(id, *_)] = shadows(one)
    said = {"id": id, "kind": "preferred", "other": turn, "rater": "eve"}
    assert one.client.post("/v1/events", json=said).status_code == 200
    pairs = export(one.store.database, tmp_path / "pairs.jsonl", Selection(), Contents(pairs=True))
    assert (pairs.rows_in, pairs.kept) == (1, 1)


def test_a_conversation_goes_on_from_what_people_saw(desk: Callable[..., Any]) -> None:
    one = desk(model="openai", shadow=Canary("openai", 1.0))  # both say the same
    asked = [{"role": "user", "content": "?"}]
    first = one.client.post("/v1/chat/completions", json={"messages": asked})
    shadows(one)
    more = [*asked, first.json()["choices"][0]["message"], {"role": "user", "content": "And?"}]
    one.client.post("/v1/chat/completions", json={"messages": more})
    shadows(one, 2)
    parents = one.rows("select arm, parent from turn where parent is not null")
    assert sorted(parents) == [("current", first.headers["x-prospect-turn"]), ("shadow", parents[0][1])]


def test_a_purge_takes_it_along_and_it_does_not_come_after(desk: Callable[..., Any]) -> None:
    one = desk(model="openai", shadow=ALL)
    turn = one.chat("any").headers["x-prospect-turn"]
    shadows(one)
    assert Purge(one.store.database, "main", b"r" * 32).turn(turn).turns == 2
    assert one.rows("select count(*) from turn where said is not null or answer is not null") == [(0,)]

    async def late() -> None:
        await one.store.record(a_turn(arm="shadow", beside=turn))

    with pytest.raises(Exception, match="its shadow is not kept"):
        asyncio.run(late())


@pytest.mark.parametrize(
    ("how", "headers", "model"),
    [
        ({"consent": False}, {}, "openai"),  # its text is not kept: nothing could be compared
        ({}, {"consent": "no"}, "openai"),
        ({"shadow": Canary("openai-cut", 0.0)}, {}, "openai"),
        ({}, {}, "drops"),
    ],
)
def test_what_could_not_be_compared_is_not_asked_again(
    how: dict[str, Any], headers: dict[str, str], model: str, desk: Callable[..., Any], upstream: FakeUpstream
) -> None:
    one = desk(**{"model": model, "shadow": ALL, **how})
    one.chat("any", **headers)
    one.running.close()
    assert {request.body["model"] for request in upstream.asked} == {model}


def test_it_delays_and_fails_nobody_and_what_is_too_much_is_dropped(
    desk: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shadow, "AT_ONCE", 2)
    one = desk(model="openai", shadow=Canary("hangs", 1.0))
    # One that hangs takes longer than the client waits.
    assert [one.chat("any").status_code for _ in range(5)] == [200] * 5
    assert "prospect_shadows_dropped_total 3.0" in one.client.get("/metrics").text
    one.running.close()
    assert one.rows("select arm, count(*) from turn group by arm") == [("current", 5)]


def test_one_that_fails_is_recorded_as_failed_and_one_that_is_refused_is_not(desk: Callable[..., Any]) -> None:
    one = desk(model="openai", shadow=Canary("drops", 1.0))
    assert one.chat("any").status_code == 200
    assert shadows(one) == [(one.rows("select id from turn where arm = 'shadow'")[0][0], "drops", "upstream_error")]
