"""Whatever the text: nothing is lost or added by cutting prompt from completion."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prospect.data.render import Encoder, encode_prompt
from prospect.feedback.records import Message

# Words that the tiny tokenizer has merged, so that tokens straddle; spaces, line breaks, and any character at all.
PIECES = st.sampled_from(
    ["the", "th", "e", " quick", "qu", "ick", " ", "  ", "\n", "dog,", "é", "🦊", "漢字", "\u200d", "a\u0301"]
)
ANY = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
TEXT = st.one_of(st.lists(PIECES, max_size=8).map("".join), ANY).filter(lambda text: "<" not in text)
SETTINGS = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
START, END = 0, 1


@SETTINGS
@given(prompt=TEXT, completion=TEXT)
def test_prompt_and_completion_are_the_tokens_of_the_whole_text(tokenizer: Any, prompt: str, completion: str) -> None:
    encoded = Encoder(tokenizer, 512).encode(prompt, completion)
    assert encoded.prompt_ids + encoded.completion_ids == [*tokenizer(prompt + completion)["input_ids"], END]
    assert encoded.prompt_ids[0] == START
    assert encoded.completion_ids.count(END) == 1
    assert not encoded.cut


@SETTINGS
@given(prompt=TEXT, completion=TEXT)
def test_scored_text_is_the_completion_and_the_rest_of_a_straddling_token(
    tokenizer: Any, prompt: str, completion: str
) -> None:
    encoded = Encoder(tokenizer, 512).encode(prompt, completion)
    given_text = tokenizer.decode(encoded.prompt_ids[1:])
    scored_text = tokenizer.decode(encoded.completion_ids[:-1])
    assert given_text + scored_text == prompt + completion
    assert scored_text.endswith(completion)
    straddles = given_text != prompt
    # Without a straddling token a model is asked exactly what it was trained on.
    if not straddles:
        offsets = tokenizer(prompt + completion, return_offsets_mapping=True)["offset_mapping"]
        assert all(end <= len(prompt) or start >= len(prompt) for start, end in offsets)
        assert tokenizer.decode(encode_prompt(tokenizer, prompt)[1:]) == prompt


@SETTINGS
@given(prompt=st.lists(st.sampled_from(["the", "quick", "dog", "🦊", "é!"]), max_size=6), completion=TEXT)
def test_generation_starts_from_the_prompt_that_training_saw(
    tokenizer: Any, prompt: list[str], completion: str
) -> None:
    """Between words, where a tokenizer never joins, the two are the same ids."""
    text = " ".join(prompt)
    encoded = Encoder(tokenizer, 512).encode(text, " dog" + completion)
    assert encoded.prompt_ids == encode_prompt(tokenizer, text)


@SETTINGS
@given(turns=st.lists(TEXT, max_size=3), answer=TEXT, finished=st.booleans())
def test_a_conversation_is_its_template_cut_after_the_opening(
    tokenizer: Any, turns: list[str], answer: str, finished: bool
) -> None:
    prompt = tuple(Message(("user", "assistant")[i % 2], text) for i, text in enumerate(turns))
    encoder = Encoder(tokenizer, 1024)
    if not answer and not finished:
        return
    encoded = encoder.encode(prompt, (Message("assistant", answer),), finished=finished)
    assert encoded.prompt_ids == encode_prompt(tokenizer, prompt)
    assert encoded.prompt_ids.count(START) == 1
    assert encoded.completion_ids.count(END) == finished
    assert tokenizer.decode(encoded.completion_ids) == answer + ("</s>" if finished else "")


@SETTINGS
@given(prompt=TEXT, completion=TEXT, room=st.integers(1, 8), finished=st.booleans())
def test_max_length_only_ever_takes_from_the_end(
    tokenizer: Any, prompt: str, completion: str, room: int, finished: bool
) -> None:
    if not completion and not finished:
        return
    whole = Encoder(tokenizer, 512).encode(prompt, completion, finished=finished)
    limit = len(whole.prompt_ids) + room
    cut = Encoder(tokenizer, limit).encode(prompt, completion, finished=finished)
    assert cut.prompt_ids == whole.prompt_ids
    assert cut.completion_ids == whole.completion_ids[:room]
    assert cut.cut == (len(whole.completion_ids) > room)
    assert END not in cut.completion_ids[: None if cut.cut else -1]
