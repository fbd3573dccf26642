"""Callbacks hear what happens, change no number, and end a run in good order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import prospect
from conftest import thumbs
from prospect.errors import CallbackError, ConfigError
from prospect.run_dir import RunDir
from runs import same


class Recorder(prospect.Callback):
    """Remembers what it is told, and disturbs what it can."""

    def __init__(self, fails: str = "", at: int = -1, stops: bool = False) -> None:
        self.told: list[tuple[str, Any]] = []
        self.fails, self.at, self.stops = fails, at, stops

    def _told(self, event: str, record: Any, step: int) -> None:
        torch.rand(3)
        self.told.append((event, record))
        if event == self.fails and step == self.at:
            raise prospect.StopRun("enough") if self.stops else ValueError("mine\nbroke")

    def on_step(self, record: Any) -> None:
        self._told("on_step", record, record.step)

    def on_evaluation(self, record: Any) -> None:
        self._told("on_evaluation", record, record.step)

    def on_save(self, record: Any) -> None:
        self._told("on_save", record, record.step)

    def on_log(self, row: Any) -> None:
        self._told("on_log", row, row["step"])

    def on_end(self) -> None:
        self._told("on_end", None, -1)

    def of(self, event: str) -> list[Any]:
        return [record for name, record in self.told if name == event]


@pytest.fixture
def values(recipe: Any) -> dict[str, Any]:
    """Six steps with dropout, so that a random number more or less would show."""
    train = {"epochs": 2, "eval_every": 2, "samples": 2, "sample_tokens": 4, "save_every": 4}
    lora = {"r": 2, "alpha": 4, "dropout": 0.3}
    return recipe("kto", thumbs(28), data={"eval": 4}, train=train, model={"lora": lora})


def test_they_hear_everything_and_change_no_number(values: dict[str, Any], tmp_path: Path) -> None:
    heard = Recorder()
    plain = prospect.train({**values, "output": str(tmp_path / "plain")}, quiet=True)
    run = prospect.train(values, quiet=True, callbacks=[heard])
    assert same(plain, run) and plain.samples() == run.samples()
    assert [(one.step, one.total_steps) for one in heard.of("on_step")] == [(step, 6) for step in range(1, 7)]
    assert [dict(row) for row in heard.of("on_log")] == run.metrics()
    looks = heard.of("on_evaluation")
    assert [one.step for one in looks] == [0, 2, 4, 6] and [s for one in looks for s in one.samples] == run.samples()
    assert "eval_loss" in looks[0].metrics
    assert [(one.step, one.path, one.finished) for one in heard.of("on_save")] == [
        (4, run.checkpoints_path / "step-4", False),
        (6, run.model_path, True),
    ]
    assert heard.told[-1][0] == "on_end" and len(heard.of("on_end")) == 1
    with pytest.raises(TypeError):
        looks[0].metrics["eval_loss"] = 0.0


@pytest.mark.parametrize(("event", "at"), [("on_step", 3), ("on_evaluation", 0), ("on_save", 4), ("on_evaluation", 6)])
def test_one_that_fails_stops_the_run_and_nothing_is_lost(
    values: dict[str, Any], tmp_path: Path, event: str, at: int
) -> None:
    plain = prospect.train({**values, "output": str(tmp_path / "plain")}, quiet=True)
    heard = Recorder(event, at)
    said = rf"Recorder.{event} failed \(ValueError: mine broke\). The run stopped after step {at} of 6; step-{at} is s"
    with pytest.raises(CallbackError, match=said) as failed:
        prospect.train(values, quiet=True, callbacks=[heard])
    assert failed.value.__cause__ is not None and heard.told[-1][0] == "on_end"
    assert same(plain, prospect.train(values, resume=True, quiet=True))


def test_one_that_fails_at_the_very_end_leaves_a_finished_run(values: dict[str, Any]) -> None:
    with pytest.raises(CallbackError, match="The run is finished and its model is in"):
        prospect.train(values, quiet=True, callbacks=[Recorder("on_save", 6)])
    assert RunDir(values["output"]).provenance().finished


@pytest.mark.parametrize(("event", "at", "last"), [("on_step", 3, 3), ("on_evaluation", 2, 2), ("on_evaluation", 0, 0)])
def test_one_can_end_the_run_which_is_then_finished(values: dict[str, Any], event: str, at: int, last: int) -> None:
    heard = Recorder(event, at, stops=True)
    run = prospect.train(values, quiet=True, callbacks=[heard])
    assert [one.step for one in heard.of("on_step")] == list(range(1, last + 1))
    assert [one.step for one in heard.of("on_evaluation")] == sorted({*range(0, last + 1, 2), last})
    assert run.provenance().finished and run.provenance().epochs == pytest.approx(last / 3, abs=1e-5)
    assert run.model_path.is_dir()


def test_what_is_no_callback_is_refused_before_anything_is_written(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="callbacks holds <built-in function print>; expected objects of classes"):
        prospect.train(values, quiet=True, callbacks=[print])  # type: ignore[list-item]
    assert not Path(values["output"]).exists()
