"""What a long command says on stderr while it works: what it does, how far it is, and something every ten seconds.

`phase` names what begins, `count` says from within a loop how far it is, `note` says anything else. All three speak to
the display that is in use, and to nobody where there is none: a library that is called from elsewhere keeps quiet.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from types import TracebackType
from typing import TypeVar

from prospect.progress import timing

Item = TypeVar("Item")


class Display:
    """Stay silent; the base of the displays that speak.

    Attributes:
        speaks: whether it says anything.
    """

    speaks = False

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
    elif _display.speaks:
        yield _display
    else:
        with _new(name) as display:
            yield display


def _new(name: str) -> Display:
    if sys.stderr.isatty():
        from prospect.progress.live import Live

        return Live(name)
    from prospect.progress.lines import Lines

    return Lines(name)


@contextmanager
def phase(
    text: str, *, part: str | None = None, aloud: bool = True, done: int = 0, total: int | None = None
) -> Iterator[None]:
    """Name what is done within the `with` block, and take its time.

    Args:
        text: a few words. A name that was said once is not said again, unless it lasts.
        part: as what its time counts (`prospect.progress.timing`); by default as the text, where that is aloud.
        aloud: false for what is said only if it lasts.
        done: how much of it is done already.
        total: how much there is to do.
    """
    counted_as = part or (text if aloud else None)
    watched = timing.part(counted_as) if counted_as else nullcontext()
    with watched, _display.phase(text, aloud=aloud, done=done, total=total):
        yield


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
    """Return a time in words."""
    if seconds < 10:
        return f"{round(seconds, 2):.2g} s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
