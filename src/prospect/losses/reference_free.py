"""Losses on pairs without a reference: one model in memory. Letters: N pairs; everything in nats."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from prospect.losses.logarithms import log1mexp
from prospect.losses.registry import loss


@loss(
    "paired",
    needs_reference=False,
    bounds={"delta": "[0, inf)", "lam": "[0, inf)"},
    learning_rate=5e-7,
    paper="SLiC-HF, Zhao et al. 2023, arXiv 2305.10425",
)
def slic(chosen: torch.Tensor, rejected: torch.Tensor, *, delta: float = 1.0, lam: float = 0.1) -> torch.Tensor:
    """Sequence likelihood calibration: a margin between the two, and imitation of the chosen one.

    loss = max(0, delta - lp_w + lp_l) - lam lp_w.

    Args:
        chosen: lp_w, (N,) nats, logps of the preferred completions.
        rejected: lp_l, (N,) nats, logps of the rejected completions.
        delta: >= 0, the margin in nats.
        lam: >= 0, weight of the imitation term.

    Returns:
        (N,) losses.

    Source: arXiv 2305.10425, equation 1 and the cross-entropy regulariser, whose target is here the chosen completion.
    """
    return torch.relu(delta - chosen + rejected) - lam * chosen


@loss(
    "paired",
    needs_reference=False,
    length_normalised=True,
    bounds={"gamma": "[0, inf)"},
    learning_rate=1e-6,
    paper="SimPO, Meng et al. 2024, arXiv 2405.14734",
)
def simpo(chosen: torch.Tensor, rejected: torch.Tensor, *, beta: float = 2.0, gamma: float = 1.0) -> torch.Tensor:
    """Compute simple preference optimisation: a margin between the log-probs per token.

    loss = -log s(beta (lpbar_w - lpbar_l) - gamma).

    Args:
        chosen: lpbar_w, (N,) nats per token, mean logps of the preferred completions.
        rejected: lpbar_l, (N,) nats per token, mean logps of the rejected completions.
        beta: > 0.
        gamma: >= 0, the target margin of the rewards.

    Returns:
        (N,) losses; log(1 + e^gamma) each where both are equally likely.

    Source: arXiv 2405.14734, equation 6.
    """
    return -F.logsigmoid(beta * (chosen - rejected) - gamma)


@loss(
    "paired",
    needs_reference=False,
    length_normalised=True,
    bounds={"lam": "[0, inf)"},
    learning_rate=8e-6,
    paper="ORPO, Hong et al. 2024, arXiv 2403.07691",
)
def orpo(chosen: torch.Tensor, rejected: torch.Tensor, *, lam: float = 0.1) -> torch.Tensor:
    """Odds-ratio preference optimisation: fine-tuning on the chosen, with a penalty on the odds of the rejected.

    loss = -lpbar_w - lam log s(logodds_w - logodds_l), logodds = lpbar - log(1 - e^lpbar).

    Args:
        chosen: lpbar_w, (N,) nats per token, mean logps of the preferred completions.
        rejected: lpbar_l, (N,) nats per token, mean logps of the rejected completions.
        lam: >= 0, weight of the odds ratio.

    Returns:
        (N,) losses.

    Source: arXiv 2403.07691, equations 6 and 7.
    """
    log_odds = (chosen - log1mexp(chosen)) - (rejected - log1mexp(rejected))
    return -chosen - lam * F.logsigmoid(log_odds)


@loss(
    "paired",
    needs_reference=False,
    bounds={"alpha": "[0, inf)"},
    learning_rate=1e-6,
    paper="CPO, Xu et al. 2024, arXiv 2401.08417",
)
def cpo(chosen: torch.Tensor, rejected: torch.Tensor, *, beta: float = 0.1, alpha: float = 1.0) -> torch.Tensor:
    """Contrastive preference optimisation: DPO against a uniform reference, and imitation of the chosen.

    loss = -log s(beta (lp_w - lp_l)) - alpha lp_w.

    Args:
        chosen: lp_w, (N,) nats, logps of the preferred completions.
        rejected: lp_l, (N,) nats, logps of the rejected completions.
        beta: > 0.
        alpha: >= 0, weight of the imitation term.

    Returns:
        (N,) losses.

    Source: arXiv 2401.08417, equations 3 to 5.
    """
    return -F.logsigmoid(beta * (chosen - rejected)) - alpha * chosen
