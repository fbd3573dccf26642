"""Where the time goes: each phase's own seconds, which add up to the whole."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from prospect import progress
from prospect.progress import timing


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A clock that is moved by hand; processors take twice its time."""
    now = [0.0]
    monkeypatch.setattr(timing, "Stopwatch", _stopwatch_on(now))

    def later(seconds: float) -> None:
        now[0] += seconds

    return later


def _stopwatch_on(now: list[float]) -> Any:
    kind = timing.Stopwatch
    return lambda: kind(lambda: now[0], lambda: 2 * now[0])


def test_a_phase_counts_its_own_seconds_and_all_add_up(clock: Any) -> None:
    with timing.taken() as watch:
        clock(1)
        for _ in range(2):
            with progress.phase("training"):
                clock(2)
                with progress.phase("scoring 40 held-out examples", part="evaluation"):
                    clock(4)
                with progress.phase("at step 3", aloud=False):
                    clock(8)
    parts = watch.parts()
    assert {name: (one.seconds, one.times) for name, one in parts.items()} == {
        "training": (20, 2),
        "evaluation": (8, 2),
        timing.REST: (1, 0),
    }
    assert all(one.processor_seconds == 2 * one.seconds for one in parts.values())
    assert timing.table(parts).splitlines()[-1].split() == ["in", "all", "29.00", "58.00"]


def test_a_phase_that_fails_is_over(clock: Any) -> None:
    with timing.taken() as watch:
        with pytest.raises(ValueError), progress.phase("reading"):
            raise ValueError
        clock(1)
    assert watch.parts()[timing.REST].seconds == 1


def test_a_run_counts_what_its_command_imported_and_nothing_else_from_before(clock: Any) -> None:
    with timing.taken():
        with timing.part(timing.IMPORTS):
            clock(3)
        with timing.part(timing.ANSWERS):
            clock(5)
        with timing.taken() as run:
            clock(1)
        assert {name: one.seconds for name, one in run.parts().items()} == {timing.IMPORTS: 3, timing.REST: 1}


def test_phases_of_other_threads_are_not_heard(clock: Any) -> None:
    def work() -> None:
        with timing.part("elsewhere"):
            pass

    with timing.taken() as watch:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert set(watch.parts()) == {timing.REST}
