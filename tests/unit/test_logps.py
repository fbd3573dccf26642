"""Log-probs of completions: one function, the same numbers by every road, for heads of several families."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from prospect.config import LoraSettings
from prospect.data.batch import Row, collate
from prospect.models import logps
from prospect.models.adapters import add_adapter
from prospect.models.logps import choose_scorer, score_hidden, score_logits, score_tokens

VOCABULARY = 64
SHAPE = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "vocab_size": VOCABULARY}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.3}
ENDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}


def llama() -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(LlamaConfig(**SHAPE, **HEADS, **ENDS))


def gpt2() -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(
        GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=VOCABULARY, initializer_range=0.3, **ENDS)
    )


def gemma2() -> Any:
    """Its logits go through tanh: 3 is low enough for the cap to matter."""
    from transformers import Gemma2Config, Gemma2ForCausalLM

    return Gemma2ForCausalLM(Gemma2Config(**SHAPE, **HEADS, **ENDS, head_dim=8, final_logit_softcapping=3.0))


def cohere() -> Any:
    from transformers import CohereConfig, CohereForCausalLM

    return CohereForCausalLM(CohereConfig(**SHAPE, **HEADS, **ENDS, logit_scale=0.4))


def granite() -> Any:
    from transformers import GraniteConfig, GraniteForCausalLM

    return GraniteForCausalLM(GraniteConfig(**SHAPE, **HEADS, **ENDS, logits_scaling=2.5))


def model_of(family: Callable[[], Any]) -> Any:
    torch.manual_seed(0)
    return family().eval()


families = pytest.mark.parametrize("family", [llama, gpt2, gemma2, cohere, granite], ids=lambda f: f.__name__)


def make_row(prompt: int, completion: int, seed: int) -> Row:
    draw = np.random.default_rng(seed)
    ids = draw.integers(0, VOCABULARY, prompt + completion).astype(np.int32)
    return Row(ids[:prompt], ids[prompt:], str(seed), str(seed), True)


ROWS = [make_row(3, 4, 1), make_row(1, 1, 2), make_row(6, 2, 3)]


def by_hand(model: Any, row: Row) -> torch.Tensor:
    """One row alone, from the model's own logits: log p of each completion token given all before it."""
    ids = torch.tensor([[*row.prompt_ids.tolist(), *row.completion_ids.tolist()]])
    table = torch.log_softmax(model(input_ids=ids).logits[0].float(), dim=-1)
    start = len(row.prompt_ids)
    return torch.stack([table[t - 1, ids[0, t]] for t in range(start, ids.shape[1])])


def gradient(model: Any, total: torch.Tensor) -> torch.Tensor:
    model.zero_grad(set_to_none=True)
    total.backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@families
def test_both_roads_give_the_values_and_gradients_computed_by_hand(family: Callable[[], Any]) -> None:
    model, batch = model_of(family), collate(ROWS)
    expected = [by_hand(model, row) for row in ROWS]
    expected_gradient = gradient(model, torch.cat(expected).sum())
    for scorer in (score_hidden, score_logits):
        values = score_tokens(model, batch, scorer).logps
        assert values.dtype == torch.float32
        assert values.shape == batch.ids.shape
        for i, own in enumerate(expected):
            torch.testing.assert_close(values[i][batch.completion[i]], own, rtol=1e-5, atol=1e-5)
        assert torch.equal(values[~batch.completion], torch.zeros(int((~batch.completion).sum())))
        torch.testing.assert_close(gradient(model, values.sum()), expected_gradient, rtol=1e-4, atol=1e-4)


@families
def test_the_fast_road_is_taken_where_it_gives_the_plain_ones_numbers(family: Callable[[], Any]) -> None:
    assert choose_scorer(model_of(family)) is score_hidden


def test_what_a_family_does_to_its_logits_matters_to_these_tests() -> None:
    """Were the cap or the scale without effect, the tests above would prove nothing."""
    off: list[tuple[Callable[[], Any], str, float | None]] = [
        (gemma2, "final_logit_softcapping", None),
        (cohere, "logit_scale", 1.0),
        (granite, "logits_scaling", 1.0),
    ]
    for family, name, neutral in off:
        model, batch = model_of(family), collate(ROWS)
        with torch.no_grad():
            plain = score_tokens(model, batch, score_logits).logps
            setattr(model.config, name, neutral)
            without = score_tokens(model, batch, score_hidden).logps
        assert (plain - without).abs().max() > 0.05, name


@pytest.mark.parametrize("rows_at_once", [1, 2, 3, 6])
def test_chunks_of_logits_do_not_change_values_or_gradients(monkeypatch: pytest.MonkeyPatch, rows_at_once: int) -> None:
    model, batch = model_of(gemma2), collate(ROWS)
    whole = score_tokens(model, batch, score_hidden).logps
    whole_gradient = gradient(model, whole.sum())
    widest = []
    head = logps._head_logps

    def watched(causal: Any, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        widest.append(len(hidden))
        return head(causal, hidden, targets)

    monkeypatch.setattr(logps, "_head_logps", watched)
    monkeypatch.setattr(logps, "CHUNK_LOGITS", rows_at_once * VOCABULARY)
    chunked = score_tokens(model, batch, score_hidden).logps
    torch.testing.assert_close(chunked, whole, rtol=0, atol=1e-6)
    torch.testing.assert_close(gradient(model, chunked.sum()), whole_gradient, rtol=1e-5, atol=1e-5)
    assert max(widest) == rows_at_once < batch.completion.sum()
    with torch.no_grad():
        torch.testing.assert_close(score_tokens(model, batch, score_hidden).logps, whole.detach(), rtol=0, atol=1e-6)


def test_a_vocabulary_larger_than_the_chunk_still_goes_a_token_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, batch = model_of(llama), collate(ROWS)
    whole = score_tokens(model, batch, score_hidden).logps
    monkeypatch.setattr(logps, "CHUNK_LOGITS", 1)
    torch.testing.assert_close(score_tokens(model, batch, score_hidden).logps, whole, rtol=0, atol=1e-6)


@families
def test_padding_does_not_change_a_rows_value(family: Callable[[], Any]) -> None:
    model = model_of(family)
    with torch.no_grad():
        for row in ROWS:
            alone = score_tokens(model, collate([row]), score_hidden).logps.sum(1)
            beside_a_long_one = score_tokens(model, collate([row, make_row(20, 9, 7)]), score_hidden).logps.sum(1)
            torch.testing.assert_close(beside_a_long_one[:1], alone, rtol=1e-5, atol=1e-5)


def test_completion_tokens_of_id_zero_are_scored() -> None:
    """Padding is told by the mask, never by the id."""
    model = model_of(llama)
    row = Row(np.array([1, 2], np.int32), np.array([0, 5, 0], np.int32), "p", "a", True)
    with torch.no_grad():
        values = score_tokens(model, collate([row]), score_hidden).logps
    assert (values[0, 2:] < 0).all()


def test_a_head_that_does_something_unknown_falls_back_to_the_plain_road() -> None:
    """Like a family that this code has never heard of: its logits are not head(hidden)."""
    model = model_of(llama)
    forward = model.forward

    def sharpened(*arguments: Any, **named: Any) -> Any:
        output = forward(*arguments, **named)
        output.logits = output.logits * 1.5
        return output

    model.forward = sharpened
    assert choose_scorer(model) is score_logits
    assert not torch.allclose(
        by_hand(model, ROWS[0]).sum(), score_tokens(model, collate(ROWS), score_hidden).logps[0].sum()
    )


def test_a_model_without_a_head_of_its_own_falls_back_to_the_plain_road() -> None:
    model = model_of(llama)
    model.get_output_embeddings = lambda: None
    assert choose_scorer(model) is score_logits


def test_an_adapter_takes_part_in_both_roads() -> None:
    wrapped = add_adapter(model_of(llama), LoraSettings(r=2))
    batch = collate(ROWS)
    before = score_tokens(wrapped, batch, score_hidden).logps.detach()
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.3)
    assert choose_scorer(wrapped) is score_hidden
    fast, plain = (score_tokens(wrapped, batch, scorer).logps for scorer in (score_hidden, score_logits))
    torch.testing.assert_close(fast, plain, rtol=1e-5, atol=1e-5)
    assert (fast - before).abs().max() > 0.05
