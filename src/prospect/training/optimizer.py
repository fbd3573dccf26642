"""Optimizers, their state as tensors, and the learning rate as a function of the step, which has no state to resume."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from prospect.config import Config, TrainSettings
from prospect.errors import ConfigError
from prospect.models.device import default_device
from prospect.models.quantization import require_bitsandbytes
from prospect.models.value_head import VALUE_HEAD

# A value head starts from nothing, and AdamW's steps do not grow with the weight of its loss: at the policy's learning
# rate, some 1e-6, it would learn nothing within a run.
VALUE_HEAD_RATE = 1e-3


def check_optimizer(config: Config) -> None:
    """Refuse an optimizer that cannot be had, and settings that it does not have.

    Raises:
        ConfigError: naming the setting.
    """
    train, name = config.train, config.train.optimizer
    if "8bit" in name:
        require_bitsandbytes(f"train.optimizer is {name}", "adamw or adafactor")
    if name.startswith("paged") and default_device().type == "cpu":
        raise ConfigError(f"train.optimizer is {name}, which pages the memory of a GPU. Set adamw_8bit.")
    if name == "adafactor" and train.adam_betas != TrainSettings().adam_betas:
        raise ConfigError("train.adam_betas are AdamW's, and train.optimizer is adafactor. Leave them out.")
    if name != "adamw" and train.parallel == "fsdp":
        raise ConfigError(
            f"train.optimizer is {name}, which is not made for weights spread by fsdp. Set adamw, or ddp."
        )


def build_optimizer(settings: TrainSettings, parameters: dict[str, torch.nn.Parameter]) -> torch.optim.Optimizer:
    """Return the optimizer, with weight decay on matrices only: decaying norms and biases pulls a model apart.

    A value head follows the same schedule with a peak of at least `VALUE_HEAD_RATE`. Adafactor takes the learning rate
    as it is, as AdamW does: neither relative to the step nor to the size of a weight.
    """
    peak = settings.learning_rate or VALUE_HEAD_RATE
    heads = [p for name, p in parameters.items() if name.startswith(f"{VALUE_HEAD}.")]
    rest = [p for name, p in parameters.items() if not name.startswith(f"{VALUE_HEAD}.")]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in rest if p.dim() >= 2], "weight_decay": settings.weight_decay, "scale": 1.0},
        {"params": [p for p in rest if p.dim() < 2], "weight_decay": 0.0, "scale": 1.0},
        {"params": heads, "weight_decay": 0.0, "scale": max(VALUE_HEAD_RATE / peak, 1.0)},
    ]
    groups = [g for g in groups if g["params"]]
    betas = (settings.adam_betas[0], settings.adam_betas[1])
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=0.0, betas=betas, fused=True)
    if settings.optimizer == "adafactor":
        from transformers.optimization import Adafactor

        return Adafactor(groups, lr=0.0, scale_parameter=False, relative_step=False)
    from bitsandbytes.optim import AdamW8bit

    return AdamW8bit(groups, lr=0.0, betas=betas, is_paged=settings.optimizer.startswith("paged"))


def state_tensors(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, torch.nn.Parameter]
) -> dict[str, torch.Tensor]:
    """Return moments and step counts, by `parameter|moment`; what all parameters share is left out."""
    return {
        f"{name}|{key}": value if isinstance(value, torch.Tensor) else torch.tensor(float(value))
        for name, parameter in parameters.items()
        for key, value in _own_state(optimizer, parameter)
    }


def empty_state(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, torch.nn.Parameter]
) -> dict[str, torch.Tensor]:
    """Let an optimizer make its state, by a step of length 0 along no gradient, and return it.

    So a state that is read lies where and as the optimizer would have it.
    """
    set_learning_rate(optimizer, 0.0)
    for parameter in parameters.values():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return state_tensors(optimizer, parameters)


def restore_state(
    optimizer: torch.optim.Optimizer,
    parameters: Mapping[str, torch.nn.Parameter],
    tensors: Mapping[str, torch.Tensor],
) -> None:
    """Put moments and step counts back, into the state that `empty_state` has made.

    A parameter without one, which had no gradient yet, gets none.
    """
    for name, parameter in parameters.items():
        state = optimizer.state[parameter]
        for key, value in [*_own_state(optimizer, parameter)]:
            kept = tensors.get(f"{name}|{key}")
            if kept is None:
                optimizer.state.pop(parameter)
                break
            if isinstance(value, torch.Tensor):
                value.copy_(kept)
            else:
                state[key] = type(value)(kept.item())


def _own_state(optimizer: torch.optim.Optimizer, parameter: torch.nn.Parameter) -> Iterator[tuple[str, Any]]:
    """Every number and tensor of a parameter's own; bitsandbytes' maps of 8-bit codes are everybody's."""
    for key, value in optimizer.state.get(parameter, {}).items():
        if isinstance(value, torch.Tensor | int | float) and not key.startswith("qmap"):
            yield key, value


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
