"""train(config): the main path of the project, from feedback to an aligned model, in the order it happens."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from prospect.allocator import keep_freed_memory
from prospect.config import Config, load_config
from prospect.data.batch import collate, flatten
from prospect.data.loader import micro_batches
from prospect.errors import CheckpointError, TrainingError
from prospect.models.adapters import compile_layers
from prospect.models.policy import Policy, load_policy
from prospect.models.reference import Reference, build_reference, check_identity
from prospect.models.reward_model import load_reward_model
from prospect.training.alarms import Alarm, Watch, as_row
from prospect.training.checkpoint import (
    OPTIMIZER,
    REFERENCE,
    RUNNING_MEAN,
    WEIGHTS,
    Identity,
    Progress,
    clean_leftovers,
    latest_checkpoint,
    load_checkpoint,
    optimizer_likes,
    optimizer_tensors,
    restore_optimizer,
    save_checkpoint,
)
from prospect.training.evaluate import evaluate_held_out, write_samples
from prospect.training.optimizer import build_optimizer, learning_rate, set_learning_rate
from prospect.training.out_of_memory import name_the_setting
from prospect.training.prepare import Prepared, prepare
from prospect.training.progress import Display, make_display
from prospect.training.provenance import describe_run, model_card
from prospect.training.run_dir import RunDir
from prospect.training.sharding import clip_gradient, shard_model, whole
from prospect.training.step import Objective, StepResult, accumulate_gradient
from prospect.training.trackers import Tracker, open_trackers
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
    prepared = prepare(config)
    if begun:
        require_same_recipe(run.config(), prepared.config.as_dict(), run)
        if run.provenance().get("finished"):
            return run
    torch.manual_seed(config.train.seed)
    with name_the_setting("while the model was loaded", prepared, run, part="loading"):
        policy = build_policy(prepared)
        session = _Session.start(prepared, policy, run, resume, world)
    with make_display(prepared.total_steps, session.progress.step, quiet) as display:
        session.run_steps(display)
    session.finish()
    return run


def build_policy(prepared: Prepared) -> Policy:
    """Loads what the loss trains: a language model, with a value head where it asks for one, or a reward model."""
    if prepared.loss.reward_model:
        return load_reward_model(prepared.config, prepared.tokenizer)
    return load_policy(prepared.config, prepared.tokenizer, value_head=prepared.loss.needs_values)


def build_watch(prepared: Prepared) -> Watch:
    """What looks out for collapse: both rewards falling is a sign for losses on thumbs that have a reference."""
    loss, lengths = prepared.loss, [len(r.completion_ids) for r in flatten(prepared.train.examples) if r.desirable]
    anchored = loss.feedback == "unpaired" and loss.needs_reference and not loss.length_normalised
    beta = float(prepared.hyperparameters.get("beta", 1.0))
    return Watch(
        rewards_beta=beta if anchored and loss.direction == "apart" else None,
        wanted_length=sum(lengths) / len(lengths) if lengths else None,
    )


def build_objective(prepared: Prepared, policy: Policy, reference: Reference, world: World | None = None) -> Objective:
    """Puts together what is minimised."""
    config = prepared.config
    humanline = config.loss.humanline
    return Objective(
        loss=prepared.loss,
        hyperparameters=prepared.hyperparameters,
        policy=policy,
        reference=reference,
        max_tokens=prepared.max_tokens,
        max_length=prepared.max_length,
        reference_point=config.reference_point,
        seed=config.train.seed,
        sft_weight=config.loss.sft_weight,
        clip=(humanline.low, humanline.high) if humanline else None,
        world=world or World(),
    )


@dataclass
class _Session:
    """What a run holds while it trains; one in each process."""

    prepared: Prepared
    policy: Policy
    reference: Reference
    objective: Objective
    optimizer: torch.optim.AdamW
    identity: Identity
    progress: Progress
    run: RunDir
    provenance: dict[str, Any]
    trackers: list[Tracker]
    world: World
    watch: Watch

    @classmethod
    def start(cls, prepared: Prepared, policy: Policy, run: RunDir, resume: bool, world: World) -> _Session:
        config = prepared.config
        reference = build_reference(
            config.reference,
            policy,
            prepared.loss.needs_reference,
            run.path,
            rank=world.rank,
            agree=world.any if world.lockstep else None,
        )
        if config.train.compile:
            compile_layers(policy.model)
            reference.change(compile_layers)
        if world.lockstep:
            shard_model(policy.model, policy.device)
            reference.change(lambda model: shard_model(model, policy.device))
        if world.size > 1:  # weights were made alike everywhere; dropout need not be
            torch.manual_seed(config.train.seed + world.rank)
        objective = build_objective(prepared, policy, reference, world)
        _check_first_step(prepared, policy, reference)
        identity = Identity(policy.identity, reference.identity, prepared.train.digest)
        optimizer = build_optimizer(config.train, policy.trainable())
        if world.is_main:
            clean_leftovers(run.path)
            clean_leftovers(run.checkpoints_path)
        checkpoint = world.gather(latest_checkpoint(run.checkpoints_path) if resume else None)[0]
        progress = Progress()
        if checkpoint is not None:
            progress = _resume(checkpoint, objective, optimizer, identity)
        provenance = describe_run(prepared, policy, reference)
        watch = build_watch(prepared)
        trackers: list[Tracker] = []
        if world.is_main:
            run.rewind(progress.step if checkpoint is not None else -1)
            watch.catch_up(run.metrics(), run.samples())
            run.write_provenance(provenance)
            run.write_config(config.as_dict())
            trackers = open_trackers(config.train.trackers, run.path, config.as_dict())
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
            trackers,
            world,
            watch,
        )

    def run_steps(self, display: Display) -> None:
        """The loop: gradient, guard, update, log, evaluate, save."""
        settings, total = self.prepared.config.train, self.prepared.total_steps
        if self.progress.step == 0:
            self.evaluate(display)
        for index, examples in self.prepared.plan.steps(self.progress.step, total):
            step, begun = index + 1, time.monotonic()
            with name_the_setting(f"at step {step}", self.prepared, self.run, examples):
                result = accumulate_gradient(self.objective, examples, step)
                grad_norm = self.clip_gradient(step)
                rate = learning_rate(settings, step, total)
                set_learning_rate(self.optimizer, rate)
                self.optimizer.step()
            self.reference.policy_moved()
            self.optimizer.zero_grad(set_to_none=True)
            self.count(result, len(examples), time.monotonic() - begun)
            self.log(result, grad_norm, rate, time.monotonic() - begun, display)
            if step == total or (settings.eval_every and step % settings.eval_every == 0):
                self.evaluate(display)
            self.move_reference(step)  # after the evaluation, which compares with the reference of this step
            if settings.save_every and step % settings.save_every == 0 and step < total:
                self.save()

    def move_reference(self, step: int) -> None:
        """Lets the reference follow the policy where the recipe says so."""
        sync = self.prepared.config.reference.sync
        if sync is not None and sync.every and step % sync.every == 0:
            self.reference.sync(self.policy, sync.mix)
            self.objective.running_mean.clear()  # it was of log-ratios to another reference

    def clip_gradient(self, step: int) -> float:
        """Scales the gradient down to the norm allowed; nothing non-finite reaches the optimizer."""
        norm = clip_gradient(self.policy.trainable().values(), self.prepared.config.train.max_grad_norm)
        if not math.isfinite(norm):
            self.optimizer.zero_grad(set_to_none=True)
            raise TrainingError(
                f"the gradient is not finite at step {step} (norm {norm}). Nothing was updated. Lower "
                "train.learning_rate, or use train.precision: fp32."
            )
        return norm

    def count(self, result: StepResult, examples: int, seconds: float) -> None:
        """Advances every counter."""
        self.progress.step += 1
        self.progress.num_tokens += result.tokens
        self.progress.examples_seen += examples
        self.progress.seconds += seconds

    def log(self, result: StepResult, grad_norm: float, rate: float, seconds: float, display: Display) -> None:
        """Writes a step's metrics and shows them."""
        step = self.progress.step
        metrics = {
            "step": step,
            "epoch": round(step / self.prepared.plan.steps_per_epoch, 6),
            **result.metrics,
            "grad_norm": grad_norm,
            "learning_rate": rate,
            "num_tokens": self.progress.num_tokens,
            "examples_seen": self.progress.examples_seen,
            "completion_tokens": result.completion_tokens,
            "padding_share": round(result.padding_share, 4),
            "tokens_per_second": round(result.tokens / seconds, 1),
        }
        display.step(step, metrics)
        if step % self.prepared.config.train.log_every == 0 or step == self.prepared.total_steps:
            self.write_metrics(metrics)
            self.ring(self.watch.see_step(metrics), display)

    def ring(self, alarms: Sequence[Alarm], display: Display) -> None:
        """Says what looks like collapse, on the screen and in the run directory."""
        step = self.progress.step
        for alarm in alarms:
            display.note(f"ALARM at step {step}: {alarm.text}")
        if alarms and self.world.is_main:
            self.run.append_metrics(as_row(step, round(step / self.prepared.plan.steps_per_epoch, 6), alarms))

    def write_metrics(self, metrics: dict[str, Any]) -> None:
        """Appends to the run directory, and passes on to the trackers."""
        if self.world.is_main:
            self.run.append_metrics(metrics)
        for tracker in self.trackers:
            tracker.log(metrics["step"], {name: value for name, value in metrics.items() if name != "step"})

    def evaluate(self, display: Display) -> None:
        """Scores held-out feedback and writes samples."""
        step = self.progress.step
        epoch = round(step / self.prepared.plan.steps_per_epoch, 6)
        if self.prepared.held_out is not None:
            with name_the_setting(
                f"in the evaluation at step {step}", self.prepared, self.run, self.prepared.held_out.examples
            ):
                metrics = evaluate_held_out(self.objective, self.prepared.held_out)
            self.write_metrics({"step": step, "epoch": epoch, **metrics})
            display.note(_describe_evaluation(step, metrics))
        # A reward model writes nothing. Sharded weights are put together by all processes, whoever wants the samples.
        if not self.prepared.loss.reward_model and (self.world.is_main or self.world.lockstep):
            with name_the_setting(f"in the samples at step {step}", self.prepared, self.run, part="samples"):
                samples = write_samples(self.run if self.world.is_main else None, self.prepared, self.policy, step)
            self.ring(self.watch.see_samples(samples), display)

    def save(self) -> None:
        """Writes a checkpoint; the reference cache first, so that a resumed run finds every number it had."""
        self.reference.flush()
        self.world.barrier()
        self.reference.reload()  # as a resumed run would: everybody knows everybody's rows
        parameters = self.policy.trainable()
        groups: dict[str, Mapping[str, torch.Tensor]] = {
            WEIGHTS: parameters,
            OPTIMIZER: optimizer_tensors(self.optimizer, parameters),
            REFERENCE: self.reference.state(),
            RUNNING_MEAN: self.objective.running_mean.state() if self.prepared.loss.needs_running_mean else {},
        }
        keep = self.prepared.config.train.keep_checkpoints
        save_checkpoint(self.run.checkpoints_path, groups, self.progress, self.identity, keep, self.world)

    def finish(self) -> None:
        """Writes the aligned model and closes the books."""
        self.reference.flush()
        policy = self.whole_policy()
        if policy is None:
            self.world.barrier()
            return
        try:
            policy.save(self.run.model_path, model_card(self.prepared, self.run))
        except OSError as error:
            raise CheckpointError(f"{self.run.model_path}: the model could not be written ({error}).") from error
        for tracker in self.trackers:
            tracker.close()
        finished = {
            "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "seconds": round(self.progress.seconds, 2),
        }
        self.run.write_provenance({**self.provenance, **finished})
        self.world.barrier()

    def whole_policy(self) -> Policy | None:
        """The policy as it is saved, on the first process: sharded weights go into a model that is loaded anew."""
        if not self.world.lockstep:
            return self.policy if self.world.is_main else None
        trained = {name: whole(parameter) for name, parameter in self.policy.trainable().items()}
        if not self.world.is_main:
            return None
        fresh = build_policy(self.prepared)
        with torch.no_grad():
            for name, parameter in fresh.trainable().items():
                parameter.copy_(trained[name])
        return fresh


def _resume(checkpoint: Path, objective: Objective, optimizer: torch.optim.Optimizer, identity: Identity) -> Progress:
    """Puts everything back as the checkpoint has it."""
    parameters, reference = objective.policy.trainable(), objective.reference
    likes = {
        WEIGHTS: {name: p.detach() for name, p in parameters.items()},
        OPTIMIZER: optimizer_likes(parameters),
        REFERENCE: reference.weights(),
        RUNNING_MEAN: objective.running_mean.state(),
    }
    progress, groups = load_checkpoint(checkpoint, likes, identity, objective.world)
    if groups[WEIGHTS].keys() != parameters.keys():
        raise CheckpointError(f"{checkpoint}: holds other weights than this model trains. Was model.lora changed?")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(groups[WEIGHTS][name])
    restore_optimizer(optimizer, parameters, groups[OPTIMIZER])
    reference.policy_moved()
    if REFERENCE in groups:
        reference.load(groups[REFERENCE])
    if RUNNING_MEAN in groups:
        objective.running_mean.load(groups[RUNNING_MEAN])
    return progress


# What may differ on resume: it changes memory and what is written, never the numbers.
_FREE_ON_RESUME = {
    "train.max_tokens_per_micro_batch",
    "train.log_every",
    "train.eval_every",
    "train.save_every",
    "train.keep_checkpoints",
    "train.samples",
    "train.sample_tokens",
    "train.trackers",
    "train.parallel",
    "reference.cache",
    "output",
}


def require_same_recipe(saved: Mapping[str, Any], current: Mapping[str, Any], run: RunDir) -> None:
    """Refuses to resume a run under another recipe.

    Raises:
        CheckpointError: naming the settings that differ.
    """
    before, now = _flat(saved), _flat(current)
    keys = [key for key in {**before, **now} if key not in _FREE_ON_RESUME and before.get(key) != now.get(key)]
    if keys:
        changes = "; ".join(f"{key} was {before.get(key)!r} and is now {now.get(key)!r}" for key in keys[:5])
        raise CheckpointError(
            f"{run.path}: cannot resume with another recipe: {changes}. Restore it (the run's own is "
            f"{run.config_path}), or start a new run with another --output."
        )


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def _check_first_step(prepared: Prepared, policy: Policy, reference: Reference) -> None:
    """Before any training policy and reference are one model: on the first micro-batch, and in the cache."""
    examples = next(prepared.plan.steps(0, 1))[1]
    group = micro_batches(examples, prepared.max_tokens)[0]
    batch = collate(flatten(group)).to(policy.device)
    check_identity(policy, reference, batch, compiled=prepared.config.train.compile)


def _describe_evaluation(step: int, metrics: dict[str, float]) -> str:
    parts = [f"held out at step {step}: loss {metrics['eval_loss']:.4f}"]
    for name, label in (("eval_rewards/accuracies", "accuracy"), ("eval_rewards/auroc", "AUROC")):
        if name in metrics:
            parts.append(f"{label} {metrics[name]:.3f}")
    return "  ".join(parts)
