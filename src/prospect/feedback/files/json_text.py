"""JSON as feedback files hold it: rows that are not nested without end, in which no key is there twice.

One reader for everybody, so that the data doctor, conversion, training and import agree on what a file holds.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

DEEPEST = 100  # levels of a row: tool schemas have twenty, and what walks through a row must not run out of stack
TOO_DEEP = f"it is nested more than {DEEPEST} levels deep"
EXPECTED = "expected whole JSON objects, one per line in .jsonl and .ndjson, a list of them in .json. Mend or remove it"

_NESTED = {dict, list}
_SPACE = re.compile(r"[ \t\r\n]*")
_MARKS = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)


class Fault(NamedTuple):
    """A place in JSON text that cannot be read.

    Attributes:
        reason: what is wrong there.
        line: from 1.
        column: from 1.
        is_last: whether nothing behind it can be read either.
    """

    reason: str
    line: int
    column: int
    is_last: bool

    def __str__(self) -> str:
        return f"broken JSON at column {self.column}: {self.reason}; {EXPECTED}"


def parse_json(text: str | bytes) -> Any:
    """Return the value of JSON text.

    Raises:
        ValueError: it is broken, a key is there twice in one object, or it is nested too deeply.
    """
    try:
        value = _DECODER.decode(text if isinstance(text, str) else text.decode())
    except RecursionError:
        raise ValueError(TOO_DEEP) from None
    if is_too_deep(value):
        raise ValueError(TOO_DEEP)
    return value


def is_too_deep(value: Any, levels: int = DEEPEST) -> bool:
    """Return whether lists and objects are nested deeper than so many levels; without recursion."""
    layer = [value] if type(value) in _NESTED else []
    for _ in range(levels):
        layer = [
            inner
            for outer in layer
            for inner in (outer.values() if type(outer) is dict else outer)
            if type(inner) in _NESTED
        ]
        if not layer:
            return False
    return True


def json_items(text: str, levels: int = DEEPEST) -> Iterator[Any]:
    """Yield the items of a JSON list one after another, or the one value that is no list.

    In place of each that cannot be read, or is nested deeper than so many levels, comes a `Fault`.
    """
    position = _skip(text, 0)
    is_list = text.startswith("[", position)
    if not is_list:
        if position < len(text):
            item, position = _item(text, position, levels)
            yield item
            if _skip(text, position) < len(text):
                yield _fault(text, _skip(text, position), "there is more after the object")
        return
    position, comma = _skip(text, position + 1), False
    while position < len(text):
        if text[position] == "]":
            if comma:
                yield _fault(text, position, "there is a comma before the end of the list")
            elif _skip(text, position + 1) < len(text):
                yield _fault(text, _skip(text, position + 1), "there is more after the end of the list")
            return
        item, position = _item(text, position, levels)
        yield item
        if isinstance(item, Fault) and item.is_last:
            return
        position = _skip(text, position)
        comma = text.startswith(",", position)
        if comma:
            position = _skip(text, position + 1)
        elif position < len(text) and text[position] != "]":
            yield _fault(text, position, "there is no comma between two rows")
            return
    yield _fault(text, len(text), "the list is never closed: the file was cut short")


def _item(text: str, position: int, levels: int) -> tuple[Any, int]:
    try:
        item, end = _DECODER.raw_decode(text, position)
    except json.JSONDecodeError as error:
        return _fault(text, error.pos, error.msg), len(text)
    except RecursionError:
        return _fault(text, position, TOO_DEEP, is_last=False), _end_of_value(text, position)
    except ValueError as error:  # a key that is there twice, a number of more than 4,300 digits
        return _fault(text, position, str(error), is_last=False), _end_of_value(text, position)
    return (_fault(text, position, TOO_DEEP, is_last=False) if is_too_deep(item, levels) else item), end


def _end_of_value(text: str, start: int) -> int:
    """Where the list or object that begins at `start` ends, without recursion."""
    depth = 0
    for match in _MARKS.finditer(text, start):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(match[0], 0)
        if depth == 0:
            return match.end()
    return len(text)


def _fault(text: str, position: int, reason: str, *, is_last: bool = True) -> Fault:
    line = text.count("\n", 0, position) + 1
    return Fault(reason, line, position - text.rfind("\n", 0, position), is_last)


def _skip(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return match.end() if match else position


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the key {json.dumps(twice)} is there twice in one object")
    return made


_DECODER = json.JSONDecoder(object_pairs_hook=_object)
