"""Logarithms that stay finite where the textbook form does not."""

from __future__ import annotations

import math

import torch

# A probability of 1 has no finite log(1 - p). This far below 1 it still differs from 1 in float32.
_CERTAIN = -1e-7


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
