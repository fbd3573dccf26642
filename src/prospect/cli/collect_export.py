"""`prospect collect export`: votes to feedback rows."""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path

from prospect.cli.purged import add_purged, read_purged
from prospect.cli.serving import add_store
from prospect.errors import DataError, UsageError
from prospect.feedback.files.store.selection import Selection
from prospect.feedback.times import read_time
from prospect.outputs import output_file
from prospect.terminal import say

_USUAL = Selection()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_store(parser)
    parser.add_argument("-o", "--output", type=output_file, metavar="OUT.jsonl", help="the feedback file to write")
    parser.add_argument("--dry-run", action="store_true", help="print what would become of the votes; write nothing")
    parser.add_argument("--since", metavar="TIME", help="only votes of then or later, such as 2026-11-21")
    parser.add_argument("--until", metavar="TIME", help="only votes from before then")
    parser.add_argument("--corrections", action="store_true", help="answers that raters wrote become desirable rows")
    parser.add_argument("--pairs", action="store_true", help="write pairs of drafts between which people chose")
    parser.add_argument("--reviewed", action="store_true", help="write the reviewers' majority on each answer")
    parser.add_argument(
        "--regenerated",
        type=float,
        metavar="WEIGHT",
        help="with --pairs: an answer that was asked for again loses against the one kept, at this weight below 1",
    )
    parser.add_argument(
        "--share",
        type=float,
        default=_USUAL.share,
        metavar="SHARE",
        help=f"the largest share of the votes that one rater may have (default: {_USUAL.share}; 1 is no limit)",
    )
    parser.add_argument(
        "--duplicates",
        type=int,
        default=_USUAL.duplicates,
        metavar="K",
        help=f"how many votes on nearly the same texts count (default: {_USUAL.duplicates}; 0 is no limit)",
    )
    parser.add_argument("--no-quarantine", action="store_true", help="keep raters who only vote one way, or in bursts")
    parser.add_argument(
        "--new-raters", type=int, default=0, metavar="N", help="votes of raters with fewer than N weigh 0 (default: 0)"
    )
    parser.add_argument("--redact", action="store_true", help="replace e-mail addresses and other personal data")
    add_purged(parser)
    parser.add_argument("--json", action="store_true", help="print the account of the votes as JSON on stdout")


def run(options: argparse.Namespace) -> int:
    """Export, and say what became of every vote."""
    from prospect.collect.export import Contents, export
    from prospect.collect.migrating import opened

    if options.output is None and not options.dry_run:
        raise UsageError("-o OUT.jsonl says where the feedback goes, and is missing; --dry-run writes nothing.")
    if not 0 < options.share <= 1:
        raise UsageError(f"--share {options.share}: expected a number above 0, at most 1.")
    if options.duplicates < 0:
        raise UsageError(f"--duplicates {options.duplicates}: expected 0, for no limit, or more.")
    selection = Selection(
        tenant=options.tenant,
        since=_time(options.since, "--since"),
        until=_time(options.until, "--until"),
        share=options.share,
        duplicates=options.duplicates,
        quarantine=not options.no_quarantine,
        new_raters=options.new_raters,
    )
    what = Contents(
        corrections=options.corrections,
        pairs=options.pairs,
        reviewed=options.reviewed,
        regenerated=options.regenerated,
        redact=options.redact,
    )
    output = None if options.dry_run else Path(options.output)
    with opened(options.db) as database:
        report = export(database, output, selection, what, purged=read_purged(options.purged))
    say(f"{options.db}: {report.why}\n{report.table()}")
    if options.json:
        print(json.dumps(report.as_json()))
    if not report.rows_out:
        raise DataError(f"none of the {report.rows_in} can be used, so nothing was written; see the reasons above")
    if report.output is not None:
        say(f"written: {report.output}")
    return 0


def _time(text: str | None, flag: str) -> datetime | None:
    if text is None:
        return None
    time = read_time(text)
    if time is None:
        raise UsageError(f"{flag} {text}: expected a date or time, such as 2026-11-21 or 2026-11-21T09:30:00Z.")
    return time.astimezone(UTC)
