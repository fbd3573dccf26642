"""The fast road gives the plain one's values and gradients, of every parameter, for tiny models of many families."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import pytest
import torch

from prospect.models import logps
from prospect.models.adapters import enable_gradient_checkpointing
from prospect.models.logps import Scorer, choose_scorer, score_hidden, score_logits
from prospect.models.working_copy import WorkingCopy, hold_in_bf16
from tolerances import BACKWARD, FORWARD, assert_near, distance, rounding

VOCABULARY = 64
ENDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
# Weights are wide enough that a wrong cap, scale, bias or position shows.
LLAMA = {
    **{"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "vocab_size": VOCABULARY},
    **{"num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.3, **ENDS},
}
EXPERTS = {"num_experts_per_tok": 2, "output_router_logits": True}
BOTH, TIED, UNTIED = (True, False), (True,), (False,)

# Name in Transformers, settings, whether input and output embeddings may be one.
FAMILIES: dict[str, tuple[str, dict[str, Any], tuple[bool, ...]]] = {
    "llama": ("Llama", LLAMA, BOTH),
    "qwen3": ("Qwen3", {**LLAMA, "head_dim": 8}, BOTH),
    "mistral": ("Mistral", {**LLAMA, "sliding_window": 3}, BOTH),
    "gemma2": ("Gemma2", {**LLAMA, "head_dim": 8, "final_logit_softcapping": 3.0}, BOTH),
    "gemma3": ("Gemma3", {**LLAMA, "head_dim": 8, "sliding_window": 3, "final_logit_softcapping": 3.0}, BOTH),
    "phi3": ("Phi3", LLAMA, BOTH),
    "gpt2": ("GPT2", {"n_embd": 32, "n_layer": 2, "n_head": 4, **LLAMA}, BOTH),
    "gptj": ("GPTJ", {"n_embd": 32, "n_layer": 2, "n_head": 4, "rotary_dim": 4, **LLAMA}, UNTIED),  # bias in its head
    "gpt_neox": ("GPTNeoX", LLAMA, BOTH),
    "opt": ("OPT", {**LLAMA, "ffn_dim": 48, "word_embed_proj_dim": 16}, BOTH),
    "falcon": ("Falcon", LLAMA, BOTH),
    "bloom": ("Bloom", {"n_layer": 2, "n_head": 4, **LLAMA}, BOTH),
    "cohere": ("Cohere", {**LLAMA, "logit_scale": 0.4}, BOTH),
    "granite": ("Granite", {**LLAMA, "logits_scaling": 2.5}, BOTH),
    "falcon_h1": (
        "FalconH1",
        {**LLAMA, "lm_head_multiplier": 0.4, "mamba_d_ssm": 32, "mamba_n_heads": 4, "mamba_d_state": 8, "head_dim": 8},
        BOTH,
    ),
    "mixtral": ("Mixtral", {**LLAMA, **EXPERTS, "num_local_experts": 4, "router_jitter_noise": 0.3}, BOTH),
    "qwen3_moe": ("Qwen3Moe", {**LLAMA, **EXPERTS, "num_experts": 4, "moe_intermediate_size": 16, "head_dim": 8}, BOTH),
    "mamba": ("Mamba", {**LLAMA, "state_size": 4}, BOTH),
    "rwkv": ("Rwkv", {**LLAMA, "attention_hidden_size": 32}, BOTH),
}
CLASSES = {"gemma3": "Gemma3ForCausalLM", "gpt2": "GPT2LMHeadModel"}
CONFIGS = {"gemma3": "Gemma3TextConfig"}

ids = torch.randint(VOCABULARY, (3, 9), generator=torch.Generator().manual_seed(1))
scored = torch.rand(3, 8, generator=torch.Generator().manual_seed(2)) < 0.6
# Every token has a weight of its own: a sum would not notice two that changed places.
weights = torch.randn(int(scored.sum()), generator=torch.Generator().manual_seed(3))


def build(family: str, tied: bool) -> Any:
    import transformers

    name, settings, _ = FAMILIES[family]
    config = getattr(transformers, CONFIGS.get(family, f"{name}Config"))(**settings, tie_word_embeddings=tied)
    torch.manual_seed(0)
    model = getattr(transformers, CLASSES.get(family, f"{name}ForCausalLM"))(config).eval()
    head = model.get_output_embeddings()
    if head.bias is not None:
        torch.nn.init.normal_(head.bias)
    assert (head.weight is model.get_input_embeddings().weight) == tied
    return model


def scores_and_gradients(
    model: Any, scorer: Scorer, working: WorkingCopy | None = None
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    model.zero_grad(set_to_none=True)
    with working.in_use() if working is not None else nullcontext():
        values = scorer(model, ids, scored, False)[0]
    (values * weights).sum().backward()
    return values.detach(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def assert_roads_agree(model: Any, forward: float = rounding(FORWARD), backward: float = rounding(BACKWARD)) -> None:
    """Relative to the largest log-prob, and to the largest gradient of a parameter."""
    expected, gradients = scores_and_gradients(model, score_logits)
    values, own = scores_and_gradients(model, score_hidden)
    torch.testing.assert_close(values, expected, rtol=0, atol=forward * float(expected.abs().max()))
    assert_gradients_agree(own, gradients, backward)


def assert_gradients_agree(own: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], tolerance: float) -> None:
    assert own.keys() == expected.keys()
    # A gradient may be 0 but for rounding: a bias of keys moves all of a row's scores alike.
    noise = 0.1 * max(float(gradient.abs().max()) for gradient in expected.values())
    for name, gradient in expected.items():
        within = tolerance * max(float(gradient.abs().max()), noise)
        assert own[name].dtype == gradient.dtype
        torch.testing.assert_close(own[name], gradient, rtol=0, atol=within, msg=lambda m, n=name: f"{n}: {m}")


CASES = [pytest.param(f, tied, id=f"{f}-{'tied' if tied else 'untied'}") for f, v in FAMILIES.items() for tied in v[2]]


@pytest.fixture(params=["one chunk", "chunks of 4"])
def chunks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if request.param != "one chunk":
        monkeypatch.setattr(logps, "CHUNK_LOGITS", 4 * VOCABULARY)
    yield


@pytest.mark.parametrize(("family", "tied"), CASES)
def test_both_roads_agree(family: str, tied: bool, chunks: None) -> None:
    model = build(family, tied)
    assert choose_scorer(model) is score_hidden
    assert_roads_agree(model)


@pytest.mark.parametrize("family", ["llama", "gemma2", "cohere", "gptj"])
def test_both_roads_agree_where_the_head_is_not_trained(family: str, chunks: None) -> None:
    model = build(family, tied=False)
    model.get_output_embeddings().requires_grad_(False)
    assert_roads_agree(model)


@pytest.mark.parametrize("family", FAMILIES)
def test_both_roads_agree_in_bf16(family: str, chunks: None) -> None:
    model = build(family, FAMILIES[family][2][0])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        # Logits of 10 and the gradients by them, each rounded at 2^-9 of the largest, in other places on either road.
        assert_roads_agree(model, forward=0.15, backward=0.15)
    assert choose_scorer(model.to(torch.bfloat16)) is score_hidden


@pytest.mark.parametrize("family", FAMILIES)
def test_copies_in_bf16_give_what_a_model_of_such_weights_gives(family: str) -> None:
    """Of the same rounded weights; against float32 a mixture may send a token to another expert."""
    model = build(family, FAMILIES[family][2][0])
    assert choose_scorer(model) is score_hidden
    rounded = copy.deepcopy(model).requires_grad_(False)
    hold_in_bf16(rounded)
    expected, gradients = scores_and_gradients(rounded.requires_grad_(True), score_logits)
    values, own = scores_and_gradients(model, score_hidden, WorkingCopy(model))
    assert own.keys() == gradients.keys()
    assert distance(values, expected) < 0.05
    ours, theirs = (torch.cat([found[name].float().flatten() for name in own]) for found in (own, gradients))
    assert distance(ours, theirs) < 0.15


def adapted(model: Any, **settings: Any) -> Any:
    from peft import LoraConfig, get_peft_model

    from prospect.models.adapters import quiet_peft

    with quiet_peft():
        wrapped = get_peft_model(model, LoraConfig(r=2, lora_alpha=16, task_type="CAUSAL_LM", **settings)).eval()
    for name, parameter in wrapped.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    return wrapped


@pytest.mark.parametrize("family", ["llama", "gpt2", "phi3", "qwen3"])
def test_copies_in_bf16_give_what_an_adapter_in_bf16_gives(family: str) -> None:
    model = adapted(build(family, tied=False), target_modules="all-linear", fan_in_fan_out=family == "gpt2")
    hold_in_bf16(model)
    rounded = copy.deepcopy(model).to(torch.bfloat16)
    expected, gradients = scores_and_gradients(rounded, score_logits)
    values, own = scores_and_gradients(model, score_hidden, WorkingCopy(model))
    assert own.keys() == gradients.keys()
    assert {gradient.dtype for gradient in own.values()} == {torch.float32}
    assert distance(values, expected) < 0.05
    ours, theirs = (torch.cat([found[name].float().flatten() for name in own]) for found in (own, gradients))
    assert distance(ours, theirs) < 0.15


@pytest.mark.parametrize("family", ["llama", "gemma2", "granite", "cohere"])
@pytest.mark.parametrize(
    "settings",
    [
        {"target_modules": ["q_proj", "down_proj"]},
        {"target_modules": ["q_proj", "lm_head"]},
        {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
        {"target_modules": ["q_proj"], "trainable_token_indices": [3, 5]},
    ],
    ids=["backbone", "head", "whole head", "tokens"],
)
def test_both_roads_agree_with_an_adapter(family: str, settings: dict[str, Any], chunks: None) -> None:
    model = adapted(build(family, tied=False), **settings)
    assert choose_scorer(model) is score_hidden
    assert_roads_agree(model)
    with model.disable_adapter(), torch.no_grad():
        fast, plain = (scorer(model, ids, scored, False)[0] for scorer in (score_hidden, score_logits))
    assert_near(fast, plain, FORWARD)


def test_tokens_trained_in_tied_embeddings_agree(chunks: None) -> None:
    model = adapted(build("llama", tied=True), target_modules=["q_proj"], trainable_token_indices=[3, 5])
    assert_roads_agree(model)


@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen3_moe"])
def test_recomputing_activations_changes_nothing(family: str, chunks: None) -> None:
    model = build(family, tied=True)
    expected, gradients = scores_and_gradients(model, score_logits)
    enable_gradient_checkpointing(model)
    values, own = scores_and_gradients(model, score_hidden)
    assert_near(values, expected, FORWARD)
    assert_gradients_agree(own, gradients, rounding(BACKWARD))


def test_noise_of_training_does_not_choose_the_road() -> None:
    """Router noise and dropout tell two passes apart; the probe switches them off, and then on again."""
    model = build("mixtral", tied=True).train()
    model.model.layers[0].eval()
    before = {name: module.training for name, module in model.named_modules()}
    assert choose_scorer(model) is score_hidden
    assert {name: module.training for name, module in model.named_modules()} == before


@pytest.mark.parametrize("family", ["gemma3", "opt", "mamba"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_hidden_states_are_those_before_the_head(family: str, precision: str) -> None:
    model = build(family, tied=True)
    context = torch.autocast("cpu", dtype=torch.bfloat16) if precision == "bf16" else nullcontext()
    with torch.no_grad(), context:
        fast, plain = (scorer(model, ids, scored, True)[1] for scorer in (score_hidden, score_logits))
    assert fast is not None and plain is not None
    torch.testing.assert_close(fast.float(), plain.float(), rtol=1e-5, atol=1e-5)
