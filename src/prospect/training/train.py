"""train(config): the main path of the project, from feedback to an aligned model, in the order it happens.

`hold` opens the same run for a caller that trains in rounds.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from prospect import progress
from prospect.config import Config, check_places, load_config
from prospect.errors import CheckpointError, ConfigError, RunStopped
from prospect.models.device import default_device, limits, on_device
from prospect.progress import timing
from prospect.run_dir import RunDir
from prospect.training.callbacks import Callback, check_callbacks
from prospect.training.checkpoints.checkpoint import latest_checkpoint
from prospect.training.checkpoints.resume import require_same_recipe, with_saved_date
from prospect.training.image_recipe import beta_in_words
from prospect.training.memory.allocator import keep_freed_memory
from prospect.training.memory.out_of_memory import name_the_setting
from prospect.training.objective import build_policy, encode_images
from prospect.training.optimizer import learning_rate
from prospect.training.prepare import Prepared, prepare, require_evaluable, require_feedback_for_loss
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
    callbacks: Sequence[Callback] = (),
) -> RunDir:
    """Align a model on feedback.

    Arguments, results and refusals are those of `prospect.train`.
    """
    with _claimed(source, overrides, callbacks, resume=resume, quiet=quiet) as claimed:
        run = claimed.run
        if claimed.prepared.config.online is not None:
            raise ConfigError("the recipe has an online section. Run it with prospect.train or `prospect train`.")
        if not claimed.finished:
            require_feedback_for_loss(claimed.prepared)
            with claimed.session() as session:
                run_steps(session)
                session.finish()
            if session.stop.signal:
                raise session.stop.stopped(f"stopped; the run is finished and its model is in {run.model_path}.")
    return run


@contextmanager
def hold(
    source: str | Path | Mapping[str, Any] | Config,
    *,
    overrides: Sequence[str] = (),
    resume: bool = False,
    quiet: bool = False,
    callbacks: Sequence[Callback] = (),
) -> Iterator[Session]:
    """Hold a run open: policy, reference and optimizer stay in memory while a caller trains in rounds.

    Within the block `run_steps` trains, `session.plan` takes other rows, and `session.sample`, `session.evaluate`,
    `session.save` and `session.finish` do what they are called. The recipe's `train.max_steps` is the number of steps
    of all rounds, over which the learning rate follows its schedule. A resumed session goes on after the step of its
    last checkpoint, and its caller must give it the same rows again.

    Args:
        source: see `train`, as for the others.
        overrides: see `train`.
        resume: see `train`.
        quiet: see `train`.
        callbacks: see `train`.

    Raises:
        ProspectError: as `train` does.
        CheckpointError: the run that is resumed is finished.
        RunStopped: SIGINT or SIGTERM came.
    """
    with _claimed(source, overrides, callbacks, resume=resume, quiet=quiet) as claimed:
        if claimed.finished:
            raise CheckpointError(f"{claimed.run.path} holds a finished run. Name another output directory.")
        require_evaluable(claimed.prepared)
        with claimed.session() as session:
            yield session
        if session.stop.signal:
            raise session.stop.stopped("stopped.")


@dataclass(frozen=True)
class _Claimed:
    """A run directory that is this process's alone, and the recipe that runs in it."""

    prepared: Prepared
    run: RunDir
    world: World
    shown: progress.Display
    stop: Stop
    stopwatch: timing.Stopwatch
    claim: RunClaim
    begun: bool
    callbacks: Sequence[Callback]

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to do."""
        return self.begun and bool(self.run.provenance().finished)

    @contextmanager
    def session(self) -> Iterator[Session]:
        """Hold policy, reference and optimizer in memory."""
        torch.manual_seed(self.prepared.config.train.seed)
        with name_the_setting("while the model was loaded", self.prepared, self.run, part="loading"):
            encode_images(self.prepared, self.world)
            policy = build_policy(self.prepared, to_spread=self.world.lockstep)
            session = Session.start(self.prepared, policy, self.run, self.begun, self.world, self.callbacks)
        session.shown, session.stop, session.stopwatch = self.shown, self.stop, self.stopwatch
        try:
            if self.prepared.pipeline is not None:
                progress.note(beta_in_words(self.prepared.config, self.prepared.loss, self.prepared.pipeline))
            for warning in self.prepared.train.ignored:
                progress.note(f"warning: {warning}")
            yield session
        finally:
            self.claim.stepped |= session.progress.step > 0
            session.close()


@contextmanager
def _claimed(
    source: str | Path | Mapping[str, Any] | Config,
    overrides: Sequence[str],
    callbacks: Sequence[Callback],
    *,
    resume: bool,
    quiet: bool,
) -> Iterator[_Claimed]:
    """Claim a run directory and prepare its recipe."""
    callbacks = check_callbacks(callbacks)
    keep_freed_memory()
    share_cores(os.environ)
    config = load_config(source, overrides)
    check_places(config)
    with on_device(config.train.device):
        world, run = join_world(sharded=config.train.parallel == "fsdp"), RunDir(config.output)
        with (
            progress.shown("prospect train", quiet=quiet or not world.is_main) as shown,
            listening(world.is_main, quiet) as stop,
            timing.taken() as stopwatch,
            _sole_writer(run, world, resume) as place,
        ):
            limited = limits(default_device())
            if limited is not None:
                progress.note(limited)
            begun = world.gather(place.stepped)[0]
            if begun:
                config = with_saved_date(config, run)
            prepared = prepare(config, world.gather(datetime.now())[0])  # one time for all processes
            if begun:
                require_same_recipe(run.config(), prepared.config.as_dict(), run)
            yield _Claimed(prepared, run, world, shown, stop, stopwatch, place, begun, callbacks)


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


def run_steps(session: Session, until: int | None = None) -> None:
    """Run the loop: gradient, guard, update, log, evaluate, save.

    Args:
        session: a run that is open; its plan gives the rows of the steps.
        until: the last step, counted from the start of the run; the recipe's last one by default.

    Raises:
        ConfigError: a step that is none of the run's.
    """
    total = session.prepared.total_steps
    until = total if until is None else until
    if until > total:
        raise ConfigError(
            f"step {until} was asked for and the run has {total}. Set train.max_steps to the steps of all rounds."
        )
    unit = "tok/s" if session.prepared.pipeline is None else "img/s"
    with Display(total, session.progress.step, session.shown, unit) as display:
        if session.progress.step == 0:
            session.evaluate()
        session.stop.wait_for_steps()
        if session.progress.pending:
            _end_step(session)
        _heed(session)
        if not session.ending:
            _run_steps(session, until, display)


def _run_steps(session: Session, until: int, display: Display) -> None:
    settings, total = session.prepared.config.train, session.prepared.total_steps
    for index, examples in session.plan.steps(session.progress.step, until):
        step, begun = index + 1, time.monotonic()
        took = timing.STEPS if session.stopwatch.began(timing.FIRST_STEP) else timing.FIRST_STEP
        with timing.part(took), name_the_setting(f"at step {step}", session.prepared, session.run, examples):
            result = accumulate_gradient(session.objective, examples, step)
            grad_norm = session.clip_gradient(step)
            rate = learning_rate(settings, step, total)
            session.update(rate)
        session.count(result, len(examples), time.monotonic() - begun)
        session.log(result, grad_norm, rate, time.monotonic() - begun, display)
        _end_step(session)
        if session.ending:
            return


def _end_step(session: Session) -> None:
    """Do what follows a step: evaluate, move the reference, save; or stop, with that still to be done.

    Raises:
        RunStopped: a signal came to any process.
        CallbackError: a callback failed.
    """
    settings, total, step = session.prepared.config.train, session.prepared.total_steps, session.progress.step
    session.progress.pending = True
    _heed(session)
    evaluates = step == total or session.ending or bool(settings.eval_every and step % settings.eval_every == 0)
    if evaluates:
        written = session.run.sizes()
        try:
            with session.stop.on_the_spot() if session.world.size == 1 else nullcontext():
                session.evaluate()
        except RunStopped:
            session.run.cut(written)  # half an evaluation; the resumed run makes it whole
            _heed(session)
    session.move_reference(step)  # after the evaluation, which compares with the reference of this step
    session.progress.pending = False
    saves = _save_is_due(session, step)
    if saves:
        session.save()
    if evaluates or saves:
        _heed(session)  # what callbacks made of it


def _heed(session: Session) -> None:
    """Stop if a signal came to any process or a callback failed, all of them after the same step.

    Where a callback ends the run, only say so: what follows the step is still to be done.

    Raises:
        RunStopped: saying how to go on.
        CallbackError: likewise.
    """
    world, asked = session.world, session.callbacks
    asks = asked.failed is not None or (asked.ended is not None and not session.ending)
    if not world.any(asks or session.stop.signal != 0):
        return
    signalled = world.any(session.stop.signal != 0)
    failed, why = world.gather((asked.failed is not None, asked.ended))[0]
    if not signalled and not failed:
        session.ending = True
        progress.note(f"ended after step {session.progress.step} of {session.prepared.total_steps} by {why}")
        return
    if session.prepared.config.train.save_on_stop:
        session.save()
    last = latest_checkpoint(session.run.checkpoints_path)
    then = (
        f"stopped after step {session.progress.step} of {session.prepared.total_steps}; "
        f"{f'{last.name} is saved' if last else 'no checkpoint is saved'}. Continue with the same command and --resume."
    )
    if signalled:
        raise session.stop.stopped(then)
    raise asked.error(f"The run {then}") from asked.cause


def _save_is_due(session: Session, step: int) -> bool:
    """Every `save_every` steps; after the last one only where weights are sharded, which may be too many for one."""
    every = session.prepared.config.train.save_every
    if not every:
        return False
    return session.world.lockstep if step == session.prepared.total_steps else step % every == 0
