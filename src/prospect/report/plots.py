"""Figures as inline SVG: no script, no network, colours from the page's CSS variables (light, dark, print).

Shapes: S points of a line. Coordinates are in units of the viewBox, which scales to any width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape

from prospect.evaluation.winrate import Rate
from prospect.report.wording import MINUS, count, interval, number, percent

WIDTH, HEIGHT = 420, 244  # about the width of a phone, so that text keeps its size there
LEFT, RIGHT, TOP, BOTTOM = 50, 12, 26, 40
MAX_POINTS = 300  # more than the pixels of a figure can show
QUARTERS = (0.0, 0.25, 0.5, 0.75, 1.0)
SMOOTHING = 0.05  # share of the run that a running mean looks at


@dataclass(frozen=True)
class Figure:
    """A figure for the page.

    Attributes:
        title: what it shows.
        svg: the drawing.
        reading: one line that says how to read it.
        keys: the legend, as (look, label); a look is a CSS class.
    """

    title: str
    svg: Markup
    reading: str
    keys: tuple[tuple[str, str], ...] = ()


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
    x_range = _padded(np.concatenate([[0], *(line.x for line in lines)]), 0)
    y_range = _y_range(lines, guide)
    axes = _Axes(x_range, y_range, bottom=height - BOTTOM)
    parts = [_grid(axes, x_label, y_label)]
    if guide is not None:
        parts.append(_rule(axes.left, axes.y(guide), axes.right, axes.y(guide), "guide"))
    parts += [_band(line, axes) for line in lines]
    parts += [_stroke(line, axes) for line in lines]
    ends = "; ".join(f"{line.label} from {number(line.y[0])} to {number(line.y[-1])}" for line in lines)
    svg = _svg(height, f"{title}. {y_label} by {x_label}: {ends}.", parts)
    return Figure(title, svg, reading, tuple((line.look, line.label) for line in lines))


def histogram_pair(
    edges: Sequence[float],
    counts: Sequence[tuple[str, str, Sequence[float]]],
    *,
    title: str,
    reading: str,
    x_label: str,
) -> Figure:
    """Return one or two histograms over shared bins, back to back: the first grows up, the second down.

    Args:
        edges: K + 1 bin edges.
        counts: (look, label, K counts) of each; drawn as shares of their own sum.
        title: what the figure shows.
        reading: how to read it.
        x_label: the quantity and its unit.
    """
    shares = [np.asarray(values, float) / max(1.0, sum(values)) for _, _, values in counts]
    tallest = max(float(share.max()) for share in shares) or 1.0
    lowest = -tallest if len(counts) > 1 else 0.0
    axes = _Axes((edges[0], edges[-1]), (1.05 * lowest, 1.05 * tallest))
    parts = [_grid(axes, x_label, "share of completions", shares=True)]
    for sign, share, (look, _, _) in zip((1, -1), shares, counts, strict=False):
        for left, right, height in zip(edges[:-1], edges[1:], share, strict=True):
            parts.append(_bar(axes, left, right, sign * height, look))
    parts.append(_rule(axes.left, axes.y(0), axes.right, axes.y(0), "axis"))
    peaks = "; ".join(
        f"{label} most often {number(edges[int(share.argmax())])} to {number(edges[int(share.argmax()) + 1])}"
        for share, (_, label, _) in zip(shares, counts, strict=True)
    )
    svg = _svg(HEIGHT, f"{title}. {x_label}: {peaks}.", parts)
    return Figure(title, svg, reading, tuple((f"{look} area", label) for look, label, _ in counts))


def whiskers(
    rows: Sequence[tuple[str, Sequence[tuple[str, Rate]]]],
    *,
    title: str,
    reading: str,
    x_label: str,
    keys: Sequence[tuple[str, str]] = (),
    guide: float | None = None,
) -> Figure:
    """Return dots with their intervals on a scale of 0 to 100 %, one labelled row for each name.

    Args:
        rows: (name, dots), each dot a (look, rate).
        title: what the figure shows.
        reading: how to read it.
        x_label: what the share is of.
        keys: the legend.
        guide: a share to compare with, drawn dashed.
    """
    pitch = 50
    axes = _Axes((0, 1), (0, 1), left=4, right=WIDTH - 4, bottom=pitch * len(rows))
    parts = [_share_axis(axes, x_label)]
    for i, (name, dots) in enumerate(rows):
        top, bottom = pitch * i + 18, pitch * i + 40
        numbers = " → ".join(percent(rate.rate) for _, rate in dots)
        parts += [_text(0, top - 5, _cut(name), "name"), _text(WIDTH, top - 5, numbers, "name end")]
        parts += [_rule(axes.x(tick), top, axes.x(tick), bottom, "grid") for tick in QUARTERS]
        if guide is not None:
            parts.append(_rule(axes.x(guide), top, axes.x(guide), bottom, "guide"))
        step = (bottom - top) / (len(dots) + 1)
        parts += [_whisker(axes, top + step * (j + 1), look, rate) for j, (look, rate) in enumerate(dots)]
    said = "; ".join(
        f"{name}: " + " then ".join(f"{percent(rate.rate)} ({interval(rate.low, rate.high)})" for _, rate in dots)
        for name, dots in rows
    )
    return Figure(title, _svg(axes.bottom + 34, f"{title}. {said}.", parts), reading, tuple(keys))


def stacked_bars(rows: Sequence[tuple[str, Sequence[tuple[str, str, float]]]], *, title: str, reading: str) -> Figure:
    """Return one full-width bar for each row, cut in proportion; a part is (look, label, amount)."""
    pitch, parts, said = 76, [], []
    for i, (name, amounts) in enumerate(rows):
        top, total, x = pitch * i, sum(amount for _, _, amount in amounts), 0.0
        labels = [f"{label} {count(amount)} ({percent(amount / total)})" for _, label, amount in amounts]
        parts.append(_text(0, top + 13, name, "name"))
        for (look, _, amount), label, place in zip(amounts, labels, ("", "end"), strict=False):
            width = WIDTH * amount / total
            parts.append(_rect(x, top + 20, max(0.0, width - 1), 16, f"fill {look}"))
            parts.append(_text(0 if place == "" else WIDTH, top + 51, label, f"tick {place}"))
            x += width
        said.append(f"{name}: {', '.join(labels)}")
    keys = tuple((f"{look} area", label) for look, label, _ in rows[0][1])
    return Figure(title, _svg(pitch * len(rows) - 18, f"{title}. {'; '.join(said)}.", parts), reading, keys)


@dataclass(frozen=True)
class _Axes:
    """Maps data to coordinates."""

    x_range: tuple[float, float]
    y_range: tuple[float, float]
    left: float = LEFT
    right: float = WIDTH - RIGHT
    top: float = TOP
    bottom: float = HEIGHT - BOTTOM

    def x(self, value: float) -> float:
        low, high = self.x_range
        return self.left + (value - low) / (high - low) * (self.right - self.left)

    def y(self, value: float) -> float:
        low, high = self.y_range
        return self.bottom - (value - low) / (high - low) * (self.bottom - self.top)

    def points(self, x: np.ndarray, y: np.ndarray) -> str:
        inside = np.clip(y, *self.y_range)
        return " ".join(f"{self.x(a):.1f},{self.y(b):.1f}" for a, b in zip(x, inside, strict=True))


def _padded(values: np.ndarray, share: float) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    if high - low <= 1e-9 * max(abs(low), abs(high)):  # a flat line gets room around it
        return low - (abs(low) * 0.1 or 1.0), high + (abs(high) * 0.1 or 1.0)
    return low - share * (high - low), high + share * (high - low)


def _y_range(lines: Sequence[Line], guide: float | None) -> tuple[float, float]:
    """The range of the lines and of all but 4 % of their bands, so that one spike hides nothing."""
    values = [line.y for line in lines]
    values += [np.quantile(line.low, [0.02]) for line in lines if line.low is not None]
    values += [np.quantile(line.high, [0.98]) for line in lines if line.high is not None]
    return _padded(np.concatenate([*values, [] if guide is None else [guide]]), 0.05)


def _grid(axes: _Axes, x_label: str, y_label: str, shares: bool = False) -> Markup:
    parts = []
    y_ticks = nice_ticks(*axes.y_range, about=max(3, int((axes.bottom - axes.top) / 34)))
    texts = [percent(abs(tick)) for tick in y_ticks] if shares else tick_labels(y_ticks)
    for tick, text in zip(y_ticks, texts, strict=True):
        parts.append(_rule(axes.left, axes.y(tick), axes.right, axes.y(tick), "grid"))
        parts.append(_text(axes.left - 6, axes.y(tick) + 4, text, "tick end"))
    x_ticks = nice_ticks(*axes.x_range)
    for tick, text in zip(x_ticks, tick_labels(x_ticks), strict=True):
        parts.append(_text(axes.x(tick), axes.bottom + 16, text, "tick middle"))
    parts += [_text(0, 12, y_label, "label"), _text(axes.right, axes.bottom + 34, x_label, "label end")]
    return Markup("").join(parts)


def _share_axis(axes: _Axes, x_label: str) -> Markup:
    places = {0.0: (0, "tick"), 1.0: (WIDTH, "tick end")}
    marks = [(*places.get(tick, (axes.x(tick), "tick middle")), percent(tick)) for tick in QUARTERS]
    parts = [_text(x, axes.bottom + 8, text, look) for x, look, text in marks]
    return Markup("").join([*parts, _text(WIDTH, axes.bottom + 26, x_label, "label end")])


def _band(line: Line, axes: _Axes) -> Markup:
    if line.low is None or line.high is None:
        return Markup("")
    around = f"{axes.points(line.x, line.high)} {axes.points(line.x[::-1], line.low[::-1])}"
    return Markup('<polygon class="band {}" points="{}"/>').format(line.look, around)


def _stroke(line: Line, axes: _Axes) -> Markup:
    path = Markup('<polyline class="line {}" points="{}"/>').format(line.look, axes.points(line.x, line.y))
    dotted = zip(line.x, line.y, strict=True) if line.dots or len(line.x) == 1 else ()
    return Markup("").join([path, *(_dot(axes.x(x), axes.y(y), line.look) for x, y in dotted)])


def _dot(x: float, y: float, look: str) -> Markup:
    """A round dot, a square one for the undesirable class: told apart without colour."""
    if look == "undesirable":
        return _rect(x - 3, y - 3, 6, 6, f"dot {look}")
    return Markup('<circle class="dot {}" cx="{:.1f}" cy="{:.1f}" r="3.4"/>').format(look, x, y)


def _whisker(axes: _Axes, y: float, look: str, rate: Rate) -> Markup:
    line = _rule(axes.x(rate.low), y, axes.x(rate.high), y, f"whisker {look}")
    return line + _dot(axes.x(rate.rate), y, look)


def _bar(axes: _Axes, left: float, right: float, height: float, look: str) -> Markup:
    top, bottom = sorted((axes.y(height), axes.y(0)))
    return _rect(axes.x(left) + 0.5, top, axes.x(right) - axes.x(left) - 1, bottom - top, f"fill {look}")


def _rect(x: float, y: float, width: float, height: float, look: str) -> Markup:
    form = Markup('<rect class="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>')
    return form.format(look, x, y, max(0.0, width), height)


def _rule(x1: float, y1: float, x2: float, y2: float, look: str) -> Markup:
    form = Markup('<line class="{}" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>')
    return form.format(look, x1, y1, x2, y2)


def _cut(name: str, limit: int = 46) -> str:
    """A name that leaves room for the numbers at the end of its line."""
    return name if len(name) <= limit else f"{name[: limit - 1]}…"


def _text(x: float, y: float, text: str, look: str) -> Markup:
    return Markup('<text class="{}" x="{:.1f}" y="{:.1f}">{}</text>').format(look, x, y, text)


def _svg(height: float, label: str, parts: Sequence[Markup]) -> Markup:
    head = Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">').format(WIDTH, height, escape(label))
    return Markup("").join([head, *parts, Markup("</svg>")])
