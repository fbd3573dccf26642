"""A recipe as commented YAML, for people to read and to change."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from prospect.config import all_keys

_WIDEST = 48  # columns: where comments stand, but for lines that are longer


def commented(settings: Mapping[str, Any], comments: Mapping[str, str], head: Sequence[str] = ()) -> str:
    """Return YAML that `load_config` reads, in the order in which the recipe's page has its keys.

    Args:
        settings: dotted keys with their values.
        comments: dotted keys or sections -> what stands behind their line.
        head: lines of a comment above everything.
    """
    order = {key: number for number, key in enumerate(all_keys())}
    sections = {key.partition(".")[0]: None for key in order}
    rank = {section: number for number, section in enumerate(sections)}
    keys = sorted(settings, key=lambda key: (rank[key.partition(".")[0]], order.get(key, len(order))))
    lines = [f"# {line}".rstrip() for line in head] + [""] * bool(head)
    opened: list[str] = []
    for key in keys:
        *parents, name = key.split(".")
        if opened and opened[:1] != parents[:1]:
            lines.append("")
        same = 0
        while same < min(len(opened), len(parents)) and opened[same] == parents[same]:
            same += 1
        for depth in range(same, len(parents)):
            section = ".".join(parents[: depth + 1])
            lines.append(_line(f"{'  ' * depth}{parents[depth]}:", comments.get(section, "")))
        opened = parents
        lines += _entry("  " * len(parents), name, settings[key], comments.get(key, ""))
    return "\n".join(lines) + "\n"


def _entry(indent: str, name: str, value: Any, comment: str) -> Iterator[str]:
    yield _line(f"{indent}{name}: {in_yaml(value)}", comment)


def _line(text: str, comment: str) -> str:
    comment = " ".join(comment.split())
    return f"{text:<{_WIDEST}} # {comment}" if comment else text


def in_yaml(value: Any) -> str:
    """Return a value on one line."""
    if isinstance(value, float) and not math.isinf(value):
        return _number(value)
    text = yaml.safe_dump(value, default_flow_style=True, width=math.inf, allow_unicode=True, sort_keys=False)
    text = text.removesuffix("...\n").strip()
    return json.dumps(value) if "\n" in text else text


def _number(value: float) -> str:
    """Return 5e-6 as people write it; YAML's own form is 5.0e-06."""
    text = repr(value)
    if "e" in text:
        digits, _, power = text.partition("e")
        return f"{digits}e{int(power)}"
    return text
