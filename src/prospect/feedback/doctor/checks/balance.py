"""How many of what: the two classes, weights, relative and unfinished rows, rows without a verdict."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl

from prospect.feedback.doctor.checks.case import Case, percent, several, that
from prospect.feedback.findings import Finding

_UNEVEN = 4.0  # times as many of one class; up to here class weights change little
_WIDE = 100.0  # times the median weight: a hundred rows have less say than one
_FEW = 100  # rows; no method learns a preference from fewer


def one_class(case: Case) -> Iterator[Finding]:
    """Thumbs of one kind alone, or many more of one kind."""
    data = case.data
    if data.kind != "unpaired":
        return
    up, down = verdict_counts(case)
    if not up or not down:
        have, lack = ("desirable", "undesirable") if up else ("undesirable", "desirable")
        advice = "Train on them as demonstrations (loss sft), or collect" if up else "Check the labels, or collect"
        yield case.finding(
            "one_class",
            "error",
            [],
            f"all of {several(len(data), 'row')} are {have}; losses on thumbs need both and refuse this.",
            f"{advice} {lack} rows.",
            count=len(data),
        )
    elif max(up, down) > _UNEVEN * min(up, down):
        more, fewer = ("desirable", "undesirable") if up > down else ("undesirable", "desirable")
        few = data.completions.filter(pl.col("verdict") == int(up < down))["row"]
        yield case.finding(
            "uneven_classes",
            "note",
            few,
            f"{max(up, down) / min(up, down):.1f} times as many {more} rows as {fewer} ones.",
            "KTO copes with this through its class weights (data.class_weights: auto sets them). Do not throw rows "
            "away.",
        )


def few_rows(case: Case) -> Iterator[Finding]:
    """Too little to learn from."""
    if len(case.data) < _FEW:
        yield case.finding(
            "few_rows",
            "warning",
            [],
            f"only {several(len(case.data), 'row')}: whatever is measured here is uncertain.",
            "Collect more before drawing conclusions.",
            count=len(case.data),
        )


def no_verdicts(case: Case) -> Iterator[Finding]:
    """Demonstrations: nobody has judged anything."""
    if case.data.kind == "demonstration":
        yield case.finding(
            "no_verdicts",
            "note",
            [],
            "the rows are demonstrations: completions to imitate, without a verdict.",
            "Train on them with loss sft. If a column holds a verdict under another name, call it label.",
            count=len(case.data),
        )


def weights(case: Case) -> Iterator[Finding]:
    """Rows that count for nothing, or for a hundred others."""
    weight = case.data.rows["weight"].to_numpy()
    weight = weight / max(weight.max(), 1.0)  # so that sums of the largest of floats stay finite
    nothing = np.flatnonzero(weight == 0)
    if len(nothing):
        yield case.finding(
            "zero_weight",
            "warning",
            nothing,
            f"{that(len(nothing), 'row', 'have')} weight 0: they are read, tokenised, and change nothing.",
            "Remove them, or give them a weight.",
        )
    positive = weight[weight > 0]
    if len(positive):
        heavy = np.flatnonzero(weight > _WIDE * np.median(positive))
        if len(heavy):
            share = weight[heavy].sum() / weight.sum()
            yield case.finding(
                "heavy_weights",
                "warning",
                heavy,
                f"{that(len(heavy), 'row', 'weigh')} more than {_WIDE:.0f} times the median weight and have "
                f"{percent(share)} of all weight.",
                "Check the column weight: one such row decides an optimizer step alone.",
            )


def relative(case: Case) -> Iterator[Finding]:
    """Arena votes used as thumbs."""
    rows = case.data.marked("relative")
    if len(rows) and case.data.kind == "unpaired":
        yield case.finding(
            "relative_votes",
            "warning",
            rows,
            f"{that(len(rows), 'vote', 'compare', len(rows) / len(case.data))} with a sibling only: the "
            "loser of two good completions counts as undesirable.",
            "Import again with --relative drop and keep absolute thumbs for KTO. Where both siblings are in the file, "
            "prospect data convert --to paired makes pairs of them.",
        )


def unfinished(case: Case) -> Iterator[Finding]:
    """Completions that were cut short."""
    rows = case.data.marked("unfinished")
    if len(rows):
        share = len(rows) / len(case.data)
        yield case.finding(
            "unfinished",
            "warning" if share > 0.5 else "note",
            rows,
            f"{that(len(rows), 'row', 'were', share)} cut short (finished: false) and get no end token.",
            "Fine as it is; if nearly all are, the model hardly learns to stop. Log longer completions."
            if share > 0.5
            else "Nothing to do: they train without an end token.",
        )


def ties(case: Case) -> Iterator[Finding]:
    """Scored rows that prefer nothing."""
    rows = case.data.marked("tied")
    if len(rows):
        yield case.finding(
            "tied_scores",
            "warning" if len(rows) > len(case.data) / 2 else "note",
            rows,
            f"{that(len(rows), 'row', 'have')} the same score for all completions: nothing about which is better.",
            "Score on a finer scale, or leave these rows out.",
        )


def same_sides(case: Case) -> Iterator[Finding]:
    """Pairs of a text with itself."""
    rows = case.data.marked("same_sides")
    if len(rows) and case.data.kind == "paired":
        yield case.finding(
            "same_sides",
            "error",
            rows,
            f"{that(len(rows), 'pair', 'have')} the same {'image' if case.data.looks else 'text'} as chosen and as "
            "rejected.",
            "Remove them: there is nothing to prefer.",
        )
    elif len(rows):
        yield case.finding(
            "repeated_completion",
            "note",
            rows,
            f"{that(len(rows), 'row', 'hold')} one completion twice.",
            "Score each different completion once.",
        )


def verdict_counts(case: Case) -> tuple[int, int]:
    """Return the number of desirable and undesirable completions; of scored rows nothing is either."""
    verdict = case.data.completions["verdict"]
    return int((verdict == 1).sum()), int((verdict == 0).sum())


CHECKS = (one_class, few_rows, no_verdicts, weights, relative, unfinished, ties, same_sides)
