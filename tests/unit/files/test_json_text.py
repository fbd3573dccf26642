"""JSON text -> items: what cannot be read is named, and what stands behind it is not lost."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prospect.feedback.files.json_text import DEEPEST, TOO_DEEP, Fault, is_too_deep, json_items, parse_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def nested(levels: int) -> str:
    """Lists and objects in one another."""
    return '[{"a":' * (levels // 2) + "[" * (levels % 2) + '"]"' + "]" * (levels % 2) + "}]" * (levels // 2)


@given(st.lists(VALUES, max_size=5), st.sampled_from([None, 1]))
def test_a_list_comes_item_by_item(items: list[Any], indent: int | None) -> None:
    text = json.dumps(items, indent=indent)
    assert list(json_items(text)) == items
    assert parse_json(text) == items


def test_what_is_no_list_is_one_item() -> None:
    assert list(json_items(' {"a": 1}\n')) == [{"a": 1}]
    assert list(json_items(" \n")) == []


@pytest.mark.parametrize(
    ("text", "before", "fault"),
    [
        ('[{"a": 1},\n ]', [{"a": 1}], ("there is a comma before the end of the list", 2, 2)),
        ("[1 2]", [1], ("there is no comma between two rows", 1, 4)),
        ("[1, 2", [1, 2], ("the list is never closed: the file was cut short", 1, 6)),
        ("[1,", [1], ("the list is never closed: the file was cut short", 1, 4)),
        ("[1] 2", [1], ("there is more after the end of the list", 1, 5)),
        ('{"a": 1}\n\n x', [{"a": 1}], ("there is more after the object", 3, 2)),
        ("[1,\n {a: 1}]", [1], ("Expecting property name enclosed in double quotes", 2, 3)),
        ("[,]", [], ("Expecting value", 1, 2)),
        ("[1,,2]", [1], ("Expecting value", 1, 4)),
        ('["a\nb"]', [], ("Invalid control character at", 1, 4)),
    ],
)
def test_where_a_list_breaks_is_named_and_what_stood_before_is_kept(
    text: str, before: list[Any], fault: tuple[str, int, int]
) -> None:
    *items, last = json_items(text)
    assert items == before
    assert last == Fault(*fault, is_last=True)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (nested(DEEPEST + 1), TOO_DEEP),
        (nested(500), TOO_DEEP),
        (nested(20_000), TOO_DEEP),
        ('{"a": 1, "b": "]", "a": 2}', 'the key "a" is there twice in one object'),
        ('{"b": [{"a": 1, "a": 2}]}', 'the key "a" is there twice in one object'),
        (f'{{"a": {"9" * 5000}}}', "Exceeds the limit (4300 digits) for integer string conversion"),
    ],
    ids=["one level too deep", "deep", "deeper than the stack", "a key twice", "a key twice inside", "many digits"],
)
def test_behind_an_item_that_is_whole_but_cannot_be_used_reading_goes_on(bad: str, reason: str) -> None:
    first, fault, last = json_items(f'["before",\n{bad}, "after"]')
    assert (first, last) == ("before", "after")
    assert fault.reason.startswith(reason) and (fault.line, fault.is_last) == (2, False)
    with pytest.raises(ValueError) as error:
        parse_json(bad)
    assert str(error.value).startswith(reason)


def test_the_deepest_row_that_is_read_is_as_deep_as_it_says() -> None:
    assert parse_json(nested(DEEPEST)) == json.loads(nested(DEEPEST))
    assert not is_too_deep(json.loads(nested(DEEPEST)))
    assert is_too_deep(json.loads(nested(DEEPEST + 1)))
    assert not is_too_deep(json.loads(nested(900)), levels=1000)  # as deep as json goes, in no deeper a stack


@given(st.text(alphabet='[]{},:"\\ \n1a\u2028\ud800', max_size=40))
def test_no_text_whatever_does_more_than_being_read_or_named(text: str) -> None:
    for item in json_items(text):
        str(item).encode(errors="backslashreplace")
