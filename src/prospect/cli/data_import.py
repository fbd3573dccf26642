"""`prospect data import`: the export of a chat tool to a feedback file."""

from __future__ import annotations

import argparse
import glob
import json
from pathlib import Path
from typing import Any

from prospect.cli.label_map import add_label_map, read_label_map
from prospect.cli.purged import add_purged, read_purged
from prospect.errors import DataError, UsageError
from prospect.feedback.files.patterns import matching_files
from prospect.feedback.wording import names
from prospect.outputs import output_file
from prospect.terminal import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    from prospect.feedback.importers import all_importers

    parser.add_argument(
        "files", nargs="+", metavar="FILE", help="the export's files; a format's name may stand before them"
    )
    parser.add_argument(
        "--format",
        metavar="NAME",
        help="the format of the files, where their shape is not to tell it: my_file.py:NAME for your own, or "
        + names((one.name for one in all_importers()), "or"),
    )
    parser.add_argument("-o", "--output", type=output_file, metavar="OUT.jsonl", help="the feedback file to write")
    parser.add_argument("--dry-run", action="store_true", help="print what would become of the rows; write nothing")
    parser.add_argument(
        "--map",
        nargs="+",
        action="extend",
        default=[],
        metavar="FIELD=COLUMN",
        help="where a field stands, dotted for nested keys: completion=reply.text",
    )
    parser.add_argument("--label-key", metavar="NAME", help="which score, question or column holds the verdict")
    add_label_map(parser)
    parser.add_argument(
        "--kind",
        choices=["unpaired", "paired", "scored"],
        help="keep only votes, preferences or scored completions of a file that has several of them",
    )
    parser.add_argument(
        "--relative",
        choices=["keep", "drop"],
        default="keep",
        help="votes that compare with a sibling (arena): kept and marked (default), or dropped",
    )
    parser.add_argument(
        "--corrections", action="store_true", help="answers that raters wrote themselves become desirable rows"
    )
    add_purged(parser)
    parser.add_argument("--redact", action="store_true", help="replace e-mail addresses and other personal data")
    parser.add_argument(
        "--keep-rater-names", action="store_true", help="raters keep their names instead of getting pseudonyms"
    )
    parser.add_argument("--json", action="store_true", help="print the account of the rows as JSON on stdout")


def run(options: argparse.Namespace) -> int:
    """Import, and say what became of every row."""
    from prospect.feedback.importers.pipeline import import_feedback
    from prospect.feedback.importers.shapes.base import Options

    if options.output is None and not options.dry_run:
        raise UsageError("-o OUT.jsonl says where the feedback goes, and is missing; --dry-run writes nothing.")
    format_name, files = _format_and_files(options.format, options.files)
    report = import_feedback(
        files,
        None if options.dry_run else options.output,
        format=format_name,
        options=Options(columns=_columns(options.map), label_key=options.label_key),
        label_map=read_label_map(options.label_map),
        kind=options.kind,
        relative=options.relative,
        corrections=options.corrections,
        redact=options.redact,
        keep_rater_names=options.keep_rater_names,
        purged=read_purged(options.purged),
    )
    say(f"{report.title} ({report.format}): {report.why}\n{report.table()}")
    if options.json:
        print(json.dumps(report.as_json()))
    if not report.rows_out:
        raise DataError(f"none of the {report.rows_in} rows can be used, so nothing was written; see the reasons above")
    if report.output is not None:
        say(f"written: {report.output}")
    return 0


def _format_and_files(named: str | None, words: list[str]) -> tuple[str | None, list[str]]:
    """Take the first word as a format where an importer has that name; a file of that name is written ./NAME."""
    from prospect.feedback.importers import all_importers, get_importer
    from prospect.user_code import is_own

    if named is not None:
        return named, _found(words)
    first, *rest = words
    if is_own(first) or first in {importer.name for importer in all_importers()}:
        if not rest:
            raise UsageError(f"{first} is a format; name the files to import after it.")
        return first, _found(rest)
    if not Path(first).suffix and not Path(first).exists() and not glob.has_magic(first):
        get_importer(first)  # neither a file nor a format: says which formats there are
    return None, _found(words)


def _found(files: list[str]) -> list[str]:
    """Return the files, with globs replaced by what they match."""
    found: list[str] = []
    for file in files:
        if not glob.has_magic(file) or Path(file).exists():
            found.append(file)
            continue
        matches = matching_files(str(Path(file).expanduser()))
        if not matches:
            raise DataError(f"{file}: no file matches. Check the pattern and the current folder, {Path.cwd()}")
        found += map(str, matches)
    return found


def _columns(pairs: list[str]) -> dict[str, str]:
    columns: dict[str, Any] = {}
    for pair in pairs:
        field, equals, column = pair.partition("=")
        if not (field and equals and column):
            raise UsageError(f"--map {pair}: expected FIELD=COLUMN, such as completion=reply.text.")
        if field in columns:
            raise UsageError(f"--map {pair}: {field} is there twice. Leave one of them out.")
        columns[field] = column
    return columns
