"""How hard an example pulls: KTO lets go of what it cannot learn, DPO pulls at its full strength.

Proposition 4.1 of arXiv 2402.01306. Both coefficients are gradients by autograd through the library's losses.

python examples/theory/proposition_4_1.py [--figure FILE]

Letters: S points. z = beta (r - z0) for KTO, z = beta h for DPO, h the log-ratio of chosen minus that of rejected.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from figure_option import figure_option

from prospect import get_loss
from prospect.report.charts.figure_file import Curve, write_figure

BETA = 0.1
Z0 = 1.5  # nats; any other gives the same numbers, for only r - z0 counts
SHOWN = (-10.0, -5.0, -2.0, 0.0, 2.0, 5.0, 10.0)


def kto_pull(z: np.ndarray, *, desirable: bool, beta: float = BETA, weight: float = 1.0) -> np.ndarray:
    """Return |d loss / d r| / beta of KTO at z (S,): lambda s(z) s(-z) by the proposition."""
    z0 = torch.tensor(Z0, dtype=torch.float64)
    log_ratio = (torch.from_numpy(z) / beta + z0).requires_grad_()
    verdict = torch.full(log_ratio.shape, desirable)
    loss = get_loss("kto")(log_ratio, verdict, z0, beta=beta, desirable_weight=weight, undesirable_weight=weight)
    (gradient,) = torch.autograd.grad(loss.sum(), log_ratio)
    return (gradient.abs() / beta).numpy()


def dpo_pull(z: np.ndarray, *, beta: float = BETA) -> np.ndarray:
    """Return |d loss / d chosen| / beta of DPO at z (S,): s(-z)."""
    chosen = (torch.from_numpy(z) / beta).requires_grad_()
    loss = get_loss("dpo")(chosen, torch.zeros_like(chosen), beta=beta)
    (gradient,) = torch.autograd.grad(loss.sum(), chosen)
    return (gradient.abs() / beta).numpy()


def table() -> str:
    """Return the numbers that the command prints."""
    z = np.array(SHOWN)
    columns = (kto_pull(z, desirable=True), kto_pull(z, desirable=False), dpo_pull(z))
    rows = [f"{at:5.0f}" + "".join(f"{value:16.6g}" for value in row) for at, *row in zip(z, *columns, strict=True)]
    return "\n".join(["gradient / beta", "    z   KTO desirable KTO undesirable             DPO", *rows])


def draw(path: Path) -> None:
    """Write the figure: both curves."""
    z = np.linspace(-10, 10, 201)
    write_figure(
        path,
        [
            Curve("KTO, z = β (r − z0)", z, kto_pull(z, desirable=True)),
            Curve("DPO, z = β h", z, dpo_pull(z)),
        ],
        title="How hard an example pulls",
        y_label="gradient / β",
        x_label="hard  ←  z  →  learnt",
    )


def main() -> None:
    """Print the table, write the figure."""
    path = figure_option("Proposition 4.1 of arXiv 2402.01306, by autograd.")
    print(table())
    if path is not None:
        draw(path)


if __name__ == "__main__":
    main()
