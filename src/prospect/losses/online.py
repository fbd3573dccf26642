"""Losses on completions that the policy itself drew. Letters: N completions, T tokens; nats.

`log_q` is the policy's log-prob of a token minus that of the policy that drew it: 0 before the first update.
"""

from __future__ import annotations

from typing import Literal

import torch

from prospect.losses.logarithms import ratio

Reduction = Literal["tokens", "rows", "length"]


def clipped_surrogate(
    log_q: torch.Tensor, advantage: torch.Tensor, *, clip_low: float, clip_high: float, dual_clip: float = 0.0
) -> torch.Tensor:
    """Return PPO's clipped surrogate of each token, any shape: max(-A q, -A clip(q, 1 - low, 1 + high)).

    Args:
        log_q: log of the ratio q.
        advantage: A, broadcast against it.
        clip_low: by how much q may fall before the gradient ends.
        clip_high: by how much it may rise.
        dual_clip: bound c: where A < 0 the loss is at most -c A, so that one token that became far likelier cannot
            outweigh all others; 0 for none. PPO as published has none, some trainers have 3 by default.

    Source: arXiv 1707.06347, equation 7; dual clip arXiv 1912.09729, equation 5.
    """
    q = ratio(log_q)
    loss = torch.maximum(-advantage * q, -advantage * q.clamp(1.0 - clip_low, 1.0 + clip_high))
    if not dual_clip:
        return loss
    return torch.where(advantage < 0, torch.minimum(loss, -dual_clip * advantage), loss)


def clipped_value_error(
    values: torch.Tensor, old_values: torch.Tensor, returns: torch.Tensor, *, clip: float
) -> torch.Tensor:
    """Return half the squared error of values (N, T), never less than of values kept within `clip` of the old ones.

    Source: arXiv 1707.06347's reference implementation.
    """
    kept = torch.minimum(torch.maximum(values, old_values - clip), old_values + clip)
    return 0.5 * torch.maximum((values - returns).square(), (kept - returns).square())


def reduction_weight(reduction: Reduction, *, tokens: int, length: int) -> float:
    """Return the weight of a completion's sum over tokens: which completions count how much is a setting, no detail.

    Args:
        reduction: "tokens", every token of the step weighs the same (long completions more): 1, and the step is divided
            by its tokens. "rows", every completion weighs the same, its tokens share that: 1 / tokens, and the step is
            divided by its completions. "length": 1 / length, and the same.
        tokens: of the completion.
        length: the most tokens that a completion may have.
    """
    return {"tokens": 1.0, "rows": 1.0 / tokens, "length": 1.0 / length}[reduction]


def sequence_ratio(log_q: torch.Tensor, completion: torch.Tensor) -> torch.Tensor:
    """Return the mean of log q over a completion's tokens as (N, 1), with its gradient spread over them.

    Source: GSPO, arXiv 2507.18071, equation 5.
    """
    return (log_q * completion).sum(1, keepdim=True) / completion.sum(1, keepdim=True).clamp(min=1)


def nash_md(
    token_logps: torch.Tensor,
    token_log_ratio: torch.Tensor,
    completion: torch.Tensor,
    win_probability: torch.Tensor,
    *,
    beta: float,
) -> torch.Tensor:
    """Return Nash-MD's loss (N,): likelier where a completion beats its opponent, with a pull to the reference.

    Args:
        token_logps: (N, T) of the policy.
        token_log_ratio: (N, T), policy - reference; taken as numbers.
        completion: bool (N, T).
        win_probability: (N,), that a completion beats one of the opponent, a mixture of policy and reference.
        beta: of the pull, >= 0.

    Source: arXiv 2312.00886, section 7.
    """
    weight = beta * token_log_ratio.detach() - (win_probability - 0.5)[:, None]
    return torch.where(completion, weight * token_logps, 0.0).sum(1)
