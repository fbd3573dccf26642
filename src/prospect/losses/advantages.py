"""Rewards and advantages of sampled completions. Letters: N completions, T tokens, K completions of one prompt; nats.

Nothing here has a gradient: the losses take advantages as numbers. Tensors of shape (N, T) hold anything outside
completions; what is returned is 0 there.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch

from prospect.errors import ConfigError
from prospect.losses.logarithms import ratio_minus_one

KLEstimator = Literal["k1", "k2", "k3"]
Scale = Literal["group", "batch", "none"]

# Added to variances and deviations, so that equal scores have advantage 0 and not 0 / 0.
VARIANCE_FLOOR, DEVIATION_FLOOR = 1e-8, 1e-6


def kl_terms(log_ratio: torch.Tensor, estimator: KLEstimator = "k1") -> torch.Tensor:
    """Estimate KL(policy || reference) token by token from tokens that the policy drew.

    Args:
        log_ratio: log policy - log reference, any shape, nats.
        estimator: "k1" is unbiased; "k2" has little variance, and a bias; "k3" is unbiased and never negative.

    Returns:
        One estimate per log-ratio, nats.

    Source: Schulman, "Approximating KL divergence", 2020.
    """
    if estimator == "k1":
        return log_ratio
    if estimator == "k2":
        return log_ratio.square() / 2
    if estimator == "k3":
        return ratio_minus_one(-log_ratio) + log_ratio
    raise ConfigError(f'KL estimator "{estimator}": expected one of {", ".join(get_args(KLEstimator))}.')


def token_rewards(
    score: torch.Tensor, kl: torch.Tensor, completion: torch.Tensor, *, coefficient: float
) -> torch.Tensor:
    """Return rewards (N, T): minus `coefficient` times the KL of each token, plus the score on the last one.

    Args:
        score: (N,), of whole completions.
        kl: (N, T) nats, of `kl_terms`.
        completion: bool (N, T), the tokens that were drawn, the end token included.
        coefficient: of the KL.

    Source: arXiv 1909.08593, equation 2.
    """
    last = completion & ~_shifted(completion)
    return torch.where(completion, -coefficient * kl, 0.0) + score[:, None] * last


def generalized_advantages(
    rewards: torch.Tensor, values: torch.Tensor, completion: torch.Tensor, *, gamma: float, gae_lambda: float
) -> torch.Tensor:
    """Estimate the advantage (N, T) of each token; the value beyond a completion's last token is 0.

    Args:
        rewards: (N, T).
        values: V_t (N, T), what is expected before each token.
        completion: bool (N, T).
        gamma: discount in [0, 1].
        gae_lambda: in [0, 1]; 1 gives the reward to come minus V_t, 0 one step's surprise.

    Source: arXiv 1506.02438, equation 16. The returns that a value head learns are V_t plus these.
    """
    after = torch.where(_shifted(completion), _shifted(values), 0.0)
    surprise = torch.where(completion, rewards + gamma * after - values, 0.0)
    advantage, running = torch.zeros_like(values), torch.zeros_like(values[:, 0])
    for t in reversed(range(values.shape[1])):
        running = surprise[:, t] + gamma * gae_lambda * running
        advantage[:, t] = running
    return torch.where(completion, advantage, 0.0)


def whiten(x: torch.Tensor, completion: torch.Tensor, *, keep_mean: bool = False, correction: int = 1) -> torch.Tensor:
    """Shift and scale numbers (N, T) to mean 0 and variance 1 over the tokens of all completions.

    Args:
        x: (N, T), those of a whole optimizer step: moments of its parts would depend on how it was cut.
        completion: bool (N, T).
        keep_mean: whether the mean is added again, as is usual for rewards.
        correction: 1 for the sample variance, 0 for the population's.
    """
    mean, variance = x[completion].mean(), x[completion].var(correction=correction)
    whitened = (x - mean) * torch.rsqrt(variance + VARIANCE_FLOOR) + (mean if keep_mean else 0.0)
    return torch.where(completion, whitened, 0.0)


def group_advantages(
    scores: torch.Tensor, *, scale: Scale = "group", floor: float = DEVIATION_FLOOR, correction: int = 1
) -> torch.Tensor:
    """Return the advantage of each completion over the others of its prompt.

    Args:
        scores: (prompts, K); NaN where a judge gave none. Such a completion has no part in the mean and advantage 0.
        scale: "group" divides by the deviation within the prompt's completions (GRPO), "batch" by that of all scores,
            "none" leaves the differences as they are (Dr. GRPO).
        floor: added to the deviation.
        correction: 1 for the sample's deviation, 0 for the population's.

    Returns:
        (prompts, K); 0 where all scores of a prompt are equal.

    Source: arXiv 2402.03300 (group), 2503.20783 (none).
    """
    known = ~scores.isnan()
    centred = torch.where(known, scores - _mean_of(scores, known), 0.0)
    if scale == "none":
        return centred
    if scale == "group":
        counts = (known.sum(1, keepdim=True) - correction).clamp(min=1)
        return centred / ((centred.square().sum(1, keepdim=True) / counts).sqrt() + floor)
    if scale == "batch":
        everyone = scores[known]
        deviation = everyone.std(correction=correction) if len(everyone) > correction else everyone.new_zeros(())
        return centred / (deviation + floor)
    raise ConfigError(f'scale "{scale}": expected one of {", ".join(get_args(Scale))}.')


def leave_one_out_advantages(scores: torch.Tensor) -> torch.Tensor:
    """Return each score minus the mean of the others of its prompt: K / (K - 1) times the difference to the mean.

    Args:
        scores: (prompts, K); NaN where a judge gave none: advantage 0, and no part in the others' mean.

    Source: RLOO, arXiv 2402.14740.
    """
    known = ~scores.isnan()
    count = known.sum(1, keepdim=True).to(scores.dtype)
    return group_advantages(scores, scale="none") * torch.where(count > 1, count / (count - 1).clamp(min=1), 0.0)


def adapt_coefficient(coefficient: float, kl: float, *, target: float, horizon: float, count: int) -> float:
    """Return the next KL coefficient: larger after a KL above the target, smaller after one below.

    Args:
        coefficient: the present one.
        kl: of completions just drawn, nats per completion.
        target: the KL aimed at, in nats, > 0.
        horizon: number of completions over which the coefficient can change by a fifth of itself.
        count: number of completions drawn.

    Source: arXiv 1909.08593, section 2.2.
    """
    error = min(max(kl / target - 1.0, -0.2), 0.2)
    return coefficient * (1.0 + error * count / horizon)


def _mean_of(scores: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    return torch.where(known, scores, 0.0).sum(1, keepdim=True) / known.sum(1, keepdim=True).clamp(min=1)


def _shifted(x: torch.Tensor) -> torch.Tensor:
    """Return what the next token has: the columns one to the left, the last one 0 or false."""
    return torch.cat([x[:, 1:], torch.zeros_like(x[:, :1])], 1)
