"""Losses on single completions with a verdict. Letters: N examples; everything in nats."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from prospect.losses import values
from prospect.losses.registry import loss

KTO = "KTO, Ethayarajh et al. 2024, arXiv 2402.01306"


@loss(
    "unpaired",
    needs_reference_point=True,
    is_halo=True,
    value=values.sigmoid,
    learning_rate=5e-6,
    paper=KTO,
)
def kto(
    log_ratio: torch.Tensor,
    desirable: torch.Tensor,
    z0: torch.Tensor,
    *,
    beta: float = 0.1,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
) -> torch.Tensor:
    """Kahneman-Tversky optimisation: how far a completion's human value is below its maximum.

    loss = lambda_D s(-beta (r - z0)) if desirable, lambda_U s(beta (r - z0)) if not, which is lambda_y - v of
    the paper.

    Args:
        log_ratio: r, (N,) nats, policy logps - reference logps.
        desirable: bool (N,).
        z0: () nats >= 0, detached; the reference point.
        beta: risk aversion, > 0.
        desirable_weight: lambda_D >= 0.
        undesirable_weight: lambda_U >= 0.

    Returns:
        (N,) losses; lambda/2 each at r = z0.

    Source: arXiv 2402.01306, equations 7 and 8. Written s(-x) and not 1 - s(x): the latter is exactly 0, with
    no gradient, from x = 16.7 in float32.
    """
    weight = _class_weight(log_ratio, desirable, desirable_weight, undesirable_weight)
    return weight * torch.sigmoid(-beta * _sign(log_ratio, desirable) * (log_ratio - z0))


@loss("unpaired", is_halo=True, value=values.sigmoid, learning_rate=5e-6, paper=KTO)
def kto_no_z0(
    log_ratio: torch.Tensor,
    desirable: torch.Tensor,
    *,
    beta: float = 0.1,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
) -> torch.Tensor:
    """KTO with its reference point fixed at 0: no mismatched rows, so about half the forward passes.

    loss = lambda_D s(-beta r) if desirable, lambda_U s(beta r) if not.

    Args:
        log_ratio: r, (N,) nats, policy logps - reference logps.
        desirable: bool (N,).
        beta: risk aversion, > 0.
        desirable_weight: lambda_D >= 0.
        undesirable_weight: lambda_U >= 0.

    Returns:
        (N,) losses; lambda/2 each at r = 0.

    Source: arXiv 2402.01306, ablations.
    """
    weight = _class_weight(log_ratio, desirable, desirable_weight, undesirable_weight)
    return weight * torch.sigmoid(-beta * _sign(log_ratio, desirable) * log_ratio)


@loss(
    "unpaired",
    needs_reference_point=True,
    is_halo=True,
    value=values.log_sigmoid,
    learning_rate=5e-6,
    paper=KTO,
)
def kto_concave(
    log_ratio: torch.Tensor,
    desirable: torch.Tensor,
    z0: torch.Tensor,
    *,
    beta: float = 0.1,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
) -> torch.Tensor:
    """KTO with DPO's value function, concave in losses too, so that rows far on the wrong side keep pulling.

    loss = -lambda_D log s(beta (r - z0)) if desirable, -lambda_U log s(-beta (r - z0)) if not.

    Args:
        log_ratio: r, (N,) nats, policy logps - reference logps.
        desirable: bool (N,).
        z0: () nats >= 0, detached; the reference point.
        beta: risk aversion, > 0.
        desirable_weight: lambda_D >= 0.
        undesirable_weight: lambda_U >= 0.

    Returns:
        (N,) losses; lambda log 2 each at r = z0.

    Source: arXiv 2402.01306, ablations.
    """
    weight = _class_weight(log_ratio, desirable, desirable_weight, undesirable_weight)
    return -weight * F.logsigmoid(beta * _sign(log_ratio, desirable) * (log_ratio - z0))


@loss(
    "unpaired",
    needs_reference_point=True,
    is_halo=True,
    value=values.identity,
    learning_rate=5e-6,
    paper=KTO,
)
def kto_risk_neutral(
    log_ratio: torch.Tensor,
    desirable: torch.Tensor,
    z0: torch.Tensor,
    *,
    beta: float = 0.1,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
) -> torch.Tensor:
    """KTO with a straight value function: no row is ever learnt enough, so training long collapses.

    loss = lambda_D (1 - beta (r - z0)) if desirable, lambda_U (1 + beta (r - z0)) if not.

    Args:
        log_ratio: r, (N,) nats, policy logps - reference logps.
        desirable: bool (N,).
        z0: () nats >= 0, detached; the reference point.
        beta: scale of the rewards, > 0.
        desirable_weight: lambda_D >= 0.
        undesirable_weight: lambda_U >= 0.

    Returns:
        (N,) losses without lower bound; lambda each at r = z0.

    Source: arXiv 2402.01306, ablations.
    """
    weight = _class_weight(log_ratio, desirable, desirable_weight, undesirable_weight)
    return weight * (1 - beta * _sign(log_ratio, desirable) * (log_ratio - z0))


@loss("unpaired", needs_reference=False, needs_reference_point=True, learning_rate=5e-6, paper=KTO)
def kto_no_reference(
    log_ratio: torch.Tensor,
    desirable: torch.Tensor,
    z0: torch.Tensor,
    *,
    beta: float = 0.1,
    desirable_weight: float = 1.75,
    undesirable_weight: float = 1.0,
) -> torch.Tensor:
    """KTO against a reference that finds all completions equally likely: one model in memory, no reference pass.

    loss = lambda_D s(-beta (r - z0)) if desirable, lambda_U s(beta (r - z0)) if not. The constant log-prob of a
    uniform reference cancels in r - z0, so r is the policy's own logps and z0 their mean over mismatched rows,
    without the clamp at 0.

    Args:
        log_ratio: r, (N,) nats, policy logps.
        desirable: bool (N,).
        z0: () nats, detached; the mean logps of mismatched rows.
        beta: risk aversion, > 0.
        desirable_weight: lambda_D >= 0.
        undesirable_weight: lambda_U >= 0.

    Returns:
        (N,) losses; lambda/2 each at r = z0.

    Source: arXiv 2402.01306, on KTO without a reference model, with its lambda_D of 1.75.
    """
    weight = _class_weight(log_ratio, desirable, desirable_weight, undesirable_weight)
    return weight * torch.sigmoid(-beta * _sign(log_ratio, desirable) * (log_ratio - z0))


@loss(
    "unpaired",
    is_halo=True,
    value=values.sigmoid,
    learning_rate=5e-7,
    paper="APO, D'Oosterlinck et al. 2024, arXiv 2408.06266",
)
def apo_zero_unpaired(log_ratio: torch.Tensor, desirable: torch.Tensor, *, beta: float = 0.1) -> torch.Tensor:
    """Anchored preference optimisation on single completions: KTO at z0 = 0 with equal weights.

    loss = s(-beta r) if desirable, s(beta r) if not.

    Args:
        log_ratio: r, (N,) nats, policy logps - reference logps.
        desirable: bool (N,).
        beta: > 0.

    Returns:
        (N,) losses; 1/2 each at r = 0.

    Source: arXiv 2408.06266, APO-zero, one term at a time.
    """
    return torch.sigmoid(-beta * _sign(log_ratio, desirable) * log_ratio)


@loss(
    "unpaired",
    needs_running_mean=True,
    is_halo=True,
    value=values.log_sigmoid,
    learning_rate=5e-7,
    paper="BCO, Jung et al. 2024, arXiv 2404.04656",
)
def bco(
    log_ratio: torch.Tensor, desirable: torch.Tensor, running_mean: torch.Tensor, *, beta: float = 0.01
) -> torch.Tensor:
    """Binary classifier optimisation: a classifier of thumbs whose logit is the reward, shifted by its mean.

    loss = -log s(beta (r - m)) if desirable, -log s(-beta (r - m)) if not.

    Args:
        log_ratio: r, (N,) nats, policy logps - reference logps.
        desirable: bool (N,).
        running_mean: m, () nats; the mean of r over all earlier steps.
        beta: > 0.

    Returns:
        (N,) losses; log 2 each at r = m.

    Source: arXiv 2404.04656. The mean is of the steps before this one: then it does not depend on how this step is
    cut, and costs no pass of its own.
    """
    return -F.logsigmoid(beta * _sign(log_ratio, desirable) * (log_ratio - running_mean))


@loss(
    "unpaired",
    needs_reference=False,
    control_tokens=True,
    mean_over="tokens",
    direction="up",
    learning_rate=2e-5,
    paper="CSFT, Korbak et al. 2023, arXiv 2302.08582",
)
def csft(log_ratio: torch.Tensor, desirable: torch.Tensor) -> torch.Tensor:
    """Conditional supervised fine-tuning: learn every completion, after a token that states its verdict.

    loss = -logps, of a prompt that ends with `<|good|>` or `<|bad|>`. The trained model is asked after `<|good|>`.

    Args:
        log_ratio: (N,) nats, policy logps after the token of the verdict.
        desirable: bool (N,); it is expressed by the token.

    Returns:
        (N,) losses in nats.

    Source: arXiv 2302.08582, conditional training.
    """
    return -log_ratio


def _sign(like: torch.Tensor, desirable: torch.Tensor) -> torch.Tensor:
    """+1 for desirable, -1 for undesirable."""
    return torch.where(desirable, 1.0, -1.0).to(like.dtype)


def _class_weight(
    like: torch.Tensor, desirable: torch.Tensor, desirable_weight: float, undesirable_weight: float
) -> torch.Tensor:
    """Lambda of each row's class."""
    return torch.full_like(like, undesirable_weight).masked_fill(desirable, desirable_weight)
