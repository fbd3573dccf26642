"""`prospect report`: a run directory to one page."""

from __future__ import annotations

import argparse
from pathlib import Path

from prospect.errors import UsageError
from prospect.report.build import build_report


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("run", metavar="RUN", help="a run directory")


def run(options: argparse.Namespace) -> int:
    """Writes report.html and prints its path."""
    if not Path(options.run).is_dir():
        raise UsageError(f"{options.run}: there is no such run directory. prospect train and prospect demo write them.")
    print(build_report(options.run))
    return 0
