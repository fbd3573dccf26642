"""`prospect init`: look at feedback, and write a commented recipe that trains on it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from prospect.cli.label_map import add_label_map, read_label_map
from prospect.errors import DataError, UsageError
from prospect.model_source import is_path
from prospect.outputs import output_file
from prospect.terminal import say

METHODS = ("kto", "dpo", "cdpo", "ipo", "nca", "sft")
_MODEL = "my/model"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "files", nargs="*", metavar="FILE", help="feedback: paths, globs or a hub dataset (asked for on a terminal)"
    )
    parser.add_argument(
        "--model", metavar="M", help=f"a model (asked for on a terminal; else {_MODEL}, to be replaced)"
    )
    parser.add_argument("--method", choices=METHODS, help="in place of the one that is advised")
    parser.add_argument(
        "--lora",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="train an adapter, or all weights (default: an adapter from a billion parameters on)",
    )
    parser.add_argument("--run", metavar="DIR", help="the run directory of the recipe (default: runs/METHOD)")
    add_label_map(parser)
    parser.add_argument(
        "-o", "--output", type=output_file, default="recipe.yaml", metavar="RECIPE.yaml", help="the recipe to write"
    )
    parser.add_argument("--force", action="store_true", help="replace a recipe that is there")


def run(options: argparse.Namespace) -> int:
    """Ask for what is missing, look at the feedback, write the recipe, and say why it is as it is."""
    from prospect.cli.recipe_file import require_free, write_recipe
    from prospect.feedback.advice.first_recipe import first_recipe
    from prospect.feedback.doctor.inspect import inspect_feedback
    from prospect.recipe_text import commented

    output = Path(options.output)
    require_free(output, force=options.force)
    files = options.files or _asked("feedback (a file, a glob or a hub dataset)", "FILE").split()
    model = options.model or (_asked("model (a folder or a hub name)", "--model") if _on_terminal() else _MODEL)
    label_map = read_label_map(options.label_map)
    local = model if is_path(model) else None  # the hub has its turn when the model is loaded
    inspection = inspect_feedback(files, label_map=label_map, model=local)
    if inspection.looks:
        raise UsageError(
            f"{files[0]}: holds images, whose settings depend on the model. Start from docs/images-to-lora.md."
        )
    errors = [finding for finding in inspection.findings if finding.severity == "error"]
    if errors:
        told = " ".join(f"{finding.message} {finding.advice}" for finding in errors)
        raise DataError(f"what is wrong with the feedback is to be mended first (prospect data inspect): {told}")
    made = first_recipe(
        inspection.facts,
        inspection.advice,
        model=model,
        files=files,
        method=options.method,
        lora=options.lora,
        output=options.run,
    )
    if label_map is not None:
        made.settings["data.label_map"] = label_map
        made.comments["data.label_map"] = "your labels to true (desirable) or false"
    write_recipe(commented(made.settings, made.comments, made.head), output, force=options.force)
    for reason in inspection.advice.reasons:
        say(f"because {reason}")
    for finding in inspection.findings:
        say(f"{finding.severity} {finding.message}")
    say(f"next    prospect train {output} --dry-run")
    return 0


def _on_terminal() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()


def _asked(what: str, argument: str) -> str:
    """Return what somebody types.

    Raises:
        UsageError: there is nobody to ask, or nothing was typed.
    """
    answer = ""
    if _on_terminal():
        say(f"{what}: ", end="")
        answer = sys.stdin.readline().strip()
    if not answer:
        raise UsageError(
            f"prospect init needs {argument}, for instance: prospect init feedback.jsonl --model my/model."
        )
    return answer
