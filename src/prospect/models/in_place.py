"""Gradients of the vocabulary's two large matrices, added where they are summed and not made anew each time.

The embedding and the head are by far the largest matrices of a small model, and each micro-batch touches few of the
embedding's rows. Autograd still makes a whole gradient of each, adds the two where the weights are tied, and adds the
sum to what there is: for 32,000 words of 288 numbers some 300 MB of memory traffic a micro-batch. Within
`adding_in_place` the gradient goes straight into `.grad`.

Letters: N rows, T tokens, H hidden, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

_PIECE = 2**16  # numbers

# The flag of the module and of no thread: on a GPU the backward pass runs in a thread of autograd's.
_allowed = False


@contextmanager
def adding_in_place() -> Iterator[None]:
    """Let the backward passes within add to the `.grad` that parameters have already.

    For `backward()` that sums into `.grad` only: `torch.autograd.grad`, which returns gradients, would miss them.
    """
    global _allowed
    before, _allowed = _allowed, True
    try:
        yield
    finally:
        _allowed = before


def stand_in(tensor: torch.Tensor, parameter: torch.nn.Parameter) -> torch.Tensor:
    """Mark a tensor as one that a parameter's layer computes with in its place, and whose gradient is the parameter's.

    Returns:
        the tensor.
    """
    tensor.stands_for = parameter  # type: ignore[attr-defined]
    return tensor


def sum_of(parameter: torch.Tensor) -> torch.Tensor | None:
    """Return the tensor that a parameter's gradient may be added to; None where autograd has to see the gradient.

    That is so outside of `adding_in_place`, before the first gradient, for sharded parameters, for those that somebody
    watches by a hook, and in half precision, where each chunk added would be rounded.

    Args:
        parameter: it, or what stands in for it.
    """
    parameter = getattr(parameter, "stands_for", parameter)
    if not (_allowed and parameter.is_leaf and type(parameter.grad) is torch.Tensor):
        return None
    hooks = parameter._backward_hooks or getattr(parameter, "_post_accumulate_grad_hooks", None)
    exact = parameter.grad.dtype in (torch.float32, torch.float64) and parameter.grad.is_contiguous()
    return parameter.grad if exact and not hooks else None


def add_to(total: torch.Tensor, gradient: torch.Tensor) -> None:
    """Add a gradient of any dtype to a sum.

    A piece at a time where dtypes differ: PyTorch casts all of the gradient first, and a piece stays in the cache.
    """
    if total.dtype == gradient.dtype:
        total.add_(gradient)
        return
    for sums, added in zip(total.flatten().split(_PIECE), gradient.flatten().split(_PIECE), strict=True):
        sums.add_(added)


def embed(module: torch.nn.Embedding, ids: torch.Tensor) -> torch.Tensor:
    """Embed ids (N, T) as (N, T, H), with a gradient that can be added in place."""
    return _Embed.apply(ids, module.weight, module.padding_idx)


def is_plain_embedding(module: Any) -> bool:
    """Whether calling it is a look-up and no more: no scale of its own, no maximal norm, no sparse gradient."""
    own = getattr(module.forward, "__func__", None) is torch.nn.Embedding.forward
    if not own or type(module.weight) not in (torch.Tensor, torch.nn.Parameter):
        return False
    return module.max_norm is None and not module.scale_grad_by_freq and not module.sparse


class _Embed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, ids: torch.Tensor, weight: torch.Tensor, padding: int | None) -> torch.Tensor:
        ctx.padding = padding
        ctx.save_for_backward(ids, weight)
        return F.embedding(ids, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[None, torch.Tensor | None, None]:
        ids, weight = ctx.saved_tensors
        total = sum_of(weight)
        if total is None:
            padding = -1 if ctx.padding is None else ctx.padding
            return None, torch.ops.aten.embedding_dense_backward(grad, ids, len(weight), padding, False), None
        if ctx.padding is not None:  # its row learns nothing
            grad = grad.masked_fill((ids == ctx.padding).unsqueeze(-1), 0)
        total.index_add_(0, ids.flatten(), grad.flatten(0, -2).to(total.dtype))
        return None, None, None
