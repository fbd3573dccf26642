"""Figures of what evaluators found: any numbers, held-out feedback, contests, benchmarks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import JsonValue

from prospect.report.charts.bars import stacked_bars, whiskers
from prospect.report.charts.drawing import Figure
from prospect.report.charts.plots import Line, sweep_chart
from prospect.report.run.measured import MeasuredNumber, known
from prospect.results.benchmarks import BenchmarksResult
from prospect.results.contest import ContestResult
from prospect.results.evaluation import AnyEvaluation
from prospect.results.feedback import FeedbackResult
from prospect.statistics.calibration import Calibration

MOST_DOTS = 60  # rows of one figure that a person still reads


def evaluation_figures(result: AnyEvaluation | JsonValue, found: Sequence[MeasuredNumber]) -> list[Figure]:
    """Return the figures of a result, whose numbers with intervals are `found`."""
    if isinstance(result, FeedbackResult):
        return _feedback_figures(result)
    if isinstance(result, ContestResult):
        return _contest_figures(result)
    return _task_figures(result) if isinstance(result, BenchmarksResult) else _any_figures(found)


def _any_figures(found: Sequence[MeasuredNumber]) -> list[Figure]:
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


def _feedback_figures(result: FeedbackResult) -> list[Figure]:
    ranking = known({"accuracy": result.accuracy, "AUROC": result.auroc})
    rewards = known(result.rewards)
    margin = known({"margin": result.margin})
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
                [(m.name, ((m.name, m[1:4]),)) for m in rewards] + [(m.name, (("after", m[1:4]),)) for m in margin],
                title="Rewards by class",
                reading="The gap is the margin. At the dashed 0 a completion is as likely as under the reference.",
                x_label=result.score.what,
                guide=0.0,
                shares=False,
            )
        )
    return [*figures, *_calibration(result.calibration)]


def _calibration(found: Calibration | None) -> list[Figure]:
    """Predicted against observed shares."""
    points = [(one.predicted, *one.observed[:3]) for one in found.bins] if found else []
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


def _contest_figures(result: ContestResult) -> list[Figure]:
    rates = known(
        {
            "win rate": result.win_rate,
            "win rate at equal length": result.length_controlled,
            "chosen when first": result.shown_first,
        }
    )
    ours, theirs = result.ours, result.theirs
    amounts = (
        ("desirable", f"{ours} wins", result.wins),
        ("faint", "ties", result.ties),
        ("second", "not read", result.unparsed),
        ("undesirable", f"{theirs} wins", result.losses),
    )
    shown = [part for part in amounts if part[2]]
    figures = []
    if shown:
        figures.append(
            stacked_bars(
                [("Verdicts", shown)],
                title="How the comparisons ended",
                reading="A tie counts half; a verdict that could not be read counts for nobody and stays in the total.",
            )
        )
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
    return [*figures, *_text_figures(result)]


def _text_figures(result: ContestResult) -> list[Figure]:
    """Lengths side by side: the first thing that a judge may like for the wrong reason."""
    if not result.our_texts or not result.their_texts:
        return []
    sides = (("before", result.their_texts.words[:3]), ("after", result.our_texts.words[:3]))
    return [
        whiskers(
            [("words in a completion", sides)],
            title="Length on both sides",
            reading="Raters and judges often take length for quality: compare with the win rate at equal length.",
            x_label="words, mean and interval",
            keys=(("before", result.theirs), ("after", result.ours)),
            shares=False,
        )
    ]


def _task_figures(result: BenchmarksResult) -> list[Figure]:
    """Each task's metrics, the reference first; shares on one scale, all else in the table."""
    rows = []
    for task, about in result.tasks.items():
        for metric, entry in about.metrics.items():
            sides = known({"before": entry.reference, "after": entry.ours})
            dots = [(m.name, m[1:4]) for m in sides]
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
