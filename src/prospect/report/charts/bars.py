"""Dots with their intervals, and bars: of shares, of votes over time, of raters."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np
from markupsafe import Markup

from prospect.report.charts.drawing import (
    BOTTOM,
    HEIGHT,
    QUARTERS,
    WIDTH,
    Axes,
    Figure,
    cut,
    drawing,
    grid,
    listed,
    mark,
    nice_ticks,
    padded,
    rect,
    rule,
    share_axis,
    sizes,
    value_axis,
    write,
)
from prospect.report.page.wording import count, interval, number, percent

MAX_COLUMNS = 90  # over time: columns of four units, which can still be distinguished
_SMALL = (0.004, 0.02, 0.04, 0.08, 0.2)  # scales of shares that are all small; their quarters are short numbers
Dots = Sequence[tuple[str, Sequence[float]]]  # (look, (value, low, high, ...)): a Rate will do


def whiskers(
    rows: Sequence[tuple[str, Dots]],
    *,
    title: str,
    reading: str,
    x_label: str,
    keys: Sequence[tuple[str, str]] = (),
    guide: float | None = None,
    shares: bool = True,
) -> Figure:
    """Return dots with their intervals, one labelled row for each name.

    Args:
        rows: (name, dots), each dot a (look, (value, low, high)).
        title: what the figure shows.
        reading: how to read it.
        x_label: what the share is of, or the quantity and its unit.
        keys: the legend.
        guide: a level to compare with, drawn dashed.
        shares: the scale goes from 0 to 100 %, or less far where all are small; otherwise as far as the values do.
    """
    tall = max((len(dots) for _, dots in rows), default=1)
    inner = max(22, 9 * tall + 4)  # height of the strip with the dots
    pitch = inner + 28
    x_range, ticks = _scale(rows, guide, shares)
    axes = Axes(x_range, (0, 1), left=4, right=WIDTH - 4, bottom=pitch * len(rows))
    parts = [share_axis(axes, x_label, ticks) if shares else value_axis(axes, x_label, ticks)]
    for i, (name, dots) in enumerate(rows):
        top, bottom = pitch * i + 18, pitch * i + 18 + inner
        numbers = " → ".join(_said(dot, shares) for _, dot in dots) if len(dots) <= 2 else ""
        parts += [write(0, top - 5, cut(name, 46 if len(numbers) < 14 else 38), "name")]
        parts += [write(WIDTH, top - 5, numbers, "name end")] if numbers else []
        parts += [rule(axes.x(tick), top, axes.x(tick), bottom, "grid") for tick in ticks]
        if guide is not None:
            parts.append(rule(axes.x(guide), top, axes.x(guide), bottom, "guide"))
        step = (bottom - top) / (len(dots) + 1)
        parts += [_whisker(axes, top + step * (j + 1), look, dot) for j, (look, dot) in enumerate(dots)]
    names = dict(keys)
    said = [f"{name}: {', then '.join(_spoken(names, dot, shares) for dot in dots)}" for name, dots in rows]
    return Figure(title, drawing(axes.bottom + 34, f"{title}. {listed(said)}.", parts), reading, tuple(keys))


def stacked_bars(rows: Sequence[tuple[str, Sequence[tuple[str, str, float]]]], *, title: str, reading: str) -> Figure:
    """Return one full-width bar for each row, cut in proportion; a part is (look, label, amount)."""
    pitch, parts, said = 76, [], []
    for i, (name, amounts) in enumerate(rows):
        top, total, x = pitch * i, sum(amount for _, _, amount in amounts), 0.0
        labels = [f"{label} {count(amount)} ({percent(amount / total)})" for _, label, amount in amounts]
        parts.append(write(0, top + 13, name, "name"))
        for look, _, amount in amounts:
            width = WIDTH * amount / total
            parts.append(rect(x, top + 20, width - 1, 16, f"fill {look}"))
            x += width
        # More than two labels have no room in one line: only the first and the last are below the bar.
        ends = dict.fromkeys((0, len(labels) - 1))
        for end, place in zip(ends, ("", "end"), strict=False):
            parts.append(write(0 if place == "" else WIDTH, top + 51, cut(labels[end], 34), f"tick {place}"))
        said.append(f"{name}: {', '.join(labels)}")
    keys = tuple((f"{look} area", label) for look, label, _ in rows[0][1])
    return Figure(title, drawing(pitch * len(rows) - 18, f"{title}. {'; '.join(said)}.", parts), reading, keys)


class Share(NamedTuple):
    """One bar of `share_bars`: how much of the whole, how much of that is desirable (None: unknown), and its words."""

    name: str
    share: float
    desirable: float | None
    text: str


def share_bars(bars: Sequence[Share], *, title: str, reading: str, keys: Sequence[tuple[str, str]] = ()) -> Figure:
    """Return one bar for each name, as long as its share of the whole, the desirable part of it first."""
    pitch, parts, longest = 42, [], max(bar.share for bar in bars) or 1.0
    for i, bar in enumerate(bars):
        top, width = pitch * i, WIDTH * bar.share / longest
        parts += [write(0, top + 13, cut(bar.name, 30), "name"), write(WIDTH, top + 13, bar.text, "tick end")]
        if bar.desirable is None:
            parts.append(rect(0, top + 19, max(1.0, width), 10, "fill main"))
        else:
            edge = width * bar.desirable
            parts.append(rect(0, top + 19, edge, 10, "fill desirable"))
            parts.append(rect(edge, top + 19, max(1.0, width) - edge, 10, "fill undesirable"))
    said = listed([f"{bar.name}: {bar.text}" for bar in bars])
    return Figure(title, drawing(pitch * len(bars) - 8, f"{title}. {said}.", parts), reading, tuple(keys))


def columns_over_time(
    times: Sequence[float],
    counts: Sequence[tuple[str, str, Sequence[float]]],
    *,
    title: str,
    reading: str,
    y_label: str,
    width: float,
) -> Figure:
    """Return columns over time, back to back: the first class grows up, the second down.

    Args:
        times: (K,) seconds since 1970 at which a period begins, ascending; periods without rows may be absent.
        counts: (look, label, K counts) of one or two classes.
        title: what the figure shows.
        reading: how to read it.
        y_label: what is counted.
        width: of a period, in seconds. More than MAX_COLUMNS periods are added up to that many.
    """
    begin, end = times[0], times[-1] + width
    k = min(MAX_COLUMNS, max(1, round((end - begin) / width)))
    edges = np.linspace(begin, end, k + 1)
    binned = [np.histogram(times, edges, weights=np.asarray(values, float))[0] for _, _, values in counts]
    tallest = [float(values.max()) for values in binned]
    low = -1.05 * tallest[1] if len(tallest) > 1 else 0.0
    axes = Axes((begin, end), padded(np.array([low, 1.05 * tallest[0], 0.0]), 0), bottom=HEIGHT - BOTTOM + 14)
    marks = [(float(edges[i]), _date(float(edges[i]))) for i in sorted({0, k // 2} if k > 4 else {0})]
    parts = [grid(axes, "", y_label, y_texts=sizes, x_marks=[])]
    for sign, values, (look, _, _) in zip((1, -1), binned, counts, strict=False):
        for left, right, value in zip(edges[:-1], edges[1:], values, strict=True):
            if value:
                top, bottom = sorted((axes.y(sign * value), axes.y(0)))
                gap = 0.5 if k < 60 else 0.2
                parts.append(
                    rect(axes.x(left) + gap, top, axes.x(right) - axes.x(left) - gap, bottom - top, f"fill {look}")
                )
    parts.append(rule(axes.left, axes.y(0), axes.right, axes.y(0), "axis"))
    parts += [
        write(axes.x(place), axes.bottom + 16, text, "tick middle" if i else "tick")
        for i, (place, text) in enumerate(marks)
    ]
    parts.append(write(axes.right, axes.bottom + 16, _date(end - 1), "tick end"))
    said = ", ".join(f"{label} {count(float(np.sum(values)))}" for _, label, values in counts)
    label = f"{title}. From {_date(begin)} to {_date(end - 1)}: {said}."
    return Figure(title, drawing(HEIGHT - 8, label, parts), reading, tuple((f"{c[0]} area", c[1]) for c in counts))


def _scale(
    rows: Sequence[tuple[str, Dots]], guide: float | None, shares: bool
) -> tuple[tuple[float, float], Sequence[float]]:
    """Return the range of a scale and its ticks."""
    ends = [float(end) for _, dots in rows for _, dot in dots for end in dot[:3]]
    if shares:
        furthest = max([*ends, guide or 0.0])
        top = next((top for top in _SMALL if furthest <= top), 1.0)
        return (0.0, top), [top * quarter for quarter in QUARTERS]
    x_range = padded(np.array([*ends, *([] if guide is None else [guide])]), 0.05)
    ticks = nice_ticks(*x_range)
    while len(ticks) > 6:  # labels of large numbers are wide
        ticks = ticks[::2]
    return x_range, ticks


def _whisker(axes: Axes, y: float, look: str, dot: Sequence[float]) -> Markup:
    value, low, high = dot[:3]
    return rule(axes.x(low), y, axes.x(high), y, f"whisker {look}") + mark(axes.x(value), y, look)


def _said(dot: Sequence[float], shares: bool) -> str:
    return percent(dot[0]) if shares else number(float(dot[0]))


def _spoken(names: dict[str, str], dot: tuple[str, Sequence[float]], shares: bool) -> str:
    look, (value, low, high) = dot[0], dot[1][:3]
    ends = interval(low, high) if shares else f"{number(float(low))} to {number(float(high))}"
    name = f"{names[look]} " if look in names and len(names) > 1 else ""
    return f"{name}{_said((value,), shares)} ({ends})"


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")
