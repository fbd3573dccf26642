"""A recipe trained, and its model where the recipe wants it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prospect.config import Config, load_config
from prospect.run_dir import RunDir
from prospect.training.callbacks import Callback
from prospect.training.processes.place import speaks
from prospect.verbs.handing_over import push_finished


def train(
    source: str | Path | Mapping[str, Any] | Config,
    *,
    overrides: Sequence[str] = (),
    resume: bool = False,
    quiet: bool = False,
    callbacks: Sequence[Callback] = (),
) -> RunDir:
    """Align a model: on feedback, or where the recipe has an `online` section on its own answers.

    Args:
        source: a recipe: a YAML file, a mapping, or a config.
        overrides: `key.path=value` strings that win over the recipe.
        resume: continue a run that was stopped, to the same numbers.
        quiet: print nothing.
        callbacks: told of every step, evaluation and save; see `prospect.Callback`.

    Returns:
        The run directory, with the aligned model under `model/`; on the hub too, where the recipe has `push_to_hub`.

    Raises:
        ConfigError: a key or value that cannot be used, or a judge that gives no scores.
        DataError: feedback that cannot be used, or a judge whose scores do not differ or are infinite.
        ProspectError: another of its kinds, saying what, where, found and what to do.
        RunStopped: SIGINT or SIGTERM came; a KeyboardInterrupt.
    """
    from prospect.report.run.model_card import write_model_card
    from prospect.rounds.online import train as train_and_stay

    config = load_config(source, overrides)
    run = train_and_stay(config, resume=resume, quiet=quiet, callbacks=callbacks)
    if config.push_to_hub is not None and speaks():
        write_model_card(run.path)
        push_finished(run, config.push_to_hub)
    return run
