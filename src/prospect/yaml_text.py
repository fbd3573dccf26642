"""YAML as recipes are written in it. What YAML reads otherwise than people mean it is refused, with its line.

YAML 1.1 makes a number of 1:30, another of 010, a date of 2026-01-01, and keeps the last of two equal keys without a
word. Aliases can make gigabytes of a few lines. None of that belongs in a recipe.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import yaml

from prospect.errors import ConfigError
from prospect.file_kinds import kind_of

LARGEST_FILE = 1 << 20  # bytes: more than any recipe, and read in seconds
MOST_VALUES = 100_000  # with every alias resolved
DEEPEST = 50  # levels
MOST_DIGITS = 400  # of a whole number; a float ends at 309

_TAG = "tag:yaml.org,2002:"
_PLAIN = {f"{_TAG}{name}" for name in ("str", "int", "float", "bool", "null")}
_WORDS = {f"{_TAG}bool": "true or false", f"{_TAG}int": "a number", f"{_TAG}float": "a number", f"{_TAG}null": "null"}
_MERGE = f"{_TAG}merge"
_OCTAL = re.compile(r"[-+]?0[0-7_]+")
_FREE_KEYS = "label_map"  # a mapping whose keys are the user's labels, of any type


def read_file(path: Path, what: str = "recipe") -> Any:
    """Return what a YAML file holds; None if it is empty.

    Raises:
        ConfigError: it is not there, no regular file, too large, not UTF-8, or holds what `parse` refuses.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise ConfigError(f"{path}: is {kind_of(found)}; expected a {what} in a file. Write it to one.")
        if found.st_size > LARGEST_FILE:
            raise ConfigError(
                f"{path}: has {found.st_size} bytes; expected a {what} of at most {LARGEST_FILE}. Is it another file?"
            )
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such {what}.") from None
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path}: cannot be read as a {what}: byte {error.start + 1} is 0x{error.object[error.start]:02x}; "
            "expected UTF-8. Save the file as UTF-8."
        ) from None
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read as a {what}: {error.strerror}. Check the name and its permissions."
        ) from None
    return parse(text, str(path))


def parse(text: str, where: str, keys: Sequence[str] = (), *, lines: bool = True) -> Any:
    """Return what YAML text holds.

    Args:
        text: one document.
        where: what the text is called in messages.
        keys: the keys under which the value will stand, outermost first.
        lines: whether messages name lines: of a file they do, of one word of a command line they do not.

    Raises:
        ConfigError: it is no YAML, or holds values that no recipe has: dates, binary data, sets, tags, numbers in base
            60 or 8, NaN, keys that are no text, keys that are there twice, aliases that make too much of it.
    """
    return _Reader(where, lines).read(text, keys)


class _Reader:
    def __init__(self, where: str, lines: bool) -> None:
        self._where, self._lines = where, lines
        self._scalars = yaml.SafeLoader("")
        self._measured: dict[int, tuple[int, int]] = {}  # of a node the values and levels in it
        self._open: set[int] = set()

    def read(self, text: str, keys: Sequence[str]) -> Any:
        try:
            loader = yaml.SafeLoader(text)
            node = loader.get_single_node()
            if node is None:
                return None
            self._measure(node, tuple(keys))
            return loader.construct_document(node)
        except yaml.MarkedYAMLError as error:
            self._refuse_broken(error)
        except yaml.YAMLError as error:  # a character that YAML does not allow
            raise ConfigError(f"{self._where}: not valid YAML: {' '.join(str(error).split())}.") from None
        except RecursionError:
            raise ConfigError(f"{self._where}: is nested too deeply; expected at most {DEEPEST} levels.") from None

    def _refuse_broken(self, error: yaml.MarkedYAMLError) -> NoReturn:
        mark = error.problem_mark or error.context_mark
        place = f"{self._where}:{mark.line + 1}" if mark is not None and self._lines else self._where
        problem = error.problem or error.context or "broken"
        advice = ""
        if "'\\t'" in problem:
            advice = " YAML is indented with spaces, never with tabs."
        elif "another document" in problem:
            advice = " A line --- begins a second document: write it into a file of its own."
        elif not self._lines:
            advice = " Put quotes around it."
        raise ConfigError(f"{place}: not valid YAML: {problem}.{advice}") from None

    def _refuse(self, node: yaml.Node, message: str) -> NoReturn:
        place = f"{self._where}:{node.start_mark.line + 1}" if self._lines else self._where
        raise ConfigError(f"{place}: {message}")

    def _measure(self, node: yaml.Node, keys: tuple[str, ...]) -> tuple[int, int]:
        """Return how many values and levels a node has with its aliases resolved; refuse what is odd in it."""
        known = self._measured.get(id(node))
        if known is not None:
            return known
        if id(node) in self._open:
            self._refuse(node, f"{_name(keys)} holds itself, by an alias. Write it out.")
        self._open.add(id(node))
        count, height = 1, 1
        for child, inner in self._children(node, keys):
            values, levels = self._measure(child, inner)
            count, height = count + values, max(height, levels + 1)
        if count > MOST_VALUES:
            self._refuse(node, f"{_name(keys)} has more than {MOST_VALUES} values with its aliases. Write less.")
        if height > DEEPEST:
            self._refuse(node, f"{_name(keys)} is nested more than {DEEPEST} levels deep. Flatten it.")
        self._open.remove(id(node))
        self._measured[id(node)] = count, height
        return count, height

    def _children(self, node: yaml.Node, keys: tuple[str, ...]) -> list[tuple[yaml.Node, tuple[str, ...]]]:
        if isinstance(node, yaml.ScalarNode):
            self._check_scalar(node, _name(keys))
            return []
        expected = f"{_TAG}{'seq' if isinstance(node, yaml.SequenceNode) else 'map'}"
        if node.tag != expected:
            self._refuse(node, f"{_name(keys)} has the tag {_tag(node)}; expected a plain value. Leave the tag out.")
        if isinstance(node, yaml.SequenceNode):
            return [(child, keys) for child in node.value]
        seen: dict[Any, yaml.Node] = {}
        return [(value, (*keys, self._check_key(key, keys, seen))) for key, value in node.value]

    def _check_key(self, key: yaml.Node, keys: tuple[str, ...], seen: dict[Any, yaml.Node]) -> str:
        if not isinstance(key, yaml.ScalarNode):
            self._refuse(key, f"a key of {_name(keys)} is a list or a mapping; expected text. Write a name.")
        inner = (*keys, str(key.value))
        value = key.value if key.tag == _MERGE else self._check_scalar(key, f"the key {_name(inner)}")
        if key.tag in _WORDS and keys[-1:] != (_FREE_KEYS,):
            self._refuse(
                key, f'the key {_name(inner)} is {_WORDS[key.tag]} to YAML; expected text. Write "{key.value}".'
            )
        first = seen.setdefault(value, key)
        if first is not key and first.value != key.value:
            self._refuse(
                key, f'the key {_name(inner)} is the same as {first.value} to YAML. Write it in quotes: "{key.value}".'
            )
        if first is not key:
            line = f", first in line {first.start_mark.line + 1}" if self._lines else ""
            self._refuse(key, f"the key {_name(inner)} is there twice{line}. Remove one.")
        return str(key.value)

    def _check_scalar(self, node: yaml.ScalarNode, name: str) -> Any:
        """Return the value of a scalar."""
        value, kind = node.value, node.tag.removeprefix(_TAG)
        if node.tag not in _PLAIN:
            what = {"timestamp": f"a date to YAML ({value})", "binary": "binary data"}.get(
                kind, f"a value with the tag {_tag(node)}"
            )
            self._refuse(node, f"{name} is {what}; expected text or a number. Put it in quotes if it is text.")
        if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
            self._refuse(node, f"{name} holds a character that is none (NUL or half of one). Remove it.")
        if kind == "float" and value.lower().lstrip("+-") == ".nan":
            self._refuse(node, f"{name} is {value}, not a number (NaN). Write a number, or leave the key out.")
        if kind in ("int", "float") and ":" in value:
            self._refuse(node, f"{name} is {value}, a number in base 60 to YAML. Put it in quotes if it is text.")
        if kind == "int" and len(value) > MOST_DIGITS:
            self._refuse(node, f"{name} has {len(value)} digits; expected at most {MOST_DIGITS}. Is it a number?")
        if kind == "int" and _OCTAL.fullmatch(value):
            self._refuse(
                node,
                f"{name} is {value}, in base 8 to YAML. Write it without the zero at its beginning, or in quotes.",
            )
        try:
            return self._scalars.construct_object(node)
        except (ValueError, KeyError, yaml.YAMLError):  # !!int of a word
            self._refuse(node, f"{name} is {value}, which is no {_tag(node)}. Leave the tag out.")


def _name(keys: Sequence[str]) -> str:
    return ".".join(keys) or "the value"


def _tag(node: yaml.Node) -> str:
    return node.tag.replace(_TAG, "!!")
