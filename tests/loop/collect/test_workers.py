"""Several servers on one store, as behind a reverse proxy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


def test_a_vote_finds_the_turn_that_another_server_has_just_answered(
    desk: Callable[..., Any], store_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = desk(db=store_address), desk(db=store_address)
    write = first.store._writer._write

    def late(jobs: Any) -> None:
        import time

        time.sleep(0.1)
        write(jobs)

    monkeypatch.setattr(first.store._writer, "_write", late)
    for number in range(5):
        turn = first.chat("openai").headers["x-prospect-turn"]
        vote = second.client.post("/v1/feedback", json={"id": turn, "value": 1, "rater": f"r{number}"})
        assert vote.status_code == 200, vote.text
    assert len(first.client.get("/v1/feedback").json()["votes"]) == 5


def test_a_token_of_one_server_is_good_at_another(desk: Callable[..., Any], store_address: str) -> None:
    first, second = desk(db=store_address), desk(db=store_address)
    answer = first.chat("openai", rater="ada")
    turn, token = answer.headers["x-prospect-turn"], answer.headers["x-prospect-vote"]
    for one in (first, second):
        vote = one.client.post("/v1/feedback", json={"id": turn, "value": -1}, headers={"x-prospect-vote": token})
        assert vote.status_code == 200
    assert [found["version"] for found in first.client.get("/v1/feedback").json()["votes"]] == [2]
