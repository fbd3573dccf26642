"""Value functions of human-aware losses as curves to draw."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from prospect.errors import ConfigError
from prospect.losses import Loss, values
from prospect.report.charts.figure_file import Curve

# As in the paper's figure. Beyond, the steep ones leave no room for a sigmoid to be seen.
REACH = 4.0
PAPER: tuple[tuple[str, Callable[[torch.Tensor], torch.Tensor]], ...] = (
    ("Kahneman-Tversky", values.kahneman_tversky),
    ("KTO", lambda z: values.sigmoid(z, beta=1.0)),
    ("DPO", lambda z: values.log_sigmoid(z, beta=1.0)),
    ("PPO-Clip", values.ppo_clip),
    ("SLiC", values.slic),
)


def papers_curves() -> list[Curve]:
    """Return the figure of arXiv 2402.01306: what people's choices say, and what losses assume."""
    return [_curve(label, value) for label, value in PAPER]


def curves_of(losses: Sequence[Loss]) -> list[Curve]:
    """Return the declared value functions; beta is 1 where there is one, so that z is counted in units of 1 / beta.

    Raises:
        ConfigError: a loss without a value function.
    """
    for loss in losses:
        if loss.value is None:
            raise ConfigError(
                f"loss {loss.name} has no value function to draw: it is not declared a human-aware loss. Those that "
                "are: `prospect losses`, column HALO."
            )
    return [_curve(loss.name, lambda z, loss=loss: loss.human_value(z, **_unit(loss))) for loss in losses]  # type: ignore[misc]


def _unit(loss: Loss) -> dict[str, float]:
    return {"beta": 1.0} if "beta" in loss.hyperparameters else {}


def _curve(label: str, value: Callable[[torch.Tensor], torch.Tensor]) -> Curve:
    z = np.linspace(-REACH, REACH, 321)  # torch.linspace rounds otherwise on every processor, and the file shows it
    return Curve(label, z, value(torch.from_numpy(z)).detach().numpy())
