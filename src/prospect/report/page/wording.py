"""Numbers and texts as a reader wants them: short, with units, and safe to put on a page."""

from __future__ import annotations

import difflib
import json
import math
import re
from pathlib import PurePath
from typing import Any

from markupsafe import Markup, escape

MINUS = "\N{MINUS SIGN}"
SAME, DELETED, INSERTED = Markup("{}"), Markup("<del>{}</del>"), Markup("<ins>{}</ins>")


def number(value: float, digits: int = 3) -> str:
    """Return a number with about `digits` significant digits, integers in full: 1,234 · 12.3 · −0.0420 · 5e−6."""
    if value == 0 or isinstance(value, int):
        return f"{value + 0:,.0f}".replace("-", MINUS)  # + 0 turns -0.0 into 0.0
    size = math.floor(math.log10(abs(value)))
    if size < -4:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        text = f"{float(mantissa):g}e{int(exponent)}"
    else:
        text = f"{value:,.{max(0, digits - 1 - size)}f}"
    return text.replace("-", MINUS)


def percent(share: float) -> str:
    """Return a share as a percentage, whole except near the ends: 44%, 0.4%, 99.6%."""
    near_an_end = 0 < share < 0.01 or 0.99 < share < 1
    return f"{100 * share:.{1 if near_an_end else 0}f}%"


def interval(low: float, high: float) -> str:
    """Two shares as a range: 39–49%."""
    return f"{percent(low).removesuffix('%')}–{percent(high)}"


def points(difference: float) -> str:
    """Return a difference of two shares in points, with its sign: +12.3, −0.4, 0.0."""
    sign = "+" if difference > 0 else MINUS if difference < 0 else ""
    return f"{sign}{abs(100 * difference):.1f}"


def count(value: float, noun: str = "") -> str:
    """Return a count with its noun, in the plural where it is not one: 1 step, 2,400 thumbs."""
    plural = "" if not noun or value == 1 or noun.endswith("s") else "s"
    return f"{value:,.0f} {noun}{plural}".strip()


def big(value: float) -> str:
    """Return a number of parameters: 260 thousand, 1.2 million, 7 billion."""
    for size, word in ((1e9, "billion"), (1e6, "million"), (1e3, "thousand")):
        if value >= size:
            return f"{value / size:.{0 if value >= 10 * size else 1}f} {word}".replace(".0 ", " ")
    return f"{value:.0f}"


def duration(seconds: float) -> str:
    """Return a stretch of time in its two largest units: 41 s, 2 min 41 s, 3 h 5 min."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def method_name(loss: str) -> str:
    """Return a loss's name as pages write it: acronyms in capitals, one of one's own without its file."""
    name = loss.rpartition(":")[2]
    return name.upper() if name.isalpha() and len(name) <= 4 else name


def short_path(value: Any) -> str:
    """Return the last part of a local path; a hub name (`owner/name`) as it is."""
    text = str(value)
    return PurePath(text).name if text.startswith(("/", ".", "~")) or text.count("/") != 1 else text


def plain(text: Any, limit: int) -> str:
    """Return a prompt or completion, string or messages, as one bare text of at most about `limit` characters."""
    if isinstance(text, list):
        turns = (turn for turn in text if isinstance(turn, dict))
        text = "\n".join(f"{turn.get('role', '')}: {turn.get('content', '')}" for turn in turns)
    text = text.strip() if isinstance(text, str) else json.dumps(text, ensure_ascii=False)
    if not text:
        return "(empty)"
    return text if len(text) <= limit else f"{text[:limit]} … ({count(len(text) - limit, 'more character')})"


def differences(before: str, after: str) -> tuple[Markup, Markup]:
    """Both texts, escaped, with the words only one of them has marked as <del> and <ins>."""
    left, right = (re.findall(r"\s*\S+", text) for text in (before, after))
    bare_left, bare_right = ([word.strip() for word in side] for side in (left, right))
    matcher = difflib.SequenceMatcher(None, bare_left, bare_right, autojunk=False)
    removed, added = [], []
    for kind, i, j, k, m in matcher.get_opcodes():
        changed = kind != "equal"
        removed.append(_framed("".join(left[i:j]), DELETED if changed else SAME))
        added.append(_framed("".join(right[k:m]), INSERTED if changed else SAME))
    return Markup("").join(removed), Markup("").join(added)


def _framed(text: str, frame: Markup) -> Markup:
    """Return the words in their frame, the white space before them outside it."""
    words = text.lstrip()
    return escape(text[: len(text) - len(words)]) + (frame.format(words) if words else Markup(""))
