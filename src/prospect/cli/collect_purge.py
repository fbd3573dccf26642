"""`prospect collect purge`: what somebody wrote out of the store, and the files and runs that have it."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prospect.cli.serving import add_store
from prospect.feedback.frozen.pseudonym import rater_key
from prospect.feedback.frozen.purge import Runs, runs_that_used
from prospect.terminal import print_json, say

if TYPE_CHECKING:
    from prospect.collect.purge import Purge, Purged

_USUAL_RUNS = Path("runs")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_store(parser)
    whose = parser.add_mutually_exclusive_group(required=True)
    whose.add_argument("--rater", metavar="NAME", help="a rater's turns and votes; the name, or pseudonym")
    whose.add_argument("--conversation", metavar="ID", help="the turns of a conversation")
    whose.add_argument("--turn", metavar="ID", help="a turn, with those that repeat its text")
    whose.add_argument("--older-than", type=float, metavar="DAYS", help="turns that are older, for retention")
    parser.add_argument("--runs", nargs="+", metavar="FOLDER", help="where to look for runs (default: runs)")
    parser.add_argument("--reason", metavar="TEXT", help="kept in the tombstone as it is; name nobody in it")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be erased")
    parser.add_argument("--json", action="store_true", help="the result on stdout")


def run(options: argparse.Namespace) -> int:
    """Erase, and say which files and runs have had it."""
    from prospect.collect.migrating import opened
    from prospect.collect.purge import Purge

    folders = options.runs or ([_USUAL_RUNS] if _USUAL_RUNS.is_dir() else [])
    runs_that_used((), folders)  # a folder that is not there is refused before anything is erased
    with opened(options.db) as database:
        purge = Purge(database, options.tenant, rater_key(), reason=options.reason, dry_run=options.dry_run)
        done = _done(purge, options)
        store = [database.path] if database.path else []
    runs = runs_that_used({sha256 for _, sha256 in done.exports}, folders, paths=store if done.ids else ())
    for line in _lines(done, runs, options):
        say(line)
    if options.json:
        print_json(_as_json(done, runs, options))
    return 0


def _done(purge: Purge, options: argparse.Namespace) -> Purged:
    from prospect.collect.retention import check_days

    if options.rater is not None:
        return purge.rater(options.rater)
    if options.conversation is not None:
        return purge.conversation(options.conversation)
    if options.turn is not None:
        return purge.turn(options.turn)
    check_days(options.older_than, "--older-than")
    return purge.before(datetime.now(UTC) - timedelta(days=options.older_than))


def _lines(done: Purged, runs: Runs, options: argparse.Namespace) -> list[str]:
    verb = "would be erased" if options.dry_run else "erased"
    lines = [f"{options.db}: text of {done.turns} turns and {done.votes} votes {verb}"]
    for path, _ in done.exports:
        there = (
            "holds rows of them; remove those with `prospect data purge`" if Path(path).exists() else "had rows of them"
        )
        lines.append(f"{path}: {there}")
    lines += [f"{path}: has used them ({', '.join(parts)})" for path, parts in runs.found.items()]
    lines += [f"{path}: does not record which files it used; look yourself" for path in runs.unknown]
    if not runs.looked_at:
        lines.append("no run was looked at; name the folders that hold runs with --runs")
    if done.left_in_log:
        lines.append(f"{options.db}-wal: still holds the text, for another program reads the store. Purge again later")
    return lines


def _as_json(done: Purged, runs: Runs, options: argparse.Namespace) -> dict[str, Any]:
    return {
        "dry_run": options.dry_run,
        "turns": done.turns,
        "votes": done.votes,
        "exports": [{"path": path, "sha256": sha256} for path, sha256 in done.exports],
        "runs": [{"path": str(path), "used_as": parts} for path, parts in runs.found.items()],
        "unknown_runs": list(map(str, runs.unknown)),
        "runs_looked_at": runs.looked_at,
        "left_in_log": done.left_in_log,
    }
