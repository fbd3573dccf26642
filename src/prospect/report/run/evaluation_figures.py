"""Figures of what evaluators found: any numbers, held-out feedback, contests, benchmarks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from prospect.report.charts.bars import stacked_bars, whiskers
from prospect.report.charts.drawing import Figure
from prospect.report.charts.plots import Line, sweep_chart
from prospect.report.run.facts import dig, is_number
from prospect.report.run.measured import MeasuredNumber, measured

MOST_DOTS = 60  # rows of one figure that a person still reads


def evaluation_figures(kind: str, result: Any, found: Sequence[MeasuredNumber]) -> list[Figure]:
    """Return the figures of a result of this kind, whose numbers with intervals are `found`."""
    return _FIGURES.get(kind, _any_figures)(result, found)


def _any_figures(result: Any, found: Sequence[MeasuredNumber]) -> list[Figure]:
    """Shares on one scale; of other quantities the units differ, so they are in the table alone."""
    shares = [entry for entry in found if entry.share][:MOST_DOTS]
    if not shares:
        return []
    win = any("win" in entry.name.lower() for entry in shares)
    at_half = " At the dashed 50% a win rate shows no difference." if win else ""
    return [
        whiskers(
            [(entry.name, (("after", entry[1:4]),)) for entry in shares],
            title="Shares",
            reading=f"A dot is the share, its bar the interval that was stored with it.{at_half}",
            x_label="share",
            guide=0.5 if win else None,
        )
    ]


def _feedback_figures(result: Any, found: Sequence[MeasuredNumber]) -> list[Figure]:
    ranking = [m for key, name in _RANKING.items() if (m := measured(dig(result, key), name))]
    rewards = [m for key in ("desirable", "undesirable") if (m := measured(dig(result, "rewards", key), key))]
    margin = measured(dig(result, "margin"), "margin")
    figures = []
    if ranking:
        figures.append(
            whiskers(
                [(m.name, (("after", m[1:4]),)) for m in ranking],
                title="Telling good from bad",
                reading="A dot is the share, its bar the interval. AUROC at the dashed 50% is a coin toss.",
                x_label="share that is right",
                guide=0.5,
            )
        )
    if rewards:
        figures.append(
            whiskers(
                [(m.name, ((m.name, m[1:4]),)) for m in rewards]
                + ([("margin", (("after", margin[1:4]),))] if margin else []),
                title="Rewards by class",
                reading="The gap is the margin. At the dashed 0 a completion is as likely as under the reference.",
                x_label=str(dig(result, "score", "what") or "reward"),
                guide=0.0,
                shares=False,
            )
        )
    return [*figures, *_calibration(dig(result, "calibration", "bins"))]


_RANKING = {"accuracy": "accuracy", "auroc": "AUROC"}


def _calibration(bins: Any) -> list[Figure]:
    """Predicted against observed shares."""
    points = [
        (one["predicted"], *observed[1:4])
        for one in (bins if isinstance(bins, list) else [])
        if is_number(dig(one, "predicted")) and (observed := measured(dig(one, "observed"), ""))
    ]
    if len(points) < 2:
        return []
    x, y, low, high = np.array(sorted(points), float).T
    ends = np.array([0.0, 1.0])
    perfect = Line("perfectly calibrated", "faint", ends, ends)
    figure = sweep_chart(
        [perfect, Line("observed", "main", x, y, low, high, dots=True)],
        title="Calibration",
        reading="Of completions predicted to be liked with some probability, how many were. On the thin line is right;"
        " the band is the interval.",
        x_label="predicted probability",
        y_label="share that was desirable",
        shares=True,
        marks=False,
    )
    return [figure]


def _contest_figures(result: Any, found: Sequence[MeasuredNumber]) -> list[Figure]:
    names = {
        "win_rate": "win rate",
        "length_controlled": "win rate at equal length",
        "shown_first": "chosen when first",
    }
    rates = [m for key, name in names.items() if (m := measured(dig(result, key), name))]
    ours, theirs = (str(dig(result, side) or side) for side in ("ours", "theirs"))
    amounts = [(look, name, dig(result, key)) for look, name, key in _outcomes(ours, theirs)]
    shown = [part for part in amounts if is_number(part[2]) and part[2] > 0]
    figures = []
    if shown:
        figures.append(
            stacked_bars(
                [("Verdicts", shown)],
                title="How the comparisons ended",
                reading="A tie counts half; a verdict that could not be read counts for nobody and stays in the total.",
            )
        )
    if rates:
        figures.append(
            whiskers(
                [(m.name, (("after", m[1:4]),)) for m in rates],
                title=f"Win rate of {ours} against {theirs}",
                reading="Right of the dashed 50% it wins more often. Bars are 95% intervals. A judge that often chooses"
                " what it is shown first looks at the place and not at the text.",
                x_label="comparisons, ties counting half",
                guide=0.5,
            )
        )
    return [*figures, *_text_figures(result, ours, theirs)]


def _outcomes(ours: str, theirs: str) -> tuple[tuple[str, str, str], ...]:
    return (
        ("desirable", f"{ours} wins", "wins"),
        ("faint", "ties", "ties"),
        ("second", "not read", "unparsed"),
        ("undesirable", f"{theirs} wins", "losses"),
    )


def _text_figures(result: Any, ours: str, theirs: str) -> list[Figure]:
    """Lengths side by side: the first thing that a judge may like for the wrong reason."""
    sides = [(look, measured(dig(result, key, "words"), key)) for look, key in _TEXTS]
    if not all(m for _, m in sides):
        return []
    return [
        whiskers(
            [("words in a completion", [(look, m[1:4]) for look, m in sides if m])],
            title="Length on both sides",
            reading="Raters and judges often take length for quality: compare with the win rate at equal length.",
            x_label="words, mean and interval",
            keys=(("before", theirs), ("after", ours)),
            shares=False,
        )
    ]


_TEXTS = (("before", "their_texts"), ("after", "our_texts"))


def _task_figures(result: Any, found: Sequence[MeasuredNumber]) -> list[Figure]:
    """Each task's metrics, the reference first; shares on one scale, all else in the table."""
    tasks = dig(result, "tasks")
    rows = []
    for task, about in tasks.items() if isinstance(tasks, dict) else ():
        metrics = dig(about, "metrics")
        for metric, entry in metrics.items() if isinstance(metrics, dict) else ():
            looks = (("before", "reference"), ("after", "ours"))
            dots = [(look, m[1:4]) for look, key in looks if (m := measured(dig(entry, key), key))]
            if dots and all(0 <= end <= 1 for _, dot in dots for end in dot):
                rows.append((f"{task} · {metric}", dots))
    if not rows:
        return []
    paired = any(len(dots) > 1 for _, dots in rows)
    return [
        whiskers(
            rows[:MOST_DOTS],
            title="Tasks",
            reading="A dot is the score, its bar the interval. The table says whether a change is more than chance.",
            x_label="score",
            keys=(("before", "reference"), ("after", "this model")) if paired else (),
        )
    ]


_FIGURES: dict[str, Callable[[Any, Sequence[MeasuredNumber]], list[Figure]]] = {
    "feedback": _feedback_figures,
    "contest": _contest_figures,
    "benchmarks": _task_figures,
}
