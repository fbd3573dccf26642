"""Losses on completions that the policy drew a moment ago. Letters: N completions, T tokens; everything in nats.

`log_q` is the policy's log-prob of a token minus the one it was drawn with: 0 before the first update on it. Advantages
are numbers that come with the completions. The KL to the reference is in the scores (`online.kl`) or, for GRPO, in the
loss.
"""

from __future__ import annotations

import torch

from prospect.losses.advantages import kl_terms
from prospect.losses.online import clipped_surrogate, clipped_value_error, sequence_ratio
from prospect.losses.registry import loss


@loss(
    "sampled",
    level="token",
    advantages="gae",
    needs_reference=False,
    needs_values=True,
    mean_over="tokens",
    bounds={
        "clip_low": "[0, 1]",
        "clip_high": "[0, inf)",
        "dual_clip": "[0, inf)",
        "value_clip": "[0, inf)",
        "value_weight": "[0, inf)",
    },
    learning_rate=1e-6,
    paper="PPO, Schulman et al. 2017, arXiv 1707.06347; on language, Ziegler et al. 2019, arXiv 1909.08593",
)
def ppo(
    log_q: torch.Tensor,
    completion: torch.Tensor,
    advantage: torch.Tensor,
    values: torch.Tensor,
    old_values: torch.Tensor,
    returns: torch.Tensor,
    *,
    clip_low: float = 0.2,
    clip_high: float = 0.2,
    dual_clip: float = 0.0,
    value_clip: float = 0.2,
    value_weight: float = 0.1,
) -> torch.Tensor:
    """PPO with a value head: the clipped surrogate, plus the clipped error of the values.

    loss = sum_t max(-A_t q_t, -A_t clip(q_t, 1 - low, 1 + high)) + value_weight / 2 max((V_t - R_t)^2, (V'_t - R_t)^2),
    q_t = exp(log_q_t), V'_t = V_t kept within value_clip of the old value.

    Args:
        log_q: (N, T) nats.
        completion: bool (N, T), true on tokens that were drawn.
        advantage: A_t, (N, T).
        values: V_t, (N, T), the value head's expectation before each token.
        old_values: (N, T), the same when the tokens were drawn.
        returns: R_t, (N, T), old value + advantage before whitening.
        clip_low: by how much q may fall before the gradient ends.
        clip_high: by how much it may rise.
        dual_clip: bound c on -c A where A < 0, meant to be above 1; 0 for none.
        value_clip: by how much a value may move before its gradient ends.
        value_weight: of the values' error.

    Returns:
        (N,) losses, sums over tokens.

    Source: arXiv 1707.06347, equations 7 and 9; the value's clip from its reference implementation.
    """
    policy = clipped_surrogate(log_q, advantage, clip_low=clip_low, clip_high=clip_high, dual_clip=dual_clip)
    error = clipped_value_error(values, old_values, returns, clip=value_clip)
    return _sum(policy + value_weight * error, completion)


@loss(
    "sampled",
    level="token",
    advantages="group",
    mean_over="tokens",
    bounds={"clip_low": "[0, 1]", "clip_high": "[0, inf)", "dual_clip": "[0, inf)", "beta": "[0, inf)"},
    learning_rate=1e-6,
    paper="GRPO, Shao et al. 2024, arXiv 2402.03300; Dr. GRPO 2503.20783; DAPO 2503.14476",
)
def grpo(
    log_q: torch.Tensor,
    completion: torch.Tensor,
    advantage: torch.Tensor,
    token_log_ratio: torch.Tensor,
    *,
    clip_low: float = 0.2,
    clip_high: float = 0.2,
    dual_clip: float = 0.0,
    beta: float = 0.0,
) -> torch.Tensor:
    """GRPO: the clipped surrogate with the advantage over the other completions of the prompt.

    loss = sum_t max(-A q_t, -A clip(q_t, 1 - low, 1 + high)) + beta (exp(-r_t) - 1 + r_t), q_t = exp(log_q_t).

    Args:
        log_q: (N, T) nats.
        completion: bool (N, T), true on tokens that were drawn.
        advantage: A, (N, T), the same for all tokens of a completion.
        token_log_ratio: r_t, (N, T) nats, policy - reference.
        clip_low: by how much q may fall before the gradient ends.
        clip_high: by how much it may rise.
        dual_clip: bound c on -c A where A < 0, meant to be above 1; 0 for none.
        beta: of the KL to the reference, of the policy as it is now.

    Returns:
        (N,) losses, sums over tokens.

    Source: arXiv 2402.03300, equation 3. Its mean over completions of means over tokens is `online.reduction: rows`.
    """
    policy = clipped_surrogate(log_q, advantage, clip_low=clip_low, clip_high=clip_high, dual_clip=dual_clip)
    return _sum(policy + beta * kl_terms(token_log_ratio, "k3"), completion)


@loss(
    "sampled",
    level="token",
    advantages="leave_one_out",
    needs_reference=False,
    bounds={"clip_low": "[0, 1]", "clip_high": "[0, inf)"},
    learning_rate=1e-6,
    paper="RLOO, Ahmadian et al. 2024, arXiv 2402.14740",
)
def rloo(
    log_q: torch.Tensor,
    completion: torch.Tensor,
    advantage: torch.Tensor,
    *,
    clip_low: float = 0.2,
    clip_high: float = 0.2,
) -> torch.Tensor:
    """REINFORCE with the other completions of the prompt as baseline: one ratio for a whole completion.

    loss = max(-A q, -A clip(q, 1 - low, 1 + high)), q = exp(sum_t log_q_t).

    Args:
        log_q: (N, T) nats.
        completion: bool (N, T), true on tokens that were drawn.
        advantage: A, (N, T), the same for all tokens of a completion.
        clip_low: by how much q may fall before the gradient ends.
        clip_high: by how much it may rise.

    Returns:
        (N,) losses.

    Source: arXiv 2402.14740. Before the first update the gradient is the paper's, -A grad log p; the clip is for more
    than one epoch over a rollout.
    """
    whole = torch.where(completion, log_q, 0.0).sum(1)
    return clipped_surrogate(whole, _of_completion(advantage, completion), clip_low=clip_low, clip_high=clip_high)


@loss(
    "sampled",
    level="token",
    advantages="group",
    needs_reference=False,
    bounds={"clip_low": "[0, 1]", "clip_high": "[0, inf)"},
    learning_rate=1e-6,
    paper="GSPO, Zheng et al. 2025, arXiv 2507.18071",
)
def gspo(
    log_q: torch.Tensor,
    completion: torch.Tensor,
    advantage: torch.Tensor,
    *,
    clip_low: float = 3e-4,
    clip_high: float = 4e-4,
) -> torch.Tensor:
    """GSPO: GRPO with one ratio for a whole completion, the geometric mean of its tokens' ratios.

    loss = max(-A q, -A clip(q, 1 - low, 1 + high)), q = exp(mean_t log_q_t).

    Args:
        log_q: (N, T) nats.
        completion: bool (N, T), true on tokens that were drawn.
        advantage: A, (N, T), the same for all tokens of a completion.
        clip_low: by how much q may fall before the gradient ends.
        clip_high: by how much it may rise.

    Returns:
        (N,) losses.

    Source: arXiv 2507.18071, equation 5, with the clips of its section 5.
    """
    mean = sequence_ratio(log_q, completion)[:, 0]
    return clipped_surrogate(mean, _of_completion(advantage, completion), clip_low=clip_low, clip_high=clip_high)


def _sum(per_token: torch.Tensor, completion: torch.Tensor) -> torch.Tensor:
    return torch.where(completion, per_token, 0.0).sum(1)


def _of_completion(per_token: torch.Tensor, completion: torch.Tensor) -> torch.Tensor:
    """Return the mean over a completion's tokens (N,): of what is the same for all of them, that."""
    return _sum(per_token, completion) / completion.sum(1).clamp(min=1)
