"""Attention and RMSNorm in bfloat16 on a CPU, with gradients worked out by hand: fewer passes over memory.

PyTorch's attention on a CPU computes its probabilities again in the backward pass, a small tile at a time; here the
backward pass is five products of large matrices. Of RMSNorm autograd keeps and reads a dozen float32 tensors.

Letters: N rows, A heads, C heads of keys and values, T tokens, D numbers of a head, G = N C.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

BLOCK = 96  # queries that are looked at together: what lies to the right of a block's last one is not computed
LONGEST = 1024  # tokens; in longer rows the probabilities that are kept would outgrow all other activations


@contextmanager
def fused_attention() -> Iterator[None]:
    """Within, causal attention without a mask, in bfloat16 on a CPU, is computed here, whichever module asks for it.

    PyTorch's function is exchanged: a mode of PyTorch's for that ends where a backward pass begins, which may compute
    layers again.
    """
    own = F.scaled_dot_product_attention

    def attend(*args: Any, **named: Any) -> torch.Tensor:
        if len(args) == 3 and _is_plain(*args, **named):
            scale = named.get("scale")
            return _Attention.apply(*args, args[0].shape[-1] ** -0.5 if scale is None else scale)
        return own(*args, **named)

    F.scaled_dot_product_attention = attend
    try:
        yield
    finally:
        F.scaled_dot_product_attention = own


def _is_plain(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> bool:
    """Whether it is causal attention of as many queries as keys, in rows that are not too long."""
    if attn_mask is not None or dropout_p or not is_causal or query.dim() != 4:
        return False
    if query.dtype != torch.bfloat16 or query.device.type != "cpu" or key.shape != value.shape:
        return False
    shared = enable_gqa or query.shape[1] == key.shape[1]
    return shared and query.shape[2] == key.shape[2] <= LONGEST and query.shape[3] == key.shape[3]


class _Attention(torch.autograd.Function):
    """Queries (N, A, T, D), keys and values (N, C, T, D) to (N, A, T, D)."""

    @staticmethod
    def forward(ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float) -> torch.Tensor:
        rows, heads, length, size = query.shape
        groups = rows * key.shape[1]
        keys, values = key.reshape(groups, length, size), value.reshape(groups, length, size)
        out = query.new_empty(rows, length, heads, size).transpose(1, 2)  # as the layer behind it reads it
        hidden = query.new_full((min(BLOCK, length),) * 2, float("-inf")).triu_(1)
        asked, probabilities = [], []
        for start, end in _blocks(length):
            count = end - start
            block = query[:, :, start:end].reshape(groups, -1, size) * scale
            scores = torch.bmm(block, keys[:, :end].transpose(1, 2))
            scores.view(groups, -1, count, end)[..., start:].add_(hidden[:count, :count])
            share = torch.softmax(scores, -1)  # in float32 inside
            out[:, :, start:end] = torch.bmm(share, values[:, :end]).view(rows, heads, count, size)
            asked.append(block)
            probabilities.append(share)
        ctx.scale, ctx.shape = scale, query.shape
        ctx.save_for_backward(keys, values, out, *asked, *probabilities)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        keys, values, out, *kept = ctx.saved_tensors
        (rows, heads, length, size), groups = ctx.shape, len(keys)
        blocks = list(_blocks(length))
        asked, probabilities = kept[: len(blocks)], kept[len(blocks) :]
        by_query = grad.new_empty(rows, length, heads, size).transpose(1, 2)
        by_key: torch.Tensor | None = None
        by_value: torch.Tensor | None = None
        for number in reversed(range(len(blocks))):  # the last block first: it has every key
            (start, end), share = blocks[number], probabilities[number]
            own = grad[:, :, start:end].reshape(groups, -1, size)
            # What a row of probabilities lost through the softmax's sum: the same as of its outputs.
            lost = (own * out[:, :, start:end].reshape(groups, -1, size)).sum(-1, keepdim=True)
            by_scores = torch.bmm(own, values[:, :end].transpose(1, 2)).sub_(lost).mul_(share)
            found = torch.bmm(by_scores, keys[:, :end]).view(rows, heads, end - start, size)
            torch.mul(found, ctx.scale, out=by_query[:, :, start:end])
            by_key = _plus(by_key, by_scores.transpose(1, 2), asked[number])
            by_value = _plus(by_value, share.transpose(1, 2), own)
        assert by_key is not None and by_value is not None
        layout = (rows, groups // rows, length, size)
        return by_query, by_key.view(layout), by_value.view(layout), None


def _blocks(length: int) -> Iterator[tuple[int, int]]:
    for start in range(0, length, BLOCK):
        yield start, min(start + BLOCK, length)


def _plus(total: torch.Tensor | None, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Add the products a @ b (G, E, D) to the first E rows of a sum; None begins it."""
    if total is None:
        return torch.bmm(a, b)
    total[:, : a.shape[1]].baddbmm_(a, b)
    return total


class _RmsNorm(torch.autograd.Function):
    """(..., H) and weight (H,) to weight * x / sqrt(mean(x^2) + eps), the mean in float32."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
        wide = x.float()
        factor = wide.square().mean(-1, keepdim=True).add_(eps).rsqrt_()
        normal = wide.mul_(factor).to(x.dtype)
        ctx.save_for_backward(normal, weight, factor)
        return normal * weight

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None, None]:
        normal, weight, factor = ctx.saved_tensors
        product = (grad * normal).flatten(0, -2)
        along = (product @ weight.unsqueeze(1)).div_(weight.numel()).view(factor.shape)
        by_x = torch.addcmul(grad * weight, normal, along, value=-1).mul_(factor.to(grad.dtype))
        by_weight = product.new_ones(1, len(product)) @ product if ctx.needs_input_grad[1] else None
        return by_x, None if by_weight is None else by_weight[0], None


def find_norms(model: torch.nn.Module) -> list[tuple[torch.nn.Module, Callable[[torch.Tensor], torch.Tensor]]]:
    """Return a model's RMSNorms, each with the forward function that takes the place of its own in bfloat16.

    A module is one if it is called that and, asked for a few numbers, computes that.
    """
    found = []
    for module in model.modules():
        eps = getattr(module, "variance_epsilon", getattr(module, "eps", None))
        if isinstance(eps, float) and "forward" not in vars(module) and _is_norm(module, eps):
            found.append((module, _norm_of(module, eps)))
    return found


def _norm_of(module: Any, eps: float) -> Callable[[torch.Tensor], torch.Tensor]:
    own = module.forward

    def forward(x: torch.Tensor) -> torch.Tensor:
        half = x.dtype == module.weight.dtype == torch.bfloat16 and x.dim() > 1
        return _RmsNorm.apply(x, module.weight, eps) if half else own(x)

    return forward


@torch.no_grad()
def _is_norm(module: Any, eps: float) -> bool:
    parameters: Sequence[tuple[str, torch.Tensor]] = list(module.named_parameters())
    if "RMSNorm" not in type(module).__name__ or [name for name, _ in parameters] != ["weight"]:
        return False
    weight = parameters[0][1]
    x = torch.linspace(-2, 3, 2 * weight.numel(), device=weight.device, dtype=weight.dtype).view(2, -1)
    ours = weight.float() * x.float() * (x.float().square().mean(-1, keepdim=True) + eps).rsqrt()
    try:
        return bool(torch.allclose(module(x).float(), ours, rtol=1e-2, atol=1e-2))
    except (TypeError, RuntimeError):  # it asks for more than a tensor, or has no numbers
        return False
