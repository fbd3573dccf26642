"""A linear layer with its LoRA adapter as one function gives what PEFT's gives, and only where PEFT's is plain."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from prospect.models import fused_adapter
from prospect.models.fused_adapter import find_adapters
from tolerances import distance

# Three products of rounded numbers one after another, with room for chance.
NEAR = 8 * 2**-9


def adapted(dtype: torch.dtype = torch.float64, *, bias: bool = False, **settings: Any) -> tuple[Any, Any]:
    """A layer with an adapter that says something, PEFT's module and the model that it is in."""
    torch.manual_seed(0)
    inner = torch.nn.Sequential(torch.nn.Linear(24, 40, bias=bias)).to(dtype)
    options = {"r": 4, "lora_alpha": 12, "target_modules": ["0"], **settings}
    model: Any = get_peft_model(inner, LoraConfig(**options)).to(dtype).eval()  # type: ignore[arg-type]
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    return model.base_model.model[0], model


def outcome(model: Any, forward: Callable[..., torch.Tensor], x: torch.Tensor) -> dict[str, torch.Tensor]:
    """What comes out, and the gradient of its weighted sum by the input and by all that is trained."""
    model.zero_grad()
    x = x.detach().requires_grad_()
    out = forward(x)
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    out.backward(weights.to(out.dtype))
    assert x.grad is not None
    by = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return {name: found.detach().double() for name, found in {"out": out, "x": x.grad, **by}.items()}


@pytest.mark.parametrize("shape", [(2, 5, 24), (0, 24), (24,)])
@pytest.mark.parametrize("bias", [False, True])
def test_values_and_gradients_are_those_of_peft(shape: tuple[int, ...], bias: bool) -> None:
    layer, model = adapted(bias=bias)
    ((found, forward),) = find_adapters(model)
    assert found is layer
    x = torch.randn(shape, dtype=torch.float64)
    expected, ours = outcome(model, layer.forward, x), outcome(model, forward, x)
    assert ours.keys() == expected.keys() and len(ours) == 4
    for name, tensor in expected.items():
        torch.testing.assert_close(ours[name], tensor, msg=lambda said, name=name: f"{name}: {said}")


def test_bf16_is_no_farther_from_the_numbers_than_with_peft() -> None:
    x = torch.randn(2, 50, 24).bfloat16()
    layer, model = adapted(torch.bfloat16)
    ((_, forward),) = find_adapters(model)
    ours, theirs = outcome(model, forward, x), outcome(model, layer.forward, x)
    layer, model = adapted(torch.bfloat16)
    exact = outcome(model.double(), layer.forward, x.double())
    for name, tensor in exact.items():
        assert distance(ours[name], tensor) < NEAR, name
    assert distance(ours["out"], exact["out"]) < 1.05 * distance(theirs["out"], exact["out"])


def test_an_input_that_needs_no_gradient_gets_none() -> None:
    _, model = adapted()
    ((_, forward),) = find_adapters(model)
    x = torch.randn(2, 5, 24, dtype=torch.float64)
    forward(x).sum().backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    assert x.grad is None


def test_only_a_plain_adapter_is_taken_over(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    compute = fused_adapter._Adapted.apply
    monkeypatch.setattr(fused_adapter._Adapted, "apply", lambda *inputs: taken.append(1) or compute(*inputs))
    x = torch.randn(3, 24, dtype=torch.float64)

    def is_taken(model: Any, x: torch.Tensor = x, **named: Any) -> bool:
        taken.clear()
        for layer, forward in find_adapters(model):
            torch.testing.assert_close(forward(x, **named), layer(x, **named))
        return bool(taken)

    layer, model = adapted(lora_dropout=0.1)
    assert is_taken(model)
    with model.disable_adapter():
        assert not is_taken(model)
    assert not is_taken(model, adapter_names=["default"] * 3)
    layer.merge()
    assert not is_taken(model)
    layer.unmerge()
    model.add_adapter("second", LoraConfig(r=2, target_modules=["0"]))
    model.base_model.set_adapter(["default", "second"])
    assert not is_taken(model.double())
    for settings in ({"use_dora": True}, {"lora_bias": True, "bias": True}):
        assert not is_taken(adapted(**settings)[1])


def test_dropout_that_is_on_is_left_to_peft(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused_adapter._Adapted, "apply", None)
    _, model = adapted(lora_dropout=0.5)
    ((_, forward),) = find_adapters(model.train())
    assert forward(torch.randn(3, 24, dtype=torch.float64)).shape == (3, 40)
