"""Gradients that are added in place are the gradients of autograd."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from prospect.models.in_place import adding_in_place, is_plain_embedding, sum_of
from prospect.models.logps import score_hidden
from tolerances import BACKWARD, assert_near

IDS = torch.tensor([[1, 5, 0, 7, 5, 2], [3, 3, 0, 0, 9, 4]])
SCORED = torch.tensor([[0, 0, 1, 1, 1], [0, 1, 1, 0, 1]], dtype=torch.bool)


def model(tied: bool, padding: int | None = None) -> LlamaForCausalLM:
    torch.manual_seed(0)
    shape = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=11, tie_word_embeddings=tied, pad_token_id=padding, **shape))


def gradients(policy: LlamaForCausalLM, passes: int, in_place: bool) -> dict[str, torch.Tensor]:
    policy.zero_grad()
    for number in range(passes):
        logps, _ = score_hidden(policy, IDS.roll(number, 0), SCORED)
        if in_place:
            with adding_in_place():
                (logps * torch.arange(len(logps))).sum().backward()
        else:
            (logps * torch.arange(len(logps))).sum().backward()
    return {name: parameter.grad.clone() for name, parameter in policy.named_parameters() if parameter.grad is not None}


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("padding", [None, 0])
def test_the_sum_over_micro_batches_is_the_same(tied: bool, padding: int | None) -> None:
    policy = model(tied, padding)
    plain, ours = gradients(policy, 3, in_place=False), gradients(policy, 3, in_place=True)
    assert plain.keys() == ours.keys()
    for name, gradient in plain.items():
        assert_near(ours[name], gradient, BACKWARD, name)


def test_after_the_first_pass_the_two_large_gradients_are_added_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    policy, summed = model(tied=False), []

    def watched(parameter: torch.Tensor) -> torch.Tensor | None:
        total = sum_of(parameter)
        summed.append(total is not None)
        return total

    monkeypatch.setattr("prospect.models.in_place.sum_of", watched)
    monkeypatch.setattr("prospect.models.head.sum_of", watched)
    gradients(policy, 2, in_place=True)
    assert summed == [False, False, True, True]


def test_autograd_still_returns_gradients_to_who_asks_for_them() -> None:
    policy = model(tied=False)
    gradients(policy, 1, in_place=True)
    before = policy.lm_head.weight.grad.clone()
    logps, _ = score_hidden(policy, IDS, SCORED)
    found = torch.autograd.grad(logps.sum(), [policy.lm_head.weight, policy.model.embed_tokens.weight])
    assert all(gradient.abs().sum() > 0 for gradient in found)
    assert torch.equal(policy.lm_head.weight.grad, before)


def hooked(weight: torch.nn.Parameter) -> None:
    weight.register_hook(lambda gradient: gradient)


def watched_later(weight: torch.nn.Parameter) -> None:
    weight.register_post_accumulate_grad_hook(lambda parameter: None)


@pytest.mark.parametrize("watch", [hooked, watched_later])
def test_whoever_watches_a_gradient_sees_all_of_it(watch: Any) -> None:
    weight = torch.nn.Parameter(torch.zeros(2, 2))
    weight.grad = torch.zeros(2, 2)
    with adding_in_place():
        assert sum_of(weight) is weight.grad
        watch(weight)
        assert sum_of(weight) is None
    assert sum_of(torch.nn.Parameter(torch.zeros(2, 2))) is None


def test_half_precision_is_left_to_autograd() -> None:
    weight = torch.nn.Parameter(torch.zeros(2, 2, dtype=torch.bfloat16))
    weight.grad = torch.zeros(2, 2, dtype=torch.bfloat16)
    with adding_in_place():
        assert sum_of(weight) is None


class Scaled(torch.nn.Embedding):
    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(ids)


def test_an_embedding_that_does_more_than_look_up_is_left_alone() -> None:
    assert is_plain_embedding(torch.nn.Embedding(3, 2))
    assert not is_plain_embedding(Scaled(3, 2))
    assert not is_plain_embedding(torch.nn.Embedding(3, 2, max_norm=1.0))
    assert not is_plain_embedding(torch.nn.Embedding(3, 2, sparse=True))
