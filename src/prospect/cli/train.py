"""`prospect train`: a recipe, or a loss and three paths."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from prospect import progress
from prospect.cli.train_flags import add_flags, with_flags
from prospect.config import Config, check_places, load_config, read_yaml
from prospect.errors import UsageError
from prospect.models.device import on_device
from prospect.progress.timing import IMPORTS
from prospect.run_dir import RunDir
from prospect.terminal import say
from prospect.training.early import refuse_early
from prospect.training.processes.place import speaks

LOADING = "loading PyTorch and Transformers"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "recipe",
        metavar="RECIPE.yaml|LOSS",
        help="a recipe, or the name of a loss (kto, dpo, my.py:mine; see prospect losses)",
    )
    add_flags(parser)
    parser.add_argument(
        "--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="any other key of the recipe"
    )
    parser.add_argument("--resume", action="store_true", help="continue a stopped run, to the same numbers")
    parser.add_argument("--dry-run", action="store_true", help="show what would be trained on, and stop")
    parser.add_argument(
        "--probe",
        type=int,
        nargs="?",
        const=3,
        metavar="STEPS",
        help="a dry run that also loads the model and times some steps (default 3), to say how long the run will take",
    )
    parser.add_argument("--timing", action="store_true", help="say at the end, on stderr, where the time went")
    parser.add_argument("--quiet", action="store_true", help="print errors only")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object on stdout")


def run(options: argparse.Namespace) -> int:
    """Train, write the report, and say where both are and what to worry about."""
    if options.probe is not None and options.probe < 1:
        raise UsageError(f"--probe is {options.probe}; expected a number of steps, 1 or more.")
    config = config_from(options)
    looks = options.dry_run or options.probe is not None
    if not looks:
        check_places(config)
    refuse_early(config)
    if looks:
        return _look(options, config)
    RunDir(config.output).require_free(options.resume)
    with progress.phase(LOADING, part=IMPORTS):
        from prospect.rounds.online import train

        quiet_libraries()
    result = train(config, resume=options.resume, quiet=options.quiet)
    if speaks():
        _conclude(options, config, result)
    return 0


def _look(options: argparse.Namespace, config: Config) -> int:
    if not speaks():
        return 0
    with progress.phase(LOADING, part=IMPORTS):
        from prospect.cli.dry_run import show

        quiet_libraries()
    with on_device(config.train.device):
        show(config, as_json=options.json, probe_steps=options.probe)
    return 0


def _conclude(options: argparse.Namespace, config: Config, run: RunDir) -> None:
    from prospect.report.run.build import build_report
    from prospect.report.run.findings import worst_worries
    from prospect.report.run.model_card import write_model_card
    from prospect.verbs.handing_over import push_finished

    with progress.phase("writing the report"):
        report = build_report(run.path)
        write_model_card(run.path)
        worries = worst_worries(run)
    target, pushed = config.push_to_hub, None
    if target is not None:
        with progress.phase("uploading the model"):
            pushed = push_finished(run, target).address
    if options.json:
        held_out = [row for row in run.metrics() if "eval_loss" in row]
        paths = {"run": str(run.path), "model": str(run.model_path), "report": str(report), "pushed": pushed}
        said = [{"title": worry.title, "text": worry.text} for worry in worries]
        print(json.dumps({**paths, "eval": held_out[-1] if held_out else None, "worries": said}))
    elif not options.quiet:
        say(f"model   {run.model_path}\nreport  {report}")
        if pushed is not None:
            say(f"pushed  {pushed}")
        for worry in worries:
            say(f"worry   {worry.title}. {worry.text}")


def config_from(options: argparse.Namespace) -> Config:
    """Make the recipe that the arguments describe; what is said on the command line wins over the file.

    Raises:
        UsageError: neither recipe nor loss, or a key that is said twice.
    """
    if Path(options.recipe).suffix in {".yaml", ".yml"}:
        values, where = read_yaml(Path(options.recipe)), options.recipe
    elif options.model and options.data:
        loss = options.loss or options.recipe
        if loss != options.recipe:
            raise UsageError(f"the loss is said twice: {options.recipe} and --loss {loss}. Leave one out.")
        values, where = {"loss": {"name": loss}, "output": f"runs/{loss.rpartition(':')[2]}"}, "command line"
    else:
        raise UsageError(
            f"prospect train {options.recipe} needs --model and --data, for instance: prospect train kto --model "
            "my/model --data feedback.jsonl. (A recipe's name ends in .yaml.)"
        )
    return load_config(with_flags(values, options), options.set, where=where)


def quiet_libraries() -> None:
    """Silence Transformers' own bars and advice."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
