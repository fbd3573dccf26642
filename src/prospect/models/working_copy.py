"""bfloat16 copies of float32 weights, which forward and backward passes use in their places.

Autocast casts every weight in every forward pass, and every gradient back, and leaves what lies between the products in
float32. Here a weight is cast once for each change of it, which is once an optimizer step, and all that a layer hands
on is bfloat16. The float32 weights stay what the optimizer moves, what is saved, and where gradients are summed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from prospect.models.fused import find_norms, fused_attention
from prospect.models.fused_adapter import find_adapters
from prospect.models.in_place import add_to, stand_in, sum_of


def multiplies_bf16(device: torch.device) -> bool:
    """Whether products of bfloat16 matrices are made in hardware there, and not put together from float32 ones."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    if device.type != "cpu":
        return False
    # oneDNN takes bfloat16 on processors that only emulate it, and may be told to leave out what the processor has.
    has = any(found is True and name.endswith("bf16") for name, found in torch.cpu.get_capabilities().items())
    return has and torch.ops.mkldnn._is_mkldnn_bf16_supported()


class WorkingCopy:
    """The float32 weights of a model, each with a bfloat16 copy.

    The copy follows its weight: what has changed in place since, or is said to have, is cast again when the copy is put
    in use.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        self._places: list[tuple[dict[str, Any], str, torch.nn.Parameter]] = []
        self._copies: dict[torch.nn.Parameter, torch.Tensor] = {}
        self._versions: dict[torch.nn.Parameter, int] = {}
        self._fused = [*find_norms(model), *find_adapters(model)]
        for module in model.modules():
            for name, weight in module._parameters.items():
                if weight is not None and weight.dtype == torch.float32:
                    self._places.append((module._parameters, name, weight))
                    self._copies.setdefault(weight, torch.empty_like(weight, dtype=torch.bfloat16, requires_grad=False))

    @property
    def bytes(self) -> int:
        """What the copies take."""
        return sum(2 * copy.numel() for copy in self._copies.values())

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Give the model its copies in place of the weights, and its fused layers; gradients go to the weights."""
        self._follow()
        graded = torch.is_grad_enabled()
        worn = {
            weight: stand_in(_Worn.apply(weight, copy), weight) if graded and weight.requires_grad else copy
            for weight, copy in self._copies.items()
        }
        new: list[tuple[dict[str, Any], str, Any]] = [
            (place, name, worn[weight]) for place, name, weight in self._places
        ]
        new += [(vars(module), "forward", forward) for module, forward in self._fused]
        before = [place.get(name) for place, name, _ in new]
        try:
            for place, name, value in new:
                place[name] = value
            with fused_attention():
                yield
        finally:
            for (place, name, _), own in zip(new, before, strict=True):
                if own is None:
                    del place[name]
                else:
                    place[name] = own

    def changed(self, weights: Iterable[torch.nn.Parameter]) -> None:
        """Receive the notice that these were changed behind autograd's back."""
        for weight in weights:
            self._versions.pop(weight, None)

    def _follow(self) -> None:
        for weight, copy in self._copies.items():
            if self._versions.get(weight) != weight._version:
                copy.data.copy_(weight.data)  # what a forward pass has kept for its backward pass may be this memory
                self._versions[weight] = weight._version


class _Worn(torch.autograd.Function):
    """A copy in its weight's place: the gradient by it is the weight's."""

    @staticmethod
    def forward(ctx: Any, weight: torch.Tensor, copy: torch.Tensor) -> torch.Tensor:
        ctx.weight = weight
        ctx.set_materialize_grads(False)
        return copy.view_as(copy)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor | None) -> tuple[torch.Tensor | None, None]:
        if grad is None:  # layers of ours have added it already
            return None, None
        total = sum_of(ctx.weight)
        if total is None:
            return grad.to(ctx.weight.dtype), None
        add_to(total, grad)
        return None, None


def hold_in_bf16(model: torch.nn.Module) -> None:
    """Turn the float32 weights that are not trained into bfloat16 ones, for good."""
    for parameter in model.parameters():
        if not parameter.requires_grad and parameter.dtype == torch.float32:
            parameter.data = parameter.data.to(torch.bfloat16)
