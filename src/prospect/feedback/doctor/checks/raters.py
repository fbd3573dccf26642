"""Who voted: how much of the set is one person's, and habits that say the person did not look."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl

from prospect.feedback.doctor.checks.case import Case, percent, several, that
from prospect.feedback.doctor.checks.gather import Gathered
from prospect.feedback.findings import EXAMPLES, Finding

_BURST = 10  # votes
_BURST_SECONDS = 20.0  # two seconds a vote: too short to read a completion
_DOMINANT = 0.5  # share of all votes of known raters
_BY_CHANCE = 1e-3  # after dividing by the number of raters that are tested
_OVERLAP = 20  # votes on completions that others judged too
_TABLE = 20  # raters listed in the summary


def one_sided(case: Case) -> Iterator[Finding]:
    """Raters who always vote up, or always down, more often than chance allows.

    Under the rate p of all votes, n equal votes in a row happen with probability p^n.
    """
    if case.data.kind != "unpaired":
        return
    raters = _raters(case.data)
    if len(raters) < 2:
        return
    n, ups = pl.col("rows"), pl.col("desirable")
    rate = float(raters["desirable"].sum() + 1) / float(raters["rows"].sum() + 2)
    limit = np.log(_BY_CHANCE / len(raters))
    for name, same, p in (("up", ups == n, rate), ("down", ups == 0, 1 - rate)):
        odd = raters.filter(same & (n * np.log(p) < limit))
        if len(odd):
            rows = _rows_of(case.data, odd)
            yield case.finding(
                f"always_{name}",
                "warning",
                rows,
                f"{several(len(odd), 'rater')} only ever voted {name} ({_listed(odd)}), in "
                f"{several(len(rows), 'row')}; where {percent(float(rate))} of all votes are up, that is no chance.",
                "Their votes say who voted, not what is good. Look at some; leave the rater out if they judge nothing.",
                count=len(odd),
            )


def bursts(case: Case) -> Iterator[Finding]:
    """Many votes of one rater within seconds."""
    known = case.data.rows.select("row", "rater", "time").drop_nulls().sort("rater", "time", maintain_order=True)
    took = pl.col("time") - pl.col("time").shift(_BURST - 1).over("rater")
    ends = known.select("row", "rater", ends=(took < _BURST_SECONDS).fill_null(False))
    inside = ends.filter(pl.any_horizontal(pl.col("ends").shift(-i, fill_value=False) for i in range(_BURST)))
    if not len(inside):
        return
    rows, raters = inside["row"].sort(), inside["rater"].n_unique()
    share = len(rows) / len(known)
    batch = share > 0.5
    yield case.finding(
        "bursts",
        "note" if batch else "warning",
        rows,
        f"{several(len(rows), 'vote')} of {several(raters, 'rater')} came {_BURST} or more within "
        f"{_BURST_SECONDS:.0f} seconds."
        + (" That is more than half of all: the times may be those of a batch, not of the votes." if batch else ""),
        "If times are when a batch was written, ignore this; else nobody reads that fast: look at these votes.",
    )


def dominant(case: Case) -> Iterator[Finding]:
    """One rater who holds most of the set."""
    raters = _raters(case.data)
    if len(raters) < 2:
        return
    share = raters["rows"][0] / raters["rows"].sum()
    if share > _DOMINANT:
        yield case.finding(
            "dominant_rater",
            "warning",
            _rows_of(case.data, raters.head(1)),
            f"one of {len(raters):,} raters, {raters['rater'][0]}, gave {percent(share)} of the verdicts.",
            "The model will learn this person's taste. Cap the rows per rater, or lower their weight.",
        )


def against_the_others(case: Case) -> Iterator[Finding]:
    """Raters who disagree with the others more often than they agree."""
    if case.votes is None:
        return
    others = pl.col("votes") - 1
    agreeing = pl.when("up").then(pl.col("ups") - 1).otherwise(others - pl.col("ups"))
    judged = case.votes.each.drop_nulls("rater").join(case.votes.items.drop("row").filter(others > 0), on="item")
    judged = judged.with_columns(rater=case.data.rows["rater"].gather(judged["row"]))
    raters = judged.group_by("rater").agg(rows=pl.len(), share=(agreeing / others).mean())
    raters = _raters(case.data).select("rater").join(raters, on="rater", maintain_order="left")
    sure = pl.col("share") + 1 / pl.col("rows").sqrt() < 0.5  # two standard errors below a half
    odd = raters.filter((pl.col("rows") >= _OVERLAP) & sure).sort("rows", descending=True, maintain_order=True)
    if len(odd):
        yield case.finding(
            "contrary_raters",
            "warning",
            _rows_of(case.data, odd),
            f"{that(len(odd), 'rater', 'disagree')} with the others on the same completions more often than they agree "
            f"({_listed(odd)}).",
            "They may have read the buttons the other way round. Ask, or leave their votes out.",
            count=len(odd),
        )


def _raters(data: Gathered) -> pl.DataFrame:
    """Return the known raters with their rows and, of thumbs, the desirable ones: those with the most rows first."""
    counts = {"rows": pl.len().cast(pl.Int64)}
    rows = data.rows.select("rater")
    if data.kind == "unpaired":
        counts["desirable"] = pl.col("verdict").sum().cast(pl.Int64)
        rows = rows.with_columns(data.completions["verdict"])
    raters = rows.drop_nulls("rater").group_by("rater", maintain_order=True).agg(**counts)
    return raters.sort("rows", descending=True, maintain_order=True)


def _rows_of(data: Gathered, raters: pl.DataFrame) -> pl.Series:
    return data.rows.join(raters, on="rater", how="semi", maintain_order="left")["row"]


def _listed(raters: pl.DataFrame) -> str:
    """Return the first raters, by name."""
    listed = ", ".join(f"{name}: {rows:,}" for name, rows in raters.select("rater", "rows").head(EXAMPLES).iter_rows())
    return f"{listed}, ..." if len(raters) > EXAMPLES else listed


def rater_summary(data: Gathered) -> dict[str, Any]:
    """Return how many raters there are, and those with the most votes."""
    raters = _raters(data)
    return {
        "known": len(raters),
        "rows_without": data.rows["rater"].null_count(),
        "most": raters.head(_TABLE).to_dicts(),
    }


CHECKS = (one_sided, bursts, dominant, against_the_others)
