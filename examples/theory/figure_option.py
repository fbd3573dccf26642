"""The one argument of the scripts in this folder."""

from __future__ import annotations

import argparse
from pathlib import Path


def figure_option(description: str) -> Path | None:
    """Return what `--figure` on the command line names, None without it."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--figure", type=Path, metavar="FILE", help="write the figure there: SVG, PDF or PNG by suffix")
    named: Path | None = parser.parse_args().figure
    return named
