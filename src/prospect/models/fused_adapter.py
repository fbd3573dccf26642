"""A linear layer with its LoRA adapter in bfloat16 as one function, with gradients worked out by hand.

Autograd keeps and reads the adapter's part at the layer's full width, to scale it and to add it. Here both happen in
the products themselves.

Letters: M tokens, H numbers in, O numbers out, R rank.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


class _Adapted(torch.autograd.Function):
    """x (..., H) to x W^T + bias + scale (x A^T) B^T, (..., O); W (O, H), A (R, H), B (O, R); W and bias are frozen."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        down: torch.Tensor,
        up: torch.Tensor,
        scale: float,
    ) -> torch.Tensor:
        out = F.linear(x, weight, bias)
        low = (x.flatten(0, -2) @ down.t()).mul_(scale)
        out.flatten(0, -2).addmm_(low, up.t())
        ctx.scale = scale
        ctx.save_for_backward(x, weight, down, up, low)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight, down, up, low = ctx.saved_tensors
        flat = grad.flatten(0, -2)
        by_low = (flat @ up).mul_(ctx.scale)
        by_x = None
        if ctx.needs_input_grad[0]:
            by_x = (flat @ weight).addmm_(by_low, down).view(x.shape)
        return by_x, None, None, by_low.t() @ x.flatten(0, -2), flat.t() @ low, None


def find_adapters(model: torch.nn.Module) -> list[tuple[torch.nn.Module, Callable[..., torch.Tensor]]]:
    """Return a model's linear layers with adapters, each with the forward function that takes the place of PEFT's."""
    peft = sys.modules.get("peft.tuners.lora.layer")  # not imported: no adapters
    return [
        (module, _forward_of(module))
        for module in model.modules()
        if peft is not None and type(module) is peft.Linear and "forward" not in vars(module)
    ]


def _forward_of(module: Any) -> Callable[..., torch.Tensor]:
    own = module.forward

    def forward(x: torch.Tensor, *arguments: Any, **named: Any) -> torch.Tensor:
        adapter = None if arguments or named else _plain_adapter(module, x)
        return own(x, *arguments, **named) if adapter is None else _Adapted.apply(x, *adapter)

    return forward


def _plain_adapter(module: Any, x: torch.Tensor) -> tuple[Any, ...] | None:
    """Return what `_Adapted` takes beside x; None where PEFT would now compute something else."""
    active = [name for name in module.active_adapters if name in module.lora_A]
    if module.disable_adapters or module.merged or len(active) != 1 or active[0] in module.lora_variant:
        return None
    (name,) = active
    base, dropout = module.base_layer, module.lora_dropout[name]
    down, up = module.lora_A[name], module.lora_B[name]
    if any(type(layer) is not torch.nn.Linear for layer in (base, down, up)) or base.weight.requires_grad:
        return None
    if down.bias is not None or up.bias is not None or (dropout.training and getattr(dropout, "p", 0)):
        return None
    if x.dim() < 2 or {x.dtype} != {layer.weight.dtype for layer in (base, down, up)}:
        return None
    return base.weight, base.bias, down.weight, up.weight, module.scaling[name]
