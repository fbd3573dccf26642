"""Value functions v(z): what an outcome z nats above the reference point is worth to a human.

Each human-aware loss declares one of these; its loss is a constant minus it. They are drawn by `prospect losses --plot`
and checked against the loss and against definition 3.4 of arXiv 2402.01306: never falling, concave in gains.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F


def kahneman_tversky(z: torch.Tensor, *, alpha: float = 0.88, loss_aversion: float = 2.25) -> torch.Tensor:
    """z^alpha in gains, -loss_aversion (-z)^alpha in losses.

    Source: Tversky and Kahneman 1992, with their median estimates.
    """
    return torch.where(z >= 0, 1.0, -loss_aversion) * z.abs() ** alpha


def sigmoid(z: torch.Tensor, *, beta: float = 0.1, desirable_weight: float = 1.0) -> torch.Tensor:
    """Lambda s(beta z), of KTO: concave in gains, convex in losses. Source: arXiv 2402.01306, equation 7."""
    return desirable_weight * torch.sigmoid(beta * z)


def log_sigmoid(
    z: torch.Tensor, *, beta: float = 0.1, desirable_weight: float = 1.0, label_smoothing: float = 0.0
) -> torch.Tensor:
    """Lambda [(1-e) log s(beta z) + e log s(-beta z)], of DPO at e = 0: concave everywhere, and rising only at e = 0.

    Source: arXiv 2402.01306, figure 1.
    """
    kept, flipped = F.logsigmoid(beta * z), F.logsigmoid(-beta * z)
    return desirable_weight * ((1 - label_smoothing) * kept + label_smoothing * flipped)


def identity(z: torch.Tensor, *, beta: float = 0.1, desirable_weight: float = 1.0) -> torch.Tensor:
    """Lambda beta z: neither averse to risk nor seeking it."""
    return desirable_weight * beta * z


def capped(z: torch.Tensor, *, beta: float = 0.05) -> torch.Tensor:
    """min(0, beta z - 1), of the hinge loss: nothing is gained beyond the margin of 1 / beta."""
    return (beta * z - 1).clamp(max=0)


def slic(z: torch.Tensor, *, delta: float = 1.0) -> torch.Tensor:
    """min(0, z - delta), of SLiC without its imitation term. Source: arXiv 2402.01306, figure 1."""
    return (z - delta).clamp(max=0)


def robust_log_sigmoid(z: torch.Tensor, *, beta: float = 0.1, label_smoothing: float = 0.1) -> torch.Tensor:
    """[(1-e) log s(beta z) - e log s(-beta z)] / (1-2e), of robust DPO: concave everywhere."""
    flipped = label_smoothing
    return ((1 - flipped) * F.logsigmoid(beta * z) - flipped * F.logsigmoid(-beta * z)) / (1 - 2 * flipped)


def ppo_clip(z: torch.Tensor, *, clip_high: float = 4.0) -> torch.Tensor:
    """min(e^z, clip_high), of PPO-Clip at advantage 1, z a token's log-ratio.

    Capped in gains; below the cap it is concave in the ratio e^z, not in z. Source: arXiv 2402.01306, figure 1.
    """
    return torch.exp(z.clamp(max=20)).clamp(max=clip_high)
