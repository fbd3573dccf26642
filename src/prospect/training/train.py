"""train(config): the main path of the project, from feedback to an aligned model, in the order it happens."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from prospect.allocator import keep_freed_memory
from prospect.config import Config, load_config
from prospect.errors import CheckpointError
from prospect.training.objective import build_policy
from prospect.training.optimizer import learning_rate, set_learning_rate
from prospect.training.out_of_memory import name_the_setting
from prospect.training.prepare import prepare
from prospect.training.progress import Display, make_display
from prospect.training.resume import require_same_recipe, with_saved_date
from prospect.training.run_dir import RunDir
from prospect.training.session import Session
from prospect.training.step import accumulate_gradient
from prospect.training.world import World, join_world, share_cores


def train(
    source: str | Path | Mapping[str, Any] | Config,
    *,
    overrides: Sequence[str] = (),
    resume: bool = False,
    quiet: bool = False,
) -> RunDir:
    """Aligns a model on feedback.

    Args:
        source: a recipe: a YAML file, a mapping, or a config.
        overrides: `key.path=value` strings that win over the recipe.
        resume: continue a run that was stopped, to the same numbers.
        quiet: print nothing.

    Returns:
        The run directory, with the aligned model under `model/`.

    Raises:
        ProspectError: one of its kinds, saying what, where, found and what to do.
    """
    keep_freed_memory()
    share_cores(os.environ)
    config = load_config(source, overrides)
    world = join_world(sharded=config.train.parallel == "fsdp")
    return _train(config, world, resume=resume, quiet=quiet or not world.is_main)


def _train(config: Config, world: World, *, resume: bool, quiet: bool) -> RunDir:
    run = RunDir(config.output)
    begun = world.gather(run.exists())[0]  # the first process may soon create it
    if begun and not resume:
        raise CheckpointError(
            f"{run.path} holds another run. Continue that one with --resume, choose another --output, or "
            "remove the folder."
        )
    if begun:
        config = with_saved_date(config, run)
    prepared = prepare(config, world.gather(datetime.now())[0])  # one time for all processes
    if begun:
        require_same_recipe(run.config(), prepared.config.as_dict(), run)
        if run.provenance().get("finished"):
            return run
    torch.manual_seed(config.train.seed)
    with name_the_setting("while the model was loaded", prepared, run, part="loading"):
        policy = build_policy(prepared, to_spread=world.lockstep)
        session = Session.start(prepared, policy, run, resume, world)
    with make_display(prepared.total_steps, session.progress.step, quiet) as display:
        run_steps(session, display)
    with name_the_setting("while the finished model was written", prepared, run, part="loading"):
        session.finish()
    return run


def run_steps(session: Session, display: Display) -> None:
    """The loop: gradient, guard, update, log, evaluate, save."""
    settings, total = session.prepared.config.train, session.prepared.total_steps
    if session.progress.step == 0:
        session.evaluate(display)
    for index, examples in session.prepared.plan.steps(session.progress.step, total):
        step, begun = index + 1, time.monotonic()
        with name_the_setting(f"at step {step}", session.prepared, session.run, examples):
            result = accumulate_gradient(session.objective, examples, step)
            grad_norm = session.clip_gradient(step)
            rate = learning_rate(settings, step, total)
            set_learning_rate(session.optimizer, rate)
            session.optimizer.step()
        session.reference.policy_moved()
        session.optimizer.zero_grad(set_to_none=True)
        session.count(result, len(examples), time.monotonic() - begun)
        session.log(result, grad_norm, rate, time.monotonic() - begun, display)
        if step == total or (settings.eval_every and step % settings.eval_every == 0):
            session.evaluate(display)
        session.move_reference(step)  # after the evaluation, which compares with the reference of this step
        if _save_is_due(session, step):
            session.save()


def _save_is_due(session: Session, step: int) -> bool:
    """Every `save_every` steps; after the last one only where weights are sharded, which may be too many for one."""
    every = session.prepared.config.train.save_every
    if not every:
        return False
    return session.world.lockstep if step == session.prepared.total_steps else step % every == 0
