"""The figures of pages as objects of matplotlib, to be changed, put beside others and saved."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prospect.report.charts.drawing import Figure
from prospect.report.charts.figure_file import SETTINGS

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MatplotlibFigure

# The pages' colours on light ground, and what tells lines apart without colour.
_COLOURS = {
    "desirable": "#0068a8",
    "undesirable": "#b84800",
    "second": "#7a5195",
    "faint": "#5a6068",
}
_INK = "#1d2023"
_DASHED = {"undesirable", "second"}
_BAND = 0.2


def as_matplotlib(figure: Figure) -> MatplotlibFigure:
    """Return a figure of lines with what the page has: title, axes, lines, bands, the level to compare with."""
    from matplotlib import style
    from matplotlib.figure import Figure as MatplotlibFigure

    chart = figure.chart
    assert chart is not None, "it is made of lines"
    with style.context(["default", SETTINGS]):
        drawn = MatplotlibFigure(figsize=(7, 4), layout="constrained")
        axes = drawn.subplots()
        for line in chart.lines:
            colour = _COLOURS.get(line.look, _INK)
            if line.low is not None and line.high is not None:
                axes.fill_between(line.x, line.low, line.high, color=colour, alpha=_BAND, linewidth=0.6)
            axes.plot(
                line.x,
                line.y,
                color=colour,
                linestyle="--" if line.look in _DASHED else "-",
                linewidth=0.8 if line.look == "faint" else None,
                marker="o" if line.dots else None,
                label=line.label,
            )
        if chart.guide is not None:
            axes.axhline(chart.guide, color=_COLOURS["faint"], linewidth=1, linestyle=":")
        axes.set(title=figure.title, xlabel=chart.x_label, ylabel=chart.y_label)
        if len(chart.lines) > 1:
            axes.legend(frameon=False)
    return drawn
