"""Contradictory preferences: DPO can end with the minority's answer, KTO goes to the majority's.

Theorem 4.3 of arXiv 2402.01306. One prompt, answers y_a and y_b; a share p of the pairs prefers y_a, the rest y_b. The
policy is a softmax over the two, so it has one parameter, the logit of y_a. Training starts at the reference.

python examples/theory/theorem_4_3.py [--figure FILE]

What is minimised, through the library's losses:

- DPO: p dpo(a, b) + (1 - p) dpo(b, a). It is convex; its minimum is where the gradient is 0, and in closed form the
  odds there are (p / (1 - p))^(1 / beta) times the reference's.
- KTO: a pair is one desirable and one undesirable example. So the mean over examples has y_a desirable with frequency
  p / 2 and undesirable with (1 - p) / 2, y_b the reverse, all weights 1. z0 is the exact KL(policy || reference) of the
  policy as it is, without gradient, as in training.

KTO has no minimum inside: for p > 1/2 its gradient points to y_a at every policy, ever more weakly. How near to 1 the
probability comes depends on how long one trains. That is counted here in steps of gradient descent on the logit with a
learning rate of 1. The steps are so small that they are taken in the limit, as the time t of
d logit / dt = -gradient; in one dimension t is an integral, and a million steps cost no more than a hundred.

A gradient that also went through z0 would be that of another loss, and can stop short of 1:
`best_with_gradient_through_z0`.

Letters: G points of a grid of logits.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from figure_option import figure_option
from scipy.optimize import brentq
from torch.func import grad, vmap

from prospect import get_loss
from prospect.report.charts.figure_file import Curve, write_figure

FAR = 25.0  # a logit: all but 1e-11 of the probability is on one answer
GRID = 4001
STEPS = (1_000, 20_000, 1_000_000)


class Case(NamedTuple):
    """The share of pairs that prefer y_a, beta, and the reference's probability of y_a."""

    p: float
    beta: float
    reference: float


CASES = (Case(0.6, 1.0, 0.3), Case(0.7, 0.5, 0.1), Case(0.5, 1.0, 0.3), Case(0.5, 0.5, 0.1))


def log_ratios(logit: torch.Tensor, case: Case) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the log-ratios (2,) of y_a and y_b, and KL(policy || reference), in nats."""
    logps = torch.stack([F.logsigmoid(logit), F.logsigmoid(-logit)])
    ratios = logps - torch.tensor([case.reference, 1 - case.reference], dtype=torch.float64).log()
    return ratios, (logps.exp() * ratios).sum()


def dpo_loss(logit: torch.Tensor, case: Case) -> torch.Tensor:
    """Return the mean DPO loss over the pairs."""
    ratios, _ = log_ratios(logit, case)
    share = torch.tensor([case.p, 1 - case.p], dtype=torch.float64)
    return (share * get_loss("dpo")(ratios, ratios.flip(0), beta=case.beta)).sum()


def kto_loss(logit: torch.Tensor, case: Case, *, through_z0: bool = False) -> torch.Tensor:
    """Return the mean KTO loss over the examples: y_a up, y_a down, y_b up, y_b down."""
    ratios, z0 = log_ratios(logit, case)
    share = torch.tensor([case.p, 1 - case.p, 1 - case.p, case.p], dtype=torch.float64) / 2
    desirable = torch.tensor([True, False, True, False])
    loss = get_loss("kto")(ratios.repeat_interleave(2), desirable, z0 if through_z0 else z0.detach(), beta=case.beta)
    return (share * loss).sum()


def kto_gradient(logits: torch.Tensor, case: Case) -> torch.Tensor:
    """Return the gradient (G,) of KTO's loss at each of `logits` (G,)."""
    return vmap(grad(lambda logit: kto_loss(logit, case)))(logits)


def dpo_optimum(case: Case) -> float:
    """Return the probability of y_a where DPO's gradient is 0."""
    slope = grad(lambda logit: dpo_loss(logit, case))
    return _probability(brentq(lambda logit: float(slope(_number(logit))), -FAR, FAR, xtol=1e-13))


def dpo_closed_form(case: Case) -> float:
    """Return the same by formula: odds (p / (1 - p))^(1 / beta) ref_a / ref_b."""
    odds = (case.p / (1 - case.p)) ** (1 / case.beta) * case.reference / (1 - case.reference)
    return odds / (1 + odds)


def kto_after(case: Case, steps: tuple[int, ...], grid: int = GRID) -> list[float]:
    """Return the probability of y_a after so many steps of gradient descent on KTO from the reference."""
    start = _logit(case.reference)
    way = -1.0 if kto_gradient(_number(start)[None], case) > 0 else 1.0
    logits = torch.linspace(start, way * FAR, grid, dtype=torch.float64)
    # At p = 1/2 the gradient is 0, or what rounding makes of it; no run is long enough to get anywhere on that.
    speed = (-way * kto_gradient(logits, case)).clamp(min=1e-15)
    time = torch.cumulative_trapezoid(1 / speed, logits * way)
    return [_probability(at) for at in np.interp(steps, [0, *time.tolist()], logits.numpy())]


def best_with_gradient_through_z0(case: Case) -> float:
    """Return the probability of y_a, p > 1/2, at which KTO's gradient is 0 if it goes through z0 too, 1 if at none."""
    slope = grad(lambda logit: kto_loss(logit, case, through_z0=True))
    start = _logit(case.reference)
    if slope(_number(FAR)) <= 0:
        return 1.0
    return _probability(brentq(lambda logit: float(slope(_number(logit))), start, FAR))


def table() -> str:
    """Return the numbers that the command prints."""
    rows = [
        f"{case.p:3}{case.beta:6}{case.reference:7}{dpo_optimum(case):12.6f}{dpo_closed_form(case):13.6f}"
        + "".join(f"{value:12.6f}" for value in kto_after(case, STEPS))
        for case in CASES
    ]
    heads = (
        "probability of y_a",
        f"{'DPO':>28}{'DPO':>13}" + f"{'KTO after':>12}" * 3,
        "  p  beta  ref_a     optimum  closed form" + "".join(f"{f'{steps:,}':>12}" for steps in STEPS),
    )
    through = " and ".join(f"{best_with_gradient_through_z0(case):.6f}" for case in CASES[:2])
    return "\n".join([*heads, *rows, f"KTO with gradient through z0, first two rows: {through}"])


def draw(path: Path) -> None:
    """Write the figure: where both end, for every majority."""
    shares = np.linspace(0, 1, 101)
    # At a share of exactly 0 or 1 DPO has no optimum either: its logit runs off to infinity.
    cases = [Case(float(p), 1.0, 0.3) for p in shares.clip(1e-9, 1 - 1e-9)]
    write_figure(
        path,
        [
            Curve("KTO, 20,000 steps", shares, np.array([kto_after(c, (20_000,), 801)[0] for c in cases])),
            Curve("DPO, optimum", shares, np.array([dpo_optimum(c) for c in cases])),
        ],
        title="Which answer wins when preferences disagree",
        y_label="probability of y_a (reference: 0.3; β = 1)",
        x_label="p, share of pairs that prefer y_a",
        guides=(None, 0.5),
    )


def _number(value: float) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.float64)


def _logit(probability: float) -> float:
    return math.log(probability / (1 - probability))


def _probability(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))


def main() -> None:
    """Print the table, write the figure."""
    path = figure_option("Theorem 4.3 of arXiv 2402.01306, on two answers.")
    print(table())
    if path is not None:
        draw(path)


if __name__ == "__main__":
    main()
