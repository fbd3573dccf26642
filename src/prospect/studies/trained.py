"""How far a run was trained, and what it therefore cannot tell about."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from prospect.results.study import CellOutcome
from prospect.results.study_cells import CellTraining

AT_THE_END = 0.1
"""Share of the steps, the last ones, over which the size of the rewards is taken."""
EXERCISED = 0.5
"""Below this mean of abs(beta log-ratio) the slope of a sigmoid is within 6 % of that at 0: its bend cannot show."""
CLAMPED = 0.5
"""In more than this share of the steps z0 was held at 0: what depends on z0 cannot show."""
VALUE_FUNCTION: Final = "value function not exercised"
REFERENCE_POINT: Final = "z0 not tested"


def read_training(metrics: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what `CellOutcome` holds of a run's metrics.

    The size of the rewards is that on training feedback, over the last tenth of the steps.
    """
    steps = [row for row in metrics if "loss" in row]
    held = [row["kl"] > row["kl_raw"] for row in steps if "kl_raw" in row]
    magnitudes = [row["rewards/magnitude"] for row in steps if "rewards/magnitude" in row]
    return {
        "steps": max((int(row["step"]) for row in steps), default=0),
        "tokens": max((int(row["num_tokens"]) for row in steps if "num_tokens" in row), default=None),
        "z0_clamped": _mean(held),
        "reward_magnitude": _mean(magnitudes[-math.ceil(len(magnitudes) * AT_THE_END) :]),
    }


def summarise(done: Sequence[CellOutcome]) -> CellTraining | None:
    """Return the means over a cell's runs; None where there is none."""
    if not done:
        return None
    magnitude = _mean([one.reward_magnitude for one in done])
    clamped = _mean([one.z0_clamped for one in done])
    says = {
        VALUE_FUNCTION: magnitude is not None and magnitude < EXERCISED,
        REFERENCE_POINT: clamped is not None and clamped > CLAMPED,
    }
    return CellTraining(
        steps=sum(one.steps for one in done) / len(done),
        tokens=_mean([one.tokens for one in done]),
        z0_clamped=clamped,
        reward_magnitude=magnitude,
        not_tested=[what for what, so in says.items() if so],
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
