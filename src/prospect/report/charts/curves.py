"""A chart of labelled curves as an SVG file of its own, with its colours in it: for pages that have no style sheet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape

from prospect.report.charts.plots import nice_ticks, tick_labels

WIDTH, HEIGHT = 800, 490
LEFT, RIGHT, TOP, BOTTOM = 58, 206, 88, 58  # the labels of the curves stand on the right
LABEL_PITCH = 19  # the least distance between two labels
# Told apart by dash as well as by colour; the first is drawn boldest.
LOOKS = ("", "9 4", "2 4", "12 4 2 4", "5 3", "14 5", "1 3", "8 3 2 3 2 3")

STYLE = Markup("""\
<style>
svg { --paper: #fcfbf8; --ink: #1d2023; --muted: #5a6068; --hair: #dfdbd2;
  --c0: #1d2023; --c1: #0068a8; --c2: #b84800; --c3: #7a5195; --c4: #2f7d32; }
@media (prefers-color-scheme: dark) {
  svg { --paper: #14171a; --ink: #e8e5df; --muted: #a0a5ab; --hair: #33383d;
    --c0: #e8e5df; --c1: #62b3ee; --c2: #f5924f; --c3: #c49be0; --c4: #7cc47f; }
}
.paper { fill: var(--paper); }
text { font: 13px system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", Arial, sans-serif;
  fill: var(--muted); font-variant-numeric: tabular-nums; }
.title { font-size: 17px; font-weight: 600; fill: var(--ink); }
.end { text-anchor: end; } .middle { text-anchor: middle; }
.grid { stroke: var(--hair); } .axis { stroke: var(--muted); stroke-width: 1.2; }
.curve { fill: none; stroke-width: 2.2; stroke-linejoin: round; stroke-linecap: round; }
.curve.first { stroke-width: 3.4; }
.leader { fill: none; stroke: var(--hair); }
.name { font-weight: 600; }
.origin { fill: var(--paper); stroke: var(--ink); stroke-width: 1.6; }
</style>""")


@dataclass(frozen=True)
class Curve:
    """One curve: its name and `x`, `y` (S,)."""

    label: str
    x: np.ndarray
    y: np.ndarray


def chart(
    curves: Sequence[Curve],
    *,
    title: str = "What an outcome is worth to a human",
    x_label: str = "z: reward above the reference point, in units of 1 / beta (nats where a loss has no beta)",
    y_label: str = "value v(z)",
) -> str:
    """Return the SVG file: axes through the reference point, each curve named at its right end."""
    x, y = _scales(curves)
    looks = _looks(curves)
    said = "; ".join(f"{c.label} from {c.y[0]:.2f} at {c.x[0]:g} to {c.y[-1]:.2f} at {c.x[-1]:g}" for c in curves)
    parts = [
        STYLE,
        Markup('<rect class="paper" width="{}" height="{}"/>').format(WIDTH, HEIGHT),
        _text(LEFT - 44, 30, title, "title"),
        _text(LEFT - 44, 54, y_label, ""),
        _text(WIDTH - RIGHT, HEIGHT - 14, x_label, "end"),
        *_grid(x, y),
        *(_curve(look, curve, x, y) for look, curve in reversed(list(zip(looks, curves, strict=True)))),
        *_labels(curves, looks, y),
        Markup('<circle class="origin" cx="{:.1f}" cy="{:.1f}" r="4"/>').format(x(0), y(0)),
    ]
    head = Markup('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {} {}" role="img" aria-label="{}">').format(
        WIDTH, HEIGHT, escape(f"{title}. {said}.")
    )
    return str(Markup("\n").join([head, *parts, Markup("</svg>")])) + "\n"


@dataclass(frozen=True)
class _Scale:
    """Maps numbers from `low` to `high` to coordinates from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def _scales(curves: Sequence[Curve]) -> tuple[_Scale, _Scale]:
    """Both axes hold 0; a little room above and below."""
    x, y = (np.concatenate([[0.0], *(getattr(c, axis) for c in curves)]) for axis in ("x", "y"))
    room = 0.05 * (y.max() - y.min() or 1.0)
    return (
        _Scale(float(x.min()), float(x.max()), LEFT, WIDTH - RIGHT),
        _Scale(float(y.min() - room), float(y.max() + room), HEIGHT - BOTTOM, TOP),
    )


def _grid(x: _Scale, y: _Scale) -> list[Markup]:
    parts = []
    x_ticks, y_ticks = nice_ticks(x.low, x.high, 8), nice_ticks(y.low, y.high, 7)
    for tick, text in zip(y_ticks, tick_labels(y_ticks), strict=True):
        look = "axis" if abs(tick) < 1e-9 else "grid"
        parts += [_rule(x.start, y(tick), x.end, y(tick), look), _text(x.start - 8, y(tick) + 4.5, text, "end")]
    parts.append(_rule(x(0), y.start, x(0), y.end, "axis"))
    for tick, text in zip(x_ticks, tick_labels(x_ticks), strict=True):
        parts.append(_text(x(tick), y.start + 18, text, "middle"))
    above = y.end - 8
    parts += [_text(x.start, above, "losses", ""), _text(x.end, above, "gains", "end")]
    parts.append(_text(x(0), above, "reference point", "middle"))
    return parts


def _looks(curves: Sequence[Curve]) -> list[int]:
    """Return a number for each look; curves that coincide share theirs, since only one of them is seen."""
    return [next(i for i, other in enumerate(curves) if np.allclose(other.y, curve.y)) for curve in curves]


def _curve(i: int, curve: Curve, x: _Scale, y: _Scale) -> Markup:
    points = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in zip(curve.x, curve.y, strict=True))
    return Markup('<polyline class="curve{}" {} points="{}"/>').format(" first" if i == 0 else "", _ink(i), points)


def _labels(curves: Sequence[Curve], looks: Sequence[int], y: _Scale) -> list[Markup]:
    """Return the names at the right ends, moved apart where they would touch, each with a line to its curve's end."""
    order = sorted(range(len(curves)), key=lambda i: (round(y(float(curves[i].y[-1])), 1), looks[i]))
    places = _apart([y(float(curves[i].y[-1])) for i in order], y.end, y.start)
    parts, right = [], WIDTH - RIGHT
    for i, place in zip(order, places, strict=True):
        end = y(float(curves[i].y[-1]))
        path = f"M{right + 2},{end:.1f} L{right + 12},{place:.1f}"
        parts.append(Markup('<path class="leader" d="{}"/>').format(path))
        sample = f"{right + 14},{place:.1f} {right + 40},{place:.1f}"
        parts.append(Markup('<polyline class="curve" {} points="{}"/>').format(_ink(looks[i]), sample))
        form = Markup('<text class="name" style="fill: var(--c{})" x="{}" y="{:.1f}">{}</text>')
        parts.append(form.format(looks[i] % 5, right + 46, place + 4.5, _short(curves[i].label)))
    return parts


def _apart(places: Sequence[float], top: float, bottom: float) -> list[float]:
    """Sorted places, pushed down to be LABEL_PITCH apart, and up again from the bottom where they would leave it."""
    found: list[float] = []
    for place in places:
        found.append(max(place, found[-1] + LABEL_PITCH) if found else max(place, top))
    limit = bottom
    for i in reversed(range(len(found))):
        found[i] = min(found[i], limit)
        limit = found[i] - LABEL_PITCH
    return found


def _short(label: str, limit: int = 20) -> str:
    return label if len(label) <= limit else f"{label[: limit - 1]}…"


def _ink(i: int) -> Markup:
    form = Markup('style="stroke: var(--c{})" stroke-dasharray="{}"')
    return form.format(i % 5, LOOKS[i % len(LOOKS)] or "none")


def _rule(x1: float, y1: float, x2: float, y2: float, look: str) -> Markup:
    form = Markup('<line class="{}" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>')
    return form.format(look, x1, y1, x2, y2)


def _text(x: float, y: float, text: str, look: str) -> Markup:
    return Markup('<text class="{}" x="{:.1f}" y="{:.1f}">{}</text>').format(look, x, y, text)
