"""Tokens are counted as training encodes rows, and also in rows that training refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from conftest import CHAT_TEMPLATE, make_tokenizer
from prospect.data.control_tokens import CONTROL_TOKENS
from prospect.data.render import Encoder
from prospect.data.token_counter import TokenCounter
from prospect.errors import ModelError
from prospect.feedback.chat.renderer import MISMATCH
from prospect.feedback.records import Message, Text, Unpaired

USER, ANSWER = (Message("user", "the quick"),), (Message("assistant", "brown fox"),)
SHORTENED = "{% for m in messages[-1:] %}{{ m.content }}{% endfor %}{% if add_generation_prompt %}: {% endif %}"
STRICT = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system turns') }}{% endif %}"
    "<|{{ m.role }}|>{{ m.content }}</s>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def counter_of(template: str | None = CHAT_TEMPLATE) -> tuple[Any, TokenCounter]:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = template
    return tokenizer, TokenCounter(tokenizer)


def row(prompt: Text, completion: Text, **fields: Any) -> Unpaired:
    return Unpaired(prompt=prompt, completion=completion, desirable=True, id="1", where="x:1", **fields)


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize(("prompt", "completion"), [("the", " fox"), ("", " fox"), (USER, ANSWER), (USER, " fox")])
def test_lengths_are_those_of_training(prompt: Text, completion: Text, finished: bool) -> None:
    tokenizer, counter = counter_of()
    item = row(prompt, completion, finished=finished)
    encoded = Encoder(tokenizer, 99).encode(prompt, completion, finished=finished)
    assert counter.count(item) == (len(encoded.prompt_ids), len(encoded.completion_ids), None)


def test_what_the_text_itself_holds_is_counted_and_is_for_another_check() -> None:
    _, counter = counter_of(None)
    assert counter.count(row("<s>the", " fox")).prompt == counter.count(row("the", " fox")).prompt + 1
    assert counter.count(row("the", "", finished=False))[1:] == (0, None)


def test_rows_longer_than_any_context_are_counted_whole() -> None:
    _, counter = counter_of()
    assert counter.count(row("the", " fox" * 5000)).completion > 5000


@pytest.mark.parametrize("template", [None, CHAT_TEMPLATE])
def test_control_tokens_are_counted(tmp_path: Path, template: str | None) -> None:
    from transformers import AutoTokenizer

    tokenizer, plain = counter_of(template)
    tokenizer.save_pretrained(tmp_path)
    controlled = TokenCounter(AutoTokenizer.from_pretrained(tmp_path, extra_special_tokens=CONTROL_TOKENS))
    for item in [row("the", " fox"), *([row(USER, ANSWER)] if template else [])]:
        head, rest, _ = plain.count(item)
        assert controlled.count(item) == (head + 1, rest, None)


@pytest.mark.parametrize(
    ("template", "item", "reason"),
    [
        (SHORTENED, row(USER, ANSWER), MISMATCH),
        (SHORTENED, row(USER, " fox"), MISMATCH),
        (SHORTENED, row("the", " fox"), None),
        (
            STRICT,
            row((Message("system", "be brief"), *USER), ANSWER),
            "the chat template refuses this conversation",
        ),
        (None, row(USER, ANSWER), "there is no chat template"),
    ],
)
def test_a_conversation_that_training_refuses_is_named_in_words_and_its_contents_are_counted(
    template: str | None, item: Unpaired, reason: str | None
) -> None:
    _, counter = counter_of(template)
    head, rest, refusal = counter.count(item)
    assert refusal == reason or (refusal and reason and refusal.startswith(reason))
    assert head > 1 and rest > 1
    assert counter.has_chat_template == (template is not None)


def test_a_tokenizer_without_an_end_token_is_refused_as_in_training() -> None:
    tokenizer = make_tokenizer()
    tokenizer.eos_token = None
    with pytest.raises(ModelError, match="has no end token"):
        TokenCounter(tokenizer)
