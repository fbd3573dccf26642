"""`prospect data inspect`: the data doctor."""

from __future__ import annotations

import argparse
import json
import os

from prospect.cli.label_map import add_label_map, read_label_map
from prospect.cli.rendering import add_rendering, asked_rendering
from prospect.errors import UsageError
from prospect.feedback.chat.rendering import Rendering
from prospect.feedback.doctor.checks.tokens import LONGEST_DEFAULT, RowCounter
from prospect.outputs import output_file
from prospect.terminal import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="paths, globs, folders of images or a hub dataset")
    parser.add_argument(
        "--model",
        metavar="M",
        help="a model: lengths in its tokens, and whether its chat template fits",
    )
    parser.add_argument(
        "--eval", nargs="+", metavar="FILE", help="files to evaluate on: their prompts should not be in the others"
    )
    parser.add_argument(
        "--max-length",
        type=int,
        metavar="TOKENS",
        help=f"as data.max_length in a recipe (default: the model's context, at most {LONGEST_DEFAULT})",
    )
    add_label_map(parser)
    add_rendering(parser, usual="by the model's own template, plain rows as they are", drops=False)
    parser.add_argument("--json", action="store_true", help="print everything as JSON on stdout")
    parser.add_argument("--html", type=output_file, metavar="FILE", help="write a page with figures")
    parser.add_argument("--strict", action="store_true", help="exit with 1 if a finding is an error")


def run(options: argparse.Namespace) -> int:
    """Inspects, and says what was found.

    Returns:
        1 with --strict if a finding is an error, else 0.
    """
    from prospect.cli.inspection_text import print_inspection
    from prospect.feedback.doctor.inspect import inspect_feedback

    inspection = inspect_feedback(
        options.files,
        label_map=read_label_map(options.label_map),
        model=options.model,
        counter=_counter(options),
        eval_files=options.eval,
        max_length=options.max_length,
        processes=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
    )
    if options.json:
        print(json.dumps(inspection.as_dict(), indent=2, allow_nan=False))
    else:
        print_inspection(inspection)
    if options.html:
        from prospect.report.data.page import write_data_page

        write_data_page(inspection.as_dict(), options.html, inspection.looks)
        say(f"page: {options.html}")
    return int(options.strict and inspection.has_errors)


def _counter(options: argparse.Namespace) -> RowCounter | None:
    """Return what counts the model's tokens, with rows rendered as a recipe with these settings would."""
    asked = asked_rendering(options)
    if options.model is None:
        if asked:
            raise UsageError("How conversations are rendered is looked at with a model: name --model, or leave it out.")
        return None
    from prospect.config import ModelSettings
    from prospect.data.token_counter import TokenCounter
    from prospect.models.loading import load_tokenizer

    return TokenCounter(load_tokenizer(ModelSettings(name_or_path=options.model)), Rendering(**asked))
