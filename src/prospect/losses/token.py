"""Losses that see every token. Letters: N examples, T tokens; everything in nats."""

from __future__ import annotations

import torch

from prospect.losses import values as value_functions
from prospect.losses.advantages import generalized_advantages, token_rewards
from prospect.losses.logarithms import log1mexp, ratio
from prospect.losses.registry import loss


@loss(
    "unpaired",
    level="token",
    needs_reference=False,
    mean_over="tokens",
    learning_rate=5e-6,
    paper="Unlikelihood, Welleck et al. 2019, arXiv 1908.04319",
)
def unlikelihood(token_log_ratio: torch.Tensor, completion: torch.Tensor, desirable: torch.Tensor) -> torch.Tensor:
    """Likelihood of every token of desirable completions, unlikelihood of every token of the others.

    loss = -sum_t log p_t if desirable, -sum_t log(1 - p_t) if not.

    Args:
        token_log_ratio: log p_t, (N, T) nats, the policy's token logps.
        completion: bool (N, T), true on tokens that are scored.
        desirable: bool (N,).

    Returns:
        (N,) losses in nats, sums over tokens.

    Source: arXiv 1908.04319, with the undesirable completion's own tokens as negative candidates.
    """
    unlikely = -log1mexp(token_log_ratio)
    return (torch.where(desirable[:, None], -token_log_ratio, unlikely) * completion).sum(1)


def _advantages(
    values: torch.Tensor, completion: torch.Tensor, desirable: torch.Tensor, gamma: float, gae_lambda: float
) -> torch.Tensor:
    """Return advantage estimates (N, T), 0 outside completions; the reward, +1 or -1, is on the last token."""
    score = torch.where(desirable, 1.0, -1.0).to(values.dtype)
    rewards = token_rewards(score, torch.zeros_like(values), completion, coefficient=0.0)
    return generalized_advantages(rewards, values, completion, gamma=gamma, gae_lambda=gae_lambda)


def _advantage_moments(
    token_log_ratio: torch.Tensor,
    completion: torch.Tensor,
    desirable: torch.Tensor,
    values: torch.Tensor,
    *,
    gamma: float,
    gae_lambda: float,
) -> torch.Tensor:
    """Mean and standard deviation (2,) of the advantages of all tokens of a step."""
    advantage = _advantages(values.double(), completion, desirable, gamma, gae_lambda)[completion]
    return torch.stack([advantage.mean(), advantage.std(correction=0)])


@loss(
    "unpaired",
    level="token",
    needs_values=True,
    over_step={"advantage_moments": _advantage_moments},
    mean_over="tokens",
    is_halo=True,
    value=value_functions.ppo_clip,
    bounds={
        "gamma": "[0, 1]",
        "gae_lambda": "[0, 1]",
        "clip_low": "[0, 1]",
        "clip_high": "[1, inf)",
        "kl_penalty": "[0, inf)",
        "value_weight": "[0, inf)",
    },
    learning_rate=5e-7,
    paper="PPO, Schulman et al. 2017, arXiv 1707.06347; offline, arXiv 2402.01306",
)
def offline_ppo(
    token_log_ratio: torch.Tensor,
    completion: torch.Tensor,
    desirable: torch.Tensor,
    values: torch.Tensor,
    advantage_moments: torch.Tensor,
    *,
    gamma: float = 0.99,
    gae_lambda: float = 0.95,
    clip_low: float = 0.25,
    clip_high: float = 4.0,
    kl_penalty: float = 0.1,
    value_weight: float = 0.01,
) -> torch.Tensor:
    """PPO-Clip on logged completions, with a reward of +1 or -1 at the end and the reference as the old policy.

    loss = sum_t max(-A_t q_t, -A_t clip(q_t, low, high)) - kl_penalty log q_t + value_weight (V_t - R_t)^2,
    q_t = policy / reference probability of the token, A_t the whitened advantage, R_t = V_t + its raw advantage.

    Args:
        token_log_ratio: log q_t, (N, T) nats, policy - reference token logps.
        completion: bool (N, T), true on tokens that are scored.
        desirable: bool (N,); the reward is +1 or -1.
        values: V_t, (N, T), the value head's expectation before each token.
        advantage_moments: (2,), mean and standard deviation of the advantages over the whole step.
        gamma: discount in [0, 1].
        gae_lambda: of the advantage estimates, in [0, 1].
        clip_low: lower end of the clip, in [0, 1].
        clip_high: upper end, >= 1.
        kl_penalty: >= 0, on the estimate -log q_t of the KL from reference to policy.
        value_weight: >= 0, of the value head's squared error.

    Returns:
        (N,) losses, sums over tokens.

    Source: arXiv 1707.06347, equation 7; dummy rewards and constants from arXiv 2402.01306. Above e^10 the ratio is
    continued along its tangent, so that nothing overflows.
    """
    advantage = _advantages(values.detach(), completion, desirable, gamma, gae_lambda)
    target = (values + advantage).detach()
    mean, std = advantage_moments.to(values.dtype)
    whitened = (advantage - mean) / std.clamp(min=1e-8)
    q = ratio(token_log_ratio)
    surrogate = torch.maximum(-whitened * q, -whitened * q.clamp(clip_low, clip_high))
    per_token = surrogate - kl_penalty * token_log_ratio + value_weight * (values - target) ** 2
    return (per_token * completion).sum(1)
