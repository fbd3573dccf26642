"""Figures of a study: intervals by method and condition, lines over a swept quantity."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from prospect.report.charts.bars import whiskers
from prospect.report.charts.drawing import Figure
from prospect.report.charts.plots import Line, sweep_chart
from prospect.report.run.facts import dig, is_number

LOOKS = tuple(f"s{i}" for i in range(8))
MOST_MEASURES = 6  # figures of the same cells, the study's own measure first
MOST_ROWS = 40  # of one figure


def measures_of(result: dict[str, Any]) -> list[str]:
    """Return the names of the measures, the one that the study is about first."""
    measures = result.get("measures")
    found = [str(name) for name in measures] if isinstance(measures, dict) else []
    return sorted(found, key=lambda name: name != result.get("primary"))


def measures_to_draw(result: dict[str, Any]) -> list[str]:
    """Return the first measures, without those of one value everywhere."""
    places = [result.get("start"), *(cell.get("estimates") for cell in cells(result))]
    found = []
    for measure in measures_of(result):
        values = {value[0] for place in places if (value := estimate(dig(place, measure)))}
        if len(values) > 1 or measure == result.get("primary"):
            found.append(measure)
    return found[:MOST_MEASURES]


def is_rate(result: dict[str, Any], measure: str) -> bool:
    """Whether a measure is a share, to be written in percent."""
    return dig(result, "measures", measure, "kind") == "rate"


def label_of(result: dict[str, Any], measure: str) -> str:
    """Return a measure's name and unit."""
    label, unit = dig(result, "measures", measure, "label") or measure, dig(result, "measures", measure, "unit")
    plain = not unit or unit == "share" or str(unit) in str(label)
    return str(label) if plain else f"{label} ({unit})"


def estimate(tree: Any) -> tuple[float, float, float] | None:
    """(value, low, high) of an estimate, None where it is not one; without an interval the value is all three."""
    value = dig(tree, "rate") if is_number(dig(tree, "rate")) else dig(tree, "value")
    if not is_number(value):
        return None
    low, high = dig(tree, "low"), dig(tree, "high")
    return (value, low, high) if is_number(low) and is_number(high) else (value, value, value)


def names(result: dict[str, Any], key: str) -> list[str]:
    """Return the names of methods or conditions, in their order."""
    entries = result.get(key)
    return [str(entry["name"]) for entry in (entries if isinstance(entries, list) else []) if dig(entry, "name")]


def cells(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the cells that can be read."""
    found = result.get("cells")
    return [cell for cell in (found if isinstance(found, list) else []) if isinstance(cell, dict)]


def cell_figures(result: dict[str, Any]) -> list[Figure]:
    """One figure for each measure that differs anywhere, and one for the wins against the start."""
    figures = [_cells(result, measure) for measure in measures_to_draw(result)]
    return [figure for figure in (*figures[:1], _wins(result), *figures[1:]) if figure]


def sweep_figures(result: dict[str, Any]) -> list[Figure]:
    """Lines over each swept quantity, one figure for each of the first measures."""
    axes = result.get("axes")
    figures = (
        _sweep(result, axis, measure)
        for axis in (axes if isinstance(axes, list) else [])
        for measure in measures_to_draw(result)
    )
    return [figure for figure in figures if figure]


def _cells(result: dict[str, Any], measure: str) -> Figure | None:
    values = {
        (str(cell.get("method")), str(cell.get("condition"))): found
        for cell in cells(result)
        if (found := estimate(dig(cell, "estimates", measure)))
    }
    start = estimate(dig(result, "start", measure))
    share = is_rate(result, measure)
    better = {"higher": " Further right is better.", "lower": " Further left is better."}
    dashed = " The dashed line is the model that nothing was done to." if start else ""
    return _whiskers(
        result,
        values,
        title=str(dig(result, "measures", measure, "label") or measure).capitalize(),
        reading=f"A dot is the mean over prompts and seeds, its bar the {_level(result)} interval.{dashed}"
        f"{better.get(str(dig(result, 'measures', measure, 'better')), '')}",
        x_label=label_of(result, measure),
        guide=start[0] if start else None,
        shares=share,
    )


def _wins(result: dict[str, Any]) -> Figure | None:
    values = {
        (str(cell.get("method")), str(cell.get("condition"))): found
        for cell in cells(result)
        if (found := estimate(cell.get("wins")))
    }
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


def _whiskers(result: dict[str, Any], values: dict[tuple[str, str], tuple[float, float, float]], **words: Any) -> Any:
    """Rows are conditions and dots methods, so that what is compared is adjacent; with one condition, methods."""
    if not values:
        return None
    methods, conditions = names(result, "methods"), names(result, "conditions")
    keys: list[tuple[str, str]] = []
    if len(conditions) <= 1 or len(methods) <= 1 or len(methods) > len(LOOKS):
        rows = [(_named(m, c, methods, conditions), [("s0", found)]) for (m, c), found in values.items()]
    else:
        looks = dict(zip(methods, LOOKS, strict=False))
        rows = [(c, [(looks[m], values[m, c]) for m in methods if (m, c) in values]) for c in conditions]
        keys = [(looks[m], m) for m in methods if any(method == m for method, _ in values)]
    rows = [row for row in rows if row[1]][:MOST_ROWS]
    return whiskers(rows, keys=keys, **words) if rows else None


def _named(method: str, condition: str, methods: Sequence[str], conditions: Sequence[str]) -> str:
    if len(conditions) <= 1:
        return method
    return condition if len(methods) <= 1 else f"{method} · {condition}"


def _sweep(result: dict[str, Any], axis: Any, measure: str) -> Figure | None:
    points = dig(axis, "points")
    points = points if isinstance(points, list) else []
    by = "condition" if any(dig(point, "condition") is not None for point in points) else "method"
    places = {
        str(point[by]): float(point["x"])
        for point in points
        if dig(point, by) is not None and is_number(dig(point, "x"))
    }
    lines = list(_lines(result, measure, by, places))
    if len(places) < 2 or not lines:
        return None
    start, share = estimate(dig(result, "start", measure)), is_rate(result, measure)
    quantity = str(dig(axis, "label") or by)
    unit = dig(axis, "unit")
    return sweep_chart(
        lines,
        title=f"{str(dig(result, 'measures', measure, 'label') or measure).capitalize()} by {quantity}",
        reading=f"The line is the mean over prompts and seeds, its band the {_level(result)} interval."
        + (" The dashed line is the model that nothing was done to." if start else ""),
        x_label=f"{quantity} ({unit})" if unit else quantity,
        y_label=label_of(result, measure),
        guide=start[0] if start else None,
        shares=share,
    )


def _lines(result: dict[str, Any], measure: str, by: str, places: dict[str, float]) -> Iterator[Line]:
    """One line for each method over conditions, or for each condition over methods; single points are no line."""
    other = "method" if by == "condition" else "condition"
    order = names(result, f"{other}s")
    for name, look in zip(order, LOOKS, strict=False):
        points = sorted(
            (places[str(cell.get(by))], *found)
            for cell in cells(result)
            if str(cell.get(other)) == name and str(cell.get(by)) in places
            if (found := estimate(dig(cell, "estimates", measure)))
        )
        if len(points) > 1:
            x, y, low, high = np.array(points, float).T
            yield Line(name, look, x, y, low, high, dots=True)


def _level(result: dict[str, Any]) -> str:
    level = result.get("level")
    return f"{100 * level:g}%" if is_number(level) else "95%"
