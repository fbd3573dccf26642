"""`prospect train`: a recipe, or a loss and three paths."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from prospect.config import Config, load_config, set_key
from prospect.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("recipe", metavar="RECIPE.yaml|LOSS", help="a recipe, or the name of a loss (kto, dpo, sft, my.py:mine)")
    parser.add_argument("--model", help="model.name_or_path: a folder or hub name")
    parser.add_argument("--data", nargs="+", help="data.train: paths, globs or a hub dataset")
    parser.add_argument("--output", help="output: the run directory (default runs/LOSS)")
    parser.add_argument("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="any key of the recipe")
    parser.add_argument("--resume", action="store_true", help="continue a stopped run, to the same numbers")
    parser.add_argument("--dry-run", action="store_true", help="show what would be trained on, and stop")
    parser.add_argument("--quiet", action="store_true", help="print errors only")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object on stdout")


def run(options: argparse.Namespace) -> int:
    """Trains, writes the report, and says where both are."""
    config = config_from(options)
    if options.dry_run:
        from prospect.cli.dry_run import show

        show(config, as_json=options.json)
        return 0
    from prospect.report.build import build_report
    from prospect.training.train import train

    quiet_libraries()
    result = train(config, resume=options.resume, quiet=options.quiet)
    report = build_report(result.path)
    if options.json:
        last = [row for row in result.metrics() if "eval_loss" in row][-1:]
        print(json.dumps({"run": str(result.path), "model": str(result.model_path), "report": str(report), "eval": (last or [None])[0]}))
    elif not options.quiet:
        print(f"model   {result.model_path}\nreport  {report}", file=sys.stderr)
    return 0


def config_from(options: argparse.Namespace) -> Config:
    """Makes the recipe that the arguments describe; what is said on the command line wins over the file.

    Raises:
        UsageError: neither recipe nor loss.
    """
    values: dict[str, Any] = {}
    if Path(options.recipe).suffix in {".yaml", ".yml"}:
        base = load_yaml(options.recipe)
    else:
        base = {"loss": {"name": options.recipe}, "output": f"runs/{Path(options.recipe.rpartition(':')[2]).stem}"}
        if not options.model or not options.data:
            raise UsageError(
                f"prospect train {options.recipe} needs --model and --data, for instance: prospect train kto --model "
                "my/model --data feedback.jsonl. (A recipe's name ends in .yaml.)"
            )
    values = base
    for key, value in (("model.name_or_path", options.model), ("data.train", options.data), ("output", options.output)):
        if value is not None:
            values = set_key(values, key, value[0] if isinstance(value, list) and len(value) == 1 else value)
    return load_config(values, options.set)


def load_yaml(path: str) -> dict[str, Any]:
    """Reads a recipe's mapping, not yet checked: command-line values may complete it."""
    from prospect.config import read_yaml

    return read_yaml(Path(path))


def quiet_libraries() -> None:
    """Transformers' own bars and advice would stand between ours."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
