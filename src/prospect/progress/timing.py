"""Where the time of a command or of a run goes: seconds by phase, each without the phases within it.

A stopwatch is switched from part to part as `prospect.progress.phase` names what begins, so that the parts add up to
the whole. What other threads do while they work beside is in the processor seconds of the part that is under way.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

# Parts that are named in more than one place.
IMPORTS, REFERENCE, FIRST_STEP, STEPS, SAVING = "imports", "reference", "first step", "steps", "saving"
ANSWERS = "answering prompts"
REST = "everything else"


@dataclass
class Spent:
    """What a part took: seconds by the clock, seconds of all processors, and how often it began."""

    seconds: float = 0.0
    processor_seconds: float = 0.0
    times: int = 0


class Stopwatch:
    """Seconds by part.

    Args:
        wall: seconds by the clock, from any start.
        processor: seconds of all processors that the process took.
    """

    def __init__(
        self, wall: Callable[[], float] = time.monotonic, processor: Callable[[], float] = time.process_time
    ) -> None:
        self._wall, self._processor = wall, processor
        self._thread = threading.get_ident()
        self._open = [REST]
        self._parts: dict[str, Spent] = {}
        self._since = (wall(), processor())

    def begin(self, name: str) -> None:
        """Switch to a part."""
        self._settle()
        self._open.append(name)
        self._parts.setdefault(name, Spent()).times += 1

    def end(self) -> None:
        """Switch back to the part around this one."""
        self._settle()
        self._open.pop()

    def began(self, name: str) -> bool:
        """Whether a part has begun, ever."""
        return name in self._parts

    @property
    def heard(self) -> bool:
        """Whether the thread that asks is the one whose time is taken."""
        return threading.get_ident() == self._thread

    def add(self, name: str, spent: Spent) -> None:
        """Count what a part took before."""
        self._parts[name] = Spent(spent.seconds, spent.processor_seconds, spent.times)

    def parts(self) -> dict[str, Spent]:
        """Return what each part took so far, in the order in which they began, and last what belongs to none."""
        self._settle()
        rest = self._parts.pop(REST)
        self._parts[REST] = rest
        return dict(self._parts)

    def _settle(self) -> None:
        now = (self._wall(), self._processor())
        spent = self._parts.setdefault(self._open[-1], Spent())
        spent.seconds += now[0] - self._since[0]
        spent.processor_seconds += now[1] - self._since[1]
        self._since = now


_running: list[Stopwatch] = []


@contextmanager
def taken() -> Iterator[Stopwatch]:
    """Take the time of what is done within; the imports of a command count for each run that it makes."""
    watch = Stopwatch()
    if _running and IMPORTS in (before := _running[-1].parts()):
        watch.add(IMPORTS, before[IMPORTS])
    _running.append(watch)
    try:
        yield watch
    finally:
        _running.remove(watch)


@contextmanager
def part(name: str) -> Iterator[None]:
    """Count what is done within as a part, for everybody who takes the time of this thread."""
    watches = [watch for watch in _running if watch.heard]
    for watch in watches:
        watch.begin(name)
    try:
        yield
    finally:
        for watch in watches:
            watch.end()


def table(parts: dict[str, Spent]) -> str:
    """Return the parts as lines of text, with their sum."""
    width = max(map(len, [*parts, "in all"]))
    whole = Spent(sum(one.seconds for one in parts.values()), sum(one.processor_seconds for one in parts.values()))
    lines = [f"{'':{width}}  {'seconds':>8}  {'of processors':>13}  {'times':>5}"]
    for name, one in [*parts.items(), ("in all", whole)]:
        times = f"{one.times:>5}" if one.times else ""
        lines.append(f"{name:{width}}  {one.seconds:>8.2f}  {one.processor_seconds:>13.2f}  {times}".rstrip())
    return "\n".join(lines)
