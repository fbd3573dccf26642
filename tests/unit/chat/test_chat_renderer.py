"""What the model reads of a conversation: families of templates, thoughts, system turns, dates, and rows left out."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

import families
from prospect.errors import ConfigError, DataError, ModelError
from prospect.feedback.chat.renderer import ChatRenderer
from prospect.feedback.chat.rendering import Rendering, UnrenderableError
from prospect.feedback.chat.templates import ChatTemplates
from prospect.feedback.records import Message, Text

NAMED = {"bos_token": "<s>", "eos_token": "</s>"}
USER = (Message("user", "hi"),)
SYSTEM = (Message("system", "Be brief."), *USER)
ANSWER = (Message("assistant", "hello"),)
THOUGHT = (Message("assistant", "<think>\nA greeting.\n</think>\n\nhello"),)
REASONED = (Message("assistant", "hello", {"reasoning_content": "A greeting."}),)
GREETED = (Message("assistant", "Welcome!"), *USER)
TWICE = (Message("user", "hi"), Message("user", "are you there?"))


def renderer(template: str | dict[str, str], **settings: Any) -> ChatRenderer:
    texts = {"default": template} if isinstance(template, str) else template
    return ChatRenderer(ChatTemplates(texts, NAMED, "a model"), Rendering(**settings))


def split(template: str, prompt: Text, completion: Text, **settings: Any) -> tuple[str, str]:
    text, head = renderer(template, **settings).exchange(prompt, completion, None, "f:1")
    return text[:head], text[head:]


def refused(template: str, prompt: Text, completion: Text, **settings: Any) -> UnrenderableError:
    with pytest.raises(UnrenderableError) as error:
        split(template, prompt, completion, **settings)
    assert str(error.value).startswith("f:1: ")
    return error.value


# -- thoughts --

IM = "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
EMPTY = "<think>\n\n</think>\n\n"
SCORED = "A greeting.\n</think>\n\nhello"


@pytest.mark.parametrize(
    ("template", "arguments", "prompt", "end"),
    [
        (families.CHATML, {}, IM, "<|im_end|>\n"),
        (families.QWEN3, {}, IM + EMPTY, "<|im_end|>\n"),
        (families.QWEN3, {"enable_thinking": False}, IM + EMPTY, "<|im_end|>\n"),
        (families.QWEN35, {}, IM + EMPTY, "<|im_end|>\n"),
        (families.QWEN35, {"enable_thinking": True}, IM + EMPTY, "<|im_end|>\n"),
        (families.QWEN_THINKING, {}, IM + EMPTY, "<|im_end|>\n"),
        (families.R1, {}, f"<s><|User|>hi<|Assistant|>{EMPTY}", "<|end|>"),
        (families.V31, {}, "<|User|>hi<|Assistant|></think>", "<|end|>"),
        (families.V31, {"thinking": True}, "<|User|>hi<|Assistant|><think></think>", "<|end|>"),
    ],
)
def test_think_blocks_of_the_template_are_the_prompts_and_only_the_answer_is_scored(
    template: str, arguments: dict[str, Any], prompt: str, end: str
) -> None:
    assert split(template, USER, ANSWER, template_arguments=arguments) == (prompt, f"hello{end}")
    dropped = {"template_arguments": arguments, "thoughts": "drop"}
    assert split(template, USER, ANSWER, **dropped) == (prompt, f"hello{end}")
    for completion in (THOUGHT, REASONED):
        assert split(template, USER, completion, **dropped) == (prompt, f"hello{end}")


@pytest.mark.parametrize(
    ("template", "arguments", "end"),
    [
        (families.CHATML, {}, "<|im_end|>\n"),
        (families.QWEN3, {}, "<|im_end|>\n"),
        (families.QWEN35, {"enable_thinking": True}, "<|im_end|>\n"),
        (families.QWEN_THINKING, {}, "<|im_end|>\n"),
        (families.R1, {}, "<|end|>"),
    ],
)
@pytest.mark.parametrize("completion", [THOUGHT, REASONED])
def test_thoughts_of_the_row_are_scored_after_what_the_model_sees_when_it_generates(
    template: str, arguments: dict[str, Any], end: str, completion: tuple[Message, ...]
) -> None:
    seen = renderer(template, template_arguments=arguments).prompt(USER)
    prompt, scored = split(template, USER, completion, template_arguments=arguments)
    opened = seen.endswith("<think>\n")
    assert (prompt, scored) == (seen, ("" if opened else "<think>\n") + SCORED + end)


def test_a_completion_as_a_thinking_model_generates_it_is_read_like_one_with_both_tags() -> None:
    generated = (Message("assistant", "A greeting.\n</think>\n\nhello"),)
    for template in (families.R1, families.QWEN_THINKING):
        assert split(template, USER, generated) == split(template, USER, THOUGHT)
        assert split(template, USER, generated, thoughts="drop") == split(template, USER, ANSWER)


def test_an_answer_that_writes_about_think_tags_is_no_thought() -> None:
    about = (Message("assistant", "Close it with </think> at the end."),)
    assert split(families.CHATML, USER, about, thoughts="drop") == (IM, f"{about[0].content}<|im_end|>\n")


def test_thoughts_under_a_prompt_that_says_there_are_none_are_refused_with_both_ways_out() -> None:
    error = refused(families.QWEN35, USER, THOUGHT)
    assert "data.thoughts: drop" in str(error) and "enable_thinking: true" in str(error)


def test_thoughts_that_were_cut_stay_open_and_cannot_be_dropped() -> None:
    cut = (Message("assistant", "<think>\nA greet"),)
    for template in (families.R1, families.QWEN_THINKING):
        assert split(template, USER, cut)[1].startswith("A greet<|")
    assert split(families.QWEN3, USER, cut)[1].startswith("<think>\nA greet<|")
    assert "thoughts and no answer" in str(refused(families.R1, USER, cut, thoughts="drop"))


def test_white_space_that_an_answer_begins_with_is_the_answers() -> None:
    code = (Message("assistant", "\n\n    return x"),)
    for template in (families.QWEN3, families.QWEN_THINKING):
        assert split(template, USER, code) == (IM + EMPTY, "\n\n    return x<|im_end|>\n")


def test_a_block_is_closed_as_the_template_closes_one() -> None:
    own = (
        "{% for m in messages %}{% if m.role == 'user' %}U{{ m.content }}{% else %}A"
        "{% if m.reasoning_content %}<think>{{ m.reasoning_content }} </think>!{% endif %}{{ m.content }}.{% endif %}"
        "{% endfor %}{% if add_generation_prompt %}A<think>{% endif %}"
    )
    assert split(own, USER, ANSWER) == ("UhiA<think> </think>!", "hello.")
    assert split(own, USER, REASONED) == ("UhiA<think>", "A greeting. </think>!hello.")


def test_history_is_as_the_template_has_it() -> None:
    talk = (*USER, *THOUGHT, Message("user", "bye"))
    for template in (families.QWEN3, families.R1):
        assert "greeting" not in split(template, talk, ANSWER)[0]


# -- system turns, and turns that do not alternate --


def test_system_text_at_the_last_user_turn_alone_is_in_the_prompt_that_is_trained_on() -> None:
    prompt, completion = split(families.MISTRAL, SYSTEM, ANSWER)
    assert (prompt, completion) == ("<s>[INST] Be brief.\n\nhi[/INST]", " hello</s>")
    talk = (*SYSTEM, *ANSWER, Message("user", "bye"))
    prompt, completion = split(families.MISTRAL, talk, ANSWER)
    assert (prompt, completion) == ("<s>[INST] hi[/INST] hello</s>[INST] Be brief.\n\nbye[/INST]", " hello</s>")


def test_a_system_turn_that_the_template_refuses_is_folded_or_dropped_as_asked_and_the_refusal_says_so() -> None:
    assert "data.system_role: fold" in str(refused(families.GEMMA, SYSTEM, ANSWER))
    with pytest.raises(UnrenderableError, match=r"system_role: fold \(--system-role fold\)"):
        renderer(families.GEMMA).prompt(SYSTEM)
    head, tail = "<s><start_of_turn>user\n", "hi<end_of_turn>\n<start_of_turn>model\n"
    completion = "hello<end_of_turn>\n"
    assert split(families.GEMMA, SYSTEM, ANSWER, system_role="fold") == (f"{head}Be brief.\n\n{tail}", completion)
    assert split(families.GEMMA, SYSTEM, ANSWER, system_role="drop") == (f"{head}{tail}", completion)
    assert renderer(families.GEMMA, system_role="fold").prompt(SYSTEM) == f"{head}Be brief.\n\n{tail}"


@pytest.mark.parametrize("prompt", [GREETED, TWICE, (*SYSTEM, Message("user", "x"))])
def test_turns_that_a_template_has_no_place_for_are_refused_with_the_key_that_leaves_them_out(prompt: Text) -> None:
    error = refused(families.GEMMA, prompt, ANSWER)
    assert "data.unrenderable: drop" in str(error) and error.reason in str(error)
    assert split(families.CHATML, prompt, ANSWER)[1] == "hello<|im_end|>\n"


def test_two_turns_of_the_assistant_are_one_completion() -> None:
    twice = (Message("assistant", "hello"), Message("assistant", "there"))
    prompt, completion = split(families.CHATML, USER, twice)
    assert (prompt, completion) == (IM, "hello<|im_end|>\n<|im_start|>assistant\nthere<|im_end|>\n")


# -- dates, arguments, templates --


@pytest.mark.parametrize(("template", "printed"), [(families.LLAMA31, "21 Nov 2026"), (families.CLOCK, "09:30:15")])
def test_a_template_that_prints_the_time_prints_the_one_it_is_told(template: str, printed: str) -> None:
    date = datetime(2026, 11, 21, 9, 30, 15)
    assert split(template, USER, ANSWER, date=date)[0].startswith(f"<s>Today: {printed}\n")
    told = {"date_string": "1 Jan 2000"}
    assert split(template, USER, ANSWER, template_arguments=told)[0].startswith("<s>Today: 1 Jan 2000\n")
    assert renderer(template).templates.prints_date
    assert not renderer(families.CHATML).templates.prints_date


def test_without_a_date_all_rows_of_a_renderer_have_one_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = renderer(families.CLOCK)
    first = clock.prompt(USER)
    monkeypatch.setattr("prospect.feedback.chat.renderer.datetime", None)
    assert clock.prompt(USER) == first


def test_an_argument_that_the_template_does_not_read_is_refused_with_those_that_it_reads() -> None:
    with pytest.raises(ConfigError, match=r"does not read enable_thinkng\. It reads enable_thinking\."):
        renderer(families.QWEN3, template_arguments={"enable_thinkng": False})
    for name in ("messages", "bos_token"):
        with pytest.raises(ConfigError, match=f"{name} is filled in by itself"):
            renderer(families.QWEN3, template_arguments={name: "x"})


def test_a_template_is_a_text_a_name_or_a_file(tmp_path: Any) -> None:
    own = {"default": families.CHATML, "rag": families.LLAMA31}
    (tmp_path / "mine.jinja").write_text(families.R1, encoding="utf-8")
    prompts = {value: renderer(own, chat_template=value).prompt(USER) for value in ("rag", families.R1)}
    assert prompts["rag"].startswith("<s>Today")
    assert renderer(own, chat_template=str(tmp_path / "mine.jinja")).prompt(USER) == prompts[families.R1]
    with pytest.raises(
        ConfigError, match=r"'rags': no such file.*has no such template \(its own are default and rag\)"
    ):
        renderer(own, chat_template="rags")
    with pytest.raises(ConfigError, match=r"data\.chat_template: not a Jinja template"):
        renderer(own, chat_template="{% if %}")


def test_rows_with_tools_take_the_template_for_tools() -> None:
    made = renderer({"default": families.CHATML, "tool_use": families.TOOLS})
    assert made.prompt(USER).startswith("<|im_start|>")
    assert made.prompt(USER, [{"name": "find"}]) == '[{"name": "find"}]\n<|user|>hi</s><|assistant|>'


def test_a_conversation_without_a_template_names_the_keys_that_help() -> None:
    with pytest.raises(ModelError, match=r"no chat template.*data\.chat_template \(--chat-template\)"):
        renderer({}).prompt(USER)


# -- plain text --


def test_plain_text_as_chat_is_a_user_turn_and_an_answer() -> None:
    assert split(families.CHATML, "hi", " hello", plain_as_chat=True) == split(families.CHATML, USER, ANSWER)
    assert not renderer(families.CHATML).is_chat("hi", "hello")
    assert renderer(families.CHATML).is_chat("hi", ANSWER)
    assert renderer(families.CHATML, plain_as_chat=None).is_chat("hi")
    assert not renderer({}, plain_as_chat=None).is_chat("hi")


# -- tool calls --


def test_tool_arguments_that_are_json_text_are_read_first() -> None:
    def calls(arguments: Any) -> tuple[Message, ...]:
        return (Message("assistant", "", {"tool_calls": [{"function": {"name": "find", "arguments": arguments}}]}),)

    written = split(families.TOOLS, USER, calls({"a": 1}))
    assert written[1] == 'find {"a": 1}</s>'
    assert split(families.TOOLS, USER, calls('{"a": 1}')) == written
    assert split(families.TOOLS, USER, calls("as it was"))[1] == 'find "as it was"</s>'


def test_nulls_that_somebody_wrote_stay() -> None:
    call = {"function": {"name": "find", "arguments": {"unit": None}}}
    assert (
        split(families.TOOLS, USER, (Message("assistant", "", {"tool_calls": [call]}),))[1] == 'find {"unit": null}</s>'
    )


# -- bounds --


def test_a_template_that_never_ends_is_stopped_and_refused_with_its_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prospect.feedback.chat.sandbox.SECONDS", 0.2)
    for endless in (
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% macro f(n) %}{% if n %}{{ f(n - 1) ~ f(n - 1) }}{% endif %}{% endmacro %}{{ f(99) }}",
    ):
        with pytest.raises(DataError, match=r"f:1: the chat template ran for .* and was stopped") as error:
            split(endless, USER, ANSWER)
        assert not isinstance(error.value, UnrenderableError)  # dropping such rows would take hours


def test_a_template_that_makes_too_much_text_is_refused_with_its_row() -> None:
    error = refused("{% for a in range(99999) %}{{ messages[0].content * 99 }}{% endfor %}", USER, ANSWER)
    assert "makes more than 4 MB of text" in error.reason
