"""A stopped run goes on: everything back as its checkpoint has it, under the recipe that it began with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from prospect.config import Config, flat, load_config
from prospect.errors import CheckpointError
from prospect.run_dir import RunDir
from prospect.training.checkpoints.checkpoint import (
    OPTIMIZER,
    REFERENCE,
    RUNNING_MEAN,
    SAMPLED_POINT,
    WEIGHTS,
    load_checkpoint,
)
from prospect.training.checkpoints.state import Identity, Progress
from prospect.training.optimizer import empty_state, restore_state
from prospect.training.sampled_point import SampledPoint
from prospect.training.step import Objective


def restore(checkpoint: Path, objective: Objective, optimizer: torch.optim.Optimizer, identity: Identity) -> Progress:
    """Put weights, optimizer, reference, running mean and sampled z0 back as the checkpoint has them.

    Returns:
        How far the run had come.

    Raises:
        CheckpointError: the checkpoint is of another policy, reference or data, or of other weights.
    """
    parameters, reference = objective.policy.trainable(), objective.reference
    likes = {
        WEIGHTS: {name: p.detach() for name, p in parameters.items()},
        OPTIMIZER: empty_state(optimizer, parameters),
        REFERENCE: reference.weights(),
        RUNNING_MEAN: objective.running_mean.state(),
        SAMPLED_POINT: SampledPoint.layout(),
    }
    progress, groups = load_checkpoint(checkpoint, likes, identity, objective.world)
    if groups[WEIGHTS].keys() != parameters.keys():
        raise CheckpointError(f"{checkpoint}: holds other weights than this model trains. Was model.lora changed?")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(groups[WEIGHTS][name])
    restore_state(optimizer, parameters, groups[OPTIMIZER])
    reference.policy_moved()
    if REFERENCE in groups:
        reference.load(groups[REFERENCE])
    if RUNNING_MEAN in groups:
        objective.running_mean.load(groups[RUNNING_MEAN])
    if SAMPLED_POINT in groups and objective.sampled is not None:
        objective.sampled.load(groups[SAMPLED_POINT])
    return progress


def with_saved_date(config: Config, run: RunDir) -> Config:
    """Return the recipe with the date that the run it continues told the chat template, unless it names its own."""
    if config.data.template_date is not None:
        return config
    saved = load_config(run.config(), where=str(run.config_path)).data.template_date
    return config.model_copy(update={"data": config.data.model_copy(update={"template_date": saved})})


# What may differ on resume: it changes memory and what is written, never the numbers.
_FREE = {
    "train.max_tokens_per_micro_batch",
    "train.images_per_micro_batch",
    "train.gradient_checkpointing",
    "train.log_every",
    "train.eval_every",
    "train.save_every",
    "train.keep_checkpoints",
    "train.save_on_stop",
    "train.samples",
    "train.sample_tokens",
    "train.sample_steps",
    "train.trackers",
    "train.device",
    "train.parallel",
    "online.sampled_together",
    "reference.cache",
    "output",
    "push_to_hub",
    "push_to_hub.repo",
    "push_to_hub.private",
}


def may_differ(setting: str, recipe: Mapping[str, Any]) -> bool:
    """Whether a run may be resumed with another value of a setting, `train.samples` for one.

    A recipe whose z0 is that of a micro-batch keeps what cuts them.
    """
    cuts = setting == "train.max_tokens_per_micro_batch"
    return setting in _FREE and not (cuts and recipe["reference_point"]["kind"] == "micro_batch")


def require_same_recipe(saved: Mapping[str, Any], current: Mapping[str, Any], run: RunDir) -> None:
    """Refuse to resume a run under another recipe.

    Raises:
        CheckpointError: naming the settings that differ.
    """
    before, now = flat(saved), flat(current)
    keys = [key for key in {**before, **now} if before.get(key) != now.get(key) and not may_differ(key, saved)]
    if keys:
        changes = "; ".join(f"{key} was {before.get(key)!r} and is now {now.get(key)!r}" for key in keys[:5])
        raise CheckpointError(
            f"{run.path}: cannot resume with another recipe: {changes}. Restore it (the run's own is "
            f"{run.config_path}), or start a new run with another --output."
        )
