"""On a terminal: a line for each phase, redrawn in place."""

from __future__ import annotations

from typing import Any

from prospect.progress import span
from prospect.progress.lines import Lines, Phase
from prospect.terminal import make_console


class Live(Lines):
    """A line for each phase that is under way, redrawn in place; what is over leaves nothing behind."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._bars: Any = None
        self._tasks: dict[int, Any] = {}  # by a phase's id

    def count(self, done: int, total: int | None = None, what: str = "", said: str = "") -> None:
        """Show how far the phase is."""
        super().count(done, total, what, said)
        phase = self._phases[-1]
        task = self._tasks.get(id(phase))
        if task is not None:
            self._bars.update(task, completed=done, total=total, description=said or f"{phase.text}: {phase.counts()}")

    def tell(self) -> None:
        """Nothing: it is on the screen already."""

    def speak_if_silent(self) -> None:
        """Say how far it is where nothing shows it."""
        if not self._tasks:
            super().speak_if_silent()

    def _begin(self, phase: Phase, aloud: bool) -> None:
        if not aloud:
            return
        if self._bars is None:
            self._bars = _bars()
        if not self._tasks:
            self._bars.start()
        task = self._bars.add_task(phase.text, total=phase.total, completed=phase.done)
        self._tasks[id(phase)] = task

    def _end(self, phase: Phase) -> None:
        task = self._tasks.pop(id(phase), None)
        if task is not None:
            self._bars.remove_task(task)
            if not self._tasks:
                self._bars.stop()

    def _print(self, text: str) -> None:
        if self._tasks:
            self._bars.console.print(text, markup=False, highlight=False)
        else:
            super()._print(text)


def _bars() -> Any:
    from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
    from rich.table import Column
    from rich.text import Text

    class Time(ProgressColumn):
        def render(self, task: Task) -> Text:
            left = task.time_remaining
            return Text(span(round(task.elapsed or 0)) if left is None else f"{span(round(left))} left")

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(8),  # with it a step's numbers fit into 80 columns
        Time(Column(no_wrap=True)),
        console=make_console(stderr=True),
        transient=True,
        redirect_stdout=False,  # results go there, and rich would send them to stderr
    )
