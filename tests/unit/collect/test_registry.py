"""The history of models: what may follow on what, and that nothing of it is ever lost."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import pytest

from prospect.collect.registry import Move, Registry
from prospect.errors import CheckpointError, PromotionError
from prospect.results.registry import Check
from prospect.training.run_lock import locked

BECAUSE = Move("it is time", "anna")


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """A registry in which `old` is current."""
    found = Registry(tmp_path / "registry")
    found.propose("old", "runs/old", BECAUSE)
    found.promote("old", BECAUSE)
    return found


def states(registry: Registry) -> dict[str, str]:
    return {name: entry.state for name, entry in registry.read().states.items()}


def test_a_model_goes_from_candidate_over_canary_to_current_and_retires_the_one_before(registry: Registry) -> None:
    before = json.loads(registry.path.read_text())["history"]
    registry.propose("new", "runs/new", BECAUSE)
    assert states(registry) == {"old": "current", "new": "candidate"}
    registry.start_canary("new", 0.05, 0.05, BECAUSE)
    canary = registry.read().canary
    assert canary is not None and (canary.model, canary.share) == ("new", 0.05)
    registry.promote("new", Move("better", "ben", [Check(name="canary", passed=True, found="better")]))
    assert states(registry) == {"old": "retired", "new": "current"}
    history = json.loads(registry.path.read_text())["history"]
    assert history[: len(before)] == before
    assert history[-1]["who"] == "ben" and history[-1]["reason"] == "better" and history[-1]["replaces"] == "old"
    assert history[-1]["checks"][0]["found"] == "better" and history[-2]["checks"] == []


def test_a_canary_that_is_rolled_back_leaves_the_current_model_alone(registry: Registry) -> None:
    registry.propose("new", "runs/new", BECAUSE)
    registry.start_canary("new", 0.05, 0.05, BECAUSE)
    registry.roll_back(BECAUSE)
    assert states(registry) == {"old": "current", "new": "retired"}


def test_one_can_go_back_as_far_as_models_were_replaced_and_no_further(registry: Registry) -> None:
    for name in ("second", "third"):
        registry.propose(name, f"runs/{name}", BECAUSE)
        registry.promote(name, BECAUSE)
    for back in ("second", "old"):
        current = registry.roll_back(BECAUSE).current
        assert current is not None and (current.model, current.source) == (back, f"runs/{back}")
    size = len(registry.read().history)
    with pytest.raises(PromotionError, match="old replaced no other model"):
        registry.roll_back(BECAUSE)
    assert len(registry.read().history) == size


def test_a_retired_model_may_be_proposed_again(registry: Registry) -> None:
    registry.propose("new", "runs/new", BECAUSE)
    registry.start_canary("new", 0.05, 0.05, BECAUSE)
    registry.end_canary("new", BECAUSE)
    registry.propose("new", "runs/new", BECAUSE)
    assert states(registry)["new"] == "candidate"


def test_moves_that_do_not_follow_are_refused_and_change_nothing(registry: Registry) -> None:
    registry.propose("new", "runs/new", BECAUSE)
    registry.propose("other", "runs/other", BECAUSE)
    registry.start_canary("new", 0.05, 0.05, BECAUSE)
    before = registry.path.read_bytes()
    refused = [
        (lambda: registry.propose("old", "runs/old", BECAUSE), "old is current already"),
        (lambda: registry.propose("new", "runs/new", BECAUSE), "new is canary already"),
        (lambda: registry.propose(" ", "runs/new", BECAUSE), "no name of a model"),
        (lambda: registry.propose("a\nb", "runs/new", BECAUSE), "no name of a model"),
        (lambda: registry.start_canary("other", 0.05, 0.05, BECAUSE), "new is a canary already"),
        (lambda: registry.start_canary("none", 0.05, 0.05, BECAUSE), "none is not there; expected candidate or canary"),
        (lambda: registry.start_canary("new", 1.0, 0.05, BECAUSE), "share is 100%; expected more than 0 %"),
        (lambda: registry.promote("other", BECAUSE), "new is a canary. End it with --rollback"),
        (lambda: registry.promote("old", BECAUSE), "old is current; expected candidate or canary"),
        (lambda: registry.roll_back(BECAUSE, "old"), "old is not what would be left: that is new, canary"),
        (lambda: registry.end_canary("old", BECAUSE), "old is current; expected canary"),
    ]
    for move, said in refused:
        with pytest.raises(PromotionError, match=said):
            move()
    assert registry.path.read_bytes() == before


def test_without_a_current_model_there_is_no_canary_and_no_way_back(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    registry.propose("new", "runs/new", BECAUSE)
    with pytest.raises(PromotionError, match="no model is current, so there is none to compare with"):
        registry.start_canary("new", 0.05, 0.05, BECAUSE)
    with pytest.raises(PromotionError, match="nothing to go back from"):
        registry.roll_back(BECAUSE)


def _propose_many(folder: Path, writer: int) -> None:
    for number in range(10):
        Registry(folder).propose(f"{writer}-{number}", "runs/x", BECAUSE)


def test_writers_at_the_same_time_lose_no_entry(registry: Registry) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_propose_many, args=(registry.folder, number)) for number in range(3)]
    for one in writers:
        one.start()
    for one in writers:
        one.join(60)
        assert one.exitcode == 0
    assert len(registry.read().states) == 31


def test_a_registry_that_another_program_holds_is_refused_after_a_while(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prospect.collect.registry._PATIENCE", 0.1)
    with locked(registry.folder), pytest.raises(PromotionError, match="another program changes it"):
        registry.propose("new", "runs/new", BECAUSE)


def test_a_file_that_was_edited_by_hand_is_refused_and_kept(registry: Registry) -> None:
    registry.path.write_text(registry.path.read_text().replace("current", "curent"))
    before = registry.path.read_bytes()
    with pytest.raises(CheckpointError, match=r"models.json: history.1.state cannot be read"):
        registry.propose("new", "runs/new", BECAUSE)
    assert registry.path.read_bytes() == before
