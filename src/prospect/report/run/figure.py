"""A figure of a run by its name, as an object of matplotlib."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from prospect.errors import UsageError
from prospect.report.charts.figure_object import as_matplotlib
from prospect.report.run.facts import RunFacts
from prospect.report.run.figures import CURVES
from prospect.run_dir import RunDir

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def figure(run: str | os.PathLike[str], name: str) -> Figure:
    """Return one of the figures that the report of a run has, with the same numbers.

    Args:
        run: a run directory, also of a run that goes on.
        name: loss, rewards, margins, logps, z0, learning_rate, grad_norm, held_out, held_out_rewards; score and kl of
            a run that samples while it trains.

    Raises:
        UsageError: an unknown name, or the run has logged nothing for it.
        CheckpointError: `run` is no run directory.
    """
    if name not in CURVES:
        raise UsageError(f'figure "{name}": expected one of {", ".join(CURVES)}.')
    facts = RunFacts.read(RunDir(os.fspath(run)))
    found = CURVES[name](facts)
    if found is None:
        there = ", ".join(other for other in CURVES if CURVES[other](facts))
        raise UsageError(f"{facts.name}: has nothing logged for the figure {name}. It has {there or 'none yet'}.")
    return as_matplotlib(found)
