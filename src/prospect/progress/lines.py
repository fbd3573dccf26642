"""Plain lines: one for each phase, and one where nothing was said for ten seconds.

A thread looks once a second whether anything was said within the last ten. Loops could count what passes through them,
and do; but the longest silences are single calls into libraries (importing torch, loading or downloading a model,
copying it, compiling, one step of a large batch), in which no loop of ours runs, and only a second thread can speak.
It reads a few attributes that the main thread sets, prints a line, and ends with the display.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType

from prospect.progress import Display, span
from prospect.terminal import say

EVERY = 10.0  # seconds that may pass without a line
_LOOK = 1.0  # seconds between two looks at whether they have


@dataclass
class Phase:
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
        """Note how far it is."""
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


class Lines(Display):
    """Plain lines: one as a phase of a new name begins, one where nothing else was said for ten seconds.

    Args:
        name: what is being done where no phase says it better.
        clock: seconds, from any start.
    """

    speaks = True

    def __init__(self, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._phases = [Phase(name, clock())]
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
        phase = Phase(text, self._clock(), done, total)
        self._phases.append(phase)
        self._begin(phase, aloud)
        try:
            yield
        finally:
            self._phases.remove(phase)
            self._end(phase)
            outer = self._phases[-1]
            if aloud and outer.done == outer.first:  # an evaluation before the first step is no part of the steps' pace
                outer.counted_from = self._clock()

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

    def _begin(self, phase: Phase, aloud: bool) -> None:
        if aloud and phase.text not in self._named:
            self._named.add(phase.text)
            self.note(f"{phase.text} ...")

    def _end(self, phase: Phase) -> None:
        """Nothing to take away."""

    def _print(self, text: str) -> None:
        say(text)

    def _watch(self) -> None:
        while not self._over.wait(_LOOK):
            try:
                self.speak_if_silent()
            except (OSError, ValueError):  # nobody reads stderr any more
                return
