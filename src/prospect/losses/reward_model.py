"""Losses that train a reward model, which take scores in place of log-ratios. Letters: N pairs."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from prospect.losses.registry import loss


@loss(
    "paired",
    needs_reference=False,
    reward_model=True,
    learning_rate=1e-5,
    paper="Bradley and Terry 1952; Ouyang et al. 2022, arXiv 2203.02155",
)
def bradley_terry(chosen: torch.Tensor, rejected: torch.Tensor) -> torch.Tensor:
    """Return the negative log-likelihood of the chosen completion winning; log-odds are the scores' difference.

    loss = -log s(score_w - score_l).

    Args:
        chosen: score_w, (N,), the reward model's scores of prompt and preferred completion.
        rejected: score_l, (N,), those of the rejected completions.

    Returns:
        (N,) losses; log 2 each for equal scores.

    Source: arXiv 2203.02155, equation 1, with two answers to a prompt.
    """
    return -F.logsigmoid(chosen - rejected)
