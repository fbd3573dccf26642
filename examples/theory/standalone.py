"""Writes a figure of `prospect.report.charts.plots` as an SVG file that stands alone: with title, legend and colours.

On a report's page those three come from the page around the figure.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from markupsafe import escape

from prospect.report.charts.plots import WIDTH, Figure

MARGIN, HEADER, SCALE = 18, 58, 1.6
SWATCH = 26
LETTER = 6.3  # about the width of a letter of the legend: an SVG file cannot measure its own text

# The looks that the three figures use, in the colours of the report's page.css.
STYLE = """
svg {
  --paper: #fcfbf8; --ink: #1d2023; --muted: #5a6068; --hair: #dfdbd2;
  --desirable: #0068a8; --undesirable: #b84800;
}
@media (prefers-color-scheme: dark) {
  svg {
    --paper: #14171a; --ink: #e8e5df; --muted: #a0a5ab; --hair: #33383d;
    --desirable: #62b3ee; --undesirable: #f5924f;
  }
}
text { font: 11.5px system-ui, "Segoe UI", Roboto, "Liberation Sans", Arial, sans-serif; fill: var(--muted); }
.title { font-size: 14px; font-weight: 600; fill: var(--ink); }
.end { text-anchor: end; }
.middle { text-anchor: middle; }
.paper { fill: var(--paper); }
.grid { stroke: var(--hair); stroke-width: 1; }
.guide { stroke: var(--muted); stroke-width: 1.2; stroke-dasharray: 2 4; }
.line { fill: none; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; }
.line.desirable { stroke: var(--desirable); }
.line.undesirable { stroke: var(--undesirable); stroke-dasharray: 7 4; }
"""


def render(figure: Figure) -> str:
    """Return the text of an SVG file: title, legend, drawing."""
    drawing = str(figure.svg)  # a Markup would escape what is put into it
    found = re.match(r'<svg viewBox="0 0 [\d.]+ ([\d.]+)"', drawing)
    assert found is not None
    drawn = float(found[1])
    width, height = WIDTH + 2 * MARGIN, HEADER + drawn + MARGIN
    inner = drawing.replace(
        "<svg ", f'<svg x="{MARGIN}" y="{HEADER}" width="{WIDTH}" height="{drawn:g}" overflow="visible" ', 1
    )
    size = f'width="{SCALE * width:g}" height="{SCALE * height:g}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height:g}" {size}>',
        f"<style>{STYLE}</style>",
        f'<rect class="paper" width="{width}" height="{height:g}"/>',
        f'<text class="title" x="{MARGIN}" y="24">{escape(figure.title)}</text>',
        *_legend(figure),
        inner.replace("><", ">\n<"),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _legend(figure: Figure) -> list[str]:
    parts, x = [], float(MARGIN)
    for look, label in figure.keys:
        parts.append(f'<line class="line {look}" x1="{x:.1f}" y1="40" x2="{x + SWATCH:.1f}" y2="40"/>')
        parts.append(f'<text x="{x + SWATCH + 6:.1f}" y="44">{escape(label)}</text>')
        x += SWATCH + 6 + LETTER * len(label) + 16
    return parts


def figure_option(description: str) -> Path | None:
    """Return what `--figure` on the command line names, None without it."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--figure", type=Path, metavar="FILE.svg", help="write the figure there")
    named: Path | None = parser.parse_args().figure
    return named
