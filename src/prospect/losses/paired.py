"""Losses on pairs of completions of one prompt. Letters: N pairs; everything in nats."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from prospect.losses.base import loss


@loss("paired", is_halo=True, learning_rate=5e-7, paper="DPO, Rafailov et al. 2023, arXiv 2305.18290")
def dpo(
    chosen: torch.Tensor, rejected: torch.Tensor, *, beta: float = 0.1, label_smoothing: float = 0.0
) -> torch.Tensor:
    """Direct preference optimisation; with `label_smoothing` > 0, conservative DPO.

    loss = -(1 - e) log s(beta h) - e log s(-beta h), h = chosen - rejected.

    Args:
        chosen: (N,) nats, log-ratio of the preferred completions.
        rejected: (N,) nats, log-ratio of the others.
        beta: > 0.
        label_smoothing: e in [0, 0.5], the share of pairs believed to be the wrong way round.

    Returns:
        (N,) losses; log 2 each at h = 0.

    Source: arXiv 2305.18290, equation 7; cDPO, Mitchell 2023.
    """
    logits = beta * (chosen - rejected)
    return -(1 - label_smoothing) * F.logsigmoid(logits) - label_smoothing * F.logsigmoid(-logits)
