"""Losses on pairs of completions of one prompt, against a reference. Letters: N pairs; everything in nats.

Throughout, r_w and r_l are the log-ratios of the chosen and the rejected completion, h = r_w - r_l, and s the sigmoid.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from prospect.losses import values
from prospect.losses.registry import loss

APO = "APO, D'Oosterlinck et al. 2024, arXiv 2408.06266"


@loss(
    "paired",
    is_halo=True,
    value=values.log_sigmoid,
    learning_rate=5e-7,
    paper="DPO, Rafailov et al. 2023, arXiv 2305.18290",
)
def dpo(
    chosen: torch.Tensor, rejected: torch.Tensor, *, beta: float = 0.1, label_smoothing: float = 0.0
) -> torch.Tensor:
    """Direct preference optimisation; with `label_smoothing` > 0, conservative DPO.

    loss = -(1 - e) log s(beta h) - e log s(-beta h).

    Args:
        chosen: r_w, (N,) nats, log-ratio of the preferred completions.
        rejected: r_l, (N,) nats, log-ratio of the rejected completions.
        beta: > 0.
        label_smoothing: e in [0, 0.5], the share of pairs believed to be the wrong way round.

    Returns:
        (N,) losses; log 2 each at h = 0.

    Source: arXiv 2305.18290, equation 7; cDPO, Mitchell 2023.
    """
    logits = beta * (chosen - rejected)
    return -(1 - label_smoothing) * F.logsigmoid(logits) - label_smoothing * F.logsigmoid(-logits)


@loss(
    "paired",
    is_halo=True,
    value=values.robust_log_sigmoid,
    bounds={"label_smoothing": "[0, 0.5)"},
    learning_rate=5e-7,
    paper="Robust DPO, Chowdhury et al. 2024, arXiv 2403.00409",
)
def robust_dpo(
    chosen: torch.Tensor, rejected: torch.Tensor, *, beta: float = 0.1, label_smoothing: float = 0.1
) -> torch.Tensor:
    """DPO's loss on clean pairs, estimated without bias from pairs of which a known share is flipped.

    loss = [-(1 - e) log s(beta h) + e log s(-beta h)] / (1 - 2e).

    Args:
        chosen: r_w, (N,) nats, log-ratio of the preferred completions.
        rejected: r_l, (N,) nats, log-ratio of the rejected completions.
        beta: > 0.
        label_smoothing: e in [0, 0.5), the share of flipped pairs.

    Returns:
        (N,) losses without lower bound; log 2 each at h = 0.

    Source: arXiv 2403.00409.
    """
    logits = beta * (chosen - rejected)
    kept, flipped = F.logsigmoid(logits), F.logsigmoid(-logits)
    return (-(1 - label_smoothing) * kept + label_smoothing * flipped) / (1 - 2 * label_smoothing)


@loss(
    "paired",
    bounds={"penalty": "[0, inf)"},
    learning_rate=5e-7,
    paper="DPO-Positive, Pal et al. 2024, arXiv 2402.13228",
)
def dpop(chosen: torch.Tensor, rejected: torch.Tensor, *, beta: float = 0.3, penalty: float = 50.0) -> torch.Tensor:
    """DPO that does not let the chosen completion become less likely than it was.

    loss = -log s(beta (h - penalty max(0, -r_w))).

    Args:
        chosen: r_w, (N,) nats, log-ratio of the preferred completions.
        rejected: r_l, (N,) nats, log-ratio of the rejected completions.
        beta: > 0.
        penalty: >= 0, how many nats of margin one nat of lost likelihood costs; at 0 it is DPO.

    Returns:
        (N,) losses; log 2 each at r_w = r_l = 0.

    Source: arXiv 2402.13228, equation 3.
    """
    lost = torch.relu(-chosen)
    return -F.logsigmoid(beta * (chosen - rejected - penalty * lost))


@loss("paired", length_normalised=True, learning_rate=5e-7, paper="IPO, Azar et al. 2023, arXiv 2310.12036")
def ipo(chosen: torch.Tensor, rejected: torch.Tensor, *, tau: float = 0.1) -> torch.Tensor:
    """Identity preference optimisation: a margin to reach and not to exceed, so that certain pairs do not run away.

    loss = (h - 1 / (2 tau))^2, h of the log-ratios per token.

    Args:
        chosen: (N,) nats per token, mean log-ratio of the preferred completions.
        rejected: (N,) nats per token, mean log-ratio of the rejected completions.
        tau: > 0; the margin is 1 / (2 tau).

    Returns:
        (N,) losses; 1 / (4 tau^2) each at h = 0, and 0 at the margin.

    Source: arXiv 2310.12036, equation 17. Means over tokens are the authors' later advice; with sums, long
    completions meet the margin by length alone.
    """
    return (chosen - rejected - 1 / (2 * tau)) ** 2


@loss("paired", is_halo=True, value=values.capped, learning_rate=5e-7, paper="RSO, Liu et al. 2023, arXiv 2309.06657")
def hinge(chosen: torch.Tensor, rejected: torch.Tensor, *, beta: float = 0.05) -> torch.Tensor:
    """Require a margin of 1 / beta nats; pairs beyond it have no gradient.

    loss = max(0, 1 - beta h).

    Args:
        chosen: r_w, (N,) nats, log-ratio of the preferred completions.
        rejected: r_l, (N,) nats, log-ratio of the rejected completions.
        beta: > 0.

    Returns:
        (N,) losses; 1 each at h = 0.

    Source: arXiv 2309.06657, the hinge loss on normalised likelihoods.
    """
    return torch.relu(1 - beta * (chosen - rejected))


@loss("paired", is_halo=True, value=values.sigmoid, learning_rate=5e-7, paper=APO)
def apo_zero(chosen: torch.Tensor, rejected: torch.Tensor, *, beta: float = 0.1) -> torch.Tensor:
    """Anchored preference optimisation for chosen completions that are better than the policy's own.

    loss = s(-beta r_w) + s(beta r_l): chosen up, rejected down, each against the reference.

    Args:
        chosen: r_w, (N,) nats, log-ratio of the preferred completions.
        rejected: r_l, (N,) nats, log-ratio of the rejected completions.
        beta: > 0.

    Returns:
        (N,) losses; 1 each at r_w = r_l = 0.

    Source: arXiv 2408.06266, APO-zero.
    """
    return torch.sigmoid(-beta * chosen) + torch.sigmoid(beta * rejected)


@loss("paired", direction="down", learning_rate=5e-7, paper=APO)
def apo_down(chosen: torch.Tensor, rejected: torch.Tensor, *, beta: float = 0.1) -> torch.Tensor:
    """Anchored preference optimisation for chosen completions that are worse than the policy's own.

    loss = s(beta r_w) + s(-beta h): both fall, the rejected further.

    Args:
        chosen: r_w, (N,) nats, log-ratio of the preferred completions.
        rejected: r_l, (N,) nats, log-ratio of the rejected completions.
        beta: > 0.

    Returns:
        (N,) losses; 1 each at r_w = r_l = 0.

    Source: arXiv 2408.06266, APO-down.
    """
    return torch.sigmoid(beta * chosen) + torch.sigmoid(-beta * (chosen - rejected))


@loss("paired", learning_rate=5e-7, paper="NCA, Chen et al. 2024, arXiv 2402.05369")
def nca_pair(chosen: torch.Tensor, rejected: torch.Tensor, *, beta: float = 0.01) -> torch.Tensor:
    """Noise-contrastive alignment on pairs: the likelihood of each completion counts by itself, not the margin alone.

    loss = -log s(beta r_w) - 1/2 log s(-beta r_w) - 1/2 log s(-beta r_l).

    Args:
        chosen: r_w, (N,) nats, log-ratio of the preferred completions.
        rejected: r_l, (N,) nats, log-ratio of the rejected completions.
        beta: > 0.

    Returns:
        (N,) losses; 2 log 2 each at r_w = r_l = 0.

    Source: arXiv 2402.05369; it is `nca` with two completions and the whole target on the chosen one.
    """
    return -F.logsigmoid(beta * chosen) - (F.logsigmoid(-beta * chosen) + F.logsigmoid(-beta * rejected)) / 2


@loss(
    "paired",
    needs_running_mean=True,
    is_halo=True,
    value=values.log_sigmoid,
    learning_rate=5e-7,
    paper="BCO, Jung et al. 2024, arXiv 2404.04656",
)
def bco_pair(
    chosen: torch.Tensor, rejected: torch.Tensor, running_mean: torch.Tensor, *, beta: float = 0.1
) -> torch.Tensor:
    """Binary classifier optimisation on pairs.

    loss = -log s(beta (r_w - m)) - log s(-beta (r_l - m)).

    Args:
        chosen: r_w, (N,) nats, log-ratio of the preferred completions.
        rejected: r_l, (N,) nats, log-ratio of the rejected completions.
        running_mean: m, () nats; the mean of all log-ratios of all earlier steps.
        beta: > 0.

    Returns:
        (N,) losses; 2 log 2 each at r_w = r_l = m.

    Source: arXiv 2404.04656. On the mean, see `bco`.
    """
    return -F.logsigmoid(beta * (chosen - running_mean)) - F.logsigmoid(-beta * (rejected - running_mean))


@loss("paired", learning_rate=5e-7, paper="SPPO, Wu et al. 2024, arXiv 2405.00675")
def sppo_hard(chosen: torch.Tensor, rejected: torch.Tensor, *, beta: float = 1e-3) -> torch.Tensor:
    """Self-play preference optimisation with hard labels: a target of its own for each completion.

    loss = (r_w - 1 / (2 beta))^2 + (r_l + 1 / (2 beta))^2.

    Args:
        chosen: r_w, (N,) nats, log-ratio of the preferred completions.
        rejected: r_l, (N,) nats, log-ratio of the rejected completions.
        beta: > 0; the targets are +-1 / (2 beta) nats.

    Returns:
        (N,) losses; 1 / (2 beta^2) each at r_w = r_l = 0.

    Source: arXiv 2405.00675, equation 4.8 with win probabilities 1 and 0.
    """
    return (chosen - 0.5 / beta) ** 2 + (rejected + 0.5 / beta) ** 2


@loss(
    "paired", bounds={"label_smoothing": "(0, 0.5]"}, learning_rate=5e-7, paper="EXO, Ji et al. 2024, arXiv 2402.00856"
)
def exo_pair(
    chosen: torch.Tensor, rejected: torch.Tensor, *, beta: float = 0.1, label_smoothing: float = 1e-3
) -> torch.Tensor:
    """Efficient exact optimisation: the reverse KL from the smoothed label to the policy's preference.

    loss = s(beta h) [log s(beta h) - log(1 - e)] + s(-beta h) [log s(-beta h) - log e].

    Args:
        chosen: r_w, (N,) nats, log-ratio of the preferred completions.
        rejected: r_l, (N,) nats, log-ratio of the rejected completions.
        beta: > 0.
        label_smoothing: e in (0, 0.5]; at 0 the KL would be infinite.

    Returns:
        (N,) losses >= 0, with their minimum at beta h = log((1 - e) / e).

    Source: arXiv 2402.00856, for preference pairs.
    """
    logits = beta * (chosen - rejected)
    right = torch.sigmoid(logits) * (F.logsigmoid(logits) - math.log(1 - label_smoothing))
    return right + torch.sigmoid(-logits) * (F.logsigmoid(-logits) - math.log(label_smoothing))


@loss("paired", learning_rate=5e-7, paper="DiscoPOP, Lu et al. 2024, arXiv 2406.08414")
def discopop(chosen: torch.Tensor, rejected: torch.Tensor, *, beta: float = 0.05, tau: float = 0.05) -> torch.Tensor:
    """Blend logistic and exponential loss, as found by a search with a language model.

    loss = -log s(rho) (1 - m) + e^-rho m, rho = beta h, m = s(rho / tau).

    Args:
        chosen: r_w, (N,) nats, log-ratio of the preferred completions.
        rejected: r_l, (N,) nats, log-ratio of the rejected completions.
        beta: > 0.
        tau: > 0; how sharply one changes into the other.

    Returns:
        (N,) losses; (log 2 + 1) / 2 each at h = 0. Not convex: just there the loss falls as h falls.

    Source: arXiv 2406.08414, log-ratio modulated loss. e^-rho m is computed as one exponential: alone, e^-rho
    overflows where m is 0.
    """
    rho = beta * (chosen - rejected)
    exponential = torch.exp(F.logsigmoid(rho / tau) - rho)
    return -F.logsigmoid(rho) * torch.sigmoid(-rho / tau) + exponential
