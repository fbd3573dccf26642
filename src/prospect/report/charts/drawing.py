"""Axes, ticks and marks of a figure as inline SVG: no script, no network, colours from the page's CSS variables.

Coordinates are in units of the viewBox, which scales to any width. Light, dark and print are the style sheet's affair.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape

from prospect.report.page.wording import MINUS, number, percent

WIDTH, HEIGHT = 420, 244  # about the width of a phone, so that text keeps its size there
LEFT, RIGHT, TOP, BOTTOM = 50, 12, 26, 40
QUARTERS = (0.0, 0.25, 0.5, 0.75, 1.0)
TICK_PITCH = 46  # the least distance between two labels below an axis
# Marks differ in shape as well as in colour; every other look has a round one.
SHAPES = {
    "undesirable": "square",
    **dict.fromkeys(("s1", "s5"), "square"),
    **dict.fromkeys(("s2", "s6"), "triangle"),
    **dict.fromkeys(("s3", "s7"), "diamond"),
}


@dataclass(frozen=True)
class Line:
    """One line of a chart: `x`, `y` (S,), a band from `low` to `high` (S,) if given, dots if asked."""

    label: str
    look: str
    x: np.ndarray
    y: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    dots: bool = False


@dataclass(frozen=True)
class Chart:
    """Lines over shared axes; `guide` is a level to compare with."""

    lines: tuple[Line, ...]
    x_label: str
    y_label: str
    guide: float | None = None


@dataclass(frozen=True)
class Figure:
    """A figure for the page.

    Attributes:
        title: what it shows.
        svg: the drawing.
        reading: one line on how to read it.
        keys: the legend, as (look, label); a look is a CSS class.
        chart: what is drawn, where it is lines.
    """

    title: str
    svg: Markup
    reading: str
    keys: tuple[tuple[str, str], ...] = ()
    chart: Chart | None = None


@dataclass(frozen=True)
class Axes:
    """Maps data to coordinates; with `log`, x by its logarithm."""

    x_range: tuple[float, float]
    y_range: tuple[float, float]
    left: float = LEFT
    right: float = WIDTH - RIGHT
    top: float = TOP
    bottom: float = HEIGHT - BOTTOM
    log: bool = False

    def x(self, value: float) -> float:
        """Return the x coordinate of a value."""
        low, high, value = (math.log(v) if self.log else v for v in (*self.x_range, value))
        return self.left + (value - low) / (high - low) * (self.right - self.left)

    def y(self, value: float) -> float:
        """Return the y coordinate of a value."""
        low, high = self.y_range
        return self.bottom - (value - low) / (high - low) * (self.bottom - self.top)

    def points(self, x: np.ndarray, y: np.ndarray) -> str:
        """Return the points of a line or an outline, held within the axes."""
        inside = np.clip(y, *self.y_range)
        return " ".join(f"{self.x(a):.1f},{self.y(b):.1f}" for a, b in zip(x, inside, strict=True))


def nice_ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Return about `about` round numbers within [low, high], their step 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10((high - low) / about))
    step = min((power * factor for factor in (1, 2, 5, 10)), key=lambda step: abs((high - low) / step - about))
    return [step * i for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def tick_labels(ticks: Sequence[float]) -> list[str]:
    """Return the ticks as text with as many decimals as their step needs, tiny ones in powers of ten."""
    step = ticks[1] - ticks[0] if len(ticks) > 1 else abs(ticks[0]) or 1.0
    if step < 1e-3:
        texts = [f"{tick:.1e}".replace(".0e", "e").replace("e-0", "e-") if tick else "0" for tick in ticks]
    else:
        texts = [f"{tick + 0.0:,.{max(0, -math.floor(math.log10(step) + 1e-9))}f}" for tick in ticks]
    return [text.replace("-", MINUS) for text in texts]


def percents(ticks: Sequence[float]) -> list[str]:
    """Return shares in percent; below zero it is the same share, drawn downwards."""
    return [percent(abs(tick)) for tick in ticks]


def sizes(ticks: Sequence[float]) -> list[str]:
    """Return amounts; below zero it is the same amount, drawn downwards."""
    return [text.removeprefix(MINUS) for text in tick_labels(ticks)]


def padded(values: np.ndarray, share: float) -> tuple[float, float]:
    """Return the range of the values with `share` of it added at both ends; never an empty range."""
    low, high = float(values.min()), float(values.max())
    if high - low <= 1e-9 * max(abs(low), abs(high)):  # a flat line gets room around it
        return low - (abs(low) * 0.1 or 1.0), high + (abs(high) * 0.1 or 1.0)
    return low - share * (high - low), high + share * (high - low)


def grid(
    axes: Axes,
    x_label: str,
    y_label: str,
    *,
    y_texts: Callable[[Sequence[float]], list[str]] = tick_labels,
    x_marks: Sequence[tuple[float, str]] | None = None,
) -> Markup:
    """Return grid lines, ticks and the labels of both axes.

    Args:
        axes: where.
        x_label: the quantity along x and its unit.
        y_label: the quantity along y and its unit.
        y_texts: ticks of y -> their texts: tick_labels, percents or sizes.
        x_marks: (value, text) to label along x in place of round numbers; those without room are left out.
    """
    parts = []
    y_ticks = nice_ticks(*axes.y_range, about=max(3, int((axes.bottom - axes.top) / 34)))
    for tick, text in zip(y_ticks, y_texts(y_ticks), strict=True):
        parts.append(rule(axes.left, axes.y(tick), axes.right, axes.y(tick), "grid"))
        parts.append(write(axes.left - 6, axes.y(tick) + 4, text, "tick end"))
    if x_marks is None:
        ticks = nice_ticks(*axes.x_range)
        x_marks = list(zip(ticks, tick_labels(ticks), strict=True))
    for tick, text in with_room([(axes.x(tick), text) for tick, text in x_marks]):
        parts.append(write(tick, axes.bottom + 16, text, "tick middle"))
    parts += [write(0, 12, y_label, "label"), write(axes.right, axes.bottom + 34, x_label, "label end")]
    return Markup("").join(parts)


def with_room(marks: Sequence[tuple[float, str]]) -> list[tuple[float, str]]:
    """Return the (place, text) pairs that are at least TICK_PITCH from the last one kept."""
    kept: list[tuple[float, str]] = []
    for place, text in sorted(marks):
        if not kept or place - kept[-1][0] >= TICK_PITCH:
            kept.append((place, text))
    return kept


def share_axis(axes: Axes, x_label: str, ticks: Sequence[float]) -> Markup:
    """Return the labels of a scale of shares; those at its ends are within the drawing."""
    places = {ticks[0]: (0, "tick"), ticks[-1]: (WIDTH, "tick end")}
    marks = [(*places.get(tick, (axes.x(tick), "tick middle")), percent(tick)) for tick in ticks]
    parts = [write(x, axes.bottom + 8, text, look) for x, look, text in marks]
    return Markup("").join([*parts, write(WIDTH, axes.bottom + 26, x_label, "label end")])


def value_axis(axes: Axes, x_label: str, ticks: Sequence[float]) -> Markup:
    """Return the labels of a scale of values."""
    marks = zip(ticks, tick_labels(ticks), strict=True)
    parts = [write(axes.x(tick), axes.bottom + 8, text, "tick middle") for tick, text in marks]
    return Markup("").join([*parts, write(WIDTH, axes.bottom + 26, x_label, "label end")])


def mark(x: float, y: float, look: str) -> Markup:
    """Return a mark at a place: round, square, a triangle or a diamond, as its look has it."""
    shape = SHAPES.get(look, "round")
    if shape == "square":
        return rect(x - 3, y - 3, 6, 6, f"dot {look}")
    if shape == "round":
        return Markup('<circle class="dot {}" cx="{:.1f}" cy="{:.1f}" r="3.4"/>').format(look, x, y)
    around = ((0, -4.2), (4, 3), (-4, 3)) if shape == "triangle" else ((0, -4.4), (4.4, 0), (0, 4.4), (-4.4, 0))
    points = " ".join(f"{x + a:.1f},{y + b:.1f}" for a, b in around)
    return Markup('<polygon class="dot {}" points="{}"/>').format(look, points)


def rect(x: float, y: float, width: float, height: float, look: str) -> Markup:
    """Return a rectangle."""
    form = Markup('<rect class="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>')
    return form.format(look, x, y, max(0.0, width), max(0.0, height))


def rule(x1: float, y1: float, x2: float, y2: float, look: str) -> Markup:
    """Return a straight line."""
    form = Markup('<line class="{}" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>')
    return form.format(look, x1, y1, x2, y2)


def cut(name: str, limit: int = 46) -> str:
    """Return a name that leaves room for the numbers at the end of its line."""
    return name if len(name) <= limit else f"{name[: limit - 1]}…"


def write(x: float, y: float, text: str, look: str) -> Markup:
    """Return a line of text."""
    return Markup('<text class="{}" x="{:.1f}" y="{:.1f}">{}</text>').format(look, x, y, text)


def drawing(height: float, label: str, parts: Sequence[Markup]) -> Markup:
    """Return the whole drawing; `label` describes it in words for screen readers."""
    head = Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">').format(WIDTH, height, escape(label))
    return Markup("").join([head, *parts, Markup("</svg>")])


def listed(items: Sequence[str], most: int = 40) -> str:
    """Return items for the label of a drawing, joined; after a few, only the number of the rest."""
    rest = f"; and {number(len(items) - most)} more" if len(items) > most else ""
    return "; ".join(items[:most]) + rest
