"""SIGINT and SIGTERM end a run at the end of its step, and not in the middle of one."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from prospect.errors import RunStopped

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """A request to stop, heard between steps; where nothing would be lost it ends the run on the spot.

    Attributes:
        signal: which one came; 0 before.
        speaks: whether this process tells people.
        quiet: whether it tells them only at the end.
    """

    def __init__(self, speaks: bool = True, quiet: bool = False) -> None:
        self.signal, self.speaks, self.quiet = 0, speaks, quiet
        self._on_the_spot = "stopped before the first step. Begin again with the same command."
        self._before: dict[int, Any] = {}

    def wait_for_steps(self) -> None:
        """Let a step end from now on."""
        self._on_the_spot = ""

    @contextmanager
    def on_the_spot(self) -> Iterator[None]:
        """Let a signal end the block at once."""
        self._on_the_spot = "stopped."
        try:
            yield
        finally:
            self._on_the_spot = ""

    def stopped(self, message: str) -> RunStopped:
        """Return what ends the run: it says how to go on, on the process that speaks."""
        # Another process may have got the signal and this one not.
        return RunStopped(message if self.speaks else "", self.signal or signal.SIGTERM)

    def listen(self) -> None:
        """Install the handlers. A signal that was ignored, as under nohup, stays ignored."""
        for number in _SIGNALS:
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                self._before[number] = signal.signal(number, self._receive)

    def restore(self) -> None:
        """Put the handlers back that were there before."""
        while self._before:
            signal.signal(*self._before.popitem())

    def _receive(self, number: int, _: FrameType | None) -> None:
        self.signal = number
        self.restore()  # a second signal ends the process at once, as it would without us
        if self._on_the_spot:
            raise self.stopped(self._on_the_spot)
        if self.speaks and not self.quiet:  # not by print, which may have been interrupted in the middle of a line
            os.write(2, f"{signal.Signals(number).name}: stopping after this step; once more stops at once\n".encode())


@contextmanager
def listening(speaks: bool = True, quiet: bool = False) -> Iterator[Stop]:
    """Hear signals while the block runs. Python lets only the main thread do that; elsewhere none are heard."""
    stop = Stop(speaks, quiet)
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    stop.listen()
    try:
        yield stop
    finally:
        stop.restore()
