"""The same row twice, nearly the same row, and the same completion everywhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from prospect.feedback.doctor.checks.case import Case, percent, several, that
from prospect.feedback.findings import Finding

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIMILAR = 0.8
"""The share of common three-word shingles (Jaccard index) from which texts are near duplicates."""
_MANY_PROMPTS = 5  # the same short answer to a few prompts is ordinary
_ALARMING = 0.05  # share of rows


def exact_duplicates(case: Case) -> Iterator[Finding]:
    """Rows that say the same in every column but the id."""
    rows = later_copies(case.data.table.content)
    if len(rows):
        share = len(rows) / len(case.data.table)
        yield case.finding(
            "exact_duplicates",
            "warning" if share > 0.01 else "note",
            rows,
            f"{that(len(rows), 'row', 'repeat', share)} an earlier row: same prompt, completion, verdict, rater "
            "and time.",
            "Remove the copies, unless they are separate votes; a row that is there twice counts twice.",
        )


def near_duplicates(case: Case) -> Iterator[Finding]:
    """Completions that are almost the same."""
    import numpy as np

    data, table = case.data, case.data.table
    first = np.searchsorted(table.row, np.arange(len(table)))
    shown, members, mixed = [], 0, 0
    for group in data.near.groups(SIMILAR):
        rows = [data.row(key) for key in group]
        if len(np.unique(table.completion[first[rows]])) < 2:
            continue  # exact copies have a finding of their own
        members += len(rows)
        shown += [rows[1]]
        mixed += len(np.unique(table.verdict[first[rows]])) > 1
    if not members:
        return
    share = members / max(data.looked_at, 1)
    disagreeing = f"; {that(mixed, 'group', 'carry')} both labels" if mixed and data.kind == "unpaired" else ""
    yield case.finding(
        "near_duplicates",
        "warning" if share > _ALARMING else "note",
        shown,
        f"{several(members, 'row')} in {several(len(shown), 'group')} have completions that are almost the same (at "
        "least "
        f"{SIMILAR:.0%} of three-word sequences in common){disagreeing}{case.of_sample()}.",
        "Look at a few groups: templates and regenerations are fine, a scraped copy is not. Split by prompt, so that "
        "they do not stand on both sides.",
        count=members,
    )


def boilerplate(case: Case) -> Iterator[Finding]:
    """One completion given to many prompts."""
    import numpy as np

    table = case.data.table
    completions, counts = np.unique(once_each(table.completion, table.prompt[table.row]), return_counts=True)
    often = completions[counts >= max(_MANY_PROMPTS, 0.001 * len(table))]
    if not len(often):
        return
    at = np.flatnonzero(np.isin(table.completion, often))
    rows = np.unique(table.row[at])
    share = len(rows) / len(table)
    verdicts = table.verdict[at]
    skew = ""
    if (verdicts >= 0).any():
        skew = f"; {percent(float((verdicts == 0).sum() / len(verdicts)))} of these completions are undesirable"
    yield case.finding(
        "repeated_completions",
        "warning" if share > _ALARMING else "note",
        rows,
        f"{that(len(often), 'completion', 'answer')} many different prompts each (the most frequent "
        f"{counts.max():,}), in "
        f"{several(len(rows), 'row')} ({percent(share)}){skew}.",
        "Canned answers and refusals teach the model to give, or avoid, that one text. Keep a few of each.",
    )


def later_copies(keys: NDArray[Any]) -> NDArray[Any]:
    """Return the places of values that stood before, ascending."""
    import numpy as np

    _, first = np.unique(keys, return_index=True)
    later = np.ones(len(keys), dtype=bool)
    later[first] = False
    return np.flatnonzero(later)


def once_each(left: NDArray[Any], right: NDArray[Any]) -> NDArray[Any]:
    """Return the left values, sorted, each as often as it has different right ones."""
    import numpy as np

    order = np.lexsort((right, left))
    left, right = left[order], right[order]
    new = np.ones(len(left), dtype=bool)
    new[1:] = (left[1:] != left[:-1]) | (right[1:] != right[:-1])
    return left[new]


CHECKS = (exact_duplicates, near_duplicates, boilerplate)
