"""`prospect data export`: feedback for another trainer."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from prospect.cli.label_map import add_label_map, read_label_map
from prospect.feedback.exporters.export import Exported, export
from prospect.feedback.exporters.trainer_layouts import LAYOUTS
from prospect.feedback.frozen.filters import counted
from prospect.outputs import output_file
from prospect.terminal import print_json, say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="paths, globs, frozen folders or a hub dataset")
    parser.add_argument("--to", required=True, choices=list(LAYOUTS), help="who is to read it")
    parser.add_argument(
        "-o", "--output", required=True, type=output_file, metavar="OUT", help="a .jsonl file; for halos .json"
    )
    parser.add_argument(
        "--leave-out", action="store_true", help="leave out, and count, rows that the layout cannot hold"
    )
    parser.add_argument("--json", action="store_true", help="the account on stdout")
    add_label_map(parser)


def run(options: argparse.Namespace) -> int:
    """Export, say what did not come along, and how the trainer is told of the file."""
    done = export(
        options.files,
        options.to,
        options.output,
        label_map=read_label_map(options.label_map),
        leave_out=options.leave_out,
    )
    say("\n".join(_lines(done, options.output, options.to)))
    if options.json:
        print_json(_as_json(done))
    return 0


def _lines(done: Exported, output: Path, to: str) -> list[str]:
    lines = [f"{done.rows} {done.kind} rows: {output}"]
    if done.left_out:
        lines.append(f"left out, for the layout cannot hold them: {counted(done.left_out)}")
    if done.dropped:
        lines.append("not in this layout: " + ", ".join(f"{name} ({n} rows)" for name, n in done.dropped.items()))
    if done.as_turns:
        lines.append(f"{done.as_turns} rows had plain text, which became turns of a conversation")
    if done.beside:
        lines.append(f"beside it: {done.beside}")
    return [*lines, f"for {LAYOUTS[to].title}:", *(f"  {line}" for line in done.advice)]


def _as_json(done: Exported) -> dict[str, Any]:
    return {**done._asdict(), "beside": str(done.beside) if done.beside else None}
