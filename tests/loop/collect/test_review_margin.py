"""What a policy thinks of the answers that wait for review: the numbers of `prospect evaluate`, beside the turns."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from collecting import NOW, a_turn, a_vote, fill, open_store
from conftest import thumbs
from prospect import train
from prospect.collect.export import Contents, export
from prospect.collect.margins import Scored, score_waiting
from prospect.collect.review import Queue, Review
from prospect.collect.store import Store
from prospect.collect.tables import reward
from prospect.errors import DataError, UsageError
from prospect.evaluation.held_out.preference import Settings, evaluate_feedback
from prospect.feedback.files.store.selection import Selection
from prospect.run_dir import RunDir
from prospect.statistics.estimates import Intervals
from tolerances import FORWARD, rounding

WITHIN = 0.1 * rounding(FORWARD, 70)  # beta times nats


@pytest.fixture
def run(recipe: Callable[..., dict[str, Any]]) -> RunDir:
    return train(recipe("kto", train={"epochs": 1, "learning_rate": 5e-3}), quiet=True)


@pytest.fixture
def store(tmp_path: Path) -> Any:
    with open_store(str(tmp_path / "store.sqlite"), rater_key=b"k" * 32) as store:
        yield store


def kept(store: Store) -> dict[str, float]:
    with store.database.reading() as connection:
        return {row.turn: row.value for row in connection.execute(select(reward))}


def turns(count: int) -> list[Any]:
    return [a_turn(row["prompt"], row["completion"]) for row in thumbs(count)]


def test_rewards_are_those_of_evaluate_and_the_smallest_comes_first(
    store: Store, run: RunDir, model_path: Path, tmp_path: Path
) -> None:
    made = turns(6)
    picture = a_turn([{"role": "user", "content": [{"type": "image_url"}]}], made[0].completion)
    done = turns(1)[0]
    asyncio.run(fill(store, *made, picture, done, *(a_vote(turn, rater=f"r{i}") for i, turn in enumerate(made))))
    reviews = [Review(turn=done.id, tenant="main", reviewer=name, verdict=1, at=NOW) for name in ("ada", "bob")]
    for one in reviews:
        asyncio.run(Queue(store, "main", one.reviewer).decide(one))

    assert score_waiting(store.database, "main", str(run.path), reviewers=2, limit=100) == Scored(6, 1)
    found = kept(store)
    assert set(found) == {turn.id for turn in made}
    export(store.database, tmp_path / "o.jsonl", Selection(), Contents())
    settings = Settings(kl_prompts=0, intervals=Intervals(resamples=100))
    whole = evaluate_feedback(run.path, tmp_path / "o.jsonl", settings=settings)
    assert sum(found.values()) / 6 == pytest.approx(whole.rewards["desirable"].value, rel=0, abs=WITHIN)
    assert len({round(value, 6) for value in found.values()}) == 6
    first = asyncio.run(Queue(store, "main", "carl").open("margin", NOW))
    assert first is not None and first.id == min(found, key=lambda id: abs(found[id]))

    # Another policy's numbers do not mix with them.
    itself = str(model_path)
    assert score_waiting(store.database, "main", itself, reviewers=2, limit=100, reference=itself).scored == 6
    assert set(kept(store).values()) == {0.0}


def test_nothing_is_scored_that_cannot_be(store: Store, model_path: Path) -> None:
    with pytest.raises(DataError, match="no answer waits for review that is text"):
        score_waiting(store.database, "main", str(model_path), reviewers=2, limit=10)
    asyncio.run(fill(store, *turns(1)))
    server = "endpoint:http://localhost:1#m"
    for model, message in ((str(model_path), "and none is known"), (server, "need a policy that is loaded")):
        with pytest.raises(UsageError, match=message):
            score_waiting(store.database, "main", model, reviewers=2, limit=10)
    assert kept(store) == {}
