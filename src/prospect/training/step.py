"""One optimizer step's gradient: the only place that knows micro-batches.

The gradient is the same, to float rounding, for any micro-batch size and any order of rows, because (1) what
concerns the whole step (z0, and what a loss asks for in `over_step`) is computed over the whole step before any
gradient is taken, (2) sums are divided by the count of the whole step, and (3) metrics are sums and counts. Letters:
N rows of a micro-batch, T tokens, K completions of a prompt.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch

from prospect.data.batch import Batch, Example, Row, collate, flatten, mismatched_rows
from prospect.data.loader import micro_batches
from prospect.errors import TrainingError
from prospect.losses.base import Loss
from prospect.losses.reference_point import ReferencePoint, estimate_reference_point
from prospect.losses.running_mean import RunningMean
from prospect.models.policy import Policy
from prospect.models.reference import Reference
from prospect.training.arguments import Comparison, arrange, concatenate, first_rows
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
        sft_weight: how many times the sft loss of desirable completions is added.
        clip: lowest and highest log-ratio of a token, nats; None leaves them as they are.
        running_mean: of the log-ratios of all steps so far, for losses that need it.
    """

    loss: Loss
    hyperparameters: Mapping[str, Any]
    policy: Policy
    reference: Reference
    max_tokens: int
    max_length: int
    reference_point: str = "step"
    seed: int = 0
    sft_weight: float = 0.0
    clip: tuple[float, float] | None = None
    running_mean: RunningMean = field(default_factory=RunningMean)

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

    L = (1 / D) sum_i weight_i loss_i, D the examples of the step, or its completion tokens for losses that are means
    over tokens.

    Args:
        objective: the loss and the two models.
        examples: of the whole step.
        step: its number, for messages.

    Raises:
        TrainingError: a log-prob, z0 or loss is not finite; the rows are named, and no gradient is left
            behind.
        DataError: z0 cannot be estimated from these rows.
    """
    result = _Pass(objective, examples, f"at step {step}", with_gradient=True).run()
    if objective.loss.needs_running_mean:
        objective.running_mean.add(result.tally.sums["log_ratio"], result.tally.counts["log_ratio"])
    return result


def score(objective: Objective, examples: Sequence[Example]) -> StepResult:
    """The same metrics without a gradient: the result does not depend on `max_tokens`."""
    return _Pass(objective, examples, "in the evaluation", with_gradient=False).run()


class _Pass:
    """One pass over the examples of a step, or of an evaluation."""

    def __init__(self, objective: Objective, examples: Sequence[Example], when: str, *, with_gradient: bool) -> None:
        self.objective, self.loss, self.when = objective, objective.loss, when
        self.examples, self.rows = examples, flatten(examples)
        self.with_gradient = with_gradient
        self.completion_tokens = sum(len(row.completion_ids) for row in self.rows)
        self.denominator = self.completion_tokens if self.loss.mean_over == "tokens" else len(examples)
        self.sft_tokens = sum(len(row.completion_ids) for row in self.rows if row.desirable)
        self.tally = Tally()
        self.points: list[ReferencePoint] = []

    def run(self) -> StepResult:
        """What concerns the whole step first; then micro-batch by micro-batch, each with its share of the gradient."""
        whole_step = self.objective.reference_point == "step"
        if self.loss.needs_reference_point and whole_step:
            self.points.append(self.reference_point(self.rows))
        over_step = self.over_whole_step() if self.loss.over_step else []
        for group, batch in self.batches(self.examples):
            if self.loss.needs_reference_point and not whole_step:
                self.points.append(self.reference_point(batch.rows))
            with nullcontext() if self.with_gradient else torch.no_grad():
                share = self.micro_batch(group, batch, over_step)
                self.tally.add("loss", share, count=0)
                if self.with_gradient:
                    share.backward()
        self.tally.counts["loss"] = 1
        metrics = summarise(self.tally, _mean_point(self.points))
        if self.loss.needs_running_mean:
            metrics["running_mean"] = self.objective.running_mean.mean
        return StepResult(metrics, self.tally, sum(row.length for row in self.rows), self.completion_tokens)

    def batches(self, examples: Sequence[Example]) -> Iterator[tuple[list[Example], Batch]]:
        """The micro-batches, on the policy's device."""
        for group in micro_batches(examples, self.objective.max_tokens):
            yield group, collate(flatten(group)).to(self.objective.policy.device)

    def micro_batch(self, group: Sequence[Example], batch: Batch, over_step: Sequence[torch.Tensor]) -> torch.Tensor:
        """A micro-batch's share of the step's loss, a () tensor."""
        compared = self.compare(batch)
        arguments = [*arrange(self.loss, compared, batch, group), *self.one_for_all(compared.log_ratio), *over_step]
        values = self.loss(*arguments, **self.objective.hyperparameters)
        self.require_finite(values, [example[0] for example in group], "loss")
        share = (batch.weight[first_rows(group)] * values).sum() / self.denominator
        z0 = float(self.points[-1].z0) if self.points else 0.0
        if self.loss.needs_running_mean:
            z0 = self.objective.running_mean.mean
        tally_rows(self.tally, self.loss, self.objective.beta, batch, group, compared, z0)
        if self.objective.sft_weight and self.sft_tokens:
            imitation = -(compared.logps * batch.weight * batch.desirable).sum()
            self.tally.add("sft_loss", imitation, count=0)
            self.tally.counts["sft_loss"] = self.sft_tokens
            share = share + self.objective.sft_weight * imitation / self.sft_tokens
        return share

    def compare(self, batch: Batch) -> Comparison:
        """What policy and reference say of the rows."""
        policy, reference, clip = self.objective.policy, self.objective.reference, self.objective.clip
        if self.loss.reward_model:
            scores = policy.logps(batch)
            self.require_finite(scores, batch.rows, "the model's score")
            return Comparison(scores, scores)
        token_logps, values = policy.score_tokens(batch)
        logps = token_logps.sum(1)
        self.require_finite(logps, batch.rows, "the policy's log-prob")
        if self.loss.level == "token" or clip is not None:
            reference_token_logps = reference.token_logps(batch).to(logps.device)
            self.require_finite(reference_token_logps.sum(1), batch.rows, "the reference's log-prob")
            token_log_ratio = token_logps - reference_token_logps
            token_log_ratio = token_log_ratio if clip is None else token_log_ratio.clamp(*clip)
            log_ratio = token_log_ratio.sum(1)
        else:
            reference_logps = reference.logps(batch).to(logps.device)
            self.require_finite(reference_logps, batch.rows, "the reference's log-prob")
            token_log_ratio, log_ratio = None, logps - reference_logps
        if self.loss.length_normalised:
            log_ratio = log_ratio / batch.completion.sum(1)
        return Comparison(logps, log_ratio, token_log_ratio, values)

    def one_for_all(self, like: torch.Tensor) -> list[torch.Tensor]:
        """The () tensors that the loss asks for."""
        numbers = [self.points[-1].z0.to(like)] if self.loss.needs_reference_point else []
        if self.loss.needs_running_mean:
            numbers.append(torch.tensor(self.objective.running_mean.mean).to(like))
        return numbers

    @torch.no_grad()
    def over_whole_step(self) -> list[torch.Tensor]:
        """What the loss wants to know of all examples before it sees any; forwards without gradient."""
        pieces = [arrange(self.loss, self.compare(b), b, group) for group, b in self.batches(self.examples)]
        return self.loss.over_whole_step(concatenate(pieces), self.objective.hyperparameters)

    @torch.no_grad()
    def reference_point(self, rows: Sequence[Row]) -> ReferencePoint:
        """z0 from each prompt with another prompt's completion; forwards without gradient."""
        mismatched = mismatched_rows(rows, self.objective.seed, self.objective.max_length)
        log_ratios = [self.compare(batch).log_ratio for _, batch in self.batches([(row,) for row in mismatched])]
        return estimate_reference_point(torch.cat(log_ratios), clamp=self.loss.needs_reference)

    def require_finite(self, values: torch.Tensor, rows: Sequence[Row], what: str) -> None:
        """Stops before anything that is not a number reaches a gradient, and names the rows."""
        bad = (~values.detach().isfinite()).nonzero().flatten().tolist()
        if not bad:
            return
        self.objective.policy.model.zero_grad(set_to_none=True)
        named = ", ".join(rows[i].id for i in bad[:5]) + (f" and {len(bad) - 5} more" if len(bad) > 5 else "")
        source = (
            " The reference itself is broken: check its weights and precision."
            if what.startswith("the ref")
            else " Lower train.learning_rate, or use train.precision: fp32."
        )
        raise TrainingError(
            f"{what} is not finite {self.when} (rank 0, {len(bad)} of {len(rows)} rows of a micro-batch, ids {named}: "
            f"{values.detach()[bad[0]].item()}). Nothing was updated.{source}"
        )


def _mean_point(points: Sequence[ReferencePoint]) -> ReferencePoint | None:
    """What is logged where every micro-batch had its own z0: their mean."""
    if not points:
        return None
    return ReferencePoint(*(torch.stack(values).mean() for values in zip(*points, strict=True)))
