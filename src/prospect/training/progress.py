"""What people see while it runs: a bar on a terminal, plain lines elsewhere. Always on stderr."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any, Protocol

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from prospect.terminal import make_console, say

LINES = 20  # plain lines a run prints in all, give or take: a log file should stay short


class Display(Protocol):
    """Shows a run's progress."""

    def __enter__(self) -> Display: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def step(self, step: int, metrics: dict[str, Any]) -> None:
        """Told after every optimizer step."""
        ...

    def note(self, text: str) -> None:
        """Told anything else worth a line."""
        ...


def make_display(total: int, start: int, quiet: bool) -> Display:
    """A bar where stderr is a terminal, lines where it is not, nothing where quiet."""
    if quiet:
        return _Silence()
    return _Bar(total, start) if sys.stderr.isatty() else _Lines(total, start)


def describe(metrics: dict[str, Any]) -> str:
    """Loss, margin, z0 and speed in one short line; what a method does not have is left out."""
    parts = [f"loss {metrics['loss']:.4f}"]
    if "rewards/margins" in metrics:
        parts.append(f"margin {metrics['rewards/margins']:+.3f}")
    if "kl" in metrics:
        parts.append(f"z0 {metrics['kl']:.3f}")
    parts.append(f"{metrics['tokens_per_second']:,.0f} tok/s")
    return "  ".join(parts)


class _Silence:
    def __enter__(self) -> _Silence:
        return self

    def __exit__(self, *_: object) -> None: ...

    def step(self, step: int, metrics: dict[str, Any]) -> None: ...

    def note(self, text: str) -> None: ...


class _Lines:
    def __init__(self, total: int, start: int) -> None:
        self._total, self._first = total, start
        self._every = max(1, total // LINES)
        self._begun = time.monotonic()

    def __enter__(self) -> _Lines:
        return self

    def __exit__(self, *_: object) -> None: ...

    def step(self, step: int, metrics: dict[str, Any]) -> None:
        if step % self._every and step != self._total:
            return
        per_step = (time.monotonic() - self._begun) / max(step - self._first, 1)
        left = per_step * (self._total - step)
        self.note(f"step {step}/{self._total}  {describe(metrics)}  {left:.0f} s left")

    def note(self, text: str) -> None:
        say(text)


class _Bar:
    def __init__(self, total: int, start: int) -> None:
        self._progress = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[values]}"),
            TimeRemainingColumn(),
            console=make_console(stderr=True),
        )
        self._task = self._progress.add_task("training", total=total, completed=start, values="")

    def __enter__(self) -> _Bar:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def step(self, step: int, metrics: dict[str, Any]) -> None:
        self._progress.update(self._task, completed=step, values=describe(metrics))

    def note(self, text: str) -> None:
        self._progress.console.print(text, markup=False, highlight=False)
