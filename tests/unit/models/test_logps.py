"""Log-probs of completions: one function, the same numbers by every road, for heads of several families."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from prospect.config import LoraSettings
from prospect.data.batch import Row, collate
from prospect.models import logps
from prospect.models.adapters import add_adapter
from prospect.models.head import Shaping, gather_logps, head_logps, linear_logps
from prospect.models.logps import choose_scorer, score_hidden, score_logits, score_tokens
from tolerances import BACKWARD, FORWARD, assert_near, rounding

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
            assert_near(values[i][batch.completion[i]], own, FORWARD)
        assert torch.equal(values[~batch.completion], torch.zeros(int((~batch.completion).sum())))
        assert_near(gradient(model, values.sum()), expected_gradient, BACKWARD)


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
    monkeypatch.setattr(logps, "CHUNK_LOGITS", rows_at_once * VOCABULARY)
    chunked = score_tokens(model, batch, score_hidden).logps
    assert_near(chunked, whole, FORWARD)
    assert_near(gradient(model, chunked.sum()), whole_gradient, BACKWARD)
    with torch.no_grad():
        assert_near(score_tokens(model, batch, score_hidden).logps, whole, FORWARD)


def test_values_are_the_same_to_the_bit_with_and_without_a_gradient() -> None:
    """Before the first step policy and reference must agree exactly, and only one of them is trained."""
    model, batch = model_of(gemma2), collate(ROWS)
    trained = score_tokens(model, batch, score_hidden).logps
    head_frozen = score_tokens(model.requires_grad_(False), batch, score_hidden).logps
    with torch.no_grad():
        reference = score_tokens(model, batch, score_hidden).logps
    assert torch.equal(trained, reference) and torch.equal(head_frozen, reference)


class Sizes(TorchDispatchMode):
    """Remembers how many numbers the largest new tensor has, forward and backward."""

    largest = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                self.largest = max(self.largest, tensor.numel())
        return out


@pytest.mark.parametrize("trained", [True, False], ids=["trained head", "frozen head"])
@pytest.mark.parametrize("cap", [None, 3.0])
@pytest.mark.parametrize("plain", [False, True], ids=["by hand", "by autograd"])
def test_no_tensor_is_larger_than_a_chunk_of_logits(trained: bool, cap: float | None, plain: bool) -> None:
    tokens, hidden_size, vocabulary, rows = 96, 4, 512, 8
    head = torch.nn.Linear(hidden_size, vocabulary).requires_grad_(trained)
    hidden = torch.randn(tokens, hidden_size, requires_grad=True)
    targets = torch.randint(vocabulary, (tokens,))
    forward = (lambda h: head(h)) if plain else head.forward
    with Sizes() as sizes:
        head_logps(head, forward, hidden, targets, Shaping(0.5, cap), rows).sum().backward()
    assert sizes.largest == rows * vocabulary
    assert hidden.grad is not None and (head.weight.grad is not None) == trained


@pytest.mark.parametrize("rows", [2, 5], ids=["several chunks", "one chunk"])
@pytest.mark.parametrize("shaping", [Shaping(), Shaping(0.4), Shaping(1.0, 1.5), Shaping(0.6, 1.5)], ids=str)
@pytest.mark.parametrize("with_bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("wanted", ["all", "hidden", "weight"])
def test_the_gradient_by_hand_is_the_numerical_one(rows: int, shaping: Shaping, with_bias: bool, wanted: str) -> None:
    torch.manual_seed(0)
    hidden = torch.randn(5, 3, dtype=torch.float64, requires_grad=wanted != "weight")
    weight = torch.randn(7, 3, dtype=torch.float64, requires_grad=wanted != "hidden")
    bias = torch.randn(7, dtype=torch.float64, requires_grad=wanted != "hidden") if with_bias else None
    targets = torch.tensor([0, 6, 3, 3, 1])

    def values(hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        return linear_logps(hidden, weight, bias, targets, shaping, rows)

    logits = shaping.scale * torch.nn.functional.linear(hidden, weight, bias)
    if shaping.cap is not None:
        logits = shaping.cap * torch.tanh(logits / shaping.cap)
    expected = torch.log_softmax(logits, 1)[range(5), targets]
    torch.testing.assert_close(values(hidden, weight, bias), expected, rtol=1e-12, atol=1e-12)
    assert torch.autograd.gradcheck(values, (hidden, weight, bias))


@pytest.mark.parametrize("rows", [3, 64], ids=["chunks of 3", "one chunk"])
@pytest.mark.parametrize("wanted", ["all", "hidden"])
def test_bf16_arithmetic_stays_as_near_to_the_truth_as_autograds(rows: int, wanted: str) -> None:
    """Many chunks must not lose more to rounding than one product, and gradients keep the inputs' dtypes."""
    torch.manual_seed(0)
    head = torch.nn.Linear(16, 50)
    head.requires_grad_(wanted == "all")
    hidden, targets = torch.randn(64, 16, requires_grad=True), torch.randint(50, (64,))
    inputs = [hidden, *(p for p in head.parameters() if p.requires_grad)]

    def by_hand() -> torch.Tensor:
        return head_logps(head, head.forward, hidden, targets, Shaping(), rows)

    def by_autograd() -> torch.Tensor:
        return gather_logps(head(hidden).float(), targets)

    truth = torch.autograd.grad(by_autograd().sum(), inputs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours, theirs = by_hand(), by_autograd()
        gradients = torch.autograd.grad(ours.sum(), inputs)
    for own, other, true in zip(gradients, torch.autograd.grad(theirs.sum(), inputs), truth, strict=True):
        assert own.dtype == torch.float32
        assert (own - true).norm() < 1.3 * (other - true).norm()
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-2)  # logits of 2 or so, each rounded at 2^-9 of that


def test_infinite_and_masked_logits_give_the_same_as_autograd() -> None:
    """A bias of -inf takes a token out; far logits must not overflow."""
    torch.manual_seed(0)
    head = torch.nn.Linear(4, 9)
    with torch.no_grad():
        head.weight.mul_(200)
        head.bias[7] = -torch.inf
    hidden, targets = torch.randn(6, 4, requires_grad=True), torch.randint(7, (6,))
    ours = head_logps(head, head.forward, hidden, targets, Shaping(), 4)
    logits = head(hidden)
    theirs = gather_logps(logits, targets)
    # An error of a far logit is one of its exponent: relative, in the probabilities and with them in the gradients.
    within = rounding(4 + 9, float(logits.detach()[:, :7].abs().max()))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=within)
    for own, other in zip(*(torch.autograd.grad(v.sum(), (hidden, head.weight)) for v in (ours, theirs)), strict=True):
        torch.testing.assert_close(own, other, rtol=0, atol=within * float(other.abs().max()))


def test_the_gradient_can_be_asked_for_twice() -> None:
    head = torch.nn.Linear(4, 9)
    hidden, targets = torch.randn(6, 4, requires_grad=True), torch.randint(9, (6,))
    total = head_logps(head, head.forward, hidden, targets, Shaping(), 6).sum()
    first, second = (torch.autograd.grad(total, (hidden, head.weight), retain_graph=True) for _ in range(2))
    assert all(map(torch.equal, first, second))


@pytest.mark.parametrize("scorer", [score_hidden, score_logits])
def test_rows_without_a_scored_token_are_legal(scorer: Any) -> None:
    model = model_of(llama)
    values = scorer(model, torch.tensor([[1, 2, 3]]), torch.zeros(1, 2, dtype=torch.bool), False)[0]
    assert values.shape == (0,)
    values.sum().backward()


def test_the_model_is_left_as_it_was() -> None:
    """Also where it fails half-way."""
    model, batch = model_of(llama), collate(ROWS)
    before = [set(vars(module)) for module in model.modules()]
    score_tokens(model, batch, score_hidden)
    with pytest.raises(IndexError):
        score_hidden(model, batch.ids, batch.completion)  # one column too many
    assert [set(vars(module)) for module in model.modules()] == before
    assert "logits" in model(input_ids=batch.ids)


def test_a_vocabulary_larger_than_the_chunk_still_goes_a_token_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch = model_of(llama), collate(ROWS)
    whole = score_tokens(model, batch, score_hidden).logps
    monkeypatch.setattr(logps, "CHUNK_LOGITS", 1)
    assert_near(score_tokens(model, batch, score_hidden).logps, whole, FORWARD)


@families
def test_padding_does_not_change_a_rows_value(family: Callable[[], Any]) -> None:
    model = model_of(family)
    with torch.no_grad():
        for row in ROWS:
            alone = score_tokens(model, collate([row]), score_hidden).logps.sum(1)
            beside_a_long_one = score_tokens(model, collate([row, make_row(20, 9, 7)]), score_hidden).logps.sum(1)
            assert_near(beside_a_long_one[:1], alone, FORWARD)


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


def test_a_model_that_goes_round_its_head_falls_back_to_the_plain_road() -> None:
    """It multiplies by the weight itself, so its head is never called."""
    model = model_of(llama)
    head = model.lm_head
    del model.lm_head
    model.lm_head = lambda hidden: torch.nn.functional.linear(hidden, head.weight)
    model.get_output_embeddings = lambda: head
    assert choose_scorer(model) is score_logits


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
    assert_near(fast, plain, FORWARD)
    assert (fast - before).abs().max() > 0.05
