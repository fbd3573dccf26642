"""`prospect report`: a run directory to one page, and its model's card."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from prospect.errors import UsageError
from prospect.terminal import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("run", metavar="RUN", help="a run directory")


def run(options: argparse.Namespace) -> int:
    """Write report.html and the model card, and print the page's path."""
    from prospect.model_card import FILE
    from prospect.report.run.build import build_report
    from prospect.report.run.model_card import write_model_card
    from prospect.run_dir import RunDir

    if not Path(options.run).is_dir():
        raise UsageError(f"{options.run}: there is no such run directory. prospect train and prospect demo write them.")
    say(build_report(options.run), sys.stdout)
    card = write_model_card(options.run)
    if card:
        say(f"model card: {card}")
    elif RunDir(options.run).model_path.is_dir():
        path = RunDir(options.run).model_path / FILE
        say(f"model card: {path} has another author and is left as it is.")
    return 0
