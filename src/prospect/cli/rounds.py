"""`prospect rounds`: sample, label, align again, from prompts to the last model."""

from __future__ import annotations

import argparse
import json
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prospect import progress
from prospect.cli.train import LOADING, quiet_libraries
from prospect.config import read_yaml, set_key
from prospect.errors import UsageError
from prospect.model_source import EMBEDDED
from prospect.progress.timing import IMPORTS
from prospect.terminal import say

if TYPE_CHECKING:
    from prospect.results.rounds import Ledger
    from prospect.rounds.recipe import RoundsRecipe

DEMO, IMAGES_DEMO = EMBEDDED


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "recipe",
        metavar="RECIPE.yaml|PROTOCOL",
        help="a recipe with a rounds section, or a protocol: online_kto, orca_math, online_dpo, spin, rft, rlaif, or "
        "my_file.py:NAME",
    )
    parser.add_argument(
        "--model",
        help="model.name_or_path; demo takes the embedded support desk with its customers and its judge, demo-images "
        "the embedded pictures",
    )
    parser.add_argument(
        "--prompts", metavar="FILE", help="rounds.prompts: rows with a prompt, and a target for verifiers"
    )
    parser.add_argument("--judge", metavar="J", help="rounds.label.judge (docs/judging.md)")
    parser.add_argument("--teacher", metavar="FILE", help="rounds.teacher: rows of prompt and completion or image")
    parser.add_argument("--rounds", type=int, metavar="N", help="rounds.count: rounds at most (default 3)")
    parser.add_argument("--output", metavar="DIR", help="output: the folder of the rounds (default runs/PROTOCOL)")
    parser.add_argument(
        "--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="any key of the recipe"
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on with rounds that were stopped, to the same weights"
    )
    parser.add_argument("--dry-run", action="store_true", help="show what would be done, and stop")
    parser.add_argument("--quiet", action="store_true", help="print errors only")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object on stdout")


def run(options: argparse.Namespace) -> int:
    """Make the rounds, write the page, and say what each has brought."""
    recipe = _recipe(options)
    with progress.phase(LOADING, part=IMPORTS):
        from prospect.report.rounds.page import build_rounds_report
        from prospect.rounds.plan import plan_rounds
        from prospect.rounds.run import run_rounds
        from prospect.studies.runner import one_thread

        quiet_libraries()
    if options.dry_run:
        for line in plan_rounds(recipe):
            say(line)
        return 0
    with one_thread() if options.model == IMAGES_DEMO else nullcontext():  # as in the demo: its layers are small
        ledger = run_rounds(recipe, resume=options.resume, quiet=options.quiet, after=build_rounds_report)
    _conclude(options, recipe, ledger)
    return 0


def _recipe(options: argparse.Namespace) -> RoundsRecipe:
    from prospect.rounds.recipe import load_rounds

    values, where = _values(options)
    named = {
        "model.name_or_path": None if options.model in EMBEDDED else options.model,
        "rounds.prompts": options.prompts,
        "rounds.label.judge": options.judge,
        "rounds.teacher": options.teacher,
        "rounds.count": options.rounds,
        "output": options.output,
    }
    for key, value in named.items():
        if value is not None:
            values = set_key(values, key, value)
    return load_rounds(values, options.set, where=where)


def _values(options: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """Return the recipe before what the command line says."""
    if Path(options.recipe).suffix in {".yaml", ".yml"}:
        return read_yaml(Path(options.recipe), keys="rounds, model, loss, output"), options.recipe
    if options.model in EMBEDDED:
        if options.model == DEMO:
            from prospect.demo.rounds_world import demo_recipe
        else:
            from prospect.demo.image_rounds_world import demo_recipe

        output = Path(options.output or f"runs/{options.recipe}")
        output.mkdir(parents=True, exist_ok=True)
        return demo_recipe(output, options.recipe, options.rounds or 3), "command line"
    if options.model and options.prompts:
        return {"rounds": {"protocol": options.recipe}}, "command line"
    raise UsageError(
        f"prospect rounds {options.recipe} needs --model and --prompts, for instance: prospect rounds online_kto "
        "--model my/model --prompts prompts.jsonl --judge verifier:numeric. (A recipe's name ends in .yaml; --model "
        "demo and demo-images have their own prompts.)"
    )


def _conclude(options: argparse.Namespace, recipe: RoundsRecipe, ledger: Ledger) -> None:
    report = Path(recipe.output) / "report.html"
    if options.json:
        print(json.dumps(_as_json(ledger, report)))
        return
    if options.quiet:
        return
    for line in _table(ledger):
        say(line)
    if ledger.stopped is not None:
        say(f"stopped: {ledger.stopped.text}")
    say(f"model   {ledger.kept.model}\nreport  {report}")


def _as_json(ledger: Ledger, report: Path) -> dict[str, Any]:
    rounds = []
    for one in ledger.rounds:
        found = one.held_out
        rounds.append(
            {
                "round": one.round,
                **(found.rate._asdict() if found else {"rate": None, "low": None, "high": None, "n": None}),
                "desirable": one.rows.desirable if one.rows else None,
                "undesirable": one.rows.undesirable if one.rows else None,
                "kl": found.kl.value if found and found.kl else None,
                "model": one.model,
            }
        )
    stopped = ledger.stopped
    return {
        "rounds": rounds,
        "stopped": stopped.text if stopped else None,
        "stop_rule": stopped.kind if stopped else None,
        "seconds": ledger.seconds,
        "model": ledger.kept.model,
        "report": str(report),
    }


def _table(ledger: Ledger) -> list[str]:
    has_kl = any(one.held_out and one.held_out.kl for one in ledger.rounds)  # images have none
    lines = [f"round    held-out prompts that pass   desirable undesirable{'      KL' if has_kl else ''}"]
    for one in ledger.rounds:
        found = one.held_out
        rate = f"{found.rate.rate:6.1%} ({found.rate.low:.1%} to {found.rate.high:.1%})" if found else "not looked at"
        rows = f"{one.rows.desirable:9d} {one.rows.undesirable:11d}" if one.rows else " " * 21
        kl = f"{found.kl.value:7.2f}" if found and found.kl else ""
        lines.append(f"{one.round or 'start':>5}    {rate:26} {rows} {kl}".rstrip())
    return lines
