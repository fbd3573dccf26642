"""Losses on single completions with a verdict. Letters: N examples; everything in nats."""

from __future__ import annotations

import torch

from prospect.losses.base import loss


@loss(
    "unpaired",
    needs_reference_point=True,
    is_halo=True,
    learning_rate=5e-6,
    paper="KTO, Ethayarajh et al. 2024, arXiv 2402.01306",
)
def kto(
    log_ratio: torch.Tensor,
    desirable: torch.Tensor,
    z0: torch.Tensor,
    *,
    beta: float = 0.1,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
) -> torch.Tensor:
    """Kahneman-Tversky optimisation: how far a completion's human value lies under its best.

    loss = lambda_D s(-beta (r - z0)) if desirable, lambda_U s(beta (r - z0)) if not, which is lambda_y - v of
    the paper.

    Args:
        log_ratio: r, (N,) nats, policy logps - reference logps.
        desirable: bool (N,).
        z0: () nats >= 0, detached; the reference point.
        beta: risk aversion, > 0.
        desirable_weight: lambda_D >= 0.
        undesirable_weight: lambda_U >= 0.

    Returns:
        (N,) losses; lambda/2 each at r = z0.

    Source: arXiv 2402.01306, equations 7 and 8. Written s(-x) and not 1 - s(x): the latter is exactly 0, with
    no gradient, from x = 16.7 in float32.
    """
    sign = torch.where(desirable, 1.0, -1.0).to(log_ratio.dtype)
    weight = torch.full_like(log_ratio, undesirable_weight).masked_fill(desirable, desirable_weight)
    return weight * torch.sigmoid(-beta * sign * (log_ratio - z0))
