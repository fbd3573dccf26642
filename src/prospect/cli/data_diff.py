"""`prospect data diff`: what changed between two sets of feedback."""

from __future__ import annotations

import argparse
import sys

from prospect.cli.label_map import add_label_map, read_label_map
from prospect.feedback.frozen.diff import FeedbackDifference, diff_feedback
from prospect.terminal import print_json, say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("before", metavar="BEFORE", help="a path, a glob, a frozen folder or a hub dataset")
    parser.add_argument("after", metavar="AFTER", help="the same")
    parser.add_argument("--exit-code", action="store_true", help="exit with 1 where they are different")
    parser.add_argument("--json", action="store_true", help="the result as JSON")
    add_label_map(parser)


def run(options: argparse.Namespace) -> int:
    """Compare, and say what is different."""
    found = diff_feedback(options.before, options.after, label_map=read_label_map(options.label_map))
    if options.json:
        print_json(found.as_dict())
    else:
        say("\n".join(_lines(found)), sys.stdout)
    return 1 if options.exit_code and found else 0


def _lines(found: FeedbackDifference) -> list[str]:
    lines = [f"rows      {found.before} before, {found.after} after; {found.same} are the same"]
    for sort, count in (("added", found.added), ("removed", found.removed), ("changed", found.changed)):
        lines.append(f"{sort:9} {count}{_examples(found, sort)}")
    if found.columns:
        lines.append("          in " + ", ".join(f"{name} {count}" for name, count in found.columns.items()))
    if found.flips:
        flips = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in found.flips.items())
        lines.append(f"flipped   {flips}{_examples(found, 'flipped')}")
    classes = [f"{name} {found.classes['before'].get(name, 0)} -> {found.classes['after'].get(name, 0)}"
               for name in sorted({*found.classes["before"], *found.classes["after"]})]  # fmt: skip
    return [*lines, "classes   " + ", ".join(classes)]


def _examples(found: FeedbackDifference, sort: str) -> str:
    names = found.examples.get(sort, [])
    all_of_them = {"added": found.added, "removed": found.removed, "changed": found.changed}
    more = ", ..." if len(names) < all_of_them.get(sort, sum(found.flips.values())) else ""
    return f"   ({', '.join(names)}{more})" if names else ""
