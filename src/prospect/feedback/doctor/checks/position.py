"""Whether the place of a row, or of a completion in its row, goes with the verdict."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl

from prospect.feedback.doctor.checks.case import Case, percent, several
from prospect.feedback.doctor.checks.gather import Gathered
from prospect.feedback.findings import Finding
from prospect.feedback.times import write_time
from prospect.statistics.noise import Comparison, compare, two_sided

_WORTH_A_NOTE = 0.6  # AUC
_WORTH_A_WARNING = 0.75
_SURE = 1e-3  # p
_PLACE_FACTOR = 1.5  # times as often best as chance would have it
_PERIODS = 400  # days shown one by one; longer times are shown by the week or the month
_SECONDS = {"day": 86_400, "week": 7 * 86_400, "month": 30 * 86_400}


def order_and_label(case: Case) -> Iterator[Finding]:
    """Whether labels go with the order of the rows, or with time."""
    data = case.data
    if data.kind != "unpaired":
        return
    up = (data.completions["verdict"] == 1).to_numpy()
    order = compare(np.arange(len(data)), up)
    times = data.rows["time"].to_numpy()
    known = ~np.isnan(times)
    time = compare(times[known], up[known])
    if _matters(time) and time is not None:
        late = "later" if time.auc > 0.5 else "earlier"
        yield case.finding(
            "time_and_label",
            "warning" if _strong(time) else "note",
            [],
            f"desirable rows are {late}: a desirable one is {late} than an undesirable one in {_share(time)} of cases "
            "(half "
            "would be no effect).",
            "The product or its users changed. Split by time (prospect data split) to see what that does to "
            "evaluation.",
            count=time.n,
        )
    elif _matters(order) and order is not None:
        late = "after" if order.auc > 0.5 else "before"
        yield case.finding(
            "order_and_label",
            "note",
            [],
            f"rows are ordered by label: a desirable one stands {late} an undesirable one in {_share(order)} of cases.",
            "Training shuffles, so this is harmless here; take no held-out rows from one end of the file.",
            count=order.n,
        )


def first_answer(case: Case) -> Iterator[Finding]:
    """Whether the first completion of a prompt gets the better verdicts."""
    if case.data.kind != "unpaired":
        return
    prompts = case.data.completions.group_by("prompt", maintain_order=True)
    votes = prompts.agg(pl.col("verdict").first(), chance=pl.col("verdict").mean())
    votes = votes.filter((pl.col("chance") > 0) & (pl.col("chance") < 1))
    n = len(votes)
    if n < 50:
        return
    # Within a prompt with u desirable rows of k, the first is desirable by chance with probability u / k.
    chance, found = votes["chance"].to_numpy(), votes["verdict"].to_numpy()
    z = float((found - chance).sum() / np.sqrt((chance * (1 - chance)).sum()))
    rate, expected = float(found.mean()), float(chance.mean())
    if two_sided(z) > _SURE or abs(rate - expected) < 0.1:
        return
    yield case.finding(
        "first_and_label",
        "note",  # a file may be written best first
        [],
        f"of {several(n, 'prompt')} with both labels, the first row is desirable in {percent(rate)}; by chance it "
        "would be "
        f"in {percent(expected)}.",
        "If rows stand in the order in which completions were shown, raters favour a place. Show them in random order.",
        count=n,
    )


def place_of_best(case: Case) -> Iterator[Finding]:
    """Whether the best of a scored row stands at one place more often than chance allows."""
    data = case.data
    if data.kind != "scored":
        return
    place, size = _best_places(data)
    if len(place) < 50:
        return
    for where in range(int(size.max())):
        can = size > where
        chance = 1 / size[can]
        wins = place[can] == where
        z = float((wins - chance).sum() / np.sqrt((chance * (1 - chance)).sum()))
        rate, expected = float(wins.mean()), float(chance.mean())
        if two_sided(z) < _SURE and rate > _PLACE_FACTOR * expected and can.sum() >= 50:
            yield case.finding(
                "place_of_best",
                "warning",
                [],
                f"the best completion stands at place {where + 1} in {percent(rate)} of rows; by chance it would in "
                f"{percent(expected)}.",
                "Sorted rows are harmless. If completions stand in the order shown to a rater or judge, it favours a "
                "place.",
                count=int(can.sum()),
            )


def _best_places(data: Gathered) -> tuple[Any, Any]:
    """Return the place of the one best completion of each row that has one, and how many completions the row has."""
    rows = data.completions.group_by("row", maintain_order=True).agg(
        place=pl.col("score").arg_max(), size=pl.len(), best=(pl.col("score") == pl.col("score").max()).sum()
    )
    alone = rows.filter(pl.col("best") == 1)
    return alone["place"].to_numpy(), alone["size"].to_numpy()


def time_summary(data: Gathered) -> dict[str, Any] | None:
    """Return the first and last time, and verdicts by class and day; None where no row has a time."""
    known = data.rows["time"].is_not_null()
    time = data.rows["time"].filter(known).to_numpy()
    if not len(time):
        return None
    low, high = float(time.min()), float(time.max())
    unit = next((unit for unit, length in _SECONDS.items() if (high - low) / length <= _PERIODS), "month")
    length = max(
        _SECONDS[unit], int((high - low) / 5000) + 1
    )  # a wrong date in the year 1 must not cost a million bins
    start = low // length * length
    period = ((time - start) // length).astype(np.int64)
    classes: dict[str, Any] = {"rows": np.ones(len(time), dtype=bool)}
    if data.kind == "unpaired":
        verdict = data.completions["verdict"].filter(known).to_numpy()
        classes = {"desirable": verdict == 1, "undesirable": verdict == 0}
    shown = np.unique(period)
    index = np.searchsorted(shown, period)
    return {
        "first": _written(low),
        "last": _written(high),
        "rows": len(time),
        "unit": unit,
        "starts": [_written(start + int(p) * length) for p in shown],
        "counts": {n: np.bincount(index[c], minlength=len(shown)).tolist() for n, c in classes.items()},
    }


def _written(seconds: float) -> str:
    """Seconds since 1970 as text, held between the years 1 and 9999 that a date can have."""
    try:
        return write_time(datetime.fromtimestamp(seconds, UTC))
    except (ValueError, OverflowError, OSError):
        return write_time((datetime.min if seconds < 0 else datetime.max).replace(tzinfo=UTC))


def _matters(found: Comparison | None) -> bool:
    return found is not None and found.p < _SURE and max(found.auc, 1 - found.auc) > _WORTH_A_NOTE


def _strong(found: Comparison) -> bool:
    return max(found.auc, 1 - found.auc) > _WORTH_A_WARNING


def _share(found: Comparison) -> str:
    return percent(max(found.auc, 1 - found.auc))


CHECKS = (order_and_label, first_answer, place_of_best)
