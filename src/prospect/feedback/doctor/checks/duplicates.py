"""The same row twice, nearly the same row, and the same completion everywhere."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl

from prospect.feedback.doctor.checks.case import Case, percent, several, that
from prospect.feedback.findings import Finding
from prospect.feedback.texts.near_duplicates import SIMILAR

_MANY_PROMPTS = 5  # the same short answer to a few prompts is ordinary
_ALARMING = 0.05  # share of rows


def exact_duplicates(case: Case) -> Iterator[Finding]:
    """Rows that say the same in every column but the id."""
    rows = case.data.rows.filter(~pl.col("content").is_first_distinct())["row"]
    if len(rows):
        share = len(rows) / len(case.data)
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
    data = case.data
    first = data.completions.filter(pl.col("row").is_first_distinct())
    completion, verdict = first["completion"].to_numpy(), first["verdict"].fill_null(-1).to_numpy()
    shown, members, mixed = [], 0, 0
    for rows in data.near.groups(SIMILAR):
        if len(np.unique(completion[rows])) < 2:
            continue  # exact copies have a finding of their own
        members += len(rows)
        shown += [rows[1]]
        mixed += len(np.unique(verdict[rows])) > 1
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
    completions = case.data.completions
    least = max(_MANY_PROMPTS, 0.001 * len(case.data))
    repeated = completions.group_by("completion").len().filter(pl.col("len") >= least)
    prompts = completions.join(repeated, on="completion", how="semi").select("completion", "prompt").unique()
    often = prompts.group_by("completion").agg(prompts=pl.len()).filter(pl.col("prompts") >= least)
    if not len(often):
        return
    at = completions.join(often, on="completion", how="semi")
    rows = at["row"].unique().sort()
    share = len(rows) / len(case.data)
    skew = ""
    if at["verdict"].count():
        undesirable = int((at["verdict"] == 0).sum()) / len(at)
        skew = f"; {percent(undesirable)} of these completions are undesirable"
    yield case.finding(
        "repeated_completions",
        "warning" if share > _ALARMING else "note",
        rows,
        f"{that(len(often), 'completion', 'answer')} many different prompts each (the most frequent "
        f"{often['prompts'].to_numpy().max():,}), in "
        f"{several(len(rows), 'row')} ({percent(share)}){skew}.",
        "Canned answers and refusals teach the model to give, or avoid, that one text. Keep a few of each.",
    )


CHECKS = (exact_duplicates, near_duplicates, boilerplate)
