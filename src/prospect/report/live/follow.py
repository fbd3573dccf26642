"""Following a run by its files: whether it goes on, and whether there is something new."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from prospect.report.run.facts import RunFacts
from prospect.run_dir import RunDir
from prospect.training.run_lock import is_held

State = Literal["running", "finished", "stopped"]

LOOK = 1.0  # seconds between two looks


def state_of(run: RunDir) -> State:
    """Return whether the run goes on, is finished, or was stopped on the way."""
    held = is_held(run.path)  # first: it is finished before it lets go
    if run.provenance().finished is not None:
        return "finished"
    return "running" if held else "stopped"


def follow(run: RunDir, every: float = LOOK) -> Iterator[tuple[RunFacts | None, State]]:
    """Yield what the run holds whenever its files have changed, and a last time when it has ended.

    Args:
        run: the run directory; of one that has only begun to load there is nothing yet, which is None.
        every: seconds between two looks.
    """
    seen: object = None
    while True:
        state = state_of(run)
        now = (state, *map(_mark, (run.config_path, run.metrics_path, run.samples_path, run.provenance_path)))
        if now != seen:
            seen = now
            begun = run.exists() or state != "running"
            yield (RunFacts.read(run) if begun else None), state
        if state != "running":
            return
        time.sleep(every)


def _mark(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_size, found.st_mtime_ns
