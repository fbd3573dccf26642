"""Templates are foreign code: bounded in time and size, in any thread, and otherwise as Transformers renders them."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import families
from conftest import make_tokenizer
from prospect.data.render import make_renderer
from prospect.errors import DataError
from prospect.feedback.chat.sandbox import TemplateSizeError, TemplateTimeError, compile_template, environment
from prospect.feedback.records import Message

LARGE = "{% set a = 'a' * 4000000 %}"
EXPLODING = [
    "{{ 'x' * 10 ** 9 }}",
    "{{ 10 ** 9 * 'x' }}",
    "{{ [1] * 10 ** 9 }}",
    "{{ (10 ** 9) ** (10 ** 9) }}",
    "{% set n = namespace(x='x') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
    "{% set n = namespace(x='x') %}{% for i in range(60) %}{% set n.x = n.x + n.x %}{% endfor %}",
    "{% set n = namespace(x=9) %}{% for i in range(60) %}{% set n.x = n.x * n.x %}{% endfor %}",
    "{% set x = 'x' %}" + "{% set x %}{{ x }}{{ x }}{% endset %}" * 60,
    "{{ 'x'.ljust(10 ** 9) }}",
    "{{ 'x' | center(10 ** 9) }}",
    "{{ '%999999999s' % 'x' }}",
    "{{ '%*s' % (999999999, 'x') }}",
    "{{ '%999999999s' | format('x') }}",
    "{{ '{:>999999999}'.format('x') }}",
    LARGE + "{{ a.replace('a', a) }}",
    LARGE + "{{ a | replace('a', a) }}",
    LARGE + "{{ a.join(['', '', '']) }}",
    LARGE + "{{ range(99999) | join(a) }}",
    "{{ 'a\nb' | indent(10 ** 9) }}",
    "{{ [1] | tojson(indent=10 ** 9) }}",
    "{{ [1] | batch(10 ** 9, 1) | list }}",
    "{% for i in range(99999) %}{{ 'some words of text, again and again and again' }}{% endfor %}",
]


@pytest.mark.parametrize("text", EXPLODING)
def test_what_explodes_is_stopped_before_it_does(text: str) -> None:
    begun = time.process_time()
    with pytest.raises(TemplateSizeError):
        environment().render(compile_template(text), {})
    # No more than some megabytes may have been made; without the bound each takes gigabytes, or minutes.
    assert time.process_time() - begun < 5


def test_an_endless_template_is_stopped_in_a_thread_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prospect.feedback.chat.sandbox.SECONDS", 0.2)
    template = compile_template("{% for i in range(99999) %}{% if range(99999) | sum %}{% endif %}{% endfor %}")
    raised: list[BaseException] = []

    def render() -> None:
        try:
            environment().render(template, {})
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=render, daemon=True)
    thread.start()
    thread.join(60)
    assert not thread.is_alive()
    assert isinstance(raised[0], TemplateTimeError)


def test_ordinary_large_numbers_and_texts_pass() -> None:
    text = (
        "{{ '%d' % 1700000000 }} {{ 1700000000 | tojson }} {{ x.replace('b', 'bb') | length }} {{ messages | tojson }}"
    )
    made = environment().render(compile_template(text), {"x": "ab" * 10**6, "messages": [{"id": 10**9}]})
    assert made == '1700000000 1700000000 3000000 [{"id": 1000000000}]'


@pytest.mark.parametrize(
    "text",
    [
        "{{ messages.__class__.__mro__ }}",
        "{{ messages.append(1) }}",
        "{{ namespace(a=1).__class__.__mro__ }}",
        "{% set n = namespace() %}{% set n._a = 1 %}",
        "{{ dict.mro() }}",
        "{{ lipsum(5) }}",
        "{{ cycler.__init__.__globals__ }}",
    ],
)
def test_a_template_cannot_leave_the_sandbox(text: str) -> None:
    with pytest.raises(Exception, match=r"unsafe|undefined|no attribute|no name for a namespace|not safely callable"):
        environment().render(compile_template(text), {"messages": [{}]})


# -- the same text as Transformers makes --

TEMPLATES = {
    name: text for name, text in vars(families).items() if name.isupper() and name not in ("_QWEN", "DATED", "CLOCK")
}
TEMPLATES["PARTS"] = (
    "{% set n = namespace(a=0, b=dict(x=1)) %}{% macro say(x, sep=': ') %}{{ x }}{{ sep }}{% endmacro %}"
    "{% for m in messages %}{% generation %}{{ say(m.role) }}{{ m['content'] | trim }}{% endgeneration %}"
    "{% set n.a = n.a + 1 %}{% if n.a > 3 %}{% break %}{% endif %}{% if m.content == 'x' %}{% continue %}{% endif %}"
    "{{ '%s/%s' % (n.a, loop.length) }}{{ m | tojson(indent=2) }}\n{% endfor %}{{ n.b.x }}{{ tools | tojson }}"
    "{{ messages | map(attribute='role') | join(', ') }}{{ '{} {}'.format(1, 'a') }}{{ [1] + [2] }}{{ 7 % 4 }}"
)
WORDS = st.lists(
    st.sampled_from(["the", " fox", "\n", "é😀", "</s>", "</think>", "<think>", "  ", "x"]), max_size=5
).map("".join)
EXTRA = st.sampled_from([{}, {"reasoning_content": "hm"}, {"thinking": "hm"}, {"name": None}, {"name": "anna"}])
TURN = st.builds(Message, st.sampled_from(["user", "assistant", "system"]), WORDS, EXTRA)


@pytest.fixture(scope="module")
def tokenizers() -> dict[str, Any]:
    made = {name: make_tokenizer() for name in TEMPLATES}
    for name, tokenizer in made.items():
        tokenizer.chat_template = TEMPLATES[name]
    return made


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(sorted(TEMPLATES)), st.lists(TURN, min_size=1, max_size=4), st.booleans(), st.booleans())
def test_conversations_are_rendered_as_transformers_renders_them(
    tokenizers: dict[str, Any], name: str, turns: list[Message], asks: bool, tools: bool
) -> None:
    tokenizer, given_tools = tokenizers[name], [{"name": "find", "a": [1, None]}] if tools else None
    renderer = make_renderer(tokenizer)
    try:
        expected = tokenizer.apply_chat_template(
            [turn.as_dict() for turn in turns], tools=given_tools, tokenize=False, add_generation_prompt=asks
        )
    except Exception:
        expected = None
    try:
        made = renderer.render(tuple(turns), given_tools, "row", asks=asks)
    except DataError:
        made = None
    assert made == expected
