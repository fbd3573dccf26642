"""What a caller hears of a run while it goes on: its steps, evaluations and saves, on the main process only.

A callback can look and can ask for the end; what it is told is frozen, and random numbers that it draws are not the
run's, so the run's numbers are the same with it and without.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from prospect import progress
from prospect.errors import CallbackError, ConfigError
from prospect.models.device import random_state, set_random_state
from prospect.results.run import SampleRow


class StepRecord(NamedTuple):
    """An optimizer step that was made.

    Attributes:
        step: its number, from 1.
        total_steps: of the whole run.
        epoch: how often the feedback has been passed over.
        metrics: what was measured, by the names of `metrics.jsonl`; read only.
    """

    step: int
    total_steps: int
    epoch: float
    metrics: Mapping[str, float]


class EvaluationRecord(NamedTuple):
    """An evaluation on held-out feedback.

    Attributes:
        step: steps made before it.
        epoch: how often the feedback has been passed over.
        metrics: names that begin with `eval_`; read only, and empty where nothing is held out.
        samples: what the policy wrote to a few prompts.
    """

    step: int
    epoch: float
    metrics: Mapping[str, float]
    samples: tuple[SampleRow, ...]


class SaveRecord(NamedTuple):
    """Something that was written.

    Attributes:
        step: steps made before it.
        path: the folder: of a checkpoint, or of the aligned model.
        finished: whether it is the aligned model, after which nothing comes.
    """

    step: int
    path: Path
    finished: bool


class StopRun(Exception):  # noqa: N818 - a request, and no error
    """Raised in a callback it ends the run after the step that is under way: a last evaluation, and the model."""


class Callback:
    """Base of callbacks: override what you want to hear. Each is called on the main process only.

    An exception stops the run in good order, with a checkpoint to resume from; `StopRun` ends it early.
    """

    def on_step(self, record: StepRecord) -> None:
        """Told after every optimizer step."""

    def on_evaluation(self, record: EvaluationRecord) -> None:
        """Told after every evaluation; the first is before the first step."""

    def on_save(self, record: SaveRecord) -> None:
        """Told after every checkpoint, and when the model is written."""

    def on_log(self, row: Mapping[str, float]) -> None:
        """Told every row of numbers that was added to `metrics.jsonl`; trackers copy it."""

    def on_end(self) -> None:
        """Told once at the end, however the run ended."""


def check_callbacks(callbacks: Iterable[Any]) -> list[Callback]:
    """Return the callbacks.

    Raises:
        ConfigError: one of them is none.
    """
    found = list(callbacks)
    for one in found:
        if not isinstance(one, Callback):
            raise ConfigError(
                f"callbacks holds {one!r:.80}; expected objects of classes made from prospect.Callback "
                "(class Mine(prospect.Callback), and then Mine())."
            )
    return found


@dataclass
class Callbacks:
    """Those of a run; what they ask for takes effect between steps, on all processes together.

    Attributes:
        told: trackers, and what the caller gave; none but on the main process.
        failed: what one of them raised, with the name of the method.
        ended: why one of them ends the run.
    """

    told: list[Callback] = field(default_factory=list)
    failed: tuple[str, Exception] | None = None
    ended: str | None = None

    def on_step(self, step: int, total_steps: int, epoch: float, metrics: Mapping[str, float]) -> None:
        """Tell of a step."""
        if self.told:
            self._tell("on_step", StepRecord(step, total_steps, epoch, _frozen(metrics)))

    def on_evaluation(self, step: int, epoch: float, metrics: Mapping[str, float], samples: list[SampleRow]) -> None:
        """Tell of an evaluation."""
        if self.told:
            self._tell("on_evaluation", EvaluationRecord(step, epoch, _frozen(metrics), tuple(samples)))

    def on_save(self, step: int, path: Path, *, finished: bool = False) -> None:
        """Tell of a checkpoint or the model."""
        self._tell("on_save", SaveRecord(step, path, finished))

    def on_log(self, row: Mapping[str, float]) -> None:
        """Tell of a row."""
        if self.told:
            self._tell("on_log", _frozen(row))

    def close(self) -> None:
        """Tell that this is the end. What fails now is said, and stops nothing."""
        failed, self.failed = self.failed, None
        self._tell("on_end")
        if self.failed is not None:
            progress.note(f"warning: {_describe(*self.failed)}")
        self.failed = failed

    @property
    def cause(self) -> Exception | None:
        """What one of them raised."""
        return self.failed and self.failed[1]

    def error(self, then: str) -> CallbackError:
        """Return the error of the callback that failed."""
        if self.failed is None:  # on another process
            return CallbackError(f"a callback failed on the main process. {then}")
        return CallbackError(f"{_describe(*self.failed)}. {then}")

    def _tell(self, event: str, *record: Any) -> None:
        if not self.told:
            return
        random = random_state()
        try:
            for one in self.told:
                name = f"{type(one).__name__}.{event}"
                try:
                    getattr(one, event)(*record)
                except StopRun as stop:
                    self.ended = self.ended or f"{name}{f': {stop}' if str(stop) else ''}"
                except Exception as error:
                    self.failed = self.failed or (name, error)
        finally:
            set_random_state(random)


def _frozen(values: Mapping[str, float]) -> Mapping[str, float]:
    return MappingProxyType(dict(values))


def _describe(name: str, error: Exception) -> str:
    return f"{name} failed ({type(error).__name__}: {' '.join(str(error).split())})"
