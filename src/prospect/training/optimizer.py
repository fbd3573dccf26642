"""AdamW and the learning rate as a function of the step, so that a schedule has no state to resume."""

from __future__ import annotations

import math
from typing import Any

import torch

from prospect.config import TrainSettings
from prospect.models.value_head import VALUE_HEAD

# A value head starts from nothing, and AdamW's steps do not grow with the weight of its loss: at the policy's learning
# rate, some 1e-6, it would learn nothing within a run.
VALUE_HEAD_RATE = 1e-3


def build_optimizer(settings: TrainSettings, parameters: dict[str, torch.nn.Parameter]) -> torch.optim.AdamW:
    """AdamW with weight decay on matrices only: decaying norms and biases pulls a pretrained model apart.

    A value head follows the same schedule with a peak of at least `VALUE_HEAD_RATE`.
    """
    peak = settings.learning_rate or VALUE_HEAD_RATE
    heads = [p for name, p in parameters.items() if name.startswith(f"{VALUE_HEAD}.")]
    rest = [p for name, p in parameters.items() if not name.startswith(f"{VALUE_HEAD}.")]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in rest if p.dim() >= 2], "weight_decay": settings.weight_decay, "scale": 1.0},
        {"params": [p for p in rest if p.dim() < 2], "weight_decay": 0.0, "scale": 1.0},
        {"params": heads, "weight_decay": 0.0, "scale": max(VALUE_HEAD_RATE / peak, 1.0)},
    ]
    betas = (settings.adam_betas[0], settings.adam_betas[1])
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=0.0, betas=betas, fused=True)


def learning_rate(settings: TrainSettings, step: int, total: int) -> float:
    """Return the learning rate of a step.

    It rises linearly over the warm-up and then stays, falls linearly, or falls along a cosine, to 0 after the
    last step.

    Args:
        settings: with `learning_rate` resolved.
        step: from 1 to total.
        total: steps of the run.
    """
    assert settings.learning_rate is not None
    # Rounded first: 0.07 * 100 is 7.000000000000001 in floats, and seven steps are meant.
    warmup = settings.warmup if settings.warmup >= 1 else math.ceil(round(settings.warmup * total, 6))
    if step <= warmup:
        return settings.learning_rate * step / warmup
    if settings.scheduler == "constant":
        return settings.learning_rate
    done = (step - warmup - 1) / max(total - warmup, 1)  # 0 at the first step after warm-up
    share = 1 - done if settings.scheduler == "linear" else (1 + math.cos(math.pi * done)) / 2
    return settings.learning_rate * share


def set_learning_rate(optimizer: torch.optim.Optimizer, value: float) -> None:
    """Set it for every group, each at its scale."""
    for group in optimizer.param_groups:
        group["lr"] = value * group["scale"]
