"""Losses on K scored completions of one prompt. Letters: N prompts, K completions at most; everything in nats."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from prospect.losses.registry import loss

PAPER = "NCA, Chen et al. 2024, arXiv 2402.05369"


@loss("scored", bounds={"alpha": "(0, inf)"}, learning_rate=5e-7, paper=PAPER)
def nca(
    log_ratio: torch.Tensor,
    score: torch.Tensor,
    present: torch.Tensor,
    *,
    beta: float = 0.01,
    alpha: float = 1.0,
) -> torch.Tensor:
    """Noise-contrastive alignment: each completion's own likelihood, weighed by how good its score is.

    loss = -sum_i p_i log s(s_i) - (1/K) sum_i log s(-s_i), s_i = beta r_i, p = softmax(score / alpha).

    Args:
        log_ratio: r, (N, K) nats, policy logps - reference logps.
        score: (N, K), the score that each completion was given.
        present: bool (N, K), false where a prompt has fewer than K completions.
        beta: > 0.
        alpha: > 0, in units of the score: how large a difference counts as clear.

    Returns:
        (N,) losses; 2 log 2 each at r = 0.

    Source: arXiv 2402.05369, NCA.
    """
    reward = beta * log_ratio
    noise = (F.logsigmoid(-reward) * present).sum(1) / present.sum(1)
    return -(_target(score, present, alpha) * F.logsigmoid(reward)).sum(1) - noise


@loss("scored", bounds={"alpha": "(0, inf)"}, learning_rate=5e-7, paper=PAPER)
def infonca(
    log_ratio: torch.Tensor,
    score: torch.Tensor,
    present: torch.Tensor,
    *,
    beta: float = 0.01,
    alpha: float = 1.0,
) -> torch.Tensor:
    """DPO for K completions: a classifier of the best one, its target softened by the scores.

    loss = -sum_i p_i log softmax_i(s), s_i = beta r_i, p = softmax(score / alpha).

    Args:
        log_ratio: r, (N, K) nats, policy logps - reference logps.
        score: (N, K), the score that each completion was given.
        present: bool (N, K), false where a prompt has fewer than K completions.
        beta: > 0.
        alpha: > 0, in units of the score: how large a difference counts as clear.

    Returns:
        (N,) losses; log K each at r = 0. With K = 2 and one clear winner it is DPO.

    Source: arXiv 2402.05369, InfoNCA.
    """
    logits = (beta * log_ratio).masked_fill(~present, -torch.inf)
    log_share = F.log_softmax(logits, 1).masked_fill(~present, 0.0)
    return -(_target(score, present, alpha) * log_share).sum(1)


def _target(score: torch.Tensor, present: torch.Tensor, alpha: float) -> torch.Tensor:
    """softmax(score / alpha) over the completions that are there, (N, K)."""
    return torch.softmax((score / alpha).masked_fill(~present, -torch.inf), 1)
