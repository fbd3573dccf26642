"""Copies of the metrics for dashboards, each an optional install; the run directory is always written."""

from __future__ import annotations

import importlib
import importlib.util
import os
import secrets
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from prospect.atomic import write_text
from prospect.errors import ConfigError
from prospect.run_dir import RunDir
from prospect.training.callbacks import Callback

PROJECT = "prospect"
"""What the runs are filed under."""


class Tracker(Callback):
    """A callback that copies what is logged.

    Args:
        folder: the run directory; what a tracker writes locally goes below it.
        config: the resolved recipe.
    """

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None: ...


class TensorBoard(Tracker):
    """Event files under RUN/tensorboard."""

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        _need("tensorboard")
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder / "tensorboard"))

    def on_log(self, row: Mapping[str, float]) -> None:
        """One scalar a metric."""
        step, metrics = _parted(row)
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)

    def on_end(self) -> None:
        """Write what is buffered."""
        self._writer.close()


class _RunTracker(Tracker):
    """Trackers of the init / log / finish kind."""

    package: str

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        self._module = _need(self.package)
        self._module.init(name=folder.name, config=dict(config), **self.options(folder))

    def options(self, folder: Path) -> dict[str, Any]:
        """Return what this package's init takes besides."""
        raise NotImplementedError

    def on_log(self, row: Mapping[str, float]) -> None:
        """One point a step."""
        step, metrics = _parted(row)
        self._module.log(metrics, step=step)

    def on_end(self) -> None:
        """End the run."""
        self._module.finish()


class Wandb(_RunTracker):
    """Weights & Biases, files under RUN/wandb; a resumed run goes on in the run that it began."""

    package = "wandb"

    def options(self, folder: Path) -> dict[str, Any]:
        """Return project, place, and the id by which a run is found again."""
        project = os.environ.get("WANDB_PROJECT", PROJECT)
        return {"project": project, "dir": str(folder), "id": _id_of(folder / "wandb" / "id"), "resume": "allow"}


class Trackio(_RunTracker):
    """Trackio, in a database of its own; a resumed run goes on in the run of its name."""

    package = "trackio"

    def options(self, folder: Path) -> dict[str, Any]:
        """Return project, and whether a run of that name is this one."""
        return {"project": PROJECT, "resume": "allow" if RunDir(folder).begun() else "never"}


class MLflow(Tracker):
    """MLflow, at whatever tracking address its own environment names."""

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        self._mlflow = _need("mlflow")
        self._mlflow.start_run(run_name=folder.name)
        self._mlflow.log_dict(dict(config), "config.json")

    def on_log(self, row: Mapping[str, float]) -> None:
        """One point a metric."""
        step, metrics = _parted(row)
        self._mlflow.log_metrics(metrics, step=step)

    def on_end(self) -> None:
        """End the run."""
        self._mlflow.end_run()


TRACKERS: Mapping[str, type[Tracker]] = {
    "tensorboard": TensorBoard,
    "wandb": Wandb,
    "trackio": Trackio,
    "mlflow": MLflow,
}


def open_trackers(names: Sequence[str], folder: Path, config: Mapping[str, Any]) -> list[Tracker]:
    """Start the trackers that a recipe names, all or none.

    Raises:
        ConfigError: one whose package is not installed, with the command that installs it, or that does not start.
    """
    opened: list[Tracker] = []
    for name in names:
        try:
            opened.append(TRACKERS[name](folder, config))
        except Exception as error:  # each package has errors of its own: no key, no network, an old folder
            for tracker in opened:
                tracker.on_end()
            if isinstance(error, ConfigError):
                raise
            raise ConfigError(
                f"train.trackers names {name}, which does not start ({type(error).__name__}: {error}). Set it up, or "
                "leave it out: the run directory is written in any case."
            ) from error
    return opened


def require_trackers(names: Sequence[str]) -> None:
    """Refuse trackers that are not installed, without importing them.

    Raises:
        ConfigError: naming one, with the command that installs it.
    """
    for name in names:
        if sys.modules.get(name) is None and importlib.util.find_spec(name) is None:
            raise ConfigError(
                f'train.trackers names {name}, which is not installed. Run "pip install {name}", or leave it out: the '
                "run directory is written in any case."
            )


def _parted(row: Mapping[str, float]) -> tuple[int, dict[str, float]]:
    """Return a row's step, and its metrics."""
    return int(row["step"]), {name: value for name, value in row.items() if name != "step"}


def _id_of(path: Path) -> str:
    """Return the id in a file, a new one where there is no such file: runs of one name are not one run."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, secrets.token_hex(4))
    return path.read_text(encoding="utf-8")


def _need(package: str) -> ModuleType:
    require_trackers([package])
    return importlib.import_module(package)
