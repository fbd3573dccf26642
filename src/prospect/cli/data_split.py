"""`prospect data split`: rows to train on and rows to evaluate on."""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prospect.cli.label_map import add_label_map, read_label_map
from prospect.errors import UsageError
from prospect.feedback.convert.split_files import SplitTally, split_files
from prospect.feedback.times import write_time
from prospect.outputs import output_file
from prospect.terminal import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="paths, globs or a hub dataset")
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        type=output_file,
        nargs=2,
        metavar=("TRAIN.jsonl", "EVAL.jsonl"),
        help="the files to write",
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--eval",
        metavar="SHARE",
        default="0.1",
        help="share of the prompts to hold out, or their number (default: 0.1)",
    )
    how.add_argument(
        "--by-time", metavar="TIME", help="hold out what is as late as 2026-01-31, say, or the latest share"
    )
    parser.add_argument("--seed", type=int, default=0, help="another seed holds out other prompts (default: 0)")
    parser.add_argument("--json", action="store_true", help="print the counts as JSON")
    add_label_map(parser)


def run(options: argparse.Namespace) -> int:
    """Split, and say how many rows and prompts are on each side."""
    tally = split_files(
        options.files,
        *options.output,
        share=_share(options.eval),
        since=None if options.by_time is None else _since(options.by_time),
        seed=options.seed,
        label_map=read_label_map(options.label_map),
    )
    if options.json:
        print(json.dumps(_as_json(tally, options.output), indent=2))
    sides = zip((tally.train, tally.held_out), tally.prompts, options.output, strict=True)
    said = ", ".join(f"{rows} rows of {prompts} prompts: {path}" for rows, prompts, path in sides)
    say(f"{tally.rows_in} rows in; {said}")
    if tally.since is not None:
        say(f"rows from {write_time(tally.since)} on are to evaluate on")
    for left_out in tally.left_out:
        say(left_out.message)
    if tally.implicit:
        say(
            f"{tally.implicit} pairs have no column prompt: what both sides begin with is taken for it, first words of "
            f"the answers too if they are the same. {tally.put_together} of them were put with a shorter prompt that "
            "theirs goes on from; others may still be on both sides. Write the column prompt to be sure",
        )
    return 0


def _share(text: str) -> float | int:
    try:
        return int(text) if text.isdigit() else float(text)
    except ValueError:
        raise UsageError(
            f"--eval {text}: expected a share of the prompts such as 0.1, or a number of prompts."
        ) from None


def _since(text: str) -> datetime | float:
    try:
        share = float(text)
    except ValueError:
        share = None
    if share is not None and 0 < share < 1:
        return share
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"--by-time {text}: expected a date such as 2026-01-31, with or without a time, or a share between 0 and 1."
        ) from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _as_json(tally: SplitTally, output: list[Path]) -> dict[str, Any]:
    sides = zip(("train", "eval"), output, (tally.train, tally.held_out), tally.prompts, strict=True)
    return {
        "rows_in": tally.rows_in,
        **{name: {"output": str(path), "rows": rows, "prompts": prompts} for name, path, rows, prompts in sides},
        "since": None if tally.since is None else write_time(tally.since),
        "left_out": [left_out._asdict() for left_out in tally.left_out],
        "implicit_prompts": tally.implicit,
        "put_together": tally.put_together,
    }
