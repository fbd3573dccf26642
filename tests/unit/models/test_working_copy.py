"""bf16 on a CPU: float32 weights are cast once, and what is summed and moved is float32."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import make_model
from prospect.config import ModelSettings, load_config
from prospect.models import precision
from prospect.models.in_place import adding_in_place
from prospect.models.logps import score_hidden
from prospect.models.policy import Policy, load_for_scoring, load_policy
from prospect.models.precision import NARROWEST_IN_BF16, resolve_precision
from prospect.models.reference import AdapterAsLoadedReference, FrozenReference
from prospect.models.working_copy import WorkingCopy
from runs import move
from tolerances import distance

CPU = torch.device("cpu")
IDS = torch.randint(300, (4, 12), generator=torch.Generator().manual_seed(1))
SCORED = torch.rand(4, 11, generator=torch.Generator().manual_seed(2)) < 0.6
# A number is rounded by at most 2^-9 of itself, up or down, some hundred times on the way to a gradient here.
ROUNDING = 2**-9 * 100**0.5


def policy_of(path: Path, **sections: Any) -> Policy:
    values = {"data": {"train": "x"}, "output": "run", "train": {"precision": "bf16"}, **sections}
    return load_policy(load_config({**values, "model": {"name_or_path": str(path), **values.get("model", {})}}), ())


def gradient(model: Any, cuts: int, working: WorkingCopy | None = None) -> torch.Tensor:
    model.zero_grad()
    for part in torch.arange(len(IDS)).chunk(cuts):
        with nullcontext() if working is None else working.in_use():
            logps = score_hidden(model, IDS[part], SCORED[part])[0]
        with adding_in_place():
            logps.sum().backward()
    assert all(p.grad.dtype == torch.float32 for p in model.parameters())
    return torch.cat([p.grad.flatten() for p in model.parameters()])


@pytest.mark.parametrize("tied", [True, False])
def test_gradients_are_those_of_float32_but_for_rounding_however_a_step_is_cut(tied: bool) -> None:
    model = make_model(tie_word_embeddings=tied)
    exact, working = gradient(model, 1), WorkingCopy(model)
    whole = gradient(model, 1, working)
    assert 0 < distance(whole, exact) < ROUNDING
    for cuts in (2, 4):
        assert distance(gradient(model, cuts, working), whole) < ROUNDING


def test_a_weight_is_cast_when_it_has_changed_and_not_again(model_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = policy_of(model_path)
    working, optimizer = policy.working, torch.optim.AdamW(policy.model.parameters(), lr=1e-2, fused=True)
    assert working is not None
    gradient(policy.model, 2, working)
    before = {name: copy.clone() for name, copy in copies(policy).items()}
    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "copy_", None)
        copies(policy)  # nothing is cast
    optimizer.step()
    policy.weights_moved()
    for name, copy in copies(policy).items():
        assert torch.equal(copy, policy.trainable()[name].to(torch.bfloat16))
        assert not torch.equal(copy, before[name])
    with torch.no_grad():
        for parameter in policy.trainable().values():
            parameter.zero_()
    assert not any(copy.any() for copy in copies(policy).values())


def copies(policy: Policy) -> dict[str, torch.Tensor]:
    with torch.no_grad(), policy.arithmetic():
        return dict(policy.model.named_parameters())


def test_weights_that_are_not_trained_are_held_in_bf16_alone(model_path: Path) -> None:
    policy = policy_of(model_path, model={"lora": {"r": 2, "alpha": 4}})
    assert {p.dtype for p in policy.model.parameters() if not p.requires_grad} == {torch.bfloat16}
    assert {p.dtype for p in policy.trainable().values()} == {torch.float32}
    reference = FrozenReference(policy_of(model_path))
    assert {w.dtype for w in reference.weights().values()} == {torch.bfloat16}


def test_what_is_loaded_to_score_and_to_write_is_held_in_bf16_alone(model_path: Path) -> None:
    exact, half = (load_for_scoring(ModelSettings(name_or_path=str(model_path)), p).model for p in ("fp32", "bf16"))
    assert {(p.dtype, p.requires_grad) for p in half.parameters()} == {(torch.bfloat16, False)}
    with torch.no_grad():
        logits = half(IDS).logits
        assert logits.dtype == torch.bfloat16
        assert 0 < distance(logits.float(), exact(IDS).logits) < ROUNDING


@pytest.mark.parametrize("sections", [{}, {"model": {"lora": {"r": 2, "alpha": 4}}}], ids=["full", "lora"])
def test_a_reference_that_follows_keeps_what_bf16_would_round_away(model_path: Path, sections: Any) -> None:
    policy = policy_of(model_path, reference={"sync": {"every": 1, "mix": 1.0}}, **sections)
    reference = FrozenReference(policy, follows=True)
    with torch.no_grad():
        for parameter in policy.trainable().values():
            parameter.add_(1e-5)
    reference.sync(policy, 1.0)
    for name, weight in policy.merged_weights():
        assert torch.equal(reference.weights()[name], weight)


def test_the_adapter_as_it_was_loaded_is_cast_when_it_is_asked(model_path: Path) -> None:
    policy = policy_of(model_path, model={"lora": {"r": 2, "alpha": 4}})
    move(policy)
    loaded, reference = scores(policy), AdapterAsLoadedReference(policy)
    move(policy)
    moved = scores(policy)
    with policy.with_weights(reference.weights()):
        assert torch.equal(scores(policy), loaded)
    assert torch.equal(scores(policy), moved)
    assert not torch.equal(moved, loaded)


@torch.no_grad()
def scores(policy: Policy) -> torch.Tensor:
    with policy.arithmetic():
        return score_hidden(policy.model, IDS, SCORED)[0]


def test_auto_is_bf16_where_that_is_multiplied_in_hardware_and_the_model_is_wide(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for in_hardware in (True, False):
        monkeypatch.setattr(precision, "multiplies_bf16", lambda device, has=in_hardware: has)
        wide = "bf16" if in_hardware else "fp32"
        assert resolve_precision("auto", CPU, NARROWEST_IN_BF16) == wide
        assert resolve_precision("auto", torch.device("cuda")) == wide
        assert resolve_precision("auto", CPU, NARROWEST_IN_BF16 - 1) == "fp32"
        assert resolve_precision("auto", CPU) == "fp32"  # autocast
        assert resolve_precision("bf16", CPU) == "bf16"
