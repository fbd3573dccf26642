"""What a run holds while it trains, and what it does around a step: guard, count, log, evaluate, save, finish."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from safetensors import SafetensorError

from prospect import progress as screen
from prospect.data.rounds import StepPlan
from prospect.errors import CheckpointError, TrainingError
from prospect.feedback.records import Text
from prospect.losses.registry import source_digests
from prospect.models.policy import Policy
from prospect.models.reference import Reference
from prospect.models.sampling import Generated
from prospect.progress import phase, timing
from prospect.results.run import Alarm, AlarmsRow, MetricsRow, PhaseTime, Provenance, SampleRow
from prospect.run_dir import RunDir
from prospect.training.alarms import Watch
from prospect.training.callbacks import Callback, Callbacks
from prospect.training.checkpoints.checkpoint import (
    OPTIMIZER,
    REFERENCE,
    RUNNING_MEAN,
    SAMPLED_POINT,
    WEIGHTS,
    clean_leftovers,
    latest_checkpoint,
    load_group,
    save_checkpoint,
)
from prospect.training.checkpoints.resume import restore
from prospect.training.checkpoints.state import Identity, Progress
from prospect.training.data_pictures import write_data_pictures
from prospect.training.evaluate import evaluate_held_out, write, write_samples
from prospect.training.memory.out_of_memory import name_the_setting
from prospect.training.objective import (
    build_objective,
    build_policy,
    build_run_reference,
    build_watch,
    check_first_step,
    place_models,
)
from prospect.training.optimizer import (
    build_optimizer,
    empty_state,
    restore_state,
    set_learning_rate,
    state_tensors,
)
from prospect.training.prepare import Prepared
from prospect.training.processes.sharding import clip_gradient, whole
from prospect.training.processes.world import World
from prospect.training.progress import Display
from prospect.training.provenance import describe_run, model_card
from prospect.training.step import Objective, StepResult
from prospect.training.stopping import Stop
from prospect.training.trackers import open_trackers


@dataclass
class Session:
    """What a run holds while it trains; one in each process. `train.run_steps` says in which order it acts.

    A caller that holds one may give it another `plan`.
    """

    prepared: Prepared
    policy: Policy
    reference: Reference
    objective: Objective
    optimizer: torch.optim.Optimizer
    identity: Identity
    progress: Progress
    run: RunDir
    provenance: Provenance
    callbacks: Callbacks
    world: World
    watch: Watch
    plan: StepPlan
    shown: screen.Display = field(default_factory=screen.Display)
    stop: Stop = field(default_factory=Stop)
    stopwatch: timing.Stopwatch = field(default_factory=timing.Stopwatch)
    ending: bool = False
    """Whether a callback ended the run before its last step."""

    @classmethod
    def start(
        cls,
        prepared: Prepared,
        policy: Policy,
        run: RunDir,
        resume: bool,
        world: World,
        callbacks: Sequence[Callback] = (),
    ) -> Session:
        """Build all that a run needs and, where it goes on, put everything back as the last checkpoint has it."""
        config = prepared.config
        with phase("making the reference", part=timing.REFERENCE):
            reference = build_run_reference(
                prepared,
                policy,
                run.path,
                rank=world.rank,
                agree=world.any if world.lockstep else None,
                to_spread=world.lockstep,
            )
            place_models(policy, reference, sharded=world.lockstep, compiled=config.train.compile)
        if world.size > 1:  # weights were made alike everywhere; dropout need not be
            torch.manual_seed(config.train.seed + world.rank)
        objective = build_objective(prepared, policy, reference, world)
        with timing.part("checking the first micro-batch"):
            start = check_first_step(prepared, objective, reference)
        identity = Identity(
            policy=policy.identity,
            reference=reference.identity,
            data=prepared.train.digest,
            sources=source_digests(config.loss.name),
        )
        optimizer = build_optimizer(config.train, policy.trainable())
        if world.is_main:
            clean_leftovers(run.path)
            clean_leftovers(run.checkpoints_path)
        checkpoint = world.gather(latest_checkpoint(run.checkpoints_path) if resume else None)[0]
        progress = Progress()
        if checkpoint is not None:
            progress = restore(checkpoint, objective, optimizer, identity)
        provenance = describe_run(prepared, policy, reference, start)
        watch = build_watch(prepared)
        told: list[Callback] = []
        if world.is_main:
            told = [*open_trackers(config.train.trackers, run.path, config.as_dict()), *callbacks]
            run.rewind(progress.step if checkpoint is not None else -1)
            watch.catch_up(run.metrics(), run.samples())
            if provenance.images is not None:
                provenance.images.shown = write_data_pictures(run, prepared)
            run.write_provenance(provenance)
            run.write_config(config.as_dict())
        return cls(
            prepared,
            policy,
            reference,
            objective,
            optimizer,
            identity,
            progress,
            run,
            provenance,
            Callbacks(told),
            world,
            watch,
            prepared.plan,
        )

    @property
    def epoch(self) -> float:
        """How often the rows have been passed over."""
        return round(self.progress.step / self.plan.steps_per_epoch, 6)

    def move_reference(self, step: int) -> None:
        """Let the reference follow the policy where the recipe says so."""
        sync = self.prepared.config.reference.sync
        if sync is not None and sync.every and step % sync.every == 0:
            self.reference.sync(self.policy, sync.mix)
            self.objective.running_mean.clear()  # it was of log-ratios to another reference
            if self.objective.sampled is not None:
                self.objective.sampled.clear()  # and so was this

    def clip_gradient(self, step: int) -> float:
        """Scale the gradient down to the norm allowed; nothing non-finite reaches the optimizer."""
        norm = clip_gradient(self.policy.trainable().values(), self.prepared.config.train.max_grad_norm)
        if not math.isfinite(norm):
            self.optimizer.zero_grad(set_to_none=True)
            raise TrainingError(
                f"the gradient is not finite at step {step} (norm {norm}). Nothing was updated. Lower "
                "train.learning_rate, or use train.precision: fp32."
            )
        return norm

    def update(self, rate: float) -> None:
        """Move the policy along its gradient, and clear that."""
        set_learning_rate(self.optimizer, rate)
        self.optimizer.step()
        self.policy.weights_moved()
        self.reference.policy_moved()
        self.optimizer.zero_grad(set_to_none=True)

    def count(self, result: StepResult, examples: int, seconds: float) -> None:
        """Advance every counter."""
        self.progress.step += 1
        self.progress.num_tokens += result.tokens
        self.progress.examples_seen += examples
        self.progress.seconds += seconds

    def log(self, result: StepResult, grad_norm: float, rate: float, seconds: float, display: Display) -> None:
        """Write a step's metrics and show them."""
        step = self.progress.step
        metrics = {
            "step": step,
            "epoch": self.epoch,
            **result.metrics,
            "grad_norm": grad_norm,
            "learning_rate": rate,
            "num_tokens": self.progress.num_tokens,
            "examples_seen": self.progress.examples_seen,
            "completion_tokens": result.completion_tokens,
            "padding_share": round(result.padding_share, 4),
            "tokens_per_second": round(result.tokens / seconds, 1),
        }
        if self.objective.sampled is not None:
            metrics["kl_seconds"] = round(result.point_seconds, 4)
        display.step(step, metrics)
        if step % self.prepared.config.train.log_every == 0 or step == self.prepared.total_steps:
            self.write_metrics(metrics)
            self.ring(self.watch.see_step(metrics))
        self.callbacks.on_step(step, self.prepared.total_steps, self.epoch, metrics)

    def ring(self, alarms: Sequence[Alarm]) -> None:
        """Say what looks like collapse, on the screen and in the run directory."""
        step = self.progress.step
        for alarm in alarms:
            screen.note(f"ALARM at step {step}: {alarm.text}")
        if alarms and self.world.is_main:
            self.run.append_alarms(AlarmsRow(step=step, epoch=self.epoch, alarms=list(alarms)))

    def write_metrics(self, metrics: MetricsRow) -> None:
        """Append to the run directory, and tell the callbacks."""
        if self.world.is_main:
            self.run.append_metrics(metrics)
        self.callbacks.on_log(metrics)

    def evaluate(self) -> None:
        """Score held-out feedback and write samples."""
        step, metrics = self.progress.step, dict[str, float]()
        samples: list[SampleRow] = []
        if self.prepared.held_out is not None:
            with name_the_setting(
                f"in the evaluation at step {step}", self.prepared, self.run, self.prepared.held_out.examples
            ):
                metrics = evaluate_held_out(self.objective, self.prepared.held_out)
            self.write_metrics({"step": step, "epoch": self.epoch, **metrics})
            screen.note(_describe_evaluation(step, metrics))
        # A reward model writes nothing. Sharded weights are put together by all processes, whoever wants the samples.
        if not self.prepared.loss.reward_model and (self.world.is_main or self.world.lockstep):
            run = self.run if self.world.is_main else None
            with self._sampling():
                samples = write_samples(run, self.prepared, self.policy, step)
            self.ring(self.watch.see_samples(samples))
        self.callbacks.on_evaluation(step, self.epoch, metrics, samples)

    def sample(self, prompts: Sequence[Text], **settings: Any) -> list[list[Generated]]:
        """Let the policy as it is answer prompts; sharded weights need all processes to ask.

        Args:
            prompts: strings or conversations.
            **settings: of `prospect.models.sampling.generate`.
        """
        with self._sampling():
            return write(self.prepared, self.policy, prompts, **settings)

    @contextmanager
    def _sampling(self) -> Iterator[None]:
        where = f"in the samples at step {self.progress.step}"
        with name_the_setting(where, self.prepared, self.run, part="samples"):
            yield

    def save(self) -> None:
        """Write a checkpoint; the reference cache first, so that a resumed run finds every number it had."""
        with phase("saving a checkpoint", part=timing.SAVING):
            self._save()

    def _save(self) -> None:
        self.reference.flush()
        self.world.barrier()
        self.reference.reload()  # as a resumed run would: everybody knows everybody's rows
        parameters = self.policy.trainable()
        groups: dict[str, Mapping[str, torch.Tensor]] = {
            WEIGHTS: parameters,
            OPTIMIZER: state_tensors(self.optimizer, parameters),
            REFERENCE: self.reference.state(),
            RUNNING_MEAN: self.objective.running_mean.state() if self.prepared.loss.needs_running_mean else {},
            SAMPLED_POINT: self.objective.sampled.state() if self.objective.sampled is not None else {},
        }
        keep = self.prepared.config.train.keep_checkpoints
        path = save_checkpoint(self.run.checkpoints_path, groups, self.progress, self.identity, keep, self.world)
        self.callbacks.on_save(self.progress.step, path)

    def carry_optimizer(self, run: RunDir) -> None:
        """Let the optimizer go on with the moments and step counts of another run's last checkpoint.

        Raises:
            CheckpointError: that run has none, or trained other weights.
        """
        checkpoint = latest_checkpoint(run.checkpoints_path)
        if checkpoint is None:
            raise CheckpointError(f"{run.path}: has no checkpoint whose optimizer could go on. Begin with a fresh one.")
        parameters = self.policy.trainable()
        found = load_group(checkpoint, OPTIMIZER, empty_state(self.optimizer, parameters), self.world)
        restore_state(self.optimizer, parameters, found)

    def finish(self) -> None:
        """Write the aligned model and close the books.

        Raises:
            CallbackError: one failed that was told of it; the run is finished.
        """
        with name_the_setting("while the finished model was written", self.prepared, self.run, part="loading"):
            self._finish()
        self.callbacks.on_save(self.progress.step, self.run.model_path, finished=True)
        if self.callbacks.failed is not None:
            where = f"The run is finished and its model is in {self.run.model_path}."
            raise self.callbacks.error(where) from self.callbacks.cause

    def _finish(self) -> None:
        self.reference.flush()
        policy = self.whole_policy()
        if policy is None:
            self.world.barrier()
            return
        try:
            with phase("saving the model", part=timing.SAVING):
                policy.save(self.run.model_path, model_card(self.prepared, self.run))
        except Exception as error:
            # The tokenizers library says of a full disk `Exception`, and has nothing finer.
            if not isinstance(error, OSError | SafetensorError) and type(error) is not Exception:
                raise
            raise CheckpointError(
                f"{self.run.model_path}: the model could not be written ({error}). Nothing half-written was left. Free "
                "some space and continue with --resume."
            ) from error
        made: dict[str, Any] = {
            "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "seconds": round(self.progress.seconds, 2),
            "phases": self.phases(),
        }
        if self.ending:
            made["epochs"] = self.epoch
        self.run.write_provenance(self.provenance.model_copy(update=made))
        self.world.barrier()

    def phases(self) -> dict[str, PhaseTime]:
        """Return where the time went since this process took up the run."""
        return {
            name: PhaseTime(
                seconds=round(spent.seconds, 3),
                processor_seconds=round(spent.processor_seconds, 3),
                times=spent.times,
            )
            for name, spent in self.stopwatch.parts().items()
        }

    def close(self) -> None:
        """Tell the callbacks that this is the end, however the run ended."""
        self.callbacks.close()

    def whole_policy(self) -> Policy | None:
        """Return the policy as it is saved, on the first process.

        Sharded weights go, one by one, into a model that is loaded anew on the CPU: no device holds the whole.
        """
        if not self.world.lockstep:
            return self.policy if self.world.is_main else None
        fresh = build_policy(self.prepared, to_spread=True) if self.world.is_main else None
        targets = fresh.trainable() if fresh is not None else {}
        with torch.no_grad():
            for name, parameter in self.policy.trainable().items():
                gathered = whole(parameter)  # all processes must ask, and one keeps it
                if name in targets:
                    targets[name].copy_(gathered)
        return fresh


def _describe_evaluation(step: int, metrics: dict[str, float]) -> str:
    parts = [f"held out at step {step}: loss {metrics['eval_loss']:.4f}"]
    for name, label in (("eval_rewards/accuracies", "accuracy"), ("eval_rewards/auroc", "AUROC")):
        if name in metrics:
            parts.append(f"{label} {metrics[name]:.3f}")
    return "  ".join(parts)
