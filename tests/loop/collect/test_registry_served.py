"""A proxy that serves what a registry says: arms, a rollback by itself, and a promotion without a restart."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from prospect.collect.registry import Move, Registry

BECAUSE = Move("it is time", "anna")


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """A registry in which `vllm` is current and `openai` a canary for half of the conversations."""
    monkeypatch.setattr("prospect.collect.routes.BETWEEN_READS", 0.0)
    found = Registry(tmp_path / "registry")
    found.propose("vllm", "runs/old", BECAUSE)
    found.promote("vllm", BECAUSE)
    found.propose("openai", "runs/new", BECAUSE)
    return found


def arms(desk: Any) -> dict[str, set[str]]:
    """Return the arms and models that each conversation has met."""
    found: dict[str, set[str]] = {}
    for conversation, arm, model in desk.rows("select conversation, arm, model from turn"):
        found.setdefault(conversation, set()).add(f"{arm} {model}")
    return found


def test_a_conversation_stays_with_its_arm_and_the_client_cannot_choose(
    desk: Callable[..., Any], registry: Registry
) -> None:
    registry.start_canary("openai", 0.5, 0.05, BECAUSE)
    served = desk(registry=registry.folder)
    for number in range(30):
        for named in ("openai", "vllm"):
            served.chat(named, conversation=f"c{number}")
    met = arms(served)
    assert all(len(one) == 1 for one in met.values()) and len(met) == 30
    canary = sum("canary openai" in one for one in met.values())
    assert 5 <= canary <= 25 and canary + sum("current vllm" in one for one in met.values()) == 30


def test_a_canary_that_people_vote_down_is_rolled_back_while_the_server_runs(
    desk: Callable[..., Any], registry: Registry
) -> None:
    registry.start_canary("openai", 0.5, 0.05, BECAUSE)
    served = desk(registry=registry.folder, between_looks=0.05)
    for number in range(180):
        answer = served.chat("any", conversation=f"c{number}", rater=f"r{number}")
        value = -1 if answer.headers["x-prospect-model"] == "openai" else 1
        said = {"id": answer.headers["x-prospect-turn"], "value": value, "rater": f"r{number}"}
        assert served.client.post("/v1/feedback", json=said).status_code == 200
        if registry.read().canary is None:
            break
    for _ in range(200):
        if registry.read().canary is None:
            break
        time.sleep(0.05)
    entry = registry.read().history[-1]
    assert (entry.model, entry.state, entry.who) == ("openai", "retired", "prospect")
    assert entry.reason.startswith("worse: its up-share is -100.0 (")
    assert {served.chat("any", conversation=f"c{number}").headers["x-prospect-model"] for number in range(10)} == {
        "vllm"
    }


def test_a_promotion_needs_no_restart(desk: Callable[..., Any], registry: Registry) -> None:
    served = desk(registry=registry.folder)
    assert served.chat("any").headers["x-prospect-model"] == "vllm"
    registry.promote("openai", BECAUSE)
    assert served.chat("any").headers["x-prospect-model"] == "openai"
    registry.roll_back(BECAUSE)
    assert served.chat("any").headers["x-prospect-model"] == "vllm"


def test_a_name_of_the_command_answers_until_a_model_is_current(desk: Callable[..., Any], registry: Registry) -> None:
    empty = Registry(registry.folder / "empty")
    served = desk(registry=empty.folder, model="openai-cut")
    assert served.chat("any").headers["x-prospect-model"] == "openai-cut"
    empty.propose("vllm", "runs/old", BECAUSE)
    empty.promote("vllm", BECAUSE)
    assert served.chat("any").headers["x-prospect-model"] == "vllm"
