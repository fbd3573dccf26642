"""A signal ends a run in good order, and the resumed run gives the uninterrupted numbers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml

import prospect
from conftest import thumbs
from prospect.errors import RunStopped
from prospect.run_dir import RunDir
from prospect.training.session import Session
from prospect.training.stopping import listening
from runs import same


@pytest.fixture(autouse=True)
def heard() -> Any:
    """A shell's job in the background ignores SIGINT, and its children with it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def assert_same(one: RunDir, two: RunDir) -> None:
    """Weights, metrics and samples, bit for bit."""
    assert same(one, two)
    assert one.samples() == two.samples()


def interrupt(monkeypatch: pytest.MonkeyPatch, method: str, at: int, *signals: signal.Signals) -> None:
    """Sends this process signals during the call of a session's method at a step, counted from its beginning."""
    original = getattr(Session, method)

    def interrupted(self: Any, *arguments: Any) -> Any:
        if self.progress.step == at:
            for number in signals:
                os.kill(os.getpid(), number)
        return original(self, *arguments)

    monkeypatch.setattr(Session, method, interrupted)


@pytest.fixture
def values(recipe: Any) -> dict[str, Any]:
    train = {"batch_size": 8, "epochs": 2, "eval_every": 2, "samples": 2, "sample_tokens": 4}
    return recipe("kto", thumbs(28), data={"eval": 4}, train=train)


def stop_and_resume(
    values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, at: int, step: int
) -> None:
    whole = prospect.train({**values, "output": str(tmp_path / "whole")}, quiet=True)
    with monkeypatch.context() as patch:
        interrupt(patch, method, at, signal.SIGTERM)
        with pytest.raises(
            RunStopped, match=rf"stopped after step {step} of 6; step-{step} is saved\. Continue with"
        ) as stop:
            prospect.train(values, quiet=True)
    assert stop.value.exit_code == 143
    run = RunDir(values["output"])
    assert [path.name for path in run.checkpoints()] == [f"step-{step}"]
    assert not run.provenance().finished and not run.model_path.exists()
    assert_same(whole, prospect.train(values, resume=True, quiet=True))


@pytest.mark.parametrize("step", [1, 2, 3, 6])
def test_a_signal_in_a_step_ends_that_step_and_the_run_resumes_to_the_same_bits(
    values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """The evaluations due after steps 2 and 6 are made by the resumed run."""
    stop_and_resume(values, tmp_path, monkeypatch, "clip_gradient", step - 1, step)


@pytest.mark.parametrize("method", ["evaluate", "ring", "write_metrics"])
@pytest.mark.parametrize("step", [2, 6])
def test_a_signal_in_an_evaluation_ends_it_at_once_and_the_resumed_run_makes_it_whole(
    values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, step: int
) -> None:
    """Before its first number, after its samples, before its metrics are written."""
    if method != "evaluate":
        original, inside = getattr(Session, method), []
        evaluate = Session.evaluate

        def watched(self: Any, *arguments: Any) -> None:
            inside.append(1)
            evaluate(self, *arguments)
            inside.pop()

        def only_inside(self: Any, *arguments: Any) -> Any:
            result = original(self, *arguments)
            if inside and self.progress.step == step:
                os.kill(os.getpid(), signal.SIGTERM)
            return result

        whole = prospect.train({**values, "output": str(tmp_path / "whole")}, quiet=True)
        with monkeypatch.context() as patch:
            patch.setattr(Session, "evaluate", watched)
            patch.setattr(Session, method, only_inside)
            with pytest.raises(RunStopped, match=f"step-{step} is saved"):
                prospect.train(values, quiet=True)
        assert all(row["step"] < step or "loss" in row for row in RunDir(values["output"]).metrics())
        assert_same(whole, prospect.train(values, resume=True, quiet=True))
    else:
        stop_and_resume(values, tmp_path, monkeypatch, method, step, step)


def test_a_moving_reference_moves_once_over_a_stop(
    values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values["reference"] = {"sync": {"every": 2, "mix": 0.5}}
    stop_and_resume(values, tmp_path, monkeypatch, "clip_gradient", 1, 2)


def test_a_second_signal_stops_at_once(values: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt(monkeypatch, "clip_gradient", 2, signal.SIGINT, signal.SIGINT)
    with pytest.raises(KeyboardInterrupt) as stop:
        prospect.train(values, quiet=True)
    assert not isinstance(stop.value, RunStopped)
    assert RunDir(values["output"]).checkpoints() == []


def test_without_save_on_stop_a_run_ends_without_a_checkpoint(
    values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    values["train"] |= {"save_on_stop": False, "save_every": 2}
    interrupt(monkeypatch, "clip_gradient", 3, signal.SIGINT)
    with pytest.raises(RunStopped, match=r"stopped after step 4 of 6; step-2 is saved") as stop:
        prospect.train(values, quiet=True)
    assert stop.value.exit_code == 130
    assert [path.name for path in RunDir(values["output"]).checkpoints()] == ["step-2"]


@pytest.mark.parametrize("method", ["clip_gradient", "evaluate"])
def test_before_the_first_step_a_signal_ends_a_run_that_leaves_no_trace(
    values: dict[str, Any], monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """In the first evaluation it does so at once; a step that has begun is finished."""
    interrupt(monkeypatch, method, 0, signal.SIGTERM)
    with pytest.raises(RunStopped) as stop:
        prospect.train(values, quiet=True)
    if method == "evaluate":
        assert str(stop.value) == "stopped before the first step. Begin again with the same command."
        assert not Path(values["output"]).exists()
    else:
        assert str(stop.value).startswith("stopped after step 1 of 6; step-1 is saved.")


def test_a_signal_while_the_model_is_written_lets_it_be_written(
    values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt(monkeypatch, "finish", 6, signal.SIGTERM)
    with pytest.raises(RunStopped, match="the run is finished and its model is in"):
        prospect.train(values, quiet=True)
    run = RunDir(values["output"])
    assert run.provenance().finished and (run.model_path / "model.safetensors").exists()


def test_trackers_are_ended_by_a_stop(values: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    from prospect.training import trackers

    told: list[str] = []

    class Recorder(trackers.Tracker):
        def on_log(self, row: Any) -> None:
            told.append("log")

        def on_end(self) -> None:
            told.append("close")

    monkeypatch.setitem(trackers.TRACKERS, "wandb", Recorder)  # type: ignore[index]
    monkeypatch.setattr("prospect.training.early.require_trackers", lambda names: None)
    values["train"]["trackers"] = ["wandb"]
    interrupt(monkeypatch, "clip_gradient", 2, signal.SIGTERM)
    with pytest.raises(RunStopped):
        prospect.train(values, quiet=True)
    assert told[-1] == "close" and told.count("close") == 1


# -- handlers --


def handlers() -> list[Any]:
    return [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]


def test_handlers_are_put_back_when_the_run_is_over(values: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    before, during = handlers(), []
    monkeypatch.setattr(Session, "finish", lambda self: during.extend(handlers()))
    prospect.train(values, quiet=True)
    assert handlers() == before and not set(during) & set(before)


def test_in_another_thread_no_handler_is_touched() -> None:
    before, during = handlers(), []

    def listen() -> None:
        with listening():
            during.extend(handlers())

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert during == before


def test_a_signal_that_was_ignored_stays_ignored() -> None:
    """As under nohup."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with listening() as stop:
        os.kill(os.getpid(), signal.SIGINT)
    assert stop.signal == 0


def test_a_stop_survives_being_sent_between_processes() -> None:
    import pickle

    stop = pickle.loads(pickle.dumps(RunStopped("stopped.", 15)))
    assert str(stop) == "stopped." and stop.exit_code == 143


# -- the command --

SCRIPT = (
    "import os, sys, prospect.training.session as t\n"
    "clip = t.Session.clip_gradient\n"
    "def interrupted(self, step):\n"
    "    if step == 3:\n"
    "        os.kill(os.getpid(), int(sys.argv[2]))\n"
    "    return clip(self, step)\n"
    "t.Session.clip_gradient = interrupted\n"
    "from prospect.cli.main import main\n"
    "sys.exit(main(['train', sys.argv[1]]))\n"
)


def default_handlers() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_command_says_how_to_go_on_and_leaves_as_shells_expect(
    values: dict[str, Any], tmp_path: Path, number: signal.Signals, code: int
) -> None:
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(values))
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "recipe.yaml"), str(int(number))]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=default_handlers)
    assert done.returncode == code, done.stderr
    assert f"{number.name}: stopping after this step; once more stops at once" in done.stderr
    assert done.stderr.splitlines()[-1] == (
        "stopped after step 3 of 6; step-3 is saved. Continue with the same command and --resume."
    )
    assert "Traceback" not in done.stderr
