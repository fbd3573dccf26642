"""What pages are made of beside figures: key numbers, tables, samples side by side, nested facts as lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup, escape

from prospect.report.page.wording import differences, plain

FIRST_SAMPLES, MOST_SAMPLES = 4, 24  # shown at once, and in all: enough to read, few enough to stay small
PROMPT_LIMIT, COMPLETION_LIMIT = 700, 1500  # characters, so that 24 long samples stay far below 2 MB
MOST_LINES = 400  # of nested facts: a file of a million numbers is no table
LINE_LIMIT = 300  # characters of one of them


class KeyNumber(NamedTuple):
    """One key number."""

    label: str
    value: str
    note: str


class PageFinding(NamedTuple):
    """One thing to know about a run; `worry` where it calls for action."""

    worry: bool
    title: str
    text: str


class PageTable(NamedTuple):
    """A table; the first cell of a row is its name."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


class SampleSide(NamedTuple):
    """One completion: who wrote it, its text as safe markup, whether it passes where that is known."""

    title: str
    text: Markup
    passes: bool | None = None


class PageSample(NamedTuple):
    """One prompt with the completions that are read side by side."""

    prompt: str
    sides: Sequence[SampleSide]


def compare_sample(
    prompt: Any,
    before: Any,
    after: Any,
    *,
    titles: tuple[str, str] = ("Before", "After"),
    passes: tuple[bool | None, bool | None] = (None, None),
) -> PageSample:
    """Return two completions with the words marked that only one of them has; `after` may be None."""
    prompt, before = plain(prompt, PROMPT_LIMIT), plain(before, COMPLETION_LIMIT)
    if after is None:
        return PageSample(prompt, [SampleSide(titles[0], escape(before))])
    marked = differences(before, plain(after, COMPLETION_LIMIT))
    return PageSample(prompt, [SampleSide(*side) for side in zip(titles, marked, passes, strict=True)])


def read_sides(prompt: Any, sides: Sequence[tuple[str, Any, bool | None]]) -> PageSample:
    """Return completions of one prompt, the words marked that the first does not have.

    Args:
        prompt: text or turns.
        sides: (title, completion, whether it passes where that is known), at least one.
    """
    (title, first, passes), *others = [(title, plain(text, COMPLETION_LIMIT), good) for title, text, good in sides]
    marked = [SampleSide(title, differences(first, text)[1], good) for title, text, good in others]
    return PageSample(plain(prompt, PROMPT_LIMIT), [SampleSide(title, escape(first), passes), *marked])


def flat(tree: Any, *, leave_out: frozenset[str] = frozenset()) -> list[tuple[str, str]]:
    """Return nested facts as (dotted path, text), at most MOST_LINES and a line with the number of the rest."""
    lines = list(_flat(tree, "", leave_out))
    if len(lines) > MOST_LINES:
        lines = [*lines[:MOST_LINES], ("...", f"{len(lines) - MOST_LINES:,} more lines, which are in the file")]
    return lines


def _flat(tree: Any, path: str, leave_out: frozenset[str]) -> Iterator[tuple[str, str]]:
    if isinstance(tree, dict) and tree:
        for key, value in tree.items():
            if key not in leave_out:
                yield from _flat(value, f"{path}.{key}" if path else str(key), leave_out)
    elif isinstance(tree, list) and any(isinstance(item, dict | list) for item in tree):
        for i, item in enumerate(tree):
            yield from _flat(item, f"{path}.{i + 1}", leave_out)
    else:
        yield path, _text(tree)


def _text(value: Any) -> str:
    if isinstance(value, list):
        value = ", ".join(map(str, value[:50])) + (f", … ({len(value):,})" if len(value) > 50 else "")
    text = "none" if value is None or value == "" or value == {} else str(value)
    return text if len(text) <= LINE_LIMIT else f"{text[:LINE_LIMIT]} …"
