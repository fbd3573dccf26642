"""YAML of recipes: what it reads otherwise than people mean it is refused with its line, whatever command reads it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from prospect.errors import ConfigError
from prospect.yaml_text import DEEPEST, LARGEST_FILE, MOST_VALUES, parse, read_file


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(text, "r.yaml")
    message = str(caught.value)
    assert "\n" not in message
    return message


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{new}: &{new} [{','.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefg", "bcdefgh", strict=True)
)

ODD = {
    "date": ("seed: 1\nday: 2026-01-01\n", "r.yaml:2: day is a date to YAML (2026-01-01); expected text"),
    "time": ("day: 2026-01-01 10:00:00", "r.yaml:1: day is a date to YAML"),
    "binary": ("x: !!binary aGk=\n", "r.yaml:1: x is binary data"),
    "set": ("x: !!set {a, b}\n", "r.yaml:1: x has the tag !!set; expected a plain value. Leave the tag out."),
    "ordered map": ("x: !!omap [a: 1]\n", "r.yaml:1: x has the tag !!omap"),
    "a Python call": ("x: !!python/object/apply:os.system [ls]", "r.yaml:1: x has the tag !!python/object/apply:os"),
    "a tag of its own": ("x: !mine 3", "r.yaml:1: x is a value with the tag !mine"),
    "a tag that lies": ("x: !!int many", "r.yaml:1: x is many, which is no !!int. Leave the tag out."),
    "NaN": ("train:\n  seed: 1\n  learning_rate: .nan\n", "r.yaml:3: train.learning_rate is .nan, not a number (NaN)."),
    "base 60": ("output: 1:30", "r.yaml:1: output is 1:30, a number in base 60 to YAML."),
    "base 8": ("train: {seed: 010}", "r.yaml:1: train.seed is 010, in base 8 to YAML."),
    "too many digits": ("seed: " + "9" * 5000, "r.yaml:1: seed has 5000 digits; expected at most 400."),
    "duplicate": (
        "train:\n  seed: 1\n  epochs: 2\n  seed: 3\n",
        "r.yaml:4: the key train.seed is there twice, first in line 2. Remove one.",
    ),
    "duplicate, quoted": ('a: 1\n"a": 2\n', "r.yaml:2: the key a is there twice, first in line 1."),
    "duplicate at the top": ("model: {}\nmodel: {}\n", "r.yaml:2: the key model is there twice"),
    "a key that is a number": ("1: x\n", 'r.yaml:1: the key 1 is a number to YAML; expected text. Write "1".'),
    "a key that is a word": ("no: x\n", 'r.yaml:1: the key no is true or false to YAML; expected text. Write "no".'),
    "a key that is a date": ("2026-01-01: x\n", "r.yaml:1: the key 2026-01-01 is a date to YAML"),
    "a key that is a list": ("? [a]\n: x\n", "r.yaml:1: a key of the value is a list or a mapping; expected text."),
    "NUL": ('output: "a\\0b"', "r.yaml:1: output holds a character that is none (NUL or half of one)."),
    "half a character": ('output: "\\ud800"', "r.yaml:1: output holds a character that is none"),
    "an escape byte": ("output: a\x1bb", "r.yaml: not valid YAML: unacceptable character #x001b"),
    "tab": ("train:\n\tseed: 1\n", "r.yaml:2: not valid YAML: found character '\\t' that cannot start any token. YAML"),
    "two documents": ("a: 1\n---\nb: 2\n", "r.yaml:2: not valid YAML: but found another document. A line ---"),
    "an alias to itself": ("a: &a [*a]\n", "r.yaml:1: a holds itself, by an alias. Write it out."),
    "an unknown alias": ("a: *b\n", "r.yaml:1: not valid YAML: found undefined alias 'b'."),
    "an alias bomb": (BOMB, f"has more than {MOST_VALUES} values with its aliases. Write less."),
    "deep": ("a: " + "[" * 60 + "]" * 60, f"nested more than {DEEPEST} levels deep. Flatten it."),
    "very deep": ("[" * 5000, f"r.yaml: is nested too deeply; expected at most {DEEPEST} levels."),
    "deep by aliases": (
        "a0: &a0 [x]\n" + "".join(f"a{n + 1}: &a{n + 1} [*a{n}]\n" for n in range(60)),
        f"nested more than {DEEPEST} levels deep. Flatten it.",
    ),
}


@pytest.mark.parametrize("case", ODD)
def test_what_yaml_reads_oddly_is_refused_with_its_line(case: str) -> None:
    text, expected = ODD[case]
    assert expected in refusal(text)


def test_ordinary_yaml_is_what_the_library_makes_of_it() -> None:
    text = """
base: &base {seed: 1, epochs: 2}
train: {<<: *base, epochs: 3}
list: [a, 1, -2, 0, 0x10, 1.5, 1e-4, .inf, true, off, null, ~, "010", '1:30', "2026-01-01", ".nan"]
text: |
  two
  lines
label_map: {1: true, 0: false, null: false, -1.5: false}
"""
    assert parse(text, "r.yaml") == yaml.safe_load(text)


def test_labels_may_be_of_any_type_and_are_still_refused_twice() -> None:
    assert parse("label_map: {1: true, no: false}", "r.yaml") == {"label_map": {1: True, False: False}}
    assert parse("{1: true}", "--label-map", ["label_map"]) == {1: True}
    assert "the key label_map.1 is there twice, first in line 1" in refusal("label_map: {1: true, 1: false}")
    message = refusal("label_map:\n  1: true\n  yes: true\n")
    assert message == 'r.yaml:3: the key label_map.yes is the same as 1 to YAML. Write it in quotes: "yes".'


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert read_file(path) == {"a": 1}


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "r.yaml")
    with pytest.raises(ConfigError, match=r"r\.yaml: is a pipe; expected a recipe in a file"):
        read_file(tmp_path / "r.yaml")


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_bytes(b"#" * (LARGEST_FILE + 1))
    with pytest.raises(ConfigError, match="Is it another file"):
        read_file(path)


LEAVES = st.one_of(
    st.text(max_size=20), st.integers(), st.floats(), st.booleans(), st.none(), st.dates(), st.datetimes(), st.binary()
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8) | st.integers(), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["model", "data", "train", "output", "loss"]), VALUES, max_size=5))
@settings(max_examples=200)
def test_what_is_read_is_what_was_written_or_it_is_refused(values: dict[str, Any]) -> None:
    text = yaml.safe_dump(values, allow_unicode=True)
    try:
        found = parse(text, "r.yaml")
    except ConfigError as error:
        assert str(error).startswith("r.yaml")
    else:
        assert found == values


PIECES = [
    *("a: ", "b", "\n", "  ", "\t", "- ", "[", "]", "{", "}", "&x ", "*x", "<<: ", "? ", "!!set ", "!y ", "|", ">"),
    *('"', "'", "---", "...", "\0", "\x1b", "\u2028", "\ufeff", "\ud800", "1:30", "010", ".nan", "2026-01-01", "#"),
    *("9" * 500, "%YAML 3.0\n", "é", "0x", "~"),
]


@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join) | st.text(max_size=60))
@settings(max_examples=500)
def test_no_text_whatever_does_more_than_being_read_or_refused(text: str) -> None:
    try:
        parse(text, "r.yaml")
    except ConfigError as error:
        str(error).encode()
