"""`prospect data inspect`: the data doctor."""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prospect.cli.label_map import add_label_map, read_label_map
from prospect.cli.rendering import add_rendering, asked_rendering
from prospect.errors import UsageError
from prospect.feedback.chat.rendering import Rendering
from prospect.feedback.doctor.checks.tokens import LONGEST_DEFAULT
from prospect.model_source import find_model
from prospect.outputs import output_file
from prospect.terminal import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="paths, globs or a hub dataset")
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


def _rendering(options: argparse.Namespace) -> Rendering:
    """As a recipe with these settings would render rows."""
    asked = asked_rendering(options)
    if asked and options.model is None:
        raise UsageError("How conversations are rendered is looked at with a model: name --model, or leave it out.")
    return Rendering(**asked)


def run(options: argparse.Namespace) -> int:
    """Inspects, and says what was found.

    Returns:
        1 with --strict if a finding is an error, else 0.
    """
    from prospect.cli.inspection_text import print_inspection
    from prospect.feedback.doctor.inspect import inspect_feedback

    with _tokenizer_beside(options.model) as tokenizer:
        inspection = inspect_feedback(
            options.files,
            label_map=read_label_map(options.label_map),
            model=options.model,
            tokenizer=tokenizer,
            eval_files=options.eval,
            max_length=options.max_length,
            rendering=_rendering(options),
            processes=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        )
    if options.json:
        print(json.dumps(inspection.as_dict(), indent=2, allow_nan=False))
    else:
        print_inspection(inspection)
    if options.html:
        from prospect.report.data.page import write_data_page

        write_data_page(inspection.as_dict(), options.html)
        say(f"page: {options.html}")
    return int(options.strict and inspection.has_errors)


@contextmanager
def _tokenizer_beside(model: str | None) -> Iterator[Path | None]:
    """Give the tokenizer of a GGUF file as files readable without Transformers; None for every other model."""
    if model is None or not find_model(model).tokenizer.gguf:
        yield None
        return
    from prospect.config import ModelSettings
    from prospect.models.loading import load_tokenizer

    with tempfile.TemporaryDirectory() as folder:
        load_tokenizer(ModelSettings(name_or_path=model)).save_pretrained(folder)
        yield Path(folder)
