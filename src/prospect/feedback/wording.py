"""How a found value, its type and a list of names are spelled in messages."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

_LONGEST_SHOWN = 60  # characters: enough to recognise a value, short enough for one line of a terminal


def show(value: Any) -> str:
    """Return the value as a person would find it in the file, cut to one short line."""
    if value is None:
        return "null"
    if value == "":
        return "empty"
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 3] + "..."


def type_name(value: Any) -> str:
    """Return the JSON name of the value's type, with its article."""
    if value is None:
        return "null"
    for kind, name in (
        (bool, "true/false"),
        (int | float, "a number"),
        (str, "a string"),
        (dict, "an object"),
        (list, "a list"),
    ):
        if isinstance(value, kind):
            return name
    return f"of type {type(value).__name__}"


def found(value: Any) -> str:
    """Return the type of a value of the wrong type, with the value itself where that says more."""
    return f"{type_name(value)} ({show(value)})" if isinstance(value, str | int | float) else type_name(value)


def names(items: Iterable[str], last: str = "and") -> str:
    """Return `a, b and c`."""
    *head, tail = list(items) or ["nothing"]
    return f"{', '.join(head)} {last} {tail}" if head else tail
