"""What people see of a run's steps; `prospect.progress` says the rest."""

from __future__ import annotations

from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

from prospect import progress

LINES = 20  # plain lines a run prints in all, give or take, unless it is slow: a log file should stay short


class Display:
    """Shows a run's steps.

    Args:
        total: optimizer steps of the whole run.
        start: those that were made before.
        shown: where it is shown.
        unit: of the speed.
    """

    def __init__(self, total: int, start: int, shown: progress.Display, unit: str = "tok/s") -> None:
        self._total, self._start, self._shown, self._unit = total, start, shown, unit
        self._every = max(1, total // LINES)
        self._phase: AbstractContextManager[None] = shown.phase("training", done=start, total=total)

    def __enter__(self) -> Display:
        self._phase.__enter__()
        self._shown.count(self._start, self._total, "steps")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._phase.__exit__(kind, error, trace)

    def step(self, step: int, metrics: dict[str, Any]) -> None:
        """Told after every optimizer step."""
        said = f"step {step}/{self._total}  {describe(metrics, self._unit)}"
        self._shown.count(step, self._total, "steps", said)
        if step % self._every == 0 or step == self._total:
            self._shown.tell()

    def note(self, text: str) -> None:
        """Told anything else worth a line."""
        self._shown.note(text)


def describe(metrics: dict[str, Any], unit: str) -> str:
    """Loss, margin, z0 and speed in one short line; what a method does not have is left out."""
    parts = [f"loss {metrics['loss']:.4f}"]
    if "rewards/margins" in metrics:
        parts.append(f"margin {metrics['rewards/margins']:+.3f}")
    if "kl" in metrics:
        parts.append(f"z0 {metrics['kl']:.3f}")
    parts.append(f"{metrics['tokens_per_second']:,.0f} {unit}")
    return "  ".join(parts)
