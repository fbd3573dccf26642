"""One optimizer step's gradient: the only place that knows micro-batches.

The gradient is the same, to float rounding, for any micro-batch size and any order of rows, because (1) z0 is
estimated over the whole step before any gradient is taken, (2) sums are divided by the count of the whole
step, and (3) metrics are sums and counts. Letters: N examples of a micro-batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from prospect.data.batch import Batch, Example, Row, collate, flatten, mismatched_rows
from prospect.data.loader import micro_batches
from prospect.errors import TrainingError
from prospect.losses.base import Loss
from prospect.losses.reference_point import ReferencePoint, estimate_reference_point
from prospect.models.policy import Policy
from prospect.models.reference import Reference
from prospect.training.metrics import Tally, summarise, tally_rows


@dataclass(frozen=True)
class Objective:
    """What is minimised, and how a step is cut.

    Attributes:
        loss: the loss.
        hyperparameters: all of them.
        policy: the model that is trained.
        reference: what it is compared with.
        max_tokens: the token budget of a micro-batch.
        max_length: the longest row, for mismatched rows.
        reference_point: "step", or "micro_batch" for comparison with other trainers.
        seed: of the pairing of mismatched rows.
    """

    loss: Loss
    hyperparameters: Mapping[str, Any]
    policy: Policy
    reference: Reference
    max_tokens: int
    max_length: int
    reference_point: str = "step"
    seed: int = 0

    @property
    def beta(self) -> float:
        """Scale of logged rewards; 1 for losses without a beta."""
        return float(self.hyperparameters.get("beta", 1.0))


@dataclass(frozen=True)
class StepResult:
    """What one pass over examples said.

    Attributes:
        metrics: the logged values.
        tally: the sums behind them.
        tokens: real tokens of prompts and completions, mismatched rows not counted.
        completion_tokens: scored tokens.
    """

    metrics: dict[str, float]
    tally: Tally
    tokens: int
    completion_tokens: int


def accumulate_gradient(objective: Objective, examples: Sequence[Example], step: int = 0) -> StepResult:
    """Adds the gradient of one step to the policy's `.grad`.

    L = (1 / D) sum_i weight_i loss_i, D the examples of the step, or its completion tokens for
    demonstrations.

    Args:
        objective: the loss and the two models.
        examples: of the whole step.
        step: its number, for messages.

    Raises:
        TrainingError: a log-prob, z0 or loss is not finite; the rows are named, and no gradient is left
            behind.
        DataError: z0 cannot be estimated from these rows.
    """
    return _pass_over(objective, examples, f"at step {step}", with_gradient=True)


def score(objective: Objective, examples: Sequence[Example]) -> StepResult:
    """The same metrics without a gradient: the result does not depend on `max_tokens`."""
    return _pass_over(objective, examples, "in the evaluation", with_gradient=False)


def _pass_over(objective: Objective, examples: Sequence[Example], when: str, *, with_gradient: bool) -> StepResult:
    rows = flatten(examples)
    completion_tokens = sum(len(row.completion_ids) for row in rows)
    denominator = completion_tokens if objective.loss.feedback == "demonstration" else len(examples)
    whole_step = objective.reference_point == "step"
    point = _reference_point(objective, rows, when) if objective.loss.needs_reference_point and whole_step else None
    points = [point] if point else []
    tally = Tally()
    for group in micro_batches(examples, objective.max_tokens):
        batch = collate(flatten(group)).to(objective.policy.device)
        if objective.loss.needs_reference_point and not whole_step:
            point = _reference_point(objective, batch.rows, when)
            points.append(point)
        with nullcontext() if with_gradient else torch.no_grad():
            total = _micro_batch(objective, batch, point, tally, when)
            tally.add("loss", total, count=0)
            if with_gradient:
                (total / denominator).backward()
    tally.counts["loss"] = denominator
    metrics = summarise(tally, _mean_point(points))
    return StepResult(metrics, tally, sum(row.length for row in rows), completion_tokens)


def _micro_batch(
    objective: Objective, batch: Batch, point: ReferencePoint | None, tally: Tally, when: str
) -> torch.Tensor:
    """The weighted sum of a micro-batch's losses, a () tensor."""
    loss = objective.loss
    logps = objective.policy.logps(batch)
    reference_logps = objective.reference.logps(batch).to(logps.device)
    _require_finite(logps, batch.rows, "the policy's log-prob", objective, when)
    _require_finite(reference_logps, batch.rows, "the reference's log-prob", objective, when)
    log_ratio = logps - reference_logps
    if loss.length_normalised:
        log_ratio = log_ratio / batch.completion.sum(1)
    arguments = arrange(loss, log_ratio, batch)
    if point is not None:
        arguments = (*arguments, point.z0.to(log_ratio))
    values = loss(*arguments, **objective.hyperparameters)
    _require_finite(values, _examples_rows(loss, batch), "loss", objective, when)
    weight = batch.weight[0::2] if loss.feedback == "paired" else batch.weight
    z0 = 0.0 if point is None else float(point.z0)
    tally_rows(tally, loss, objective.beta, batch, logps.detach(), log_ratio, z0)
    return (weight * values).sum()


def arrange(loss: Loss, log_ratio: torch.Tensor, batch: Batch) -> tuple[torch.Tensor, ...]:
    """Lays the rows' log-ratios out as the loss takes them.

    Args:
        loss: says what it takes.
        log_ratio: (rows,) nats; a pair's chosen and rejected rows are neighbours.
        batch: the rows.

    Returns:
        (log_ratio, desirable), (chosen, rejected) or (logps,), each (N,).
    """
    if loss.feedback == "paired":
        return log_ratio[0::2], log_ratio[1::2]
    if loss.feedback == "demonstration":
        return (log_ratio,)
    return log_ratio, batch.desirable


def _reference_point(objective: Objective, rows: Sequence[Row], when: str) -> ReferencePoint:
    """z0 from each prompt with another prompt's completion; forwards without gradient."""
    log_ratios = []
    mismatched = mismatched_rows(rows, objective.seed, objective.max_length)
    for group in micro_batches([(row,) for row in mismatched], objective.max_tokens):
        batch = collate(flatten(group)).to(objective.policy.device)
        with torch.no_grad():
            logps = objective.policy.logps(batch)
            reference_logps = objective.reference.logps(batch).to(logps.device)
        _require_finite(logps, batch.rows, "the policy's log-prob", objective, when)
        _require_finite(reference_logps, batch.rows, "the reference's log-prob", objective, when)
        log_ratios.append(logps - reference_logps)
    return estimate_reference_point(torch.cat(log_ratios))


def _mean_point(points: Sequence[ReferencePoint]) -> ReferencePoint | None:
    """What is logged where every micro-batch had its own z0: their mean."""
    if not points:
        return None
    return ReferencePoint(*(torch.stack(values).mean() for values in zip(*points, strict=True)))


def _examples_rows(loss: Loss, batch: Batch) -> Sequence[Row]:
    return batch.rows[0::2] if loss.feedback == "paired" else batch.rows


def _require_finite(values: torch.Tensor, rows: Sequence[Row], what: str, objective: Objective, when: str) -> None:
    bad = (~values.detach().isfinite()).nonzero().flatten().tolist()
    if not bad:
        return
    objective.policy.model.zero_grad(set_to_none=True)
    named = ", ".join(rows[i].id for i in bad[:5]) + (f" and {len(bad) - 5} more" if len(bad) > 5 else "")
    source = (
        " The reference itself is broken: check its weights and precision."
        if what.startswith("the ref")
        else (" Lower train.learning_rate, or use train.precision: fp32.")
    )
    raise TrainingError(
        f"{what} is not finite {when} (rank 0, {len(bad)} of {len(rows)} rows of a micro-batch, ids {named}: "
        f"{values.detach()[bad[0]].item()}). Nothing was updated.{source}"
    )
