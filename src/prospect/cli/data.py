"""`prospect data`: feedback files without torch."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable
from typing import Any

import yaml

from prospect.errors import UsageError
from prospect.feedback import (
    Feedback,
    Unpairable,
    Unscorable,
    as_kind,
    count_unpairable,
    count_unscorable,
    load_feedback,
    write_jsonl,
)

_LEFT_OUT: dict[str, Callable[[Iterable[Feedback]], Unpairable | Unscorable]] = {
    "paired": count_unpairable,
    "scored": count_unscorable,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    convert = actions.add_parser(
        "convert", help="write feedback in another kind: thumbs from pairs, pairs from thumbs, scored from both"
    )
    convert.add_argument("files", nargs="+", metavar="FILE", help="paths, globs or a hub dataset")
    convert.add_argument(
        "--to", required=True, choices=["unpaired", "paired", "demonstration", "scored"], help="the kind to write"
    )
    convert.add_argument("-o", "--output", required=True, metavar="OUT.jsonl", help="the file to write")
    convert.add_argument(
        "--label-map", metavar="YAML", help="your label values, for instance '{good: true, bad: false}'"
    )


def run(options: argparse.Namespace) -> int:
    """Converts, and says how many rows went in and came out."""
    rows = load_feedback(options.files, label_map=_label_map(options.label_map))
    converted = as_kind(rows, options.to, method=f"--to {options.to}")
    count = write_jsonl(converted, options.output)
    print(f"{len(rows)} {rows[0].kind} rows in, {count} {options.to} rows out: {options.output}", file=sys.stderr)
    left_out = _LEFT_OUT[options.to](rows) if options.to in _LEFT_OUT else None
    if left_out and left_out.rows:
        print(str(left_out), file=sys.stderr)
    return 0


def _label_map(text: str | None) -> dict[Any, bool] | None:
    if text is None:
        return None
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        value = None
    if not isinstance(value, dict):
        raise UsageError(f"--label-map {text}: expected a mapping such as '{{good: true, bad: false}}'.")
    return value
