"""The worlds of the committed studies: what is judged there is what their files say of it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from conftest import REPOSITORY
from prospect.config import read_yaml
from prospect.data.dataset import sides
from prospect.demo.study_world import DemoWorld
from prospect.demo.world import training_prompts
from prospect.feedback.records import Paired, Unpaired
from prospect.feedback.split import prompt_key
from prospect.studies.conditions import apply_condition, count
from prospect.studies.outcome import make_world
from prospect.studies.pooling import Pooled, pool
from prospect.studies.study import Condition
from prospect.user_code import import_file


def script(name: str) -> ModuleType:
    return import_file(REPOSITORY / "studies" / f"{name}.py")


def read(name: str) -> dict[str, Any]:
    return dict(read_yaml(REPOSITORY / "studies" / f"{name}.yaml", "study", "world"))


@pytest.fixture(scope="module")
def desk() -> ModuleType:
    return script("desk")


def test_a_careful_colleague_keeps_every_rule_and_a_careless_one_breaks_five(desk: ModuleType) -> None:
    for inquiry in training_prompts(40, 3):
        (good,) = desk.colleagues(inquiry, 1, 0.0, 0)
        assert all(desk.check_all(inquiry, good).values()), good
        (bad,) = desk.colleagues(inquiry, 1, 1.0, 0)
        assert [rule for rule, kept in desk.check_all(inquiry, bad).items() if kept] == ["short"], bad


@pytest.mark.parametrize("writer", ["model", "colleagues"])
def test_the_chosen_reply_keeps_more_rules_and_a_thumb_is_up_where_all_are_kept(
    desk: ModuleType, tmp_path: Path, writer: str
) -> None:
    asked = training_prompts(8, 5)
    inquiries = {prompt_key(inquiry.prompt): inquiry for inquiry in asked}
    world = desk.Desk({"writer": writer, "prompts": len(asked)})
    world.prepare(tmp_path, 5)
    pairs = world.feedback(tmp_path, 5, Condition())
    for row in pairs:
        assert isinstance(row, Paired)
        kept = [
            sum(desk.check_all(inquiries[prompt_key(row.prompt)], side.text[-1].content).values())
            for side in sides(row)
        ]
        assert kept[0] > kept[1]
    world.settings.feedback = "thumbs"
    thumbs = world.feedback(tmp_path, 5, Condition())
    assert len(thumbs) == 32 and 4 <= len(pairs) <= 16
    for row in thumbs:
        assert isinstance(row, Unpaired)
        kept = desk.check_all(inquiries[prompt_key(row.prompt)], row.completion[-1].content)
        assert row.desirable == all(kept.values())


def test_what_colleagues_write_is_off_policy_and_what_the_model_writes_is_not(desk: ModuleType, tmp_path: Path) -> None:
    nats = {}
    for writer in ("model", "colleagues"):
        world = desk.Desk({"writer": writer, "prompts": 8, "feedback": "thumbs"})
        (tmp_path / writer).mkdir()
        world.prepare(tmp_path / writer, 5)
        nats[writer] = desk.nats_per_token(world.feedback(tmp_path / writer, 5, Condition()))
    assert -0.5 < nats["model"] < 0  # sampled at temperature 0.8: likelier than its own samples at 1
    assert nats["colleagues"] < -1


@pytest.mark.parametrize("name", ["tuned", "tuned_finely", "tuned_off_policy", "z0"])
def test_no_run_at_the_desk_sees_a_pair_twice(
    desk: ModuleType, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model's replies are stood in for by colleagues', of which about as many are equal."""
    monkeypatch.chdir(REPOSITORY)
    one = read(name)
    world = make_world({**one["world"], "writer": "colleagues"})
    world.prepare(tmp_path, 0)
    rows = world.feedback(tmp_path, 0, Condition())
    train = one["recipe"]["train"]
    assert len(rows) >= train["batch_size"] * train["max_steps"]


def test_every_cell_of_imbalance_has_more_rows_than_its_steps_and_one_y_per_x_has_one(
    desk: ModuleType, tmp_path: Path
) -> None:
    """The replies are stood in for by colleagues', of whom as many are good as of the model's."""
    one = read("imbalance")
    world = make_world(one["world"])
    assert isinstance(world, DemoWorld)
    asked = training_prompts(one["world"]["prompts"], 0)
    written = [[(text, 30, True) for text in desk.colleagues(inquiry, 4, 0.16, 0)] for inquiry in asked]
    (tmp_path / "replies.json").write_text(json.dumps(written))
    rows = world.feedback(tmp_path, 0, Condition())
    up = sum(isinstance(row, Unpaired) and row.desirable for row in rows)
    assert 0.4 < up / len(rows) < 0.6
    assert count(rows, "paired")["pairs"] >= 8 * one["recipe"]["train"]["max_steps"]
    for name, settings in one["conditions"].items():
        condition = Condition.model_validate(settings)
        left = apply_condition(rows, condition, 0)
        kept = sum(isinstance(row, Unpaired) and row.desirable for row in left)
        assert len(left) >= max(400, 16 * one["recipe"]["train"]["max_steps"]), name
        if condition.one_per_prompt:
            assert set(Counter(prompt_key(row.prompt) for row in left).values()) == {1} and len(left) == len(asked)
        else:
            assert kept == pytest.approx(condition.keep_desirable * up, rel=0.3)
            assert len(left) - kept == len(rows) - up
    sizes = {name: method["train"]["batch_size"] for name, method in one["methods"].items()}
    assert sizes == {"kto": 16, "dpo": 8}


def test_a_plan_of_as_many_seeds_and_prompts_is_the_trial_and_of_four_times_as_many_half_the_error() -> None:
    planned = script("power").planned
    trial: Pooled = pool(np.random.default_rng(0).normal(size=(3, 50)).tolist())
    assert planned(trial, 3, 50) == trial
    assert planned(trial, 12, 200).error == pytest.approx(trial.error / 2)
    assert planned(trial, 12, 200).detectable(0.05) < trial.detectable(0.05) / 2  # more degrees of freedom, too
