"""Numbers with intervals in nested results, whatever wrote them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from prospect.report.page.parts import PageTable
from prospect.report.page.wording import MINUS, count, number, percent
from prospect.report.run.facts import dig, is_number
from prospect.results.benchmarks import TaskScore

MOST_NUMBERS = 240  # rows of the table; more are in the file
# Whole parts of a file that are no result of their own: texts, one entry for each row, bins of a figure, plans.
NOT_NUMBERS = frozenset({"examples", "samples", "disagreements", "entries", "bins", "plan", "planned_calls"})
_STANDARD_ERRORS = 1.959964  # on either side of a 95 % interval
_DRAWN = frozenset({"rate", "value", "low", "high", "stderr"})
_WORDS = {
    "auroc": "AUROC",
    "errors": "squared error over the reference's",
    "scores": "the judge's score",
    "auroc_delong": "AUROC by DeLong's method",
    "kl": "KL from the reference (nats)",
    "log_ratio": "log-ratio (nats)",
    "log_loss": "loss on desirable text (nats per token)",
    "label_log_loss": "log loss of the labels (nats)",
    "margin": "margin of rewards",
    "win_rate": "win rate",
    "win_rate_90": "win rate, interval of 90%",
    "win_rate_by_rows": "win rate, as if no prompt repeated",
    "comparison": "win rate, with the word it allows",
    "length_controlled": "win rate at equal length",
    "shown_first": "chosen when shown first",
    "our_texts": "our texts",
    "their_texts": "their texts",
    **dict.fromkeys(("tasks", "metrics"), ""),  # they add nothing to the names below them
}


class MeasuredNumber(NamedTuple):
    """One number with its interval.

    Attributes:
        name: its place in the file, in words.
        value: the number.
        low: lower end of its interval.
        high: upper end.
        n: trials, None where the file has none.
        share: a share of 0 to 1, written in percent.
        verdict: the word that the interval allows, empty where the file has none.
    """

    name: str
    value: float
    low: float
    high: float
    n: float | None
    share: bool
    verdict: str


def numbers_of(tree: Any, path: tuple[str, ...] = ()) -> Iterator[MeasuredNumber]:
    """Yield every number with an interval in nested objects, named by its path.

    A number is an object with `rate` or `value`, and `low` and `high` (or `stderr`); `n` and `verdict` may be there.
    """
    found = measured(tree, " · ".join(part for part in path if part) or "result")
    if found:
        yield found
    children = tree.items() if isinstance(tree, dict) else enumerate(tree, 1) if isinstance(tree, list) else ()
    for key, child in children:
        if isinstance(child, dict | list) and key not in NOT_NUMBERS:
            yield from numbers_of(child, (*path, _label(key, child)))


def measured(tree: Any, name: str) -> MeasuredNumber | None:
    """Return the number that an object is, None where it is none."""
    key = next((key for key in ("rate", "value") if is_number(dig(tree, key))), None)
    if key is None:
        return None
    value, low, high, error = (dig(tree, part) for part in (key, "low", "high", "stderr"))
    if not (is_number(low) and is_number(high)):
        if not is_number(error):
            return None
        low, high = value - _STANDARD_ERRORS * error, value + _STANDARD_ERRORS * error
    share = key == "rate"
    if share:
        value, low, high = (min(1.0, max(0.0, end)) for end in (value, low, high))
    n, verdict = dig(tree, "n"), dig(tree, "verdict")
    return MeasuredNumber(name, value, low, high, n if is_number(n) else None, share, str(verdict) if verdict else "")


def known(found: Mapping[str, tuple[Any, ...] | TaskScore | None]) -> list[MeasuredNumber]:
    """Return those that have an interval, by name: named tuples of the statistics, or scores of tasks."""
    trees = {
        name: one.as_dict() if isinstance(one, TaskScore) else one._asdict()  # type: ignore[attr-defined]
        for name, one in found.items()
        if one is not None
    }
    return [entry for name, tree in trees.items() if (entry := measured(tree, name))]


def number_table(found: Sequence[MeasuredNumber], title: str = "Every number with its interval") -> PageTable | None:
    """Return the numbers as a table, None where there are none."""
    if not found:
        return None
    words = any(entry.verdict for entry in found)
    rows = [
        (
            entry.name,
            written(entry.value, entry.share),
            f"{written(entry.low, entry.share)} to {written(entry.high, entry.share)}",
            count(entry.n) if entry.n is not None else MINUS,
            *([entry.verdict] if words else []),
        )
        for entry in found[:MOST_NUMBERS]
    ]
    return PageTable(title, ("measure", "value", "interval", "n", *(["in a word"] if words else [])), rows)


def written(value: float, share: bool) -> str:
    """Return a number as its kind is written."""
    return percent(value) if share else number(float(value))


def without_numbers(tree: Any) -> Any:
    """Return the tree without the numbers that the table shows, and without empty parts."""
    if isinstance(tree, list):
        return [without_numbers(item) for item in tree]
    if not isinstance(tree, dict):
        return tree
    drawn = _DRAWN if measured(tree, "") else frozenset()
    kept = {key: without_numbers(value) for key, value in tree.items() if key not in drawn}
    return {key: value for key, value in kept.items() if value not in ({}, None)}


def _label(key: Any, child: Any) -> str:
    """Return the name of a list's entry: its own."""
    if isinstance(key, int):
        for name in ("name", "task", "method", "metric"):
            if isinstance(dig(child, name), str):
                return str(child[name])
    return _WORDS.get(str(key), str(key))
