"""`prospect watch`: a run in the terminal while it goes on."""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from prospect.errors import UsageError
from prospect.terminal import make_console, say

if TYPE_CHECKING:
    from prospect.report.live.follow import State
    from prospect.report.run.facts import RunFacts


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("run", metavar="RUN", help="a run directory")
    parser.add_argument("--once", action="store_true", help="print how the run stands, and stop")
    parser.set_defaults(quiet=True)  # nothing but the run is shown


def run(options: argparse.Namespace) -> int:
    """Redraw the screen whenever the run has logged something, until it ends."""
    folder = Path(options.run)
    if not folder.is_dir():
        raise UsageError(f"{folder}: there is no such run directory. prospect train writes one.")
    from prospect.report.live.follow import follow, state_of
    from prospect.report.run.facts import RunFacts
    from prospect.run_dir import RunDir

    directory = RunDir(folder)
    if options.once:
        say(_frame(RunFacts.read(directory), state_of(directory)), sys.stdout)
        return 0
    if not sys.stdout.isatty():  # a file, or a pipe: how it stands, and how it ends
        for number, (facts, state) in enumerate(follow(directory)):
            if not number or state != "running":
                say(_frame(facts, state), sys.stdout)
        return 0
    from rich.live import Live
    from rich.text import Text

    with Live(console=make_console(), auto_refresh=False, vertical_overflow="crop") as screen:
        for facts, state in follow(directory):
            screen.update(Text(_frame(facts, state)), refresh=True)
    return 0


def _frame(facts: RunFacts | None, state: State) -> str:
    from prospect.report.live.frame import BARS, draw_frame

    if facts is None:
        return "the run has begun, and has written nothing yet"
    return draw_frame(facts, state, width=shutil.get_terminal_size().columns, plain_bars=not _can_show(BARS))


def _can_show(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True
