"""Prompts that are trained on and evaluated on."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from prospect.feedback.doctor.checks.case import Case, percent, several, that
from prospect.feedback.findings import Finding
from prospect.feedback.texts.near_duplicates import SIMILAR, NearDuplicates


def exact_leaks(case: Case) -> Iterator[Finding]:
    """Prompts of the files for evaluation that are in the others too."""
    held_out = case.held_out
    if held_out is None:
        return
    leaked = held_out.rows.join(case.data.rows, on="prompt", how="semi", maintain_order="left")
    if not len(leaked):
        return
    prompts, common = held_out.rows["prompt"].n_unique(), leaked["prompt"].n_unique()
    yield Finding(
        code="leaked_prompts",
        severity="error",
        count=common,
        rows=held_out.ids(leaked["row"]),
        message=f"{several(common, 'prompt')} of the {prompts:,} to evaluate on "
        f"({percent(common / prompts)}; "
        f"{several(len(leaked), 'row')}) {'is' if common == 1 else 'are'} in the training files too.",
        advice="Split by prompt (prospect data split), or remove these rows from one side: scores on them say what was "
        "learned by heart.",
    )


def near_leaks(case: Case) -> Iterator[Finding]:
    """Prompts of the files for evaluation that are almost the same as some of the others."""
    data, held_out = case.data, case.held_out
    if held_out is None:
        return
    both = NearDuplicates()
    both.merge(data.near_prompts)
    both.merge(held_out.near_prompts, len(data))  # keys: the training rows, then those of the other files
    near: list[int] = []
    for group in both.groups(SIMILAR):
        theirs = [key - len(data) for key in group if key >= len(data)]
        near += theirs if len(theirs) < len(group) else []
    rows = held_out.rows[sorted(near)].join(data.rows, on="prompt", how="anti", maintain_order="left")["row"]
    if not len(rows):
        return
    sampled = "" if data.sampled >= 1 else f" (compared with {percent(data.sampled)} of the training prompts)"
    yield Finding(
        code="near_leaked_prompts",
        severity="warning",
        count=len(rows),
        rows=held_out.ids(rows),
        message=f"{that(len(rows), 'prompt', 'are')} almost the same in the files to evaluate on as one in the "
        f"training files{sampled}.",
        advice="Look at some: a changed name or number is a leak, a common opening is not.",
    )


def implicit_prompts(case: Case) -> Iterator[Finding]:
    """Pairs without a prompt column, whose prompts begin alike without being the same."""
    pairs = case.data.rows.drop_nulls("opening")
    rows = pairs.filter(pl.col("prompt").n_unique().over("opening") > 1)["row"]
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
