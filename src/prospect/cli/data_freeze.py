"""`prospect data freeze`: a dataset with a manifest, and the check that it is still what it was."""

from __future__ import annotations

import argparse
from datetime import datetime
from typing import Any

from prospect.cli.label_map import add_label_map, read_label_map
from prospect.cli.purged import add_purged, read_purged
from prospect.errors import UsageError
from prospect.feedback.frozen.filters import Filters, counted
from prospect.feedback.frozen.freeze import check_frozen, freeze
from prospect.feedback.times import read_time
from prospect.outputs import output_folder
from prospect.terminal import print_json, say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("files", nargs="*", metavar="FILE", help="paths, globs, frozen folders or a hub dataset")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument(
        "-o", "--output", type=output_folder, metavar="FOLDER", help="the folder to write; it must be new or empty"
    )
    where.add_argument("--check", metavar="FOLDER", help="only say whether a frozen folder is as it was written")
    parser.add_argument("--since", metavar="TIME", help="only verdicts given then or later: 2026-03-01, or with a time")
    parser.add_argument("--until", metavar="TIME", help="only verdicts given before")
    parser.add_argument("--source", action="append", default=[], metavar="NAME", help="only rows of this source")
    parser.add_argument("--no-relative", action="store_true", help="no verdicts that only compare with a sibling")
    add_purged(parser)
    parser.add_argument("--json", action="store_true", help="the manifest on stdout")
    add_label_map(parser)


def run(options: argparse.Namespace) -> int:
    """Freezes, or checks, and says what the dataset holds."""
    if options.check:
        manifest, state = _check(options), f"{options.check} is as it was frozen"
    else:
        manifest, state = _freeze(options)
    say(f"{state}: {_counts(manifest)}")
    left_out = manifest["filters"].get("left_out")
    if left_out:
        say(f"left out: {counted(left_out)}")
    if options.json:
        print_json(manifest)
    return 0


def _check(options: argparse.Namespace) -> dict[str, Any]:
    given = [options.files, options.since, options.until, options.source, options.no_relative, options.purged]
    if any([*given, options.label_map]):
        raise UsageError("--check FOLDER stands alone: it reads the folder as it is and writes nothing.")
    return check_frozen(options.check)


def _freeze(options: argparse.Namespace) -> tuple[dict[str, Any], str]:
    if not options.files:
        raise UsageError("there is no FILE to freeze; expected prospect data freeze FILE... -o FOLDER.")
    filters = Filters(
        since=_time(options.since, "--since"),
        until=_time(options.until, "--until"),
        sources=tuple(options.source),
        relative=not options.no_relative,
        purged=read_purged(options.purged),
    )
    done = freeze(options.files, options.output, label_map=read_label_map(options.label_map), filters=filters)
    return done.manifest, f"{options.output} {'written' if done.written else 'was there already, with equal content'}"


def _time(text: str | None, option: str) -> datetime | None:
    if text is None:
        return None
    time = read_time(text)
    if time is None:
        raise UsageError(f"{option} {text}: expected a time such as 2026-03-01 or 2026-03-01T12:00Z.")
    return time


def _counts(manifest: dict[str, Any]) -> str:
    counts = manifest["counts"]
    classes = ", ".join(f"{count} {name}" for name, count in counts["classes"].items())
    parts = [f"{counts['rows']} {counts['kind']} rows of {counts['prompts']} prompts", classes]
    parts.append(f"{counts['raters']} raters" if counts["raters"] else "")
    return "; ".join([*filter(None, parts), f"content {manifest['content'][:16]}"])
