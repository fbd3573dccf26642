"""Figures of a study: intervals by method and condition, lines over a swept quantity."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from prospect.report.charts.bars import whiskers
from prospect.report.charts.drawing import Figure
from prospect.report.charts.plots import Line, sweep_chart
from prospect.results.study import StudyResult
from prospect.results.study_entries import AxisEntry

LOOKS = tuple(f"s{i}" for i in range(8))
MOST_MEASURES = 6  # figures of the same cells, the study's own measure first
MOST_ROWS = 40  # of one figure
Dot = tuple[float, float, float]
"""A mean and the ends of its interval."""


def measures_to_draw(result: StudyResult) -> list[str]:
    """Return the first measures, without those of one value everywhere."""
    return result.varied()[:MOST_MEASURES]


def label_of(result: StudyResult, measure: str) -> str:
    """Return a measure's name and unit."""
    about = result.measures[measure]
    plain = not about.unit or about.unit == "share" or about.unit in about.label
    return about.label if plain else f"{about.label} ({about.unit})"


def cell_figures(result: StudyResult) -> list[Figure]:
    """One figure for each measure that differs anywhere, and one for the wins against the start."""
    figures = [_cells(result, measure) for measure in measures_to_draw(result)]
    return [figure for figure in (*figures[:1], _wins(result), *figures[1:]) if figure]


def sweep_figures(result: StudyResult) -> list[Figure]:
    """Lines over each swept quantity, one figure for each of the first measures."""
    figures = (_sweep(result, axis, measure) for axis in result.axes for measure in measures_to_draw(result))
    return [figure for figure in figures if figure]


def _dots(result: StudyResult, measure: str) -> dict[tuple[str, str], Dot]:
    """Return the cells that were scored on a measure, by method and condition."""
    return {
        (cell.method, cell.condition): (found.mean, found.low, found.high)
        for cell in result.cells
        if (found := cell.estimates.get(measure))
    }


def _cells(result: StudyResult, measure: str) -> Figure | None:
    start, about = result.start.get(measure), result.measures[measure]
    better = {"higher": " Further right is better.", "lower": " Further left is better.", None: ""}
    dashed = " The dashed line is the model that nothing was done to." if start else ""
    return _whiskers(
        result,
        _dots(result, measure),
        title=_capital(about.label),
        reading=f"A dot is the mean over prompts and seeds, its bar the {_level(result)} interval.{dashed}"
        f"{better[about.better]}",
        x_label=label_of(result, measure),
        guide=start.mean if start else None,
        shares=about.kind == "rate",
    )


def _wins(result: StudyResult) -> Figure | None:
    values = {(cell.method, cell.condition): cell.wins[:3] for cell in result.cells if cell.wins}
    return _whiskers(
        result,
        values,
        title="Win rate against the start",
        reading=f"How often its completion beats the start's on the same prompt, a tie counting half, with the"
        f" {_level(result)} interval. At the dashed 50% there is no difference.",
        x_label="comparisons won",
        guide=0.5,
        shares=True,
    )


def _capital(label: str) -> str:
    """Return a label as a heading begins; the rest stays, so that KL does."""
    return label[:1].upper() + label[1:]


def _whiskers(result: StudyResult, values: dict[tuple[str, str], Dot], **words: Any) -> Figure | None:
    """Rows are conditions and dots methods, so that what is compared stands together; with one condition, methods."""
    if not values:
        return None
    methods, conditions = [one.name for one in result.methods], [one.name for one in result.conditions]
    keys: list[tuple[str, str]] = []
    if len(conditions) <= 1 or len(methods) <= 1 or len(methods) > len(LOOKS):
        rows = [(_named(m, c, methods, conditions), [("s0", found)]) for (m, c), found in values.items()]
    else:
        looks = dict(zip(methods, LOOKS, strict=False))
        rows = [(c, [(looks[m], values[m, c]) for m in methods if (m, c) in values]) for c in conditions]
        keys = [(looks[m], m) for m in methods if any(method == m for method, _ in values)]
    rows = [row for row in rows if row[1]][:MOST_ROWS]
    return whiskers(rows, keys=keys, **words) if rows else None


def _named(method: str, condition: str, methods: list[str], conditions: list[str]) -> str:
    if len(conditions) <= 1:
        return method
    return condition if len(methods) <= 1 else f"{method} · {condition}"


def _sweep(result: StudyResult, axis: AxisEntry, measure: str) -> Figure | None:
    by_condition = any(point.condition is not None for point in axis.points)
    places = {str(point.condition if by_condition else point.method): point.x for point in axis.points}
    lines = list(_lines(result, measure, by_condition, places))
    if len(places) < 2 or not lines:
        return None
    start, about = result.start.get(measure), result.measures[measure]
    return sweep_chart(
        lines,
        title=f"{_capital(about.label)} by {axis.label}",
        reading=f"The line is the mean over prompts and seeds, its band the {_level(result)} interval."
        + (" The dashed line is the model that nothing was done to." if start else ""),
        x_label=f"{axis.label} ({axis.unit})" if axis.unit else axis.label,
        y_label=label_of(result, measure),
        guide=start.mean if start else None,
        shares=about.kind == "rate",
    )


def _lines(result: StudyResult, measure: str, by_condition: bool, places: dict[str, float]) -> Iterator[Line]:
    """Yield a line for each method over conditions, or for each condition over methods; single points are no line."""
    dots = _dots(result, measure)
    methods, conditions = [one.name for one in result.methods], [one.name for one in result.conditions]
    for name, look in zip(methods if by_condition else conditions, LOOKS, strict=False):
        points = sorted(
            (places[condition if by_condition else method], *found)
            for (method, condition), found in dots.items()
            if name == (method if by_condition else condition)
            if (condition if by_condition else method) in places
        )
        if len(points) > 1:
            x, y, low, high = np.array(points, float).T
            yield Line(name, look, x, y, low, high, dots=True)


def _level(result: StudyResult) -> str:
    return f"{100 * result.level:g}%"
