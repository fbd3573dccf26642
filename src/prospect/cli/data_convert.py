"""`prospect data convert`: feedback in another kind, or less of it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from prospect.cli.label_map import add_label_map, read_label_map
from prospect.errors import UsageError
from prospect.feedback.convert.pairing import PAIRINGS
from prospect.feedback.convert.streaming import Conversion, Tally, convert_files
from prospect.feedback.convert.subsample import ClassShares
from prospect.feedback.convert.thresholds import RULES, Threshold
from prospect.outputs import output_file
from prospect.terminal import say

KINDS = ("unpaired", "paired", "demonstration", "scored")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="paths, globs or a hub dataset")
    parser.add_argument("--to", required=True, choices=KINDS, help="the kind to write")
    parser.add_argument(
        "-o", "--output", required=True, type=output_file, metavar="OUT.jsonl", help="the file to write"
    )
    parser.add_argument(
        "--pairs",
        choices=PAIRINGS,
        default="cycle",
        help="which pairs of a prompt's completions to make, with --to paired (default: cycle, which uses every row)",
    )
    parser.add_argument(
        "--threshold",
        metavar="T",
        help="make labels of scores, with --to unpaired or demonstration: a number, mean, median or bernoulli",
    )
    parser.add_argument("--per-prompt", action="store_true", help="the threshold is that of the prompt's own scores")
    parser.add_argument("--one-per-prompt", action="store_true", help="keep one row of each prompt")
    for name in ("desirable", "undesirable"):
        parser.add_argument(
            f"--keep-{name}", type=float, default=1.0, metavar="SHARE", help=f"keep this share of the {name} rows"
        )
    parser.add_argument("--seed", type=int, default=0, help="another seed draws other rows (default: 0)")
    parser.add_argument("--json", action="store_true", help="print the counts as JSON")
    add_label_map(parser)


def run(options: argparse.Namespace) -> int:
    """Convert, and say how many rows went in and came out, and what was left out."""
    conversion = Conversion(
        to=options.to,
        pairing=options.pairs,
        threshold=_threshold(options),
        one_per_prompt=options.one_per_prompt,
        shares=ClassShares(options.keep_desirable, options.keep_undesirable),
        seed=options.seed,
    )
    tally = convert_files(options.files, options.output, conversion, label_map=read_label_map(options.label_map))
    if options.json:
        print(json.dumps(_as_json(tally, options.output), indent=2))
    kinds = " and ".join(f"{rows} {kind}" for kind, rows in tally.rows_in.items())
    classes = tally.classes and f" ({tally.classes.desirable} desirable, {tally.classes.undesirable} undesirable)"
    say(f"{kinds} rows in, {tally.rows_out} {tally.kind} rows out: {options.output}{classes or ''}")
    if tally.relabelled:
        say(f"{tally.relabelled} rows had a label that said the opposite of the threshold")
    for left_out in tally.left_out:
        say(left_out.message)
    return 0


def _threshold(options: argparse.Namespace) -> Threshold | None:
    if options.threshold is None:
        if options.per_prompt:
            raise UsageError("--per-prompt says whose scores the threshold comes from: add --threshold mean, say.")
        return None
    try:
        rule: Any = options.threshold if options.threshold in RULES else float(options.threshold)
    except ValueError:
        raise UsageError(f"--threshold {options.threshold}: expected a number, mean, median or bernoulli.") from None
    return Threshold(rule, per_prompt=options.per_prompt, seed=options.seed)


def _as_json(tally: Tally, output: Path) -> dict[str, Any]:
    classes = {} if tally.classes is None else tally.classes._asdict()
    return {
        "output": str(output),
        "kind": tally.kind,
        "rows_in": dict(tally.rows_in),
        "rows_out": tally.rows_out,
        **classes,
        "relabelled": tally.relabelled,
        "left_out": [left_out._asdict() for left_out in tally.left_out],
    }
