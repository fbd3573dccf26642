"""Losses on completions to imitate. Letters: N examples; everything in nats."""

from __future__ import annotations

import torch

from prospect.losses.registry import loss


@loss(
    "demonstration",
    needs_reference=False,
    mean_over="tokens",
    direction="up",
    learning_rate=2e-5,
    paper="maximum likelihood",
)
def sft(logps: torch.Tensor) -> torch.Tensor:
    """Supervised fine-tuning: the negative log-likelihood of the completion.

    loss = -logps. The step divides the sum over its examples by the number of their completion tokens, so
    that the logged loss is nats per token and long completions count by their tokens.

    Args:
        logps: (N,) nats, summed over completion tokens.

    Returns:
        (N,) losses in nats.
    """
    return -logps
