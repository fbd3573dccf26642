"""What the statistics take in, checked once: numbers, labels, outcomes of comparisons, and which prompt a row is of."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np

from prospect.errors import DataError


class Outcomes(NamedTuple):
    """Comparisons as credits, each of shape (N,).

    Attributes:
        ours: 1 won, 1/2 tied, 0 lost or unparsed.
        theirs: the same for the other side: an unparsed verdict is 0 for both.
        parsed: whether the verdict could be read.
    """

    ours: np.ndarray
    theirs: np.ndarray
    parsed: np.ndarray


def as_numbers(values: Sequence[float | None], name: str) -> np.ndarray:
    """Return finite numbers as an array of shape (N,), N at least 1; anything else is refused by its index."""
    found = list(values)
    if not found:
        raise DataError(f"{name} is empty; expected at least one number.")
    numbers = np.array([_number(value) for value in found])
    bad = np.flatnonzero(~np.isfinite(numbers))
    if bad.size:
        raise DataError(f"{name}[{bad[0]}] is {found[bad[0]]!r}; expected a finite number ({bad.size} are not).")
    return numbers


def as_labels(values: Sequence[bool], name: str, n: int) -> np.ndarray:
    """Return labels (true/false or 1/0) as bools of shape (n,)."""
    labels = as_numbers(values, name)
    check_length(labels.size, name, n)
    bad = np.flatnonzero((labels != 0) & (labels != 1))
    if bad.size:
        raise DataError(f"{name}[{bad[0]}] is {list(values)[bad[0]]!r}; expected true or false, 1 or 0.")
    return labels == 1


def as_outcomes(outcomes: Sequence[float | None], name: str = "outcomes") -> Outcomes:
    """Return comparisons as credits; an outcome is 1 won, 1/2 tied, 0 lost, a share between, or None for unparsed."""
    found = list(outcomes)
    parsed = np.array([value is not None for value in found], dtype=bool)
    ours = as_numbers([0.0 if value is None else value for value in found], name)
    bad = np.flatnonzero((ours < 0) | (ours > 1))
    if bad.size:
        raise DataError(f"{name}[{bad[0]}] is {found[bad[0]]!r}; expected 0 to 1, or None for an unparsed verdict.")
    return Outcomes(ours, np.where(parsed, 1 - ours, 0.0), parsed)


def as_groups(prompts: Sequence[Hashable] | None, n: int) -> tuple[np.ndarray, int]:
    """Return each row's prompt as a number of shape (n,), and how many prompts there are.

    Prompts are distinguished by their text and numbered in its order, so that the order of rows changes nothing.
    None means that every row has its own prompt.
    """
    if prompts is None:
        return np.arange(n), n
    names = [_name(prompt, i) for i, prompt in enumerate(prompts)]
    check_length(len(names), "prompts", n)
    numbers = {name: i for i, name in enumerate(sorted(set(names)))}
    return np.array([numbers[name] for name in names], dtype=np.int64), len(numbers)


def check_length(found: int, name: str, n: int) -> None:
    """Refuse a column of another length than the rest."""
    if found != n:
        raise DataError(f"{name} has {found} entries; expected {n}, one per row.")


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")


def _name(prompt: Hashable, i: int) -> str:
    if prompt is None:
        raise DataError(f"prompts[{i}] is None; expected each row's prompt, or a name of it.")
    return str(prompt)
