"""Trackers get every logged metric; a missing package is said with the command that installs it.

The services themselves are not reached here: modules with the same functions stand in for them.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest

import prospect
from prospect.errors import ConfigError


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
