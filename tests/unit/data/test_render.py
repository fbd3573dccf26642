"""Prompt and completion to ids, rendered once: one start token, the right terminator once, nothing else scored."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import CHAT_TEMPLATE, make_tokenizer
from prospect.data.batch import Row, collate
from prospect.data.render import Encoder, PromptTooLongError, encode_prompt, end_token_ids, special_token_ids
from prospect.errors import DataError, ModelError
from prospect.feedback.records import Message

USER, ANSWER = (Message("user", "hello"),), (Message("assistant", "thank you"),)
START, END = 0, 1


@pytest.fixture
def templated() -> Callable[[str], Any]:
    """A tokenizer with another chat template."""

    def make(template: str | None) -> Any:
        tokenizer = make_tokenizer()
        tokenizer.chat_template = template
        return tokenizer

    return make


def ids_of(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


# -- plain strings --


def test_a_plain_row_is_one_start_token_the_text_and_one_end_token(tokenizer: Any) -> None:
    encoded = Encoder(tokenizer, 64).encode("the quick", " brown fox")
    assert encoded.prompt_ids == [START, *ids_of(tokenizer, "the quick")]
    assert encoded.completion_ids == [*ids_of(tokenizer, " brown fox"), END]
    assert not encoded.cut


def test_a_tokenizer_without_a_start_token_gets_none() -> None:
    tokenizer = make_tokenizer()
    tokenizer.backend_tokenizer.post_processor = None
    assert Encoder(tokenizer, 64).encode("the", " fox").prompt_ids == ids_of(tokenizer, "the")


def test_a_tokenizer_that_adds_its_own_end_token_adds_no_second_one() -> None:
    from tokenizers import processors

    tokenizer = make_tokenizer()
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", START), ("</s>", END)]
    )
    encoder = Encoder(tokenizer, 64)
    assert encoder.encode("the", " fox").completion_ids == [*ids_of(tokenizer, " fox"), END]
    assert encoder.encode("the", " fox", finished=False).completion_ids == ids_of(tokenizer, " fox")
    assert encoder.encode("", " fox").prompt_ids == [START]
    assert encode_prompt(tokenizer, "the") == [START, *ids_of(tokenizer, "the")]
    assert encode_prompt(tokenizer, "") == [START]


@pytest.mark.parametrize("text", [" fox</s>", " fox</s></s>", " fox</s>\n", " fox</s> \n\n"])
def test_an_end_token_in_the_text_is_not_doubled_and_what_follows_it_is_not_scored(tokenizer: Any, text: str) -> None:
    assert Encoder(tokenizer, 64).encode("the", text).completion_ids == [*ids_of(tokenizer, " fox"), END]


@pytest.mark.parametrize("text", [" fox\n", " fox  ", " fox\n\n \n"])
def test_white_space_at_the_end_of_a_completion_without_an_end_token_is_kept(tokenizer: Any, text: str) -> None:
    assert Encoder(tokenizer, 64).encode("the", text).completion_ids == [*ids_of(tokenizer, text), END]


@pytest.mark.parametrize("text", [" fox", " fox</s>", " fox</s>\n"])
def test_an_unfinished_completion_gets_no_end_token_and_keeps_none(tokenizer: Any, text: str) -> None:
    unfinished = Encoder(tokenizer, 64).encode("the", text, finished=False)
    assert unfinished.completion_ids == ids_of(tokenizer, " fox")
    assert Encoder(tokenizer, 64, end_token=False).encode("the", text) == unfinished


def test_a_cut_completion_gets_no_end_token(tokenizer: Any) -> None:
    whole = Encoder(tokenizer, 64).encode("the quick", " brown fox jumps")
    length = len(whole.prompt_ids) + len(whole.completion_ids)
    for room in range(1, len(whole.completion_ids)):
        cut = Encoder(tokenizer, len(whole.prompt_ids) + room).encode("the quick", " brown fox jumps")
        assert cut.cut
        assert cut.completion_ids == whole.completion_ids[:room]
        assert END not in cut.completion_ids
    assert Encoder(tokenizer, length).encode("the quick", " brown fox jumps") == whole


def test_an_empty_completion_is_the_end_token_alone(tokenizer: Any) -> None:
    assert Encoder(tokenizer, 64).encode("the", "").completion_ids == [END]


@pytest.mark.parametrize(("finished", "end_token"), [(False, True), (True, False)])
def test_an_empty_completion_without_an_end_token_is_refused(tokenizer: Any, finished: bool, end_token: bool) -> None:
    with pytest.raises(DataError, match=r"log\.csv:3: the completion is empty and gets no end token"):
        Encoder(tokenizer, 64, end_token=end_token).encode("the", "", finished=finished, where="log.csv:3")


def test_an_empty_prompt_is_the_start_token(tokenizer: Any) -> None:
    encoded = Encoder(tokenizer, 64).encode("", "fox")
    assert encoded.prompt_ids == [START] == encode_prompt(tokenizer, "")
    assert encoded.completion_ids == [*ids_of(tokenizer, "fox"), END]
    assert Encoder(tokenizer, 64).encode("", "").completion_ids == [END]


def test_an_empty_prompt_begins_with_the_end_token_where_there_is_no_start_token() -> None:
    """As GPT-2 was trained: documents are separated by the end token."""
    tokenizer = make_tokenizer()
    tokenizer.backend_tokenizer.post_processor = None
    tokenizer.bos_token = None
    encoded = Encoder(tokenizer, 64).encode("", "fox")
    assert (encoded.prompt_ids, encoded.completion_ids) == ([END], [*ids_of(tokenizer, "fox"), END])


def test_start_and_end_may_be_one_token() -> None:
    tokenizer = make_tokenizer()
    tokenizer.backend_tokenizer.post_processor = None
    tokenizer.bos_token = tokenizer.eos_token
    encoded = Encoder(tokenizer, 64).encode("", "")
    assert (encoded.prompt_ids, encoded.completion_ids) == ([END], [END])


def test_a_token_across_the_boundary_belongs_to_the_completion(tokenizer: Any) -> None:
    (the,) = ids_of(tokenizer, "the")
    encoded = Encoder(tokenizer, 64).encode("th", "e fox")
    assert encoded.prompt_ids == [START] != encode_prompt(tokenizer, "th")
    assert encoded.completion_ids == [the, *ids_of(tokenizer, " fox"), END]


def test_a_character_of_several_tokens_is_not_torn(tokenizer: Any) -> None:
    """A byte-level tokenizer spells an emoji as four tokens that share their offsets."""
    encoded = Encoder(tokenizer, 64).encode("the 🦊", "🦊 fox")
    assert tokenizer.decode(encoded.prompt_ids[1:]) == "the 🦊"
    assert tokenizer.decode(encoded.completion_ids[:-1]) == "🦊 fox"


@pytest.mark.parametrize(("prompt", "completion"), [("<s>the", " fox"), ("<s>", "fox"), ("", "<s>fox")])
def test_two_start_tokens_are_refused(tokenizer: Any, prompt: str, completion: str) -> None:
    with pytest.raises(
        DataError, match=r"f:1: the row begins with two start tokens \('<s>'\).*Remove it from the text"
    ):
        Encoder(tokenizer, 64).encode(prompt, completion, where="f:1")


def test_a_prompt_that_fills_max_length_is_refused_with_both_numbers(tokenizer: Any) -> None:
    prompt = "the quick brown"
    length = len(encode_prompt(tokenizer, prompt))
    for max_length in (length, length - 1):
        with pytest.raises(
            PromptTooLongError, match=f"f:9: the prompt alone has {length} tokens and max_length is {max_length}"
        ):
            Encoder(tokenizer, max_length).encode(prompt, " fox", where="f:9")
    assert len(Encoder(tokenizer, length + 1).encode(prompt, " fox").completion_ids) == 1


def test_a_slow_tokenizer_is_refused() -> None:
    from transformers import ByT5Tokenizer

    with pytest.raises(ModelError, match=r"is a slow one.*tokenizer\.json"):
        Encoder(ByT5Tokenizer(), 64).encode("the", " fox")


def test_a_tokenizer_without_an_end_token_is_refused() -> None:
    tokenizer = make_tokenizer()
    tokenizer.eos_token = None
    with pytest.raises(ModelError, match="has no end token"):
        Encoder(tokenizer, 64)


# -- conversations --


def test_a_conversation_is_the_template_and_only_the_answer_with_its_end_token_is_scored(tokenizer: Any) -> None:
    encoded = Encoder(tokenizer, 64).encode(USER, ANSWER)
    opening = "<s><|user|>hello</s>\n<|assistant|>"
    assert encoded.prompt_ids == ids_of(tokenizer, opening) == encode_prompt(tokenizer, USER)
    assert encoded.completion_ids == [*ids_of(tokenizer, "thank you"), END]
    assert encoded.prompt_ids.count(START) == 1


def test_template_text_after_the_end_token_is_not_scored(templated: Any) -> None:
    tokenizer = templated(CHAT_TEMPLATE.replace("'\n'", "' \n\n '"))
    assert Encoder(tokenizer, 64).encode(USER, ANSWER).completion_ids[-1] == END


def test_a_template_that_ends_turns_with_another_special_token_keeps_it_and_gets_no_second(templated: Any) -> None:
    tokenizer = templated(CHAT_TEMPLATE.replace("eos_token", "'<|system|>'"))
    encoded = Encoder(tokenizer, 64).encode(USER, ANSWER)
    assert encoded.completion_ids == [*ids_of(tokenizer, "thank you"), 4]
    assert end_token_ids(tokenizer) == [END, 4]


def test_a_template_without_a_terminator_gets_the_end_token(templated: Any) -> None:
    tokenizer = templated(CHAT_TEMPLATE.replace(" + eos_token + '\n'", ""))
    assert Encoder(tokenizer, 64).encode(USER, ANSWER).completion_ids == [*ids_of(tokenizer, "thank you"), END]


@pytest.mark.parametrize("ending", ["", "</s>"])
def test_an_unfinished_answer_loses_the_terminator_of_the_template(tokenizer: Any, ending: str) -> None:
    answer = (Message("assistant", "thank you" + ending),)
    encoded = Encoder(tokenizer, 64).encode(USER, answer, finished=False)
    assert encoded.completion_ids == ids_of(tokenizer, "thank you")


def test_an_end_token_in_the_content_is_not_doubled_by_the_template(tokenizer: Any) -> None:
    answer = (Message("assistant", "thank you</s>"),)
    assert Encoder(tokenizer, 64).encode(USER, answer) == Encoder(tokenizer, 64).encode(USER, ANSWER)


def test_an_empty_answer_is_the_terminator_alone(tokenizer: Any) -> None:
    assert Encoder(tokenizer, 64).encode(USER, (Message("assistant", ""),)).completion_ids == [END]


def test_an_empty_conversation_is_the_opening_of_an_answer(tokenizer: Any) -> None:
    """The role header is given, not scored, and there is one start token."""
    encoded = Encoder(tokenizer, 64).encode((), ANSWER)
    assert encoded.prompt_ids == ids_of(tokenizer, "<s><|assistant|>") == encode_prompt(tokenizer, ())
    assert encoded.completion_ids == [*ids_of(tokenizer, "thank you"), END]


def test_a_string_beside_a_conversation_is_one_turn_of_it(tokenizer: Any) -> None:
    encoder = Encoder(tokenizer, 64)
    assert encoder.encode("hello", ANSWER) == encoder.encode(USER, ANSWER) == encoder.encode(USER, "thank you")


def test_tools_reach_the_template(templated: Any) -> None:
    tokenizer = templated("{% if tools %}{{ tools[0]['name'] }}{% endif %}" + CHAT_TEMPLATE)
    encoded = Encoder(tokenizer, 64).encode(USER, ANSWER, tools=[{"name": "jumps"}])
    assert tokenizer.decode(encoded.prompt_ids).startswith("jumps<s>")
    assert encode_prompt(tokenizer, USER, [{"name": "jumps"}]) == encoded.prompt_ids


def test_a_template_whose_prompt_is_no_prefix_is_refused_with_the_place(templated: Any) -> None:
    """As templates do that strip the thoughts of all turns but the last."""
    tokenizer = templated(CHAT_TEMPLATE.replace("message['content']", "(message['content'] if loop.last else '-')"))
    with pytest.raises(
        DataError, match=r"f\.jsonl:5: .*part at character 11: 'hello</s>.*' against '-</s>.*string prompts"
    ):
        Encoder(tokenizer, 64).encode(USER, ANSWER, where="f.jsonl:5")


def test_a_conversation_without_a_chat_template_is_refused(templated: Any) -> None:
    for template in (None, ""):
        with pytest.raises(ModelError, match=r"f:2: this is a conversation.*has no chat template"):
            Encoder(templated(template), 64).encode(USER, ANSWER, where="f:2")


@pytest.mark.parametrize(
    "template", ["{{ raise_exception('roles must alternate') }}", "{{ messages[0]['absent']['x'] }}", "{% if %}"]
)
def test_a_template_that_raises_is_refused_with_its_words(templated: Any, template: str) -> None:
    with pytest.raises(DataError, match=r"f:4: the chat template refuses this conversation: .+"):
        Encoder(templated(template), 64).encode(USER, ANSWER, where="f:4")


def test_special_tokens_are_those_that_carry_structure(tokenizer: Any) -> None:
    assert special_token_ids(tokenizer) == {0, 1, 2, 3, 4}
    assert end_token_ids(tokenizer) == [END]


# -- what ends a completion, and what does not --

WORDS = {"<s>": 0, "</s>": 1, "<unk>": 2, "<pad>": 3, "thank": 4, "you": 5, "hello": 6, "<|user|>": 7, "<|end|>": 8}


def word_tokenizer(template: str | None = None, **named: str) -> Any:
    """A tokenizer that knows three words; every other one is the unknown token, which counts as a special one."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.WordLevel(WORDS, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"} | named
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, additional_special_tokens=["<|user|>", "<|end|>"], **names
    )
    tokenizer.chat_template = template
    return tokenizer


CHATML = (
    "{% for message in messages %}<|user|>{{ message['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|user|>{% endif %}"
)


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        (" thank you ☺", [4, 5, 2]),
        (" thank ☺ ☺", [4, 2, 2]),
        ("☺", [2]),
        (" thank <pad>", [4, 3]),
        (" thank <|user|>", [4, 7]),
        (" thank <s>", [4, 0]),
    ],
)
def test_only_an_end_token_ends_a_completion(text: str, ids: list[int]) -> None:
    """An unknown word is text, and no other token ends a completion for being special."""
    encoder = Encoder(word_tokenizer(), 64)
    assert encoder.encode("hello", text).completion_ids == [*ids, END]
    assert encoder.encode("hello", text, finished=False).completion_ids == ids


@pytest.mark.parametrize("pad", ["<pad>", "</s>"])
def test_padding_that_is_the_end_token_ends_a_completion(pad: str) -> None:
    tokenizer = word_tokenizer(pad_token=pad)
    assert end_token_ids(tokenizer) == [END]
    encoder = Encoder(tokenizer, 64)
    assert encoder.encode("hello", " thank </s>").completion_ids == [4, END]
    assert encoder.encode("hello", " thank </s>", finished=False).completion_ids == [4]


@pytest.mark.parametrize("pad", ["<pad>", "<|end|>"])
def test_an_end_of_turn_token_before_a_line_break_is_the_end_token_of_an_answer(pad: str) -> None:
    tokenizer = word_tokenizer(CHATML, pad_token=pad)
    assert end_token_ids(tokenizer) == [END, 8]
    encoder = Encoder(tokenizer, 64)
    for text, ids in (("thank ☺", [4, 2]), ("☺", [2]), ("thank you<|end|>", [4, 5]), ("thank you</s>", [4, 5])):
        answer = (Message("assistant", text),)
        ended = encoder.encode(USER, answer).completion_ids
        assert (ended[:-1], ended[-1] in (END, 8)) == (ids, True)
        assert encoder.encode(USER, answer, finished=False).completion_ids == ids


def test_a_template_that_ends_answers_with_an_unknown_word_makes_it_no_end_token() -> None:
    tokenizer = word_tokenizer(CHATML.replace("<|end|>", " amen"))
    assert end_token_ids(tokenizer) == [END]
    assert Encoder(tokenizer, 64).encode(USER, (Message("assistant", "thank ☺"),)).completion_ids == [4, 2, 2, END]


@pytest.mark.parametrize(
    ("after", "ends"), [("'<|user|>\n' + eos_token", [END, 2]), ("'<|system|> \n\n \n'", [END, 4])]
)
def test_of_several_tokens_that_a_template_puts_after_an_answer_the_first_is_its_end(
    templated: Any, after: str, ends: list[int]
) -> None:
    tokenizer = templated(CHAT_TEMPLATE.replace("eos_token + '\n'", after))
    assert end_token_ids(tokenizer) == ends
    encoded = Encoder(tokenizer, 64).encode(USER, ANSWER)
    assert encoded.completion_ids == [*ids_of(tokenizer, "thank you"), ends[-1]]


def test_a_template_that_insists_on_a_system_prompt_or_refuses_everything_is_asked_all_the_same(templated: Any) -> None:
    strict = "{% if messages[0]['role'] != 'system' %}{{ raise_exception('no system prompt') }}{% endif %}"
    assert end_token_ids(templated(strict + CHAT_TEMPLATE.replace("eos_token", "'<|system|>'"))) == [END, 4]
    broken = templated("{{ raise_exception('no') }}")
    assert end_token_ids(broken) == [END]
    assert Encoder(broken, 64).encode("the", " fox").completion_ids[-1] == END


# -- the pretrained model's tokenizer (../shared/models/README.md) --


@pytest.fixture(scope="module")
def stories(shared: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(shared / "models" / "stories260K")


def test_a_continuation_gains_no_space_piece(stories: Any) -> None:
    prompt, completion = "Once upon a time", ", there was a dog."
    encoded = Encoder(stories, 128, end_token=False).encode(prompt, completion)
    assert encoded.prompt_ids == stories(prompt)["input_ids"] == encode_prompt(stories, prompt)
    assert encoded.prompt_ids + encoded.completion_ids == stories(prompt + completion)["input_ids"]
    alone = stories(completion, add_special_tokens=False)["input_ids"]
    assert len(encoded.completion_ids) == len(alone) - 1
    assert encoded.completion_ids == alone[1:]


def test_the_stories_start_token_comes_once_and_the_end_token_only_where_wanted(stories: Any) -> None:
    ended = Encoder(stories, 128).encode("Once", " upon")
    assert (ended.prompt_ids[0], ended.prompt_ids.count(1), ended.completion_ids[-1]) == (1, 1, 2)
    open_ended = Encoder(stories, 128, end_token=False).encode("Once", " upon")
    assert open_ended.completion_ids == ended.completion_ids[:-1]


def test_an_empty_story_prompt_is_the_start_token_and_the_whole_story_is_scored(stories: Any) -> None:
    encoded = Encoder(stories, 128, end_token=False).encode("", "Once upon a time")
    assert encoded.prompt_ids == [1]
    assert encoded.prompt_ids + encoded.completion_ids == stories("Once upon a time")["input_ids"]


def test_real_unknown_characters_are_not_taken_for_padding(stories: Any) -> None:
    """pad = unk = id 0 in this tokenizer, so nothing may ask which id a token has to know whether it is real."""
    encoded = Encoder(stories, 128).encode("Once", " 漢 dog")
    row = Row(np.array(encoded.prompt_ids, np.int32), np.array([0, *encoded.completion_ids], np.int32), "p", "a", True)
    batch = collate([row, Row(np.array([1], np.int32), np.array([5], np.int32), "q", "b", False)])
    assert batch.completion[0].sum() == len(row.completion_ids)
    assert batch.attention[0].all()
    assert batch.attention[1].sum() == 2


def test_stories_have_no_chat_template(stories: Any) -> None:
    with pytest.raises(ModelError, match="has no chat template"):
        Encoder(stories, 128).encode(USER, ANSWER)


def test_a_completion_with_turns_of_others_is_refused(tokenizer) -> None:
    """All of a completion is scored, so a user's turn inside it would be learnt as the model's own words."""
    turns = (Message("assistant", "the fox"), Message("user", "and then"), Message("assistant", "the dog"))
    with pytest.raises(DataError, match=r'f\.jsonl:3: the completion holds a turn of role "user".*into the prompt'):
        Encoder(tokenizer, 256).encode((Message("user", "tell"),), turns, where="f.jsonl:3")
