"""Verdicts that contradict one another, and how noisy they are therefore."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

from prospect.feedback.doctor.checks.case import Case, percent, several
from prospect.feedback.doctor.checks.gather import Gathered
from prospect.feedback.findings import Finding
from prospect.statistics.noise import Noise, estimate_noise

if TYPE_CHECKING:
    from numpy.typing import NDArray

_NOISY = 0.2  # flip rate: from here on every third pair of votes disagrees
_FEW_ITEMS = 20  # completions with several votes; of fewer no rate is worth a name


@dataclass(frozen=True)
class Votes:
    """Verdicts by what they are about: one completion of a prompt, or two of them.

    Attributes:
        item: (V,) hash of prompt and completion, or of prompt and both sides, whichever came first.
        up: (V,) bool: desirable; of pairs, that the side with the smaller hash was chosen.
        row: (V,) the row of the vote.
        rater: (V,) code of its rater, -1 unknown.
    """

    item: NDArray[Any]
    up: NDArray[Any]
    row: NDArray[Any]
    rater: NDArray[Any]


def votes_of(data: Gathered) -> Votes | None:
    """Return the verdicts, the latest of each known rater on each item; None where nothing is judged one by one.

    Rows without a rater count as votes of different people.
    """
    import numpy as np

    table = data.table
    if data.kind == "unpaired":
        item, up = _mixed(table.prompt[table.row], table.completion), table.verdict == 1
    elif data.kind == "paired":
        chosen, rejected = table.completion[0::2], table.completion[1::2]
        item = _mixed(_mixed(table.prompt, np.minimum(chosen, rejected)), np.maximum(chosen, rejected))
        up = chosen < rejected
    else:
        return None
    rows = np.arange(len(table))
    # Unknown raters are all different; of a known one the last verdict stands: by time, where it is known, else by row.
    rater = np.where(table.rater >= 0, table.rater, -1 - rows)
    when = np.where(np.isnan(table.time), -np.inf, table.time)
    order = np.lexsort((rows, when, rater, item))
    last = np.ones(len(order), dtype=bool)
    last[:-1] = (item[order][1:] != item[order][:-1]) | (rater[order][1:] != rater[order][:-1])
    kept = np.sort(order[last])
    return Votes(item[kept], up[kept], rows[kept], table.rater[kept])


def noise_of(votes: Votes | None) -> Noise | None:
    """Return the flip rate that several votes on the same items imply."""
    import numpy as np

    if votes is None:
        return None
    _, item = np.unique(votes.item, return_inverse=True)
    return estimate_noise(np.bincount(item), np.bincount(item, weights=votes.up))


def contradictions_of(votes: Votes | None) -> tuple[int, list[int]]:
    """Return how many items have votes both ways, and the first row of each."""
    import numpy as np

    if votes is None:
        return 0, []
    _, first, item = np.unique(votes.item, return_index=True, return_inverse=True)
    count, ups = np.bincount(item), np.bincount(item, weights=votes.up)
    split = np.flatnonzero((ups > 0) & (ups < count))
    return len(split), np.sort(votes.row[first[split]]).tolist()


def contradictions(case: Case) -> Iterator[Finding]:
    """Both labels on one completion; pairs in both directions."""
    count, rows = contradictions_of(votes_of(case.data))
    if not count:
        return
    paired = case.data.kind == "paired"
    what = several(count, "pair") if paired else several(count, "completion")
    found = "are there in both directions" if paired else "have both labels, for the same prompt"
    yield case.finding(
        "contradictory_preferences" if paired else "contradictory_labels",
        "warning",
        rows,
        f"{what} {found if count > 1 or not paired else 'is there in both directions'}.",
        "Where raters may differ, keep them: KTO and cDPO bear it. Where it is one person's mistake, keep the last "
        "verdict.",
        count=count,
    )


def noise(case: Case) -> Iterator[Finding]:
    """Yield the flip rate, where several votes exist."""
    votes = votes_of(case.data)
    found = noise_of(votes)
    if found is None or votes is None or found.items < _FEW_ITEMS:
        return
    what = "pairs" if case.data.kind == "paired" else "completions"
    unknown = bool((votes.rater < 0).any())
    yield case.finding(
        "label_noise",
        "warning" if found.flip_rate > _NOISY else "note",
        [],
        f"about {percent(found.flip_rate)} of verdicts (95 % interval {percent(found.low)} to {percent(found.high)}) "
        "say the "
        f"opposite of what most raters would: on {found.items:,} {what} with several votes, two votes differ "
        f"{percent(found.disagreement)} of the time"
        + ("; rows without a rater count as votes of different people." if unknown else "."),
        "Prefer losses that bear noise (KTO, cDPO with this rate as label_smoothing, IPO), and ask a second rater on "
        "rows that decide something."
        if found.flip_rate > _NOISY
        else "Nothing to do; cDPO takes this rate as label_smoothing.",
        count=found.votes,
    )


def circles_of(data: Gathered) -> list[int]:
    """Return a row of each prompt whose preferences, by majority, go in a circle (a > b > c > a)."""
    import numpy as np

    if data.kind not in ("paired", "scored"):
        return []
    table = data.table
    order = np.argsort(table.prompt, kind="stable")
    starts = np.flatnonzero(np.r_[True, table.prompt[order][1:] != table.prompt[order][:-1]])
    least = 3 if data.kind == "paired" else 2  # one scored row is an order in itself
    rows = []
    bounds = np.searchsorted(table.row, np.arange(len(table) + 1))
    for start, end in zip(starts, [*starts[1:], len(order)], strict=True):
        if end - start >= least and _goes_round(_majority(_preferences(data, order[start:end], bounds))):
            rows.append(int(order[start]))
    return sorted(rows)


def circles(case: Case) -> Iterator[Finding]:
    """Preferences that no score can explain."""
    rows = circles_of(case.data)
    if rows:
        yield case.finding(
            "circular_preferences",
            "warning",
            rows,
            f"the preferences on {several(len(rows), 'prompt')} go in a circle (a over b, b over c, c over a); no "
            "reward "
            "explains them.",
            "DPO assumes that one exists. Use KTO, or cDPO or IPO, which do not follow such pairs to the end.",
        )


def _preferences(data: Gathered, rows: NDArray[Any], bounds: NDArray[Any]) -> Iterator[tuple[int, int]]:
    """(better, worse) completions of some rows."""
    table = data.table
    for row in rows:
        completions = table.completion[bounds[row] : bounds[row + 1]].tolist()
        if data.kind == "paired":
            yield completions[0], completions[1]
            continue
        scores = table.score[bounds[row] : bounds[row + 1]].tolist()
        for (a, x), (b, y) in combinations(zip(completions, scores, strict=True), 2):
            if x != y:
                yield (a, b) if x > y else (b, a)


def _majority(preferences: Iterable[tuple[int, int]]) -> dict[int, set[int]]:
    """Which completion most votes put above which: an edge for every two that are not tied."""
    votes: dict[tuple[int, int], int] = {}
    for better, worse in preferences:
        if better != worse:
            votes[better, worse] = votes.get((better, worse), 0) + 1
    edges: dict[int, set[int]] = {}
    for (better, worse), count in votes.items():
        if count > votes.get((worse, better), 0):
            edges.setdefault(better, set()).add(worse)
    return edges


def _goes_round(edges: dict[int, set[int]]) -> bool:
    """Whether a directed graph has a cycle: what has no way in is taken away until nothing is left, or a cycle is."""
    ways_in: dict[int, int] = {}
    for targets in edges.values():
        for target in targets:
            ways_in[target] = ways_in.get(target, 0) + 1
    free = [node for node in edges if node not in ways_in]
    while free:
        for target in edges.get(free.pop(), ()):
            ways_in[target] -= 1
            if not ways_in[target]:
                free.append(target)
                del ways_in[target]
    return bool(ways_in)


def _mixed(left: NDArray[Any], right: NDArray[Any]) -> NDArray[Any]:
    """One 64-bit hash of two."""
    import numpy as np

    mixed = left * np.uint64(0x9E3779B97F4A7C15) + right
    mixed ^= mixed >> np.uint64(29)
    return mixed * np.uint64(0xBF58476D1CE4E5B9)


def pairable_prompts(data: Gathered) -> int:
    """Return the number of prompts on which pairs can be made: both labels, or two different scores, or a pair."""
    import numpy as np

    table = data.table
    if data.kind == "paired":
        return len(np.unique(table.prompt))
    if data.kind == "scored":
        tied = np.zeros(len(table), dtype=bool)
        tied[table.marked("tied")] = True
        return len(np.unique(table.prompt[~tied]))
    up = np.unique(table.prompt[table.row][table.verdict == 1])
    down = np.unique(table.prompt[table.row][table.verdict == 0])
    return len(np.intersect1d(up, down, assume_unique=True))


def score_spreads(data: Gathered) -> NDArray[Any]:
    """Return the best score minus the worst of each prompt that has completions with different scores."""
    import numpy as np

    table = data.table
    scored = np.flatnonzero(~np.isnan(table.score))
    if not len(scored):
        return np.zeros(0)
    prompt, score = table.prompt[table.row[scored]], table.score[scored]
    order = np.argsort(prompt, kind="stable")
    first = np.flatnonzero(np.r_[True, prompt[order][1:] != prompt[order][:-1]])
    with np.errstate(over="ignore"):  # scores may be as far apart as floats go
        spread = np.maximum.reduceat(score[order], first) - np.minimum.reduceat(score[order], first)
    return np.minimum(spread[spread > 0], np.finfo(float).max)


CHECKS = (contradictions, noise, circles)
