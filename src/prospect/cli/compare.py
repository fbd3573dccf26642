"""`prospect compare`: a study of methods, data conditions and seeds, as one table with intervals."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from prospect.atomic import write_text
from prospect.errors import UsageError
from prospect.outputs import output_folder
from prospect.terminal import say
from prospect.verbs.comparing import compare

if TYPE_CHECKING:
    from prospect.studies.plan import Cell


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("study", metavar="STUDY.yaml", help="methods, conditions, seeds and a world; see studies/")
    parser.add_argument(
        "-o",
        "--output",
        type=output_folder,
        metavar="FOLDER",
        help="where runs and results lie (default runs/NAME); what is finished there is not run again",
    )
    parser.add_argument(
        "--jobs", type=int, metavar="N", help="processes, of one thread each (default: as many as there are cores)"
    )
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="only these methods or conditions")
    parser.add_argument(
        "--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="any key of the study"
    )
    parser.add_argument("--dry-run", action="store_true", help="show the runs, and which are done, and stop")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write a row for each method, condition and measure")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object on stdout")


def run(options: argparse.Namespace) -> int:
    """Run what is missing, write result.json, table.md and the page, and show the table."""
    from prospect.studies.markdown import as_markdown
    from prospect.studies.outcome import make_world
    from prospect.studies.plan import choose, make_cells
    from prospect.studies.reading import load_study
    from prospect.studies.table import check_measures
    from prospect.studies.tuning import settle, tuning_cells

    if options.jobs is not None and options.jobs < 1:
        raise UsageError(f"--jobs {options.jobs}: expected a whole number of at least 1.")
    study = load_study(options.study, options.set)
    output = options.output or output_folder(Path("runs") / study.name)
    if options.dry_run:
        world = make_world(study.world)
        check_measures(study, world)
        tries = tuning_cells(study, output)[1] if study.tune else []
        known = all(cell.read() is not None for cell in tries)
        tuned = settle(study, tries)[0] if tries and known else study
        cells = choose(tuned, make_cells(tuned, world, output), options.only) if known else []
        _show_plan(tries, cells, study.protocol(), as_json=options.json)
        return 0
    result = compare(
        options.study,
        output,
        only=options.only,
        overrides=options.set,
        jobs=options.jobs,
        say=say,
        each_process=_start_process,
    )
    if options.csv is not None:
        write_text(options.csv, result.to_frame().write_csv())
        say(options.csv)
    if options.json:
        print(json.dumps(result.as_dict()))
    else:
        say(as_markdown(result), sys.stdout)
    for name in ("result.json", "table.md", "comparison.html"):
        say(output / name)
    return 1 if result.runs.failed else 0


def _show_plan(tries: Sequence[Cell], cells: Sequence[Cell], protocol: str, *, as_json: bool) -> None:
    """Show the runs; those of the study are not known before it is tuned."""
    rows = [
        {
            "method": cell.method,
            "condition": cell.condition,
            "seed": cell.seed,
            "after": str(cell.after) if cell.after else None,
            "tuning": cell in tries,
            "done": cell.read() is not None and cell.finished,
        }
        for cell in (*tries, *cells)
    ]
    done = sum(bool(row["done"]) for row in rows)
    if as_json:
        print(json.dumps({"protocol": protocol, "runs": rows, "done": done}))
        return
    for cell, row in zip((*tries, *cells), rows, strict=True):
        start = f", from the model of {cell.after.method}" if cell.after else ""
        say(f"{'done   ' if row['done'] else 'to run '} {'try of ' if row['tuning'] else ''}{cell}{start}")
    then = "" if cells else "; those of the study follow when it is tuned"
    say(f"{len(rows)} runs, {done} of them done{then}. Protocol {protocol}")


def _start_process() -> None:
    """Silence Transformers' own bars and advice, and keep freed memory for the next run."""
    from prospect.cli.train import quiet_libraries

    quiet_libraries()
