"""`prospect check-model`: whether a model's folder gives elsewhere what it gives here."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from prospect.errors import UsageError
from prospect.terminal import print_json, say

if TYPE_CHECKING:
    from prospect.results.model_check import ModelCheck


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("model", metavar="DIR", help="a run directory, a merged model's folder, or an adapter's")
    parser.add_argument(
        "--run", metavar="RUN", help="the run that made it, to compare with (default: the one that DIR lies in)"
    )
    parser.add_argument(
        "--data", metavar="FILE", help="feedback whose first three rows are tried (default: the run's own)"
    )
    parser.add_argument(
        "--max-new-tokens", type=int, default=256, metavar="N", help="where an answer is cut (default 256)"
    )
    parser.add_argument("--json", action="store_true", help="print what was found as JSON on stdout")


def run(options: argparse.Namespace) -> int:
    """Check, and say what was found.

    Returns:
        1 if something is wrong, else 0.
    """
    if options.max_new_tokens < 1:
        raise UsageError(f"--max-new-tokens is {options.max_new_tokens}; expected at least 1.")
    from prospect.cli.train import quiet_libraries
    from prospect.verbs.handing_over import check_model

    quiet_libraries()
    result = check_model(options.model, options.run, options.data, max_new_tokens=options.max_new_tokens)
    if options.json:
        print_json(result.as_dict())
    else:
        say("\n".join(_lines(result)), sys.stdout)
    return 0 if result.passed else 1


def _lines(result: ModelCheck) -> list[str]:
    lines = []
    for number, row in enumerate(result.rows, 1):
        ended = "" if row.finished else " ... (cut)"
        lines += [f"row {number}, as a server renders it:", row.served, f"answer: {row.answer}{ended}", ""]
    for finding in result.findings:
        lines.append(f"{finding.state:<8} {finding.name.replace('_', ' '):<10} {finding.found}")
        if finding.do:
            lines.append(f"{'':<19} {finding.do}")
    return lines
