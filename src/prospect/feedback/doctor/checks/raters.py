"""Who voted: how much of the set is one person's, and habits that say the person did not look."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from prospect.feedback.doctor.checks.case import Case, percent, several, that
from prospect.feedback.doctor.checks.gather import Gathered
from prospect.feedback.doctor.checks.verdicts import votes_of
from prospect.feedback.findings import EXAMPLES, Finding

if TYPE_CHECKING:
    from numpy.typing import NDArray

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
    import numpy as np

    if case.data.kind != "unpaired":
        return
    n, ups = _votes_by_rater(case.data)
    if len(n) < 2:
        return
    rate = (ups.sum() + 1) / (n.sum() + 2)
    limit = np.log(_BY_CHANCE / len(n))
    for name, same, p in (("up", ups == n, rate), ("down", ups == 0, 1 - rate)):
        odd = np.flatnonzero(same & (n * np.log(p) < limit) & (n > 0))
        if len(odd):
            rows = _rows_of(case.data, odd)
            yield case.finding(
                f"always_{name}",
                "warning",
                rows,
                f"{several(len(odd), 'rater')} only ever voted {name} ({_listed(case.data, odd, n)}), in "
                f"{several(len(rows), 'row')}; where {percent(float(rate))} of all votes are up, that is no chance.",
                "Their votes say who voted, not what is good. Look at some; leave the rater out if they judge nothing.",
                count=len(odd),
            )


def bursts(case: Case) -> Iterator[Finding]:
    """Many votes of one rater within seconds."""
    import numpy as np

    table = case.data.table
    known = np.flatnonzero((table.rater >= 0) & ~np.isnan(table.time))
    if len(known) < _BURST:
        return
    order = known[np.lexsort((table.time[known], table.rater[known]))]
    rater, time = table.rater[order], table.time[order]
    last = np.arange(_BURST - 1, len(order))
    begins = last - (_BURST - 1)
    fast = (rater[last] == rater[begins]) & (time[last] - time[begins] < _BURST_SECONDS)
    if not fast.any():
        return
    inside = np.zeros(len(order) + 1, dtype=np.int64)
    np.add.at(inside, begins[fast], 1)
    np.add.at(inside, last[fast] + 1, -1)
    within = np.flatnonzero(np.cumsum(inside[:-1]) > 0)
    rows = np.sort(order[within])
    who = np.unique(rater[within])
    share = len(rows) / len(known)
    batch = share > 0.5
    yield case.finding(
        "bursts",
        "note" if batch else "warning",
        rows,
        f"{several(len(rows), 'vote')} of {several(len(who), 'rater')} came {_BURST} or more within "
        f"{_BURST_SECONDS:.0f} seconds."
        + (" That is more than half of all: the times may be those of a batch, not of the votes." if batch else ""),
        "If times are when a batch was written, ignore this; else nobody reads that fast: look at these votes.",
    )


def dominant(case: Case) -> Iterator[Finding]:
    """One rater who holds most of the set."""
    import numpy as np

    n, _ = _votes_by_rater(case.data)
    if len(n) < 2:
        return
    most = int(np.argmax(n))
    share = n[most] / n.sum()
    if share > _DOMINANT:
        yield case.finding(
            "dominant_rater",
            "warning",
            _rows_of(case.data, np.array([most])),
            f"one of {len(n):,} raters, {case.data.table.names['rater'][most]}, gave {percent(float(share))} of the "
            "verdicts.",
            "The model will learn this person's taste. Cap the rows per rater, or lower their weight.",
        )


def against_the_others(case: Case) -> Iterator[Finding]:
    """Raters who disagree with the others more often than they agree."""
    import numpy as np

    votes = votes_of(case.data)
    if votes is None or not (votes.rater >= 0).any():
        return
    _, item = np.unique(votes.item, return_inverse=True)
    count, ups = np.bincount(item), np.bincount(item, weights=votes.up)
    others = (count[item] - 1).astype(float)
    agreeing = np.where(votes.up, ups[item] - 1, count[item] - ups[item] - 1)
    judged = (others > 0) & (votes.rater >= 0)
    raters = len(case.data.table.names["rater"])
    n = np.bincount(votes.rater[judged], minlength=raters)
    agreed = np.bincount(votes.rater[judged], weights=agreeing[judged] / others[judged], minlength=raters)
    share = agreed / np.maximum(n, 1)
    odd = np.flatnonzero((n >= _OVERLAP) & (share + np.sqrt(0.25 / np.maximum(n, 1)) * 2 < 0.5))
    if len(odd):
        yield case.finding(
            "contrary_raters",
            "warning",
            _rows_of(case.data, odd),
            f"{that(len(odd), 'rater', 'disagree')} with the others on the same completions more often than they agree "
            f"({_listed(case.data, odd, n)}).",
            "They may have read the buttons the other way round. Ask, or leave their votes out.",
            count=len(odd),
        )


def _votes_by_rater(data: Gathered) -> tuple[NDArray[Any], NDArray[Any]]:
    """Rows of each rater, and the desirable ones among them; of pairs and scored rows, 0."""
    import numpy as np

    table = data.table
    known = table.rater >= 0
    raters = len(table.names["rater"])
    n = np.bincount(table.rater[known], minlength=raters)
    if data.kind != "unpaired":
        return n, np.zeros(raters, dtype=np.int64)
    return n, np.bincount(table.rater[known & (table.verdict == 1)], minlength=raters)


def _rows_of(data: Gathered, raters: NDArray[Any]) -> NDArray[Any]:
    import numpy as np

    return np.flatnonzero(np.isin(data.table.rater, raters))


def _listed(data: Gathered, raters: NDArray[Any], n: NDArray[Any]) -> str:
    """Return the raters with the most votes, by name."""
    most = sorted(raters.tolist(), key=lambda rater: -int(n[rater]))
    listed = ", ".join(f"{data.table.names['rater'][rater]}: {int(n[rater]):,}" for rater in most[:EXAMPLES])
    return f"{listed}, ..." if len(most) > EXAMPLES else listed


def rater_summary(data: Gathered) -> dict[str, Any]:
    """Return how many raters there are, and those with the most votes."""
    import numpy as np

    n, ups = _votes_by_rater(data)
    summary: dict[str, Any] = {"known": len(n), "rows_without": int((data.table.rater < 0).sum()), "most": []}
    for rater in np.argsort(-n, kind="stable")[:_TABLE].tolist():
        entry = {"rater": data.table.names["rater"][rater], "rows": int(n[rater])}
        if data.kind == "unpaired":
            entry["desirable"] = int(ups[rater])
        summary["most"].append(entry)
    return summary


CHECKS = (one_sided, bursts, dominant, against_the_others)
