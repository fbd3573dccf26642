"""Lines over steps or over a swept quantity, and histograms.

Shapes: S points of a line.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from prospect.report.charts.drawing import (
    BOTTOM,
    HEIGHT,
    WIDTH,
    Axes,
    Chart,
    Figure,
    Line,
    drawing,
    grid,
    mark,
    nice_ticks,
    padded,
    percents,
    rect,
    rule,
    tick_labels,
    write,
)
from prospect.report.page.wording import number, percent

__all__ = [
    "MAX_POINTS",
    "WIDTH",
    "Figure",
    "Line",
    "histogram_pair",
    "line_chart",
    "nice_ticks",
    "running_mean",
    "thin",
    "tick_labels",
    "trend",
]

MAX_POINTS = 300  # more than the pixels of a figure can show
SMOOTHING = 0.05  # share of the run that a running mean looks at


def thin(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return x, mean, least and greatest y of at most MAX_POINTS equal bins of points; x keeps its ends."""
    starts = np.arange(0, len(x), math.ceil(len(x) / MAX_POINTS))
    sizes = np.diff(np.append(starts, len(x)))
    centres, means = (np.add.reduceat(values, starts) / sizes for values in (x, y))
    centres[0], centres[-1] = x[0], x[-1]
    return centres, means, np.minimum.reduceat(y, starts), np.maximum.reduceat(y, starts)


def running_mean(y: np.ndarray) -> np.ndarray:
    """Return the centred running mean of `y` (S,), over about SMOOTHING of its length to each side.

    The weights fall off to the sides, so that a single spike makes no plateau; ends average what they have.
    """
    window = np.hanning(2 * int(SMOOTHING * len(y)) + 3)[1:-1]
    return np.convolve(y, window, "same") / np.convolve(np.ones_like(y), window, "same")


def trend(label: str, look: str, x: np.ndarray, y: np.ndarray) -> Line:
    """Return a noisy metric as its running mean, over a pale band from the least to the greatest step."""
    x, mean, low, high = thin(x, y)
    return Line(label, look, x, running_mean(mean), low, high)


def line_chart(
    lines: Sequence[Line],
    *,
    title: str,
    reading: str,
    y_label: str,
    x_label: str = "optimizer step",
    guide: float | None = None,
    height: float = HEIGHT,
) -> Figure | None:
    """Return lines with bands over shared axes, None without lines; `guide` is a level to compare with."""
    if not lines:
        return None
    x_range = padded(np.concatenate([[0], *(line.x for line in lines)]), 0)
    axes = Axes(x_range, _y_range(lines, guide), bottom=height - BOTTOM)
    ends = "; ".join(f"{line.label} from {number(line.y[0])} to {number(line.y[-1])}" for line in lines)
    parts = [grid(axes, x_label, y_label), *_inside(lines, axes, guide)]
    svg = drawing(height, f"{title}. {y_label} by {x_label}: {ends}.", parts)
    keys = tuple((line.look, line.label) for line in lines)
    return Figure(title, svg, reading, keys, Chart(tuple(lines), x_label, y_label, guide))


def sweep_chart(
    lines: Sequence[Line],
    *,
    title: str,
    reading: str,
    x_label: str,
    y_label: str,
    guide: float | None = None,
    shares: bool = False,
    marks: bool = True,
    log: bool | None = None,
    height: float = 280,
) -> Figure:
    """Return lines over the values of a swept quantity, each value labelled; bands are intervals.

    Args:
        lines: one for each method, at least one.
        title: what the figure shows.
        reading: how to read it.
        x_label: the swept quantity and its unit.
        y_label: what is measured and its unit.
        guide: a level to compare with, drawn dashed.
        shares: y is a share, written in percent.
        marks: label the values of the lines; otherwise round numbers.
        log: whether x is drawn by its logarithm; None: where its values are positive and span a factor of 10 or more,
            such as learning rates.
        height: in units of the viewBox.
    """
    values = np.unique(np.concatenate([line.x for line in lines]))
    log = bool(values[0] > 0 and values[-1] >= 10 * values[0]) if log is None else log
    bands = [end for line in lines for end in (line.low, line.high) if end is not None]
    heights = np.concatenate([*(line.y for line in lines), *bands, [] if guide is None else [guide]])
    x_range = (values[0] / 1.2, values[-1] * 1.2) if log else padded(values, 0.04)
    axes = Axes(x_range, padded(heights, 0.05), bottom=height - BOTTOM, log=log)
    labels = [(float(value), f"{value:g}".replace("e-0", "e-").replace("-", "−")) for value in values]
    frame = grid(axes, x_label, y_label, y_texts=percents if shares else tick_labels, x_marks=labels if marks else None)
    said = percent if shares else number
    points = "; ".join(
        f"{line.label}: " + ", ".join(f"{said(float(y))} at {x:g}" for x, y in zip(line.x, line.y, strict=True))
        for line in lines
    )
    parts = [frame, *_inside(lines, axes, guide)]
    svg = drawing(height, f"{title}. {y_label} by {x_label}: {points}.", parts)
    return Figure(title, svg, reading, tuple((line.look, line.label) for line in lines))


def histogram_pair(
    edges: Sequence[float],
    counts: Sequence[tuple[str, str, Sequence[float]]],
    *,
    title: str,
    reading: str,
    x_label: str,
    limit: tuple[float, str] | None = None,
) -> Figure:
    """Return one or two histograms over shared bins, back to back: the first grows up, the second down.

    Args:
        edges: K + 1 bin edges.
        counts: (look, label, K counts) of each; drawn as shares of their own sum.
        title: what the figure shows.
        reading: how to read it.
        x_label: the quantity and its unit.
        limit: (value, text) of a limit to mark, if it is within the bins.
    """
    shares = [np.asarray(values, float) / max(1.0, sum(values)) for _, _, values in counts]
    tallest = max(float(share.max()) for share in shares) or 1.0
    lowest = -tallest if len(counts) > 1 else 0.0
    axes = Axes((edges[0], edges[-1]), (1.05 * lowest, 1.05 * tallest))
    parts = [grid(axes, x_label, "share of completions", y_texts=percents)]
    for sign, share, (look, _, _) in zip((1, -1), shares, counts, strict=False):
        for left, right, height in zip(edges[:-1], edges[1:], share, strict=True):
            if height:
                parts.append(_bar(axes, left, right, sign * height, look))
    parts.append(rule(axes.left, axes.y(0), axes.right, axes.y(0), "axis"))
    if limit and edges[0] < limit[0] <= edges[-1]:
        parts.append(_limit(axes, *limit))
    peaks = "; ".join(
        f"{label} most often {number(edges[int(share.argmax())])} to {number(edges[int(share.argmax()) + 1])}"
        for share, (_, label, _) in zip(shares, counts, strict=True)
    )
    svg = drawing(HEIGHT, f"{title}. {x_label}: {peaks}.", parts)
    return Figure(title, svg, reading, tuple((f"{look} area", label) for look, label, _ in counts))


def _y_range(lines: Sequence[Line], guide: float | None) -> tuple[float, float]:
    """Return the range of the lines and of all but 4 % of their bands, so that one spike hides nothing."""
    values = [line.y for line in lines]
    values += [np.quantile(line.low, [0.02]) for line in lines if line.low is not None]
    values += [np.quantile(line.high, [0.98]) for line in lines if line.high is not None]
    return padded(np.concatenate([*values, [] if guide is None else [guide]]), 0.05)


def _inside(lines: Sequence[Line], axes: Axes, guide: float | None) -> list[Markup]:
    """Return the level to compare with, then the bands, then the lines over them."""
    level = [] if guide is None else [rule(axes.left, axes.y(guide), axes.right, axes.y(guide), "guide")]
    return [*level, *(_band(line, axes) for line in lines), *(_stroke(line, axes) for line in lines)]


def _band(line: Line, axes: Axes) -> Markup:
    if line.low is None or line.high is None:
        return Markup("")
    around = f"{axes.points(line.x, line.high)} {axes.points(line.x[::-1], line.low[::-1])}"
    return Markup('<polygon class="band {}" points="{}"/>').format(line.look, around)


def _stroke(line: Line, axes: Axes) -> Markup:
    path = Markup('<polyline class="line {}" points="{}"/>').format(line.look, axes.points(line.x, line.y))
    dotted = zip(line.x, line.y, strict=True) if line.dots or len(line.x) == 1 else ()
    return Markup("").join([path, *(mark(axes.x(x), axes.y(y), line.look) for x, y in dotted)])


def _bar(axes: Axes, left: float, right: float, height: float, look: str) -> Markup:
    top, bottom = sorted((axes.y(height), axes.y(0)))
    return rect(axes.x(left) + 0.5, top, axes.x(right) - axes.x(left) - 1, bottom - top, f"fill {look}")


def _limit(axes: Axes, value: float, text: str) -> Markup:
    place = axes.x(value)
    side = "end" if place > (axes.left + axes.right) / 2 else ""
    line = rule(place, axes.top, place, axes.bottom, "guide limit")
    return line + write(place - 5 if side else place + 5, axes.top + 10, text, f"name {side}")
