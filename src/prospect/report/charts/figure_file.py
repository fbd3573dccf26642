"""Figures for papers and pages of others: labelled curves as an SVG, PDF or PNG file, drawn by matplotlib.

The same curves give the same bytes: files hold no date and no name of a program, and settings of the user's own
matplotlib do not count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from prospect.atomic import atomic_file
from prospect.errors import ConfigError

# Metadata of each format; None leaves out what matplotlib would write, and the empty name takes the description.
_METADATA: dict[str, dict[str, str | None]] = {
    ".svg": {"Creator": None, "Date": None, "Description": ""},
    ".pdf": {"Creator": None, "Producer": None, "CreationDate": None, "Subject": ""},
    ".png": {"Software": None, "Description": ""},
}
SETTINGS = {
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "grid.color": "#dfdbd2",
    "lines.linewidth": 1.8,
    "pdf.fonttype": 42,  # text that can be searched and edited
    "savefig.dpi": 200,
    "svg.fonttype": "none",
    "svg.hashsalt": "prospect",
    "text.parse_math": False,  # a name with a dollar sign is a name
}
# Curves differ in dash as well as in colour; the first is drawn boldest.
_COLOURS = ("#1d2023", "#0068a8", "#b84800", "#7a5195", "#2f7d32")
_DASHES = ("-", (0, (6, 3)), (0, (1.5, 3)), (0, (8, 3, 1.5, 3)), (0, (4, 2)), (0, (9, 4)), (0, (1, 2)))
_LONGEST_LABEL = 32


@dataclass(frozen=True)
class Curve:
    """One curve: its name and `x`, `y` (S,)."""

    label: str
    x: np.ndarray
    y: np.ndarray
    beside: bool = False
    """Whether it goes with the curve before it: thin, and of its colour."""


def require_figure(path: Path) -> Path:
    """Return the path of a figure, of a format that can be written.

    Raises:
        ConfigError: the name has another suffix.
    """
    if path.suffix not in _METADATA:
        raise ConfigError(f"{path}: expected the name of a figure, which ends in {', '.join(_METADATA)}.")
    return path


def write_figure(
    path: Path,
    curves: Sequence[Curve],
    *,
    title: str,
    x_label: str,
    y_label: str,
    guides: tuple[float | None, float | None] = (None, None),
) -> None:
    """Write curves, each named in a legend in the order of their right ends.

    Args:
        path: the file; its suffix is the format.
        curves: at least one. Those that coincide share a look, since only one of them is seen.
        title: above the figure.
        x_label: of the horizontal axis.
        y_label: of the vertical axis.
        guides: x of a vertical line and y of a horizontal line.

    Raises:
        ConfigError: another suffix than .svg, .pdf or .png.
    """
    from matplotlib import style
    from matplotlib.figure import Figure

    described = f"{title}. {'; '.join(map(_described, curves))}."
    entries = _METADATA[require_figure(path).suffix]
    metadata = {"Title": title} | {key: described if value == "" else value for key, value in entries.items()}
    with style.context(["default", SETTINGS]):
        figure = Figure(figsize=(8, 4.6), layout="constrained")
        axes = figure.subplots()
        lines = [
            axes.plot(
                curve.x,
                curve.y,
                color=_COLOURS[look % len(_COLOURS)],
                linestyle=":" if curve.beside else _DASHES[look % len(_DASHES)],
                linewidth=1.2 if curve.beside else 2.6 if look == 0 else None,
                zorder=3 - look / len(curves),
            )[0]
            for look, curve in zip(_looks(curves), curves, strict=True)
        ]
        for draw, place in zip((axes.axvline, axes.axhline), guides, strict=True):
            if place is not None:
                draw(place, color="#5a6068", linewidth=1)
        axes.set(title=title, xlabel=x_label, ylabel=y_label)
        axes.margins(x=0)
        order = sorted(range(len(curves)), key=lambda i: -curves[i].y[-1])
        names = [_short(curves[i].label) for i in order]
        figure.legend([lines[i] for i in order], names, loc="outside right upper", frameon=False, handlelength=3)
        with atomic_file(path) as file:
            figure.savefig(
                file,
                format=path.suffix[1:],
                metadata={"Title": title}
                | {key: described if value == "" else value for key, value in metadata.items()},
            )


def _looks(curves: Sequence[Curve]) -> list[int]:
    """Return each curve's look by number: that of the first curve that it coincides with, or of the one before it."""
    own = [curve for curve in curves if not curve.beside]
    looks: list[int] = []
    for curve in curves:
        same = next((i for i, other in enumerate(own) if np.allclose(other.y, curve.y)), 0)
        looks.append(looks[-1] if curve.beside else same)
    return looks


def _described(curve: Curve) -> str:
    return f"{curve.label} from {curve.y[0]:.2f} at {curve.x[0]:g} to {curve.y[-1]:.2f} at {curve.x[-1]:g}"


def _short(label: str) -> str:
    return label if len(label) <= _LONGEST_LABEL else f"{label[: _LONGEST_LABEL - 1]}…"
