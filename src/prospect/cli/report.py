"""`prospect report`: a run directory to one page and its model's card; rounds, or the file of a result, to one page.

With `--live` the page of a run is served while the run goes on.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from prospect.errors import UsageError
from prospect.terminal import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "run",
        metavar="RUN",
        help="a run directory, a folder of rounds, or a result that contest, evaluate or benchmark wrote with -o",
    )
    parser.add_argument(
        "--live", action="store_true", help="serve the page of a run on this machine while it goes on; it renews itself"
    )
    parser.add_argument("--port", type=int, default=0, help="of --live, on 127.0.0.1 (default: a free one)")


def run(options: argparse.Namespace) -> int:
    """Write the page and what belongs to it, and print the page's path."""
    from prospect.results.rounds import LEDGER

    folder = Path(options.run)
    if folder.is_file():
        from prospect.report.run.evaluation_page import build_evaluation_page

        say(build_evaluation_page(folder), sys.stdout)
        return 0
    if not folder.is_dir():
        raise UsageError(f"{folder}: there is no such run directory. prospect train and prospect demo write them.")
    if options.port and not options.live:
        raise UsageError("--port is of --live. Leave it out, or add --live.")
    if not 0 <= options.port < 2**16:
        raise UsageError(f"--port {options.port}: expected a number from 1 to 65535.")
    if (folder / LEDGER).is_file():
        if options.live:
            raise UsageError(f"{folder} is a folder of rounds. Name the run of a round: --live follows one run.")
        from prospect.report.rounds.page import build_rounds_report

        say(build_rounds_report(folder), sys.stdout)
    else:
        if options.live:
            _serve(folder, options.port)
        _report_run(folder)
    return 0


def _serve(folder: Path, port: int) -> None:
    from prospect.report.live.serve import LivePage
    from prospect.run_dir import RunDir

    page = LivePage(RunDir(folder), port)
    say(f"live until the run ends, for this machine only: {page.address}")
    say(f"the run is {page.serve()}")


def _report_run(folder: Path) -> None:
    from prospect.model_card import FILE
    from prospect.report.run.build import build_report
    from prospect.report.run.model_card import write_model_card
    from prospect.run_dir import RunDir

    say(build_report(folder), sys.stdout)
    card = write_model_card(folder)
    if card:
        say(f"model card: {card}")
    elif RunDir(folder).model_path.is_dir():
        say(f"model card: {RunDir(folder).model_path / FILE} has another author and is left as it is.")
