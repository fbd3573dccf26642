"""Where the result of an evaluation goes: a table for people, a JSON file, the run directory, stdout."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from prospect.atomic import atomic_file
from prospect.cli.evaluation_text import tell
from prospect.errors import UsageError
from prospect.evaluation.answers.subject import Subject
from prospect.outputs import output_file, output_folder
from prospect.results.benchmarks import BenchmarksResult
from prospect.results.contest import ContestResult, JudgeResult
from prospect.results.feedback import FeedbackResult
from prospect.results.stored import Stored
from prospect.terminal import print_json, say
from prospect.verbs.evaluating import keep_result

LONGEST_NAME = 50  # characters of --name: of four bytes each they still make a file's name


def add_result(parser: argparse.ArgumentParser, usual: str) -> None:
    """Declare where the result goes.

    Args:
        parser: of the command.
        usual: name of the file in a run directory.
    """
    parser.add_argument("-o", "--output", type=output_file, metavar="FILE", help="where the result goes as JSON")
    parser.add_argument("--name", help=f"of the file in RUN/evaluation/ (default: {usual})")
    parser.add_argument("--json", action="store_true", help="print the result as JSON on stdout")


def check_result(options: argparse.Namespace, subject: Subject) -> None:
    """Refuse a place for the result that cannot be written, before anything is computed."""
    if options.name and subject.kind != "run":
        raise UsageError(f"--name is of a file in a run directory, and {options.model} is none. Use -o.")
    if options.name and (Path(options.name).name != options.name or len(options.name) > LONGEST_NAME):
        raise UsageError(
            f"--name {options.name}: expected a plain name of at most {LONGEST_NAME} characters, such as contest-gpt."
        )
    if subject.run is not None:
        output_folder(subject.run.evaluation_path)


def one_or_more(files: list[str] | None) -> Any:
    """Return files as the library takes them: one by its name, several as a list, None for none."""
    return files[0] if files and len(files) == 1 else files


def _copy_pictures(result: Stored, source: Path, folder: Path) -> None:
    """Put the images that a result shows beside its copy in the run directory."""
    pictures = result.pictures if isinstance(result, ContestResult) else []
    for name in {name for one in pictures for name in (*one.ours, *one.theirs)}:
        if not (folder / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            with atomic_file(folder / name) as file:
                file.write((source / name).read_bytes())


def write_result(
    options: argparse.Namespace,
    subject: Subject | None,
    result: FeedbackResult | ContestResult | JudgeResult | BenchmarksResult,
) -> None:
    """Write the result into its file and the run directory, and print it; its kind is the usual name."""
    say("\n".join(tell(result)))
    if options.output:
        result.write(options.output)
        if subject is not None and subject.run is not None:
            _copy_pictures(result, options.output.parent, subject.run.evaluation_path)
        say(f"result  {options.output}")
    kept = subject and keep_result(subject, options.name or result.evaluation, result)
    if kept:
        say(f"result  {kept[0]}\nreport  {kept[1]}")
    if options.json:
        print_json(result.as_dict())
