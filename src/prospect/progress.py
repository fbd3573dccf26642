"""What a long command says on stderr while it works: what it does, how far it is, and something every ten seconds.

`phase` names what begins, `count` says from within a loop how far it is, `note` says anything else. All three speak to
the display that is in use, and to nobody where there is none: a library that is called from elsewhere keeps quiet.

A thread looks once a second whether anything was said within the last ten. Loops could count what passes through them,
and do; but the longest silences are single calls into libraries (importing torch, loading or downloading a model,
copying it, compiling, one step of a large batch), in which no loop of ours runs, and only a second thread can speak.
It reads a few attributes that the main thread sets, prints a line, and ends with the display.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeVar

Item = TypeVar("Item")

EVERY = 10.0  # seconds that may pass without a line
_LOOK = 1.0  # seconds between two looks at whether they have


@dataclass
class _Phase:
    """Something that is being done, since when (seconds), and how far it is."""

    text: str
    begun: float
    done: int = 0
    total: int | None = None
    what: str = ""
    said: str = ""

    def __post_init__(self) -> None:
        self.first, self.counted_from = self.done, self.begun

    def count(self, done: int, total: int | None, what: str, said: str, now: float) -> None:
        if self.what and (done < self.done or what != self.what):  # another loop of the same phase
            self.first, self.counted_from = 0, now
        self.done, self.total, self.what, self.said = done, total, what, said

    def counts(self) -> str:
        """How many of how many."""
        return f"{self.done:,}{'' if self.total is None else f' of {self.total:,}'} {self.what}"

    def left(self, now: float) -> float | None:
        """Seconds that the rest will take, at the pace so far."""
        if self.total is None or self.done <= self.first:
            return None
        return (now - self.counted_from) / (self.done - self.first) * max(self.total - self.done, 0)

    def line(self, now: float) -> str:
        """How far it is, in words."""
        left = self.left(now)
        if self.said:
            return f"{self.said}  {'' if left is None else f'{span(left)} left'}".rstrip()
        parts = [self.counts()] if self.what else []
        parts.append(f"{span(now - self.begun)} so far")
        parts += [] if left is None else [f"about {span(left)} left"]
        return f"{self.text}: {', '.join(parts)}"


class Display:
    """Says nothing, and is what the displays that speak have in common."""

    def __enter__(self) -> Display:
        global _display
        self._outer, _display = _display, self
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        global _display
        _display = self._outer

    @contextmanager
    def phase(self, text: str, *, aloud: bool = True, done: int = 0, total: int | None = None) -> Iterator[None]:
        """Name what is done within; see the function of that name."""
        yield

    def count(self, done: int, total: int | None = None, what: str = "", said: str = "") -> None:
        """Say how far the phase is; see the function of that name."""

    def tell(self) -> None:
        """Say now how far the phase is."""

    def note(self, text: str) -> None:
        """Say a line."""


class Lines(Display):
    """Plain lines: one as a phase of a new name begins, one where nothing else was said for ten seconds.

    Args:
        name: what is being done where no phase says it better.
        clock: seconds, from any start.
    """

    def __init__(self, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._phases = [_Phase(name, clock())]
        self._named: set[str] = set()
        self._last = clock()
        self._lock = threading.RLock()  # taken again by a signal's handler that says something
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True, name="progress")

    def __enter__(self) -> Display:
        self._thread.start()
        return super().__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        self._over.set()
        self._thread.join()

    @contextmanager
    def phase(self, text: str, *, aloud: bool = True, done: int = 0, total: int | None = None) -> Iterator[None]:
        """Name what is done within."""
        phase = _Phase(text, self._clock(), done, total)
        self._phases.append(phase)
        self._begin(phase, aloud)
        try:
            yield
        finally:
            self._phases.remove(phase)
            self._end(phase)

    def count(self, done: int, total: int | None = None, what: str = "", said: str = "") -> None:
        """Say how far the phase is."""
        self._phases[-1].count(done, total, what, said, self._clock())

    def tell(self) -> None:
        """Say now how far the phase is."""
        self.note(self._phases[-1].line(self._clock()))

    def note(self, text: str) -> None:
        """Say a line."""
        with self._lock:
            self._last = self._clock()
            self._print(text)

    def speak_if_silent(self) -> None:
        """Say how far it is where nothing was said for ten seconds.

        Of phases within each other it is the innermost that has lasted so long: of a step that takes one second nobody
        wants to know, but of the run that it belongs to.
        """
        now = self._clock()
        if now - self._last >= EVERY:
            long = [phase for phase in list(self._phases) if now - phase.begun >= EVERY]
            self.note((long or self._phases)[-1].line(now))

    def _begin(self, phase: _Phase, aloud: bool) -> None:
        if aloud and phase.text not in self._named:
            self._named.add(phase.text)
            self.note(f"{phase.text} ...")

    def _end(self, phase: _Phase) -> None:
        """Nothing to take away."""

    def _print(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)  # noqa: T201

    def _watch(self) -> None:
        while not self._over.wait(_LOOK):
            try:
                self.speak_if_silent()
            except (OSError, ValueError):  # nobody reads stderr any more
                return


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

    def _begin(self, phase: _Phase, aloud: bool) -> None:
        if not aloud:
            return
        if self._bars is None:
            self._bars = _bars()
        if not self._tasks:
            self._bars.start()
        task = self._bars.add_task(phase.text, total=phase.total, completed=phase.done)
        self._tasks[id(phase)] = task

    def _end(self, phase: _Phase) -> None:
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
    from rich.console import Console
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
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=False,  # results go there, and rich would send them to stderr
    )


_display = Display()


@contextmanager
def shown(name: str, *, quiet: bool = False) -> Iterator[Display]:
    """Show what is done within: on the display in use, else on a new one; nowhere where quiet.

    Args:
        name: what is being done where no phase says it better.
        quiet: say nothing.
    """
    if quiet:
        with Display() as silent:
            yield silent
    elif isinstance(_display, Lines):
        yield _display
    else:
        with Live(name) if sys.stderr.isatty() else Lines(name) as display:
            yield display


def phase(text: str, *, aloud: bool = True, done: int = 0, total: int | None = None) -> Any:
    """Name what is done within the `with` block.

    Args:
        text: a few words. A name that was said once is not said again, unless it lasts.
        aloud: false for what is said only if it lasts.
        done: how much of it is done already.
        total: how much there is to do.
    """
    return _display.phase(text, aloud=aloud, done=done, total=total)


def count(done: int, total: int | None = None, what: str = "", said: str = "") -> None:
    """Say how far the phase is; nothing is printed for it, so it may stand in any loop.

    Args:
        done: how many.
        total: of how many, where that is known.
        what: the things that are counted.
        said: a whole line in place of these.
    """
    _display.count(done, total, what, said)


def counted(items: Iterable[Item], what: str, total: int | None = None, *, every: int = 1) -> Iterator[Item]:
    """Yield the items, and count them.

    Args:
        items: any.
        what: they are.
        total: how many, where that is known.
        every: how many pass between two counts, where each takes no time at all.
    """
    for number, item in enumerate(items):
        if not number % every:
            count(number, total, what)
        yield item


def note(text: str) -> None:
    """Say a line."""
    _display.note(text)


def span(seconds: float) -> str:
    """A time in words."""
    if seconds < 10:
        return f"{round(seconds, 2):.2g} s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
