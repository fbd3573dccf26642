"""Layers whose gradients are worked out by hand give autograd's, as near to float32 as PyTorch's own in bf16."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn import functional as F
from transformers.models.gemma.modeling_gemma import GemmaRMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from prospect.models import fused
from prospect.models.fused import BLOCK, LONGEST, find_norms, fused_attention
from tolerances import distance

# Two products of rounded numbers one after another, forward and backward, with room for chance.
NEAR = 8 * 2**-9


def gradients(compute: Callable[..., Any], inputs: list[torch.Tensor]) -> list[torch.Tensor]:
    """What is computed, and the gradient of its weighted sum by every input."""
    leaves = [tensor.detach().requires_grad_() for tensor in inputs]
    out = compute(*leaves)
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(7))
    out.backward(weights.to(out.dtype))
    return [out.detach().float(), *(leaf.grad.float() for leaf in leaves if leaf.grad is not None)]


def attend(*inputs: torch.Tensor) -> torch.Tensor:
    return F.scaled_dot_product_attention(*inputs, is_causal=True, enable_gqa=True)


@pytest.mark.parametrize("length", [1, 7, BLOCK, 2 * BLOCK + 5])
@pytest.mark.parametrize("shared", [1, 2])
def test_attention_and_its_gradients_are_those_of_float32_but_for_rounding(length: int, shared: int) -> None:
    torch.manual_seed(0)
    shapes = [(2, length, heads, 16) for heads in (4, 4 // shared, 4 // shared)]
    inputs = [torch.randn(shape).bfloat16().transpose(1, 2) for shape in shapes]
    exact = gradients(attend, [tensor.float() for tensor in inputs])
    with fused_attention():
        found = gradients(attend, inputs)
    for name, ours, expected in zip(("out", "query", "key", "value"), found, exact, strict=True):
        if float(expected.norm()) > 1e-4:  # one token alone has no choice, and no gradient by queries and keys
            assert distance(ours, expected) < NEAR, name
        else:
            assert float(ours.norm()) < 0.1, name


def test_only_plain_causal_attention_in_bf16_is_taken_over(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    monkeypatch.setattr(fused._Attention, "apply", lambda query, *_: taken.append(query.shape[2]) or query)
    half = torch.randn(1, 1, 4, 8).bfloat16()
    long = torch.randn(1, 1, LONGEST + 1, 8).bfloat16()
    with fused_attention():
        F.scaled_dot_product_attention(half, half, half, is_causal=True)
        assert taken == [4]
        F.scaled_dot_product_attention(half, half, half)
        F.scaled_dot_product_attention(half[:, :, :1], half, half, is_causal=True)
        F.scaled_dot_product_attention(half, half, half, torch.zeros(4, 4).bfloat16())
        F.scaled_dot_product_attention(half.float(), half.float(), half.float(), is_causal=True)
        F.scaled_dot_product_attention(long, long, long, is_causal=True)
    assert taken == [4]


def test_rms_norm_and_its_gradients_are_those_of_float32_but_for_rounding() -> None:
    torch.manual_seed(0)
    module = LlamaRMSNorm(24)
    ((_, forward),) = find_norms(torch.nn.Sequential(module))
    inputs = [torch.randn(2, 5, 24).bfloat16(), torch.randn(24).bfloat16()]

    def norm(forward: Callable[..., Any]) -> Callable[..., Any]:
        def compute(x: torch.Tensor, weight: torch.Tensor) -> Any:
            module._parameters["weight"] = weight  # type: ignore[assignment]
            return forward(x)

        return compute

    exact = gradients(norm(module.forward), [tensor.float() for tensor in inputs])
    for ours, expected in zip(gradients(norm(forward), inputs), exact, strict=True):
        assert distance(ours, expected) < NEAR


def test_a_norm_that_computes_something_else_is_left_alone() -> None:
    assert not find_norms(torch.nn.Sequential(GemmaRMSNorm(8), torch.nn.LayerNorm(8)))
