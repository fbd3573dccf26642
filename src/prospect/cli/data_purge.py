"""`prospect data purge`: somebody's rows out of datasets, and the runs that have learned from them."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from prospect.feedback.frozen.purge import Purged, Runs, purge, runs_that_used
from prospect.terminal import say

_USUAL_RUNS = Path("runs")
_NAMED = 5  # images that are named


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("files", nargs="+", metavar="FILE|FOLDER", help="JSON lines files and frozen folders")
    whose = parser.add_mutually_exclusive_group(required=True)
    whose.add_argument("--rater", metavar="NAME", help="the rater's name, or pseudonym")
    whose.add_argument("--id", action="append", default=[], metavar="ID", help="one row's id; may be given many times")
    parser.add_argument("--runs", nargs="+", metavar="FOLDER", help="where to look for runs (default: runs)")
    parser.add_argument("--reason", metavar="TEXT", help="kept in the tombstone as it is; name nobody in it")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    parser.add_argument("--json", action="store_true", help="the result on stdout")


def run(options: argparse.Namespace) -> int:
    """Purges, and says which rows went and which runs had seen them."""
    folders = options.runs or ([_USUAL_RUNS] if _USUAL_RUNS.is_dir() else [])
    runs_that_used((), folders)  # a folder that is not there is refused before a row is removed
    done = purge(options.files, rater=options.rater, ids=options.id, reason=options.reason, dry_run=options.dry_run)
    runs = runs_that_used({value for one in done for value in one.hashes}, folders)
    for line in _lines(done, runs, options.dry_run):
        say(line)
    if options.json:
        print(json.dumps(_as_json(done, runs, options.dry_run)))
    return 0


def _lines(done: list[Purged], runs: Runs, dry_run: bool) -> list[str]:
    verb = "would be removed" if dry_run else "removed"
    lines = [f"{one.path}: {one.removed} of {one.removed + one.left} rows {verb}" for one in done]
    lines += [
        f"{one.path}: {one.derived} other rows were made from these (a/chosen, a+b); name their ids too"
        for one in done
        if one.derived
    ]
    lines += [
        f"{one.path}: {len(one.images)} images of no other row stay, for they are your own: "
        f"{', '.join(one.images[:_NAMED])}{', ...' if len(one.images) > _NAMED else ''}"
        for one in done
        if one.images
    ]
    if not runs.looked_at:
        lines.append("no run was looked at; name the folders that hold runs with --runs")
    elif not runs.found:
        lines.append(f"{runs.looked_at} runs looked at; none is known to have used these rows")
    lines += [f"{path}: has used them ({', '.join(parts)}){_kept(path)}" for path, parts in runs.found.items()]
    lines += [f"{path}: does not record which files it used; look yourself" for path in runs.unknown]
    return lines


def _kept(run: Path) -> str:
    """Say what a run of images keeps of them; "" of any other."""
    folders = [f"{name}/" for name in ("encodings", "images") if (run / name).is_dir()]
    if not folders:
        return ""
    return f"; keeps images and prompts in {', '.join(folders)}, report.html and provenance.json: delete the run"


def _as_json(done: list[Purged], runs: Runs, dry_run: bool) -> dict[str, Any]:
    return {
        "dry_run": dry_run,
        "files": [
            {
                "path": str(one.path),
                "removed": one.removed,
                "left": one.left,
                "derived": one.derived,
                "images": one.images,
            }
            for one in done
        ],
        "runs": [{"path": str(path), "used_as": parts} for path, parts in runs.found.items()],
        "unknown_runs": list(map(str, runs.unknown)),
        "runs_looked_at": runs.looked_at,
    }
