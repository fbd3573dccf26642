"""Logarithms and ratios that stay finite where the textbook form does not."""

from __future__ import annotations

import math

import torch

# A probability of 1 has no finite log(1 - p). This far below 1 it still differs from 1 in float32.
_CERTAIN = -1e-7
# From e^10 on a ratio is continued along its tangent: e^x itself overflows float32 at x = 89.
_TANGENT_FROM = 10.0


def log1mexp(logp: torch.Tensor) -> torch.Tensor:
    """log(1 - e^logp), for log-probs.

    Args:
        logp: <= 0, any shape, nats. From -1e-7 upwards the value stays that of -1e-7, and the gradient is 0.

    Source: Maechler 2012, "Accurately computing log(1 - exp(-|a|))": one form near 0, the other far from it.
    """
    logp = logp.clamp(max=_CERTAIN)
    near = logp > -math.log(2)
    # Each branch is fed a harmless value where the other is taken: its infinite gradient would come through as NaN.
    close = torch.log(-torch.expm1(torch.where(near, logp, -1.0)))
    far = torch.log1p(-torch.exp(torch.where(near, -1.0, logp)))
    return torch.where(near, close, far)


def ratio(log_ratio: torch.Tensor) -> torch.Tensor:
    """Return e^x, above x = 10 its tangent there, any shape."""
    return torch.exp(log_ratio.clamp(max=_TANGENT_FROM)) + _beyond(log_ratio)


def ratio_minus_one(log_ratio: torch.Tensor) -> torch.Tensor:
    """Return the same minus 1, exact near x = 0."""
    return torch.expm1(log_ratio.clamp(max=_TANGENT_FROM)) + _beyond(log_ratio)


def _beyond(log_ratio: torch.Tensor) -> torch.Tensor:
    return math.exp(_TANGENT_FROM) * torch.relu(log_ratio - _TANGENT_FROM)
