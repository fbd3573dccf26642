"""Counting tokens without Transformers agrees with what training does with a row."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conftest import CHAT_TEMPLATE, make_tokenizer
from prospect.data.control_tokens import CONTROL_TOKENS, ask_after_good
from prospect.data.render import Encoder
from prospect.errors import DataError, ModelError
from prospect.feedback.chat.renderer import MISMATCH
from prospect.feedback.chat.tokens import TokenCounter
from prospect.feedback.records import Demonstration, Feedback, Message, Paired, Scored, Text, Unpaired

Save = Callable[..., tuple[Any, TokenCounter]]
USER, ANSWER = (Message("user", "the quick"),), (Message("assistant", "brown fox"),)

# In the ways of published templates: loops with break, tool schemas, dates, namespaces, marked generations, refusals.
TEMPLATES = {
    "simple": CHAT_TEMPLATE,
    "generation": (
        "{%- for m in messages %}\n    {{- '<|' + m.role + '|>' }}\n    {%- if m.role == 'assistant' %}"
        "{% generation %}{{ m.content }}{{ eos_token }}{% endgeneration %}\n    {%- else %}{{ m['content'] | trim }}"
        "{%- endif %}\n{%- endfor %}\n{%- if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
    ),
    "tools": (
        "{{ bos_token }}{% if tools %}{{ tools | tojson(indent=2) }}{% endif %}{% set ns = namespace(n=0) %}"
        "{% for m in messages %}{% set ns.n = ns.n + 1 %}{% if ns.n > 9 %}{% break %}{% endif %}"
        "{{ m.role }}: {{ m.content }}{% if m.thinking is defined %}({{ m.reasoning_content }}){% endif %}\n"
        "{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}"
    ),
    "laid out": (
        "{% for m in messages %}\n    {% if m.role != 'system' %}\n{{ m.role }}:\n{{ m.content }}\n    {% endif %}\n"
        "{% endfor %}\n{% if add_generation_prompt %}\nassistant:\n{% endif %}\n"
    ),
    "dated": "{{ strftime_now('%Y') }} {% for m in messages %}{{ m.role }} {{ m.content }}\n{% endfor %}",
    "strict": (
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system turns') }}{% endif %}"
        "<|{{ m.role }}|>{{ m.content }}</s>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
    ),
}


@pytest.fixture(scope="module")
def save(tmp_path_factory: pytest.TempPathFactory) -> Save:
    """Saves a tokenizer, changed by a function, as Transformers does, and opens it again in both ways."""

    def make(
        change: Callable[[Any], Any] | None = None, template: str | None = CHAT_TEMPLATE
    ) -> tuple[Any, TokenCounter]:
        from transformers import AutoTokenizer

        folder = tmp_path_factory.mktemp("tokenizer")
        tokenizer = make_tokenizer()
        tokenizer.chat_template = template
        if change:
            change(tokenizer)
        tokenizer.save_pretrained(folder)
        return AutoTokenizer.from_pretrained(folder), TokenCounter(folder)

    return make


@pytest.fixture(scope="module")
def opened(save: Save) -> dict[str, tuple[Any, TokenCounter]]:
    return {name: save(template=template) for name, template in TEMPLATES.items()}


def row(prompt: Text, completion: Text, **fields: Any) -> Unpaired:
    return Unpaired(prompt=prompt, completion=completion, desirable=True, id="1", where="x:1", **fields)


def trained(tokenizer: Any, item: Unpaired) -> tuple[int, int]:
    """Lengths of what training makes of a row."""
    encoded = Encoder(tokenizer, 1 << 20).encode(
        item.prompt, item.completion, finished=item.finished, tools=item.tools, where=item.where
    )
    return len(encoded.prompt_ids), len(encoded.completion_ids)


def test_lengths_are_without_special_tokens(opened: dict[str, tuple[Any, TokenCounter]]) -> None:
    tokenizer, counter = opened["simple"]
    texts = ["the quick", "", " brown fox\n", "é😀", "<|user|>"] * 120
    assert counter.lengths(texts) == [len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts]


WORDS = st.lists(st.sampled_from(["the quick", " fox", "\n", "é😀", "</s>", "<s>", "  ", "thank"]), max_size=5).map(
    "".join
)
TURN = st.builds(Message, st.sampled_from(["user", "assistant", "system"]), WORDS)
CONVERSATION = st.lists(TURN, max_size=4).map(tuple)
ANSWERS = st.one_of(WORDS, st.lists(st.builds(Message, st.just("assistant"), WORDS), min_size=1, max_size=2).map(tuple))


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(sorted(TEMPLATES)), st.one_of(WORDS, CONVERSATION), ANSWERS, st.booleans(), st.booleans())
def test_row_lengths_are_those_of_training(
    opened: dict[str, tuple[Any, TokenCounter]], name: str, prompt: Text, completion: Text, finished: bool, tools: bool
) -> None:
    tokenizer, counter = opened[name]
    item = row(prompt, completion, finished=finished, tools=({"name": "find", "a": [1, None]},) if tools else None)
    refused = counter.refusal(prompt, completion, item.tools)
    ((head, rest),) = counter.row_lengths([item])
    try:
        expected = trained(tokenizer, item)
    except DataError as error:
        if "start tokens" in str(error) or "the completion is empty" in str(error):
            return  # what the text itself holds is for another check
        assert refused is not None
        assert (refused == MISMATCH) == ("otherwise than inside" in str(error))
        assert head >= 1
    else:
        assert refused is None
        assert (head, rest) == expected


def ends_too(tokenizer: Any) -> None:
    from tokenizers import processors

    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )


def starts_with_none(tokenizer: Any) -> None:
    tokenizer.backend_tokenizer.post_processor = None


@pytest.mark.parametrize("change", [ends_too, starts_with_none])
def test_tokenizers_that_add_other_special_tokens_agree_too(save: Save, change: Callable[[Any], None]) -> None:
    tokenizer, counter = save(change)
    for item in (
        row("the", " fox"),
        row("", " fox"),
        row("the", ""),
        row("the", " fox", finished=False),
        row(USER, ANSWER),
    ):
        assert counter.row_lengths([item]) == [trained(tokenizer, item)]


@pytest.mark.parametrize(("start", "end"), [(True, True), (False, False)])
def test_tokenizer_json_says_which_tokens_are_added_as_it_does_in_transformers(
    save: Save, start: bool, end: bool
) -> None:
    from transformers import AutoTokenizer

    _, counter = save()
    config = Path(counter.model) / "tokenizer_config.json"
    flags = json.loads(config.read_text("utf-8")) | {"add_bos_token": start, "add_eos_token": end}
    config.write_text(json.dumps(flags), "utf-8")
    tokenizer, counter = AutoTokenizer.from_pretrained(counter.model), TokenCounter(counter.model)
    for item in (row("the", " fox"), row("", " fox"), row("the", "")):
        assert counter.row_lengths([item]) == [trained(tokenizer, item)]


@pytest.mark.parametrize("template", [None, CHAT_TEMPLATE])
def test_control_tokens_are_counted(save: Save, tmp_path: Path, template: str | None) -> None:
    from transformers import AutoTokenizer

    _, plain = save(template=template)
    tokenizer = AutoTokenizer.from_pretrained(plain.model, extra_special_tokens=CONTROL_TOKENS)
    ask_after_good(tokenizer)
    tokenizer.save_pretrained(tmp_path)
    counter = TokenCounter(tmp_path)
    items = [row("the", " fox"), *([row(USER, ANSWER)] if template else [])]
    assert counter.row_lengths(items) == [trained(tokenizer, item) for item in items]
    assert counter.row_lengths(items) == [(head + 1, rest) for head, rest in plain.row_lengths(items)]


def test_of_several_completions_the_longest_counts(opened: dict[str, tuple[Any, TokenCounter]]) -> None:
    _, counter = opened["simple"]
    common: dict[str, Any] = {"prompt": "the", "id": "1", "where": "x:1"}
    long, short = " fox jumps over", " fox"
    rows: list[Feedback] = [
        Paired(chosen=short, rejected=long, **common),
        Scored(completions=(long, short), scores=(1.0, 2.0), **common),
        Demonstration(completion=long, **common),
        row("the", short),
    ]
    lengths = counter.row_lengths(rows * 100)
    assert lengths[0] == lengths[1] == lengths[2] == counter.row_lengths([row("the", long)])[0]
    assert lengths[3] == counter.row_lengths([row("the", short)])[0] < lengths[0]
    assert lengths == lengths[:4] * 100


def test_a_prompt_that_is_rendered_otherwise_inside_the_whole_is_a_mismatch(save: Save) -> None:
    shortened = "{% for m in messages[-1:] %}{{ m.content }}{% endfor %}{% if add_generation_prompt %}: {% endif %}"
    _, counter = save(template=shortened)
    assert counter.refusal(USER, ANSWER) == "the chat template's prompt is no prefix of prompt + completion" == MISMATCH
    assert counter.refusal(USER, " fox") == MISMATCH
    assert counter.refusal("the", " fox") is None
    ((head, rest),) = counter.row_lengths([row(USER, ANSWER)])
    assert head > 1 and rest > 1


def test_conversations_are_refused_in_words_and_measured_all_the_same(
    save: Save, opened: dict[str, tuple[Any, TokenCounter]]
) -> None:
    _, strict = opened["strict"]
    prompt = (Message("system", "be brief"), *USER)
    assert strict.refusal(prompt, ANSWER) == "the chat template refuses this conversation: no system turns"
    _, bare = save(template=None)
    assert bare.refusal(USER, ANSWER) == "there is no chat template"
    assert strict.has_chat_template and not bare.has_chat_template
    for counter, item in ((strict, row(prompt, ANSWER)), (bare, row(USER, ANSWER))):
        ((head, rest),) = counter.row_lengths([item])
        assert head > 1 and rest == len(counter.lengths(["brown fox"])) + counter.lengths(["brown fox"])[0]


def test_older_files_are_read_too(save: Save) -> None:
    """A template in tokenizer_config.json, one of several, and special tokens as objects, in their own file."""
    _, counter = save()
    folder = Path(counter.model)
    expected = counter.row_lengths([row(USER, ANSWER)])
    config = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
    (folder / "chat_template.jinja").unlink()
    tokens = {name: {"content": config.pop(name), "lstrip": False} for name in ("bos_token", "eos_token")}
    (folder / "special_tokens_map.json").write_text(json.dumps(tokens), "utf-8")
    several = [
        {"name": "default", "template": CHAT_TEMPLATE},
        {"name": "tool_use", "template": CHAT_TEMPLATE + "{{ tools }}"},
    ]
    for template in (CHAT_TEMPLATE, several):
        (folder / "tokenizer_config.json").write_text(json.dumps(config | {"chat_template": template}), "utf-8")
        assert TokenCounter(folder).row_lengths([row(USER, ANSWER)]) == expected
    for name, plain in ((CHAT_TEMPLATE, True), (several, False)):
        (folder / "tokenizer_config.json").write_text(json.dumps(config | {"chat_template": name}), "utf-8")
        called = TokenCounter(folder).row_lengths([row(USER, ANSWER, tools=({"name": "find"},))])
        assert (called == expected) == plain


def test_a_template_cannot_leave_its_sandbox(save: Save) -> None:
    _, counter = save(template="{{ messages.__class__.__mro__ }}{% if messages.append(1) %}{% endif %}")
    assert "refuses" in str(counter.refusal(USER, ANSWER))


def test_a_missing_tokenizer_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no tokenizer\.json, from which tokens are counted\. Save the tokenizer"):
        TokenCounter(tmp_path)
    with pytest.raises(ModelError, match=r"no tokenizer\.json"):
        TokenCounter("nobody/no-such-model")
    with pytest.raises(ModelError, match=r"no tokenizer\.json"):
        TokenCounter("not a name at all / :")


@pytest.mark.parametrize(
    ("file", "text"),
    [("tokenizer.json", "{}"), ("tokenizer.json", "not json"), ("tokenizer_config.json", "{"), ("chat_template.jinja",
     "{% if %}")],
)  # fmt: skip
def test_a_broken_file_is_a_clear_error(save: Save, file: str, text: str) -> None:
    _, counter = save()
    (Path(counter.model) / file).write_text(text, "utf-8")
    with pytest.raises(ModelError, match="cannot be read"):
        TokenCounter(counter.model).row_lengths([row(USER, ANSWER)])


def test_counting_needs_neither_torch_nor_transformers(save: Save) -> None:
    _, counter = save()
    script = (
        "import sys\nfrom prospect.feedback.chat.tokens import TokenCounter\nfrom prospect.feedback.records import *\n"
        "row = Unpaired(prompt=(Message('user', 'a'),), completion='b', desirable=True, id='1', where='x')\n"
        "print(TokenCounter(sys.argv[1]).row_lengths([row]), sorted({'torch', 'transformers'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", script, counter.model], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith(")] []")
