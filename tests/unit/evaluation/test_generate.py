"""Samples depend on seed, prompt and sample number alone; greedy is the argmax; text is read back whole."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from prospect.data.render import encode_prompt
from prospect.errors import ConfigError, ModelError
from prospect.feedback.records import Message
from prospect.models.sampling import Sampling, draw_tokens, generate
from tolerances import FORWARD, assert_near

STORIES = Path(__file__).parents[4] / "shared/models/stories260K"
WORDS = ["<pad>", "<s>", "</s>", "<end>", "<user>", "<assistant>", *"abcdefghijklmnopqrstuvwxyz"]
TEMPLATE = (
    "<s>{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}<end>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
PROMPTS = ["a", "b c d", "e f", "g h i j k l m", "n", "o p q"]


@pytest.fixture(scope="module")
def tokenizer():
    """One token per letter; turns end with <end>, which is not the end token </s>."""
    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<pad>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    made = PreTrainedTokenizerFast(
        tokenizer_object=words,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        extra_special_tokens=["<end>", "<user>", "<assistant>"],
    )
    made.chat_template = TEMPLATE
    return made


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=64,
        initializer_range=0.3,  # far from uniform, so that greedy has no near ties
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    return LlamaForCausalLM(config).eval()


def one(results):
    """The texts of the first sample of each prompt."""
    return [samples[0].text for samples in results]


@pytest.mark.parametrize("sampling", [{"temperature": 1.0}, {"temperature": 0.7, "top_p": 0.5}, {"top_k": 3}])
def test_logps_are_those_of_the_whole_distribution_at_the_temperature(model, tokenizer, sampling):
    """Before top_p and top_k leave tokens out; the end token has one too."""
    for prompt, (answer,) in zip(
        PROMPTS, generate(model, tokenizer, PROMPTS, max_new_tokens=12, **sampling), strict=True
    ):
        prompt_ids = encode_prompt(tokenizer, prompt)
        ids = torch.tensor([[*prompt_ids, *answer.ids]])
        with torch.no_grad():
            logits = model(ids).logits[0, len(prompt_ids) - 1 : -1]
        expected = (logits / sampling.get("temperature", 0.8)).log_softmax(-1)
        expected = expected.gather(1, torch.tensor(answer.ids)[:, None])[:, 0]
        assert answer.tokens == len(answer.ids) == len(answer.logps)
        assert_near(torch.tensor(answer.logps), expected, FORWARD)


def test_greedy_tokens_are_certain(model, tokenizer):
    [(answer,)] = generate(model, tokenizer, ["a"], max_new_tokens=4, temperature=0)
    assert answer.logps == (0.0,) * answer.tokens


def assert_same(found, expected):
    """The same completions; their log-probs only to rounding, since other neighbours mean other padding."""
    for row, other in zip(found, expected, strict=True):
        assert [one._replace(logps=()) for one in row] == [one._replace(logps=()) for one in other]
        for one, same in zip(row, other, strict=True):
            assert_near(torch.tensor(one.logps), torch.tensor(same.logps), FORWARD)


def test_a_sample_does_not_depend_on_its_neighbours_or_their_order(model, tokenizer):
    together = generate(model, tokenizer, PROMPTS, max_new_tokens=12, samples_per_prompt=3)
    backwards = generate(model, tokenizer, PROMPTS[::-1], max_new_tokens=12, samples_per_prompt=3)
    alone = [generate(model, tokenizer, [p], max_new_tokens=12, samples_per_prompt=3)[0] for p in PROMPTS]
    assert_same(together, alone)
    assert_same(backwards[::-1], alone)


@pytest.mark.parametrize("batch_size", [1, 2, 5, 100])
def test_a_sample_does_not_depend_on_the_batch_size(model, tokenizer, batch_size):
    expected = generate(model, tokenizer, PROMPTS, max_new_tokens=12, samples_per_prompt=2, batch_size=7)
    found = generate(model, tokenizer, PROMPTS, max_new_tokens=12, samples_per_prompt=2, batch_size=batch_size)
    assert_same(found, expected)


def test_fewer_samples_and_a_lower_limit_are_a_part_of_more(model, tokenizer):
    many = generate(model, tokenizer, PROMPTS, max_new_tokens=12, samples_per_prompt=3)
    few = generate(model, tokenizer, PROMPTS, max_new_tokens=6, samples_per_prompt=2)
    for longer, shorter in zip(many, few, strict=True):
        assert all(a.text.startswith(b.text) for a, b in zip(longer[:2], shorter, strict=True))


def test_seeds_and_sample_numbers_give_different_samples(model, tokenizer):
    first = generate(model, tokenizer, ["a b"], max_new_tokens=16, samples_per_prompt=4, temperature=2.0)[0]
    second = generate(model, tokenizer, ["a b"], max_new_tokens=16, samples_per_prompt=4, temperature=2.0, seed=1)
    assert len({*first, *second[0]}) == 8


def test_greedy_is_the_argmax_of_every_next_token(model, tokenizer):
    for prompt, [found] in zip(
        PROMPTS, generate(model, tokenizer, PROMPTS, max_new_tokens=10, temperature=0), strict=True
    ):
        ids = tokenizer(prompt)["input_ids"]
        start = len(ids)
        while len(ids) - start < 10 and ids[-1] not in (2, 3):
            ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
        assert found.text.strip() == tokenizer.decode(ids[start:], skip_special_tokens=True)
        assert found.tokens == len(ids) - start


def test_draws_follow_the_distribution():
    logits = torch.tensor([0.5, 0.3, 0.2]).log().expand(30_000, 3)
    draw = torch.from_numpy(np.random.default_rng(0).random(30_000, dtype=np.float32))
    share = torch.bincount(draw_tokens(logits, draw, Sampling(1.0, 1.0, 0))[0], minlength=3) / 30_000
    # One standard error is .003.
    torch.testing.assert_close(share, torch.tensor([0.5, 0.3, 0.2]), atol=0.012, rtol=0)


@pytest.mark.parametrize(
    ("sampling", "draw", "token"),
    [
        (Sampling(1.0, 1.0, 0), 0.0, 1),
        (Sampling(1.0, 1.0, 0), 0.49, 1),
        (Sampling(1.0, 1.0, 0), 0.51, 0),
        (Sampling(1.0, 1.0, 0), 0.81, 2),
        (Sampling(1.0, 1.0, 0), 1.0, 3),  # a draw that rounds to 1 still gives a token
        (Sampling(1.0, 0.8, 0), 1.0, 0),  # .5 + .3 hold .8: the two others are gone
        (Sampling(1.0, 0.81, 0), 1.0, 2),
        (Sampling(1.0, 0.01, 0), 1.0, 1),  # at least one token is kept
        (Sampling(1.0, 1.0, 1), 1.0, 1),
        (Sampling(1.0, 1.0, 2), 0.62, 1),  # .5 / .8 = .625
        (Sampling(1.0, 1.0, 2), 0.63, 0),
        (Sampling(1.0, 0.6, 2), 1.0, 1),  # top_p counts within what top_k kept
        (Sampling(0.01, 1.0, 0), 0.999, 1),
        (Sampling(0.0), 0.999, 1),
        (Sampling(1e6, 1.0, 0), 0.74, 2),  # flat: a quarter each
    ],
)
def test_temperature_top_p_and_top_k_keep_what_they_say(sampling, draw, token):
    logits = torch.tensor([[0.3, 0.5, 0.15, 0.05]]).log()
    assert draw_tokens(logits, torch.tensor([draw]), sampling)[0].tolist() == [token]


def ending(model, token):
    """The same model, certain of `token` at every place."""
    certain = LlamaForCausalLM(model.config).eval()
    certain.load_state_dict(model.state_dict())
    torch.nn.init.zeros_(certain.lm_head.weight)
    certain.model.norm.weight.data.zero_()
    certain.lm_head.bias = torch.nn.Parameter(torch.nn.functional.one_hot(torch.tensor(token), len(WORDS)) * 50.0)
    return certain


@pytest.mark.parametrize(
    ("token", "prompt", "finished"),
    [
        ("</s>", "a b", True),
        ("</s>", (Message("user", "a"),), True),
        ("<end>", (Message("user", "a"),), True),  # the template's end of turn
        ("c", "a b", False),
        ("c", (Message("user", "a"),), False),
    ],
)
def test_finished_says_whether_an_end_token_came(model, tokenizer, token, prompt, finished):
    [[found]] = generate(ending(model, WORDS.index(token)), tokenizer, [prompt], max_new_tokens=4)
    assert found.finished is finished
    assert found.tokens == (1 if finished else 4)
    assert found.text.strip() == ("" if finished else "c c c c")


def test_the_checkpoints_own_list_of_end_tokens_counts(model, tokenizer):
    certain = ending(model, WORDS.index("z"))
    certain.generation_config.eos_token_id = [2, WORDS.index("z")]
    [[found]] = generate(certain, tokenizer, ["a"], max_new_tokens=4)
    assert (found.tokens, found.finished) == (1, True)


def test_the_checkpoints_own_sampling_settings_are_not_used(model, tokenizer):
    expected = one(generate(model, tokenizer, PROMPTS, max_new_tokens=8))
    own = model.generation_config
    model.generation_config = GenerationConfig(
        do_sample=True, temperature=3.0, top_p=0.1, top_k=2, repetition_penalty=5.0, eos_token_id=2, pad_token_id=0
    )
    try:
        assert one(generate(model, tokenizer, PROMPTS, max_new_tokens=8)) == expected
    finally:
        model.generation_config = own


def test_learned_positions_count_from_the_prompt_and_not_from_its_padding(tokenizer):
    torch.manual_seed(0)
    gpt = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=len(WORDS), n_positions=32, n_embd=16, n_layer=1, n_head=2, initializer_range=0.5, eos_token_id=2
        )
    )
    together = one(generate(gpt, tokenizer, PROMPTS, max_new_tokens=8, temperature=0))
    assert together == [one(generate(gpt, tokenizer, [p], max_new_tokens=8, temperature=0))[0] for p in PROMPTS]


def test_an_empty_prompt_is_the_start_token(model, tokenizer):
    assert one(generate(model, tokenizer, [""], max_new_tokens=6, temperature=0))[0].split()


def test_the_model_comes_back_in_the_mode_it_had_and_without_gradients(model, tokenizer):
    model.train()
    model.lm_head.eval()
    try:
        generate(model, tokenizer, ["a"], max_new_tokens=2)
        assert model.training and model.model.training and not model.lm_head.training
        assert all(p.grad is None for p in model.parameters())
    finally:
        model.eval()


def test_progress_counts_completions(model, tokenizer):
    calls = []
    generate(
        model,
        tokenizer,
        PROMPTS,
        samples_per_prompt=2,
        max_new_tokens=2,
        batch_size=5,
        progress=lambda done, total: calls.append((done, total)),
    )
    assert calls == [(5, 12), (10, 12), (12, 12)]


def test_no_prompt_gives_nothing(model, tokenizer):
    assert generate(model, tokenizer, []) == []


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"temperature": -1}, "temperature is -1; expected 0"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"top_p": 0}, "top_p is 0; expected more than 0"),
        ({"top_p": 1.5}, "top_p is 1.5"),
        ({"top_k": -1}, "top_k is -1"),
        ({"max_new_tokens": 0}, "max_new_tokens is 0"),
        ({"samples_per_prompt": 0}, "samples_per_prompt is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
    ],
)
def test_a_setting_out_of_its_range_is_refused(model, tokenizer, setting, message):
    with pytest.raises(ConfigError, match=message):
        generate(model, tokenizer, ["a"], **setting)


def test_more_tokens_than_the_model_has_positions_are_refused(model, tokenizer):
    with pytest.raises(ModelError, match=r"longest prompt has 3 tokens and max_new_tokens is 62.*only 64 positions"):
        generate(model, tokenizer, ["a", "a b c"], max_new_tokens=62)


@pytest.mark.skipif(not STORIES.is_dir(), reason=f"{STORIES} is not here")
def test_a_sentencepiece_completion_keeps_the_space_before_its_first_word():
    tokenizer, model = AutoTokenizer.from_pretrained(STORIES), AutoModelForCausalLM.from_pretrained(STORIES)
    [[found]] = generate(model, tokenizer, ["Once upon a"], max_new_tokens=8, temperature=0)
    assert found.text.startswith(" time")
    [[inside]] = generate(model, tokenizer, ["Once upon a ti"], max_new_tokens=8, temperature=0)
    assert inside.text[0].isalpha()


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_logits_that_are_not_finite_name_the_prompt_and_the_token(model, tokenizer, value, temperature, monkeypatch):
    """From the third token on, of the row that began with `g h i`, all logits are broken."""
    forward, marked = type(model).forward, tokenizer("g h i", add_special_tokens=False)["input_ids"]
    seen = {"steps": 0, "row": None}

    def broken(self, input_ids=None, **inputs):
        output = forward(self, input_ids=input_ids, **inputs)
        if input_ids.shape[1] > 1:
            seen["row"] = next(i for i, ids in enumerate(input_ids.tolist()) if ids[-3:] == marked)
        if seen["steps"] == 2:
            output.logits[seen["row"]] = value
        seen["steps"] += 1
        return output

    monkeypatch.setattr(type(model), "forward", broken)
    prompts = ["a", "b c d", "g h i", [Message("user", "k l m n o p")]]
    message = r'not finite at token 3 of its completion of prompt 3 \("g h i"\)\. Its weights are damaged'
    with pytest.raises(ModelError, match=message):
        generate(model, tokenizer, prompts, max_new_tokens=8, temperature=temperature)


def test_forbidden_tokens_are_no_broken_logits(model, tokenizer, monkeypatch):
    forward = type(model).forward

    def forbidding(self, **inputs):
        output = forward(self, **inputs)
        output.logits[..., : len(WORDS) - 2] = -math.inf
        return output

    monkeypatch.setattr(type(model), "forward", forbidding)
    ((one,), _) = generate(model, tokenizer, ["a", "b"], max_new_tokens=4)
    assert set(one.text.split()) <= {"y", "z"} and one.text.strip()


def test_a_long_prompt_is_named_by_its_end(model, tokenizer, monkeypatch):
    forward = type(model).forward

    def broken(self, **inputs):
        output = forward(self, **inputs)
        output.logits.fill_(math.nan)
        return output

    monkeypatch.setattr(type(model), "forward", broken)
    with pytest.raises(ModelError, match=r'token 1 of its completion of prompt 1 \("\.\.\.( b){29} z"\)'):
        generate(model, tokenizer, ["b " * 50 + "z"], max_new_tokens=2)
