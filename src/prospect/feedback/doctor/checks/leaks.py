"""Prompts that are trained on and evaluated on."""

from __future__ import annotations

from collections.abc import Iterator

from prospect.feedback.doctor.checks.case import Case, percent, several, that
from prospect.feedback.doctor.checks.columns import piece_of_key
from prospect.feedback.doctor.checks.duplicates import SIMILAR
from prospect.feedback.findings import EXAMPLES, Finding


def exact_leaks(case: Case) -> Iterator[Finding]:
    """Prompts of the files for evaluation that are in the others too."""
    import numpy as np

    held_out = case.held_out
    if held_out is None:
        return
    prompts = np.unique(held_out.table.prompt)
    common = np.intersect1d(prompts, case.data.table.prompt)
    if not len(common):
        return
    rows = np.flatnonzero(np.isin(held_out.table.prompt, common))
    yield Finding(
        code="leaked_prompts",
        severity="error",
        count=len(common),
        rows=held_out.ids(rows),
        message=f"{several(len(common), 'prompt')} of the {len(prompts):,} to evaluate on "
        f"({percent(len(common) / len(prompts))}; "
        f"{several(len(rows), 'row')}) {'is' if len(common) == 1 else 'are'} in the training files too.",
        advice="Split by prompt (prospect data split), or remove these rows from one side: scores on them say what was "
        "learned by heart.",
    )


def near_leaks(case: Case) -> Iterator[Finding]:
    """Prompts of the files for evaluation that are almost the same as some of the others."""
    import numpy as np

    from prospect.feedback.texts.near_duplicates import NearDuplicates

    data, held_out = case.data, case.held_out
    if held_out is None:
        return
    both = NearDuplicates()
    both.merge(data.near_prompts)
    both.merge(held_out.near_prompts)
    exact = set(np.intersect1d(held_out.table.prompt, data.table.prompt).tolist())
    rows: list[int] = []
    for group in both.groups(SIMILAR):
        mine = [held_out.row(key) for key in group if piece_of_key(key) in held_out.starts]
        if 0 < len(mine) < len(group):
            rows += [row for row in mine if int(held_out.table.prompt[row]) not in exact]
    if not rows:
        return
    sampled = "" if data.sampled >= 1 else f" (compared with {percent(data.sampled)} of the training prompts)"
    yield Finding(
        code="near_leaked_prompts",
        severity="warning",
        count=len(rows),
        rows=held_out.ids(sorted(rows)[:EXAMPLES]),
        message=f"{that(len(rows), 'prompt', 'are')} almost the same in the files to evaluate on as one in the "
        f"training files{sampled}.",
        advice="Look at some: a changed name or number is a leak, a common opening is not.",
    )


def implicit_prompts(case: Case) -> Iterator[Finding]:
    """Pairs without a prompt column, whose prompts begin alike without being the same."""
    import numpy as np

    table = case.data.table
    at = np.flatnonzero(table.opening)
    if not len(at):
        return
    _, group = np.unique(table.opening[at], return_inverse=True)
    order = np.lexsort((table.prompt[at], group))
    group, prompts = group[order], table.prompt[at][order]
    new = np.r_[True, (prompts[1:] != prompts[:-1]) | (group[1:] != group[:-1])]
    different = np.bincount(group[new])
    rows = np.sort(at[order[different[group] > 1]])
    if len(rows):
        yield case.finding(
            "implicit_prompts",
            "warning",
            rows,
            f"{that(len(rows), 'pair', 'have')} no column prompt, and what their two sides share begins like that of "
            "another "
            "pair without being the same: one prompt may count as two.",
            "Write the column prompt: a split by prompt cannot keep these together, so evaluation may see what was "
            "trained on.",
        )


CHECKS = (exact_leaks, near_leaks, implicit_prompts)
