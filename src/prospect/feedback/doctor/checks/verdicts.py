"""Verdicts that contradict one another, and how noisy they are therefore."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from prospect.feedback.doctor.checks.case import Case, percent, several
from prospect.feedback.doctor.checks.gather import Gathered
from prospect.feedback.findings import Finding

_NOISY = 0.2  # flip rate: from here on every third pair of votes disagrees
_FEW_ITEMS = 20  # completions with several votes; of fewer no rate is worth a name


def contradictions(case: Case) -> Iterator[Finding]:
    """Both labels on one completion; pairs in both directions."""
    rows = case.votes.contradictions() if case.votes else []
    count = len(rows)
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
    )


def noise(case: Case) -> Iterator[Finding]:
    """Yield the flip rate, where several votes exist."""
    found = case.votes.noise() if case.votes else None
    if case.votes is None or found is None or found.items < _FEW_ITEMS:
        return
    what = "pairs" if case.data.kind == "paired" else "completions"
    unknown = case.votes.each["rater"].has_nulls()
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
    """Return the first row of each prompt whose preferences, by majority, go in a circle (a > b > c > a)."""
    if data.kind not in ("paired", "scored"):
        return []
    edges = _majority(_preferences(data)).filter(pl.len().over("prompt") > 2)
    prompts = edges.group_by("prompt").agg("better", "worse")
    first = data.rows.filter(pl.col("prompt").is_first_distinct()).join(prompts, on="prompt")
    edges_of = first.sort("row").select("row", "better", "worse").iter_rows()
    return [row for row, better, worse in edges_of if _goes_round(better, worse)]


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


def _preferences(data: Gathered) -> pl.DataFrame:
    """Return the preferences: prompt, better and worse completion."""
    several = data.completions.select("row", "prompt", "score", better="completion")
    if data.kind == "paired":
        return several.gather_every(2).with_columns(worse=several["better"].gather_every(2, 1))
    rows = data.rows.filter(pl.len().over("prompt") > 1)  # one scored row is an order in itself
    several = several.join(rows, on="row", how="semi")
    worse = several.select("row", worse="better", less="score")
    return several.join(worse, on="row").filter(pl.col("score") > pl.col("less"))


def _majority(preferences: pl.DataFrame) -> pl.DataFrame:
    """Return which completion most votes put above which, for every two that are not tied."""
    better, worse = pl.col("better"), pl.col("worse")
    votes = preferences.filter(better != worse).group_by(
        "prompt", low=pl.min_horizontal(better, worse), high=pl.max_horizontal(better, worse)
    )
    lead = votes.agg(lead=pl.when(better < worse).then(1).otherwise(-1).sum()).filter(pl.col("lead") != 0)
    low_wins = pl.col("lead") > 0
    return lead.select(
        "prompt",
        better=pl.when(low_wins).then("low").otherwise("high"),
        worse=pl.when(low_wins).then("high").otherwise("low"),
    )


def _goes_round(better: list[int], worse: list[int]) -> bool:
    """Whether a directed graph has a cycle: what has no way in is taken away until nothing is left, or a cycle is."""
    edges: dict[int, list[int]] = {}
    for node, target in zip(better, worse, strict=True):
        edges.setdefault(node, []).append(target)
    ways_in = Counter(worse)
    free = [node for node in edges if node not in ways_in]
    while free:
        for target in edges.get(free.pop(), ()):
            ways_in[target] -= 1
            if not ways_in[target]:
                free.append(target)
                del ways_in[target]
    return bool(ways_in)


def pairable_prompts(data: Gathered) -> int:
    """Return the number of prompts on which pairs can be made: both labels, or two different scores, or a pair."""
    if data.kind == "unpaired":
        verdicts = data.completions.group_by("prompt").agg(pl.col("verdict").n_unique())
        return int((verdicts["verdict"] > 1).sum())
    untied = data.rows.filter(~pl.col("row").is_in(data.marked("tied").implode()))
    return untied["prompt"].n_unique()


def score_spreads(data: Gathered) -> NDArray[Any]:
    """Return the best score minus the worst of each prompt that has completions with different scores."""
    scores = data.completions.drop_nulls("score").group_by("prompt").agg(pl.col("score").max() - pl.col("score").min())
    spread = scores["score"].to_numpy()
    return np.minimum(spread[spread > 0], np.finfo(float).max)  # scores may be as far apart as floats go


CHECKS = (contradictions, noise, circles)
