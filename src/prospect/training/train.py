"""train(config): the main path of the project, from feedback to an aligned model, in the order it happens."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from prospect import progress
from prospect.config import Config, check_places, load_config
from prospect.errors import CheckpointError, RunStopped
from prospect.run_dir import RunDir
from prospect.training.checkpoints.checkpoint import latest_checkpoint
from prospect.training.checkpoints.resume import require_same_recipe, with_saved_date
from prospect.training.memory.allocator import keep_freed_memory
from prospect.training.memory.out_of_memory import name_the_setting
from prospect.training.objective import build_policy
from prospect.training.optimizer import learning_rate, set_learning_rate
from prospect.training.prepare import prepare
from prospect.training.processes.world import World, join_world, share_cores
from prospect.training.progress import Display
from prospect.training.run_lock import RunClaim, claim
from prospect.training.session import Session
from prospect.training.step import accumulate_gradient
from prospect.training.stopping import Stop, listening


def train(
    source: str | Path | Mapping[str, Any] | Config,
    *,
    overrides: Sequence[str] = (),
    resume: bool = False,
    quiet: bool = False,
) -> RunDir:
    """Align a model on feedback.

    Args:
        source: a recipe: a YAML file, a mapping, or a config.
        overrides: `key.path=value` strings that win over the recipe.
        resume: continue a run that was stopped, to the same numbers.
        quiet: print nothing.

    Returns:
        The run directory, with the aligned model under `model/`.

    Raises:
        ProspectError: one of its kinds, saying what, where, found and what to do.
        RunStopped: SIGINT or SIGTERM came; a KeyboardInterrupt.
    """
    keep_freed_memory()
    share_cores(os.environ)
    config = load_config(source, overrides)
    check_places(config)
    world = join_world(sharded=config.train.parallel == "fsdp")
    with (
        progress.shown("prospect train", quiet=quiet or not world.is_main) as shown,
        listening(world.is_main, quiet) as stop,
    ):
        return _train(config, world, shown, stop, resume=resume)


def _train(config: Config, world: World, shown: progress.Display, stop: Stop, *, resume: bool) -> RunDir:
    run = RunDir(config.output)
    with _sole_writer(run, world, resume) as place:
        begun = world.gather(place.stepped)[0]
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
            session = Session.start(prepared, policy, run, begun, world)
        try:
            with Display(prepared.total_steps, session.progress.step, shown) as display:
                for warning in prepared.train.ignored:
                    display.note(f"warning: {warning}")
                run_steps(session, display, stop)
            with name_the_setting("while the finished model was written", prepared, run, part="loading"):
                session.finish()
        finally:
            place.stepped |= session.progress.step > 0
            session.close()
        if stop.signal:
            raise stop.stopped(f"stopped; the run is finished and its model is in {run.model_path}.")
    return run


@contextmanager
def _sole_writer(run: RunDir, world: World, resume: bool) -> Iterator[RunClaim]:
    """Claim the run directory on the first process; a refusal is everybody's."""
    with ExitStack() as stack:
        place, refusal = RunClaim(), None
        if world.is_main:
            try:
                place = stack.enter_context(claim(run, resume=resume))
            except CheckpointError as error:
                refusal = str(error)
        refusal = world.gather(refusal)[0]
        if refusal is not None:
            raise CheckpointError(refusal)
        yield place


def run_steps(session: Session, display: Display, stop: Stop) -> None:
    """Run the loop: gradient, guard, update, log, evaluate, save."""
    settings, total = session.prepared.config.train, session.prepared.total_steps
    if session.progress.step == 0:
        session.evaluate(display)
    stop.wait_for_steps()
    if session.progress.pending:
        _end_step(session, display, stop)
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
        _end_step(session, display, stop)


def _end_step(session: Session, display: Display, stop: Stop) -> None:
    """Do what follows a step: evaluate, move the reference, save; or stop, with that still to be done.

    Raises:
        RunStopped: a signal came to any process.
    """
    settings, total, step = session.prepared.config.train, session.prepared.total_steps, session.progress.step
    session.progress.pending = True
    _heed(session, stop)
    if step == total or (settings.eval_every and step % settings.eval_every == 0):
        written = session.run.sizes()
        try:
            with stop.on_the_spot() if session.world.size == 1 else nullcontext():
                session.evaluate(display)
        except RunStopped:
            session.run.cut(written)  # half an evaluation; the resumed run makes it whole
            _heed(session, stop)
    session.move_reference(step)  # after the evaluation, which compares with the reference of this step
    session.progress.pending = False
    if _save_is_due(session, step):
        session.save()


def _heed(session: Session, stop: Stop) -> None:
    """Stop if a signal came to any process, all of them after the same step.

    Raises:
        RunStopped: saying how to go on.
    """
    if not session.world.any(stop.signal != 0):
        return
    settings, progress = session.prepared.config.train, session.progress
    if settings.save_on_stop:
        session.save()
    last = latest_checkpoint(session.run.checkpoints_path)
    raise stop.stopped(
        f"stopped after step {progress.step} of {session.prepared.total_steps}; "
        f"{f'{last.name} is saved' if last else 'no checkpoint is saved'}. Continue with the same command and --resume."
    )


def _save_is_due(session: Session, step: int) -> bool:
    """Every `save_every` steps; after the last one only where weights are sharded, which may be too many for one."""
    every = session.prepared.config.train.save_every
    if not every:
        return False
    return session.world.lockstep if step == session.prepared.total_steps else step % every == 0
