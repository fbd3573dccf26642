"""A learning rate that is far too high is seen while the run goes on; a healthy run is left alone; memory that runs
out in the middle of a run names the setting."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import prospect
from conftest import thumbs
from prospect.errors import TrainingError
from prospect.report.run.facts import RunFacts
from prospect.report.run.findings import findings
from prospect.results.run import Alarm
from prospect.run_dir import RunDir
from prospect.training import step


def run_with(recipe: Any, rate: float) -> RunDir:
    train = {
        "learning_rate": rate,
        "max_steps": 40,
        "scheduler": "constant",
        "eval_every": 20,
        "samples": 8,
        "sample_tokens": 40,
    }
    return prospect.train(recipe("kto", thumbs(48), data={"eval": 16}, train=train), quiet=True)


def alarms(run: RunDir) -> list[Alarm]:
    return [alarm for row in run.alarms() for alarm in row.alarms]


def test_a_far_too_high_learning_rate_raises_an_alarm_that_the_report_tells(recipe: Any) -> None:
    run = run_with(recipe, 1.0)
    assert {"repetition", "rewards"} <= {alarm.kind for alarm in alarms(run)}
    titles = {finding.title for finding in findings(RunFacts.read(run)) if finding.worry}
    assert {"Samples repeat themselves", "The rewards of both classes fall together"} <= titles


def test_a_healthy_run_raises_none(recipe: Any) -> None:
    assert not alarms(run_with(recipe, 1e-3))


def test_memory_that_runs_out_in_a_step_names_the_setting(recipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    values = recipe("kto", thumbs(32), train={"save_every": 1})
    plain, calls = torch.Tensor.backward, []

    def backward(*arguments: Any, **named: Any) -> Any:
        calls.append(1)
        if len(calls) > 2:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes.")
        return plain(*arguments, **named)

    monkeypatch.setattr(step.torch.Tensor, "backward", backward)
    said = r"out of memory at step .* train.gradient_checkpointing: true.*step-\d+ is intact"
    with pytest.raises(TrainingError, match=said):
        prospect.train(values, quiet=True)
    monkeypatch.undo()
    again = values | {"train": values["train"] | {"max_tokens_per_micro_batch": 64}}
    assert prospect.train(again, resume=True, quiet=True).provenance().finished
