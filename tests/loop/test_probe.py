"""A probe runs real steps, writes nothing, and adds its times up as the run would spend them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from conftest import thumbs
from prospect import progress
from prospect.cli.dry_run import show
from prospect.config import load_config
from prospect.data.batch import flatten
from prospect.training.memory.probe import Rates, count_evaluations, probe, training_seconds
from prospect.training.prepare import prepare


def test_it_says_what_the_run_takes_and_writes_nothing(recipe: Any, tmp_path: Path) -> None:
    values = recipe("kto", thumbs(32), data={"eval": 8}, train={"epochs": 2, "samples": 2, "sample_tokens": 4})
    before = sorted(tmp_path.rglob("*"))
    found = probe(prepare(load_config(values)), steps=2)
    assert sorted(tmp_path.rglob("*")) == before
    parts = [found[name] for name in ("loading", "training", "evaluation", "samples")]
    assert all(part > 0 for part in parts) and found["total"] == pytest.approx(sum(parts), abs=0.01)
    assert found["peak_bytes"] > 100e6 and found["steps"] == 2


def test_it_runs_steps_on_images_and_encodes_those_that_it_looks_at(images: Any, tmp_path: Path) -> None:
    train = {"batch_size": 4, "epochs": 2, "max_steps": None, "samples": 1, "sample_steps": 2}
    values = images("sd15", data={"eval": 0.3}, train=train)
    before = sorted(tmp_path.rglob("*"))
    found = probe(prepare(load_config(values)), steps=1)
    assert sorted(tmp_path.rglob("*")) == before
    parts = [found[name] for name in ("encoding", "loading", "training", "evaluation", "samples")]
    assert all(part > 0 for part in parts) and found["total"] == pytest.approx(sum(parts), abs=0.01)


@pytest.mark.parametrize("seed", [1, 2])
def test_its_hardest_step_holds_two_prompts_where_the_run_has_them_in_every_step(recipe: Any, seed: int) -> None:
    train = {"batch_size": 2, "seed": seed}
    assert probe(prepare(load_config(recipe("kto", thumbs(12, prompts=3), train=train))), steps=1)["training"] > 0


@pytest.mark.parametrize("loss", ["dpo", "sft", "bradley_terry"])
def test_every_kind_of_loss_can_be_probed(recipe: Any, loss: str) -> None:
    assert probe(prepare(load_config(recipe(loss))), steps=1)["training"] > 0


@pytest.mark.parametrize(
    ("loss", "cached", "policy", "reference"),
    [
        ("kto", True, 3, 1 + 3),  # rows once, mismatched rows every epoch
        ("kto", False, 3, 3 + 3),
        ("dpo", True, 3, 1),
        ("dpo", False, 3, 3),
        ("sft", True, 3, 0),
    ],
)
def test_the_reference_is_asked_about_a_row_once_where_answers_are_kept(
    recipe: Any, loss: str, cached: bool, policy: int, reference: int
) -> None:
    prepared = prepare(load_config(recipe(loss, train={"epochs": 3})))
    tokens = sum(row.length for row in flatten(prepared.train.examples))
    assert training_seconds(prepared, Rates(1.0, 0.0, 0.0), cached) == policy * tokens
    assert training_seconds(prepared, Rates(0.0, 1.0, 0.0), cached) == reference * tokens
    assert training_seconds(prepared, Rates(0.0, 0.0, 1.0), cached) == prepared.total_steps


@pytest.mark.parametrize(("every", "count"), [(None, 2), (1, 5), (2, 3), (3, 3), (4, 2), (9, 2)])
def test_evaluations_are_counted_as_the_run_makes_them(recipe: Any, every: int | None, count: int) -> None:
    prepared = prepare(load_config(recipe("kto", thumbs(32), train={"eval_every": every})))
    assert prepared.total_steps == 4 and count_evaluations(prepared) == count


def test_the_dry_run_tells_it(recipe: Any, capsys: pytest.CaptureFixture[str]) -> None:
    config = load_config(recipe("kto"))
    show(config, as_json=True, probe_steps=1)
    assert json.loads(capsys.readouterr().out)["probe"]["seconds_per_step"] > 0
    show(config, as_json=False, probe_steps=1)
    shown = capsys.readouterr().out
    assert "for the whole run: training" in shown and "measured over 2 steps" in shown


def test_the_dry_run_is_shown_first_then_a_line_a_step_then_the_result(
    recipe: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = load_config(recipe("kto"))
    monkeypatch.setattr(sys, "stderr", sys.stdout)
    with progress.shown("prospect train"):
        show(config, as_json=False, probe_steps=2)
    shown = capsys.readouterr().out
    parts = ["in numbers", "memory  ", "longest row: ", "step 1 of 2: ", "step 2 of 2: ", "peak  ", "time  "]
    places = [shown.index(part) for part in parts]
    assert places == sorted(places)
