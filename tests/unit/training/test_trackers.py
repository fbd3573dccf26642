"""Trackers get every logged metric; a missing package is said with the command that installs it.

No service is reached. The real packages write files, which are read back, where they are installed: TensorBoard and
Weights & Biases are among those that the tests are run with; MLflow and Trackio ask for older versions of others.
"""

from __future__ import annotations

import json
import sqlite3
import sys
import time
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import prospect
from prospect.errors import ConfigError
from prospect.training.trackers import open_trackers


class Recorder(ModuleType):
    """Takes any call and remembers it."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *arguments, **named: self.calls.append((name, arguments, named))


@pytest.mark.parametrize(
    ("name", "opens", "logs", "closes"),
    [
        ("wandb", "init", "log", "finish"),
        ("trackio", "init", "log", "finish"),
        ("mlflow", "start_run", "log_metrics", "end_run"),
    ],
)
def test_a_tracker_sees_every_step(
    recipe: Any, monkeypatch: Any, name: str, opens: str, logs: str, closes: str
) -> None:
    module = Recorder(name)
    monkeypatch.setitem(sys.modules, name, module)
    run = prospect.train(recipe("kto", train={"trackers": [name]}, data={"eval": 4}), quiet=True)
    called = [call for call, _, _ in module.calls]
    assert called[0] == opens and called[-1] == closes
    opened = module.calls[0][2]
    assert opened.get("name", opened.get("run_name")) == "run"
    logged = [(named["step"], arguments[0]) for call, arguments, named in module.calls if call == logs]
    assert [{"step": step, **metrics} for step, metrics in logged] == run.metrics()


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "trackio", "mlflow"])
def test_a_missing_package_is_named_with_its_install_command(recipe: Any, monkeypatch: Any, name: str) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(
        ConfigError, match=f'train.trackers names {name}, which is not installed. Run "pip install {name}"'
    ):
        # Before anything is read: neither model nor feedback is there.
        nowhere = {"model": {"name_or_path": "./nowhere"}, "data": {"train": "nowhere.jsonl"}}
        prospect.train(recipe("sft", train={"trackers": [name]}, **nowhere), quiet=True)


ROWS = [{"step": 0, "eval_loss": 0.123456}, {"step": 1, "loss": 0.234567, "rewards/margins": -0.345678}]


def track(name: str, folder: Path) -> None:
    (tracker,) = open_trackers([name], folder, {"loss": {"name": "kto"}})
    for row in ROWS:
        tracker.on_log(row)
    tracker.on_end()


def test_tensorboard_writes_event_files_below_the_run(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    track("tensorboard", tmp_path)
    found = EventAccumulator(str(tmp_path / "tensorboard"))
    found.Reload()
    values = {name: [(one.step, one.value) for one in found.Scalars(name)] for name in found.Tags()["scalars"]}
    wanted = {name: [(row["step"], row[name])] for row in ROWS for name in row if name != "step"}
    assert values == {name: [(step, pytest.approx(value))] for name, [(step, value)] in wanted.items()}


@pytest.mark.slow
def test_wandb_offline_keeps_all_in_the_run_under_an_id_that_stays(tmp_path: Path, monkeypatch: Any) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        track("wandb", tmp_path / "kto")
    (file,) = (tmp_path / "kto" / "wandb").glob("offline-run-*/*.wandb")
    wanted = [str(value).encode() for row in ROWS for name, value in row.items() if name != "step"]
    until = time.monotonic() + 60  # its own process writes the file a little later
    while not all(value in file.read_bytes() for value in wanted):
        assert time.monotonic() < until
        time.sleep(0.05)
    assert (tmp_path / "kto" / "wandb" / "id").read_text() in file.name


def test_a_resumed_run_goes_on_in_its_own_run_of_wandb(recipe: Any, monkeypatch: Any) -> None:
    module = Recorder("wandb")
    monkeypatch.setitem(sys.modules, "wandb", module)
    values = recipe("kto", train={"trackers": ["wandb"], "save_every": 2})

    class End(prospect.Callback):
        def on_save(self, record: Any) -> None:
            raise ValueError

    with pytest.raises(prospect.CallbackError):
        prospect.train(values, quiet=True, callbacks=[End()])
    prospect.train(values, quiet=True, resume=True)
    ids = [named["id"] for call, _, named in module.calls if call == "init"]
    assert ids[0] == ids[1]
    open_trackers(["wandb"], Path(values["output"] + "2") / "run", {})
    assert module.calls[-1][2]["name"] == "run" and module.calls[-1][2]["id"] != ids[0]


def test_mlflow_keeps_a_run_where_it_is_told_to(tmp_path: Path, monkeypatch: Any) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.chdir(tmp_path)
    track("mlflow", tmp_path / "kto")
    (run,) = mlflow.search_runs(output_format="list")
    assert run.info.run_name == "kto" and run.data.metrics == {
        name: value for row in ROWS for name, value in row.items() if name != "step"
    }


def test_trackio_keeps_a_run_in_its_database(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path))
    pytest.importorskip("trackio")
    track("trackio", tmp_path / "kto")
    with sqlite3.connect(tmp_path / "prospect.db") as database:
        rows = database.execute("select run_name, step, metrics from metrics order by step").fetchall()
    assert [(name, {"step": step, **json.loads(metrics)}) for name, step, metrics in rows] == [
        ("kto", row) for row in ROWS
    ]
