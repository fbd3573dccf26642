"""One optimizer step's gradient: the only place that knows micro-batches.

The gradient is the same, to float rounding, for any micro-batch size and any order of rows, because (1) what
concerns the whole step (z0, and what a loss asks for in `over_step`) is computed over the whole step before any
gradient is taken, (2) sums are divided by the count of the whole step, and (3) metrics are sums and counts. For the
same reason it does not depend on how many processes share the micro-batches: each knows all examples of the step and
runs some. Letters: N rows of a micro-batch, T tokens, K completions of a prompt.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch

from prospect import progress
from prospect.data.batch import Batch, Example, Row, collate, flatten, mismatched_rows
from prospect.data.loader import micro_batches, share_out
from prospect.errors import TrainingError
from prospect.losses.base import Loss
from prospect.losses.reference_point import ReferencePoint, estimate_reference_point
from prospect.losses.running_mean import RunningMean
from prospect.models.in_place import adding_in_place
from prospect.models.modes import evaluating
from prospect.models.policy import Policy
from prospect.models.reference import Reference
from prospect.training.arguments import Comparison, arrange, concatenate, first_rows
from prospect.training.metrics import Tally, summarise, tally_rows
from prospect.training.processes.world import World


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
        world: the processes that share a step's micro-batches.
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
    world: World = field(default_factory=World)

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
        padding_share: of what went through the policy, the share that was padding; no metric, for it depends on how
            the step was cut.
    """

    metrics: dict[str, float]
    tally: Tally
    tokens: int
    completion_tokens: int
    padding_share: float


def accumulate_gradient(objective: Objective, examples: Sequence[Example], step: int = 0) -> StepResult:
    """Add the gradient of one step to the policy's `.grad`.

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
    objective.world.sum_gradients(list(objective.policy.trainable().values()))
    if objective.loss.needs_running_mean:
        objective.running_mean.add(result.tally.sums["log_ratio"], result.tally.counts["log_ratio"])
    return result


def score(objective: Objective, examples: Sequence[Example]) -> StepResult:
    """Return the same metrics without gradient and dropout; z0 is always over all examples.

    So the result does not depend on `max_tokens`, and no random number is drawn.
    """
    with evaluating(objective.policy.model):
        return _Pass(objective, examples, "in the evaluation", with_gradient=False).run()


class _Pass:
    """One pass over the examples of a step, or of an evaluation."""

    def __init__(self, objective: Objective, examples: Sequence[Example], when: str, *, with_gradient: bool) -> None:
        self.objective, self.loss, self.when = objective, objective.loss, when
        self.examples, self.rows = examples, flatten(examples)
        self.with_gradient = with_gradient
        needs_point, whole_step = self.loss.needs_reference_point, objective.reference_point == "step"
        self.one_point = needs_point and (whole_step or not with_gradient)
        self.own_points = needs_point and not self.one_point
        self.completion_tokens = sum(len(row.completion_ids) for row in self.rows)
        self.denominator = self.completion_tokens if self.loss.mean_over == "tokens" else len(examples)
        self.sft_tokens = sum(len(row.completion_ids) for row in self.rows if row.desirable)
        self.tally = Tally()
        self.points: list[ReferencePoint] = []

    def run(self) -> StepResult:
        """Compute what concerns the whole step, then each micro-batch's share of the gradient."""
        with progress.phase(self.when, aloud=False):
            return self._run()

    def _run(self) -> StepResult:
        if self.one_point:
            self.points.append(self.reference_point(self.rows))
        over_step = self.over_whole_step() if self.loss.over_step else []
        for group, batch, counted in self.batches(self.examples, two_prompts=self.own_points):
            if self.own_points:
                self.points.append(self.reference_point(batch.rows, World()))
            with nullcontext() if self.with_gradient else torch.no_grad():
                tally = self.tally if counted else Tally()
                share = self.micro_batch(group, batch, over_step, tally)
                tally.add("loss", share, count=0)
                tally.add("padding", (~batch.attention).sum(), count=batch.attention.numel())
                if self.with_gradient:
                    with adding_in_place():
                        (share * self.gradient_scale(counted)).backward()
        self.tally = Tally.together(self.objective.world.gather(self.tally))
        self.tally.counts["loss"] = 1
        padding = self.tally.take("padding")
        everybodys = self.objective.world.gather(self.points) if self.own_points else [self.points]
        metrics = summarise(self.tally, _mean_point([point for part in everybodys for point in part]))
        if self.loss.needs_running_mean:
            metrics["running_mean"] = self.objective.running_mean.mean
        tokens = sum(row.length for row in self.rows)
        return StepResult(metrics, self.tally, tokens, self.completion_tokens, padding)

    def batches(
        self, examples: Sequence[Example], world: World | None = None, *, two_prompts: bool = False
    ) -> Iterator[tuple[list[Example], Batch, bool]]:
        """Yield this process's micro-batches, on the policy's device, and whether each is to be counted."""
        world = world or self.objective.world
        groups = micro_batches(examples, self.objective.max_tokens, two_prompts=two_prompts)
        ready = None
        shares = share_out(groups, world.rank, world.size, lockstep=world.lockstep, two_prompts=two_prompts)
        for group, counted in progress.counted(shares, "micro-batches", len(shares)):
            # One ahead: a GPU gets the next batch while it works on this one.
            batch, ready = ready, (group, collate(flatten(group)).to(self.objective.policy.device), counted)
            if batch is not None:
                yield batch
        if ready is not None:
            yield ready

    def gradient_scale(self, counted: bool) -> float:
        """Sharded weights take the mean of the processes' gradients where a sum is meant."""
        world = self.objective.world
        return float(counted) * (world.size if world.lockstep else 1)

    def micro_batch(
        self, group: Sequence[Example], batch: Batch, over_step: Sequence[torch.Tensor], tally: Tally
    ) -> torch.Tensor:
        """Return a micro-batch's share of the step's loss, a () tensor."""
        compared = self.compare(batch)
        arguments = [*arrange(self.loss, compared, batch, group), *self.one_for_all(compared.log_ratio), *over_step]
        values = self.loss(*arguments, **self.objective.hyperparameters)
        self.require_finite(values, [example[0] for example in group], "loss")
        share = (batch.weight[first_rows(group)] * values).sum() / self.denominator
        z0 = float(self.points[-1].z0) if self.points else 0.0
        if self.loss.needs_running_mean:
            z0 = self.objective.running_mean.mean
        tally_rows(tally, self.loss, self.objective.beta, batch, group, compared, z0)
        if self.objective.sft_weight and self.sft_tokens:
            imitation = -(compared.logps * batch.weight * batch.desirable).sum()
            tokens = batch.completion.sum(1)[batch.desirable].sum()
            tally.add("sft_loss", imitation, count=float(tokens))
            share = share + self.objective.sft_weight * imitation / self.sft_tokens
        return share

    def compare(self, batch: Batch) -> Comparison:
        """Return what policy and reference say of the rows."""
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
        """Return the () tensors that the loss asks for."""
        numbers = [self.points[-1].z0.to(like)] if self.loss.needs_reference_point else []
        if self.loss.needs_running_mean:
            numbers.append(torch.tensor(self.objective.running_mean.mean).to(like))
        return numbers

    @torch.no_grad()
    def over_whole_step(self) -> list[torch.Tensor]:
        """Return the arguments that need all examples; forward passes without gradient or dropout."""
        batches = self.batches(self.examples)
        with evaluating(self.objective.policy.model):
            pieces = [(arrange(self.loss, self.compare(b), b, group), counted) for group, b, counted in batches]
        own = [tuple(a.cpu() for a in arguments) for arguments, counted in pieces if counted]
        everybodys = [piece for part in self.objective.world.gather(own) for piece in part]
        values = self.loss.over_whole_step(concatenate(everybodys), self.objective.hyperparameters)
        return [value.to(self.objective.policy.device) for value in values]

    @torch.no_grad()
    def reference_point(self, rows: Sequence[Row], world: World | None = None) -> ReferencePoint:
        """z0 from each prompt with another prompt's completion; forwards without gradient or dropout.

        Args:
            rows: whose prompts and completions are crossed.
            world: who shares them; all processes, or this one alone where z0 is of a micro-batch.
        """
        world = world or self.objective.world
        mismatched = mismatched_rows(rows, self.objective.seed, self.objective.max_length)
        with evaluating(self.objective.policy.model):
            own = [
                log_ratio
                for _, batch, counted in self.batches([(row,) for row in mismatched], world)
                for log_ratio in self.compare(batch).log_ratio.tolist()
                if counted
            ]
        log_ratios = [log_ratio for part in world.gather(own) for log_ratio in part]
        return estimate_reference_point(torch.tensor(log_ratios), clamp=self.loss.needs_reference)

    def require_finite(self, values: torch.Tensor, rows: Sequence[Row], what: str) -> None:
        """Stop before anything that is not a number reaches a gradient, and name the rows."""
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
            f"{what} is not finite {self.when} (rank {self.objective.world.rank}, {len(bad)} of {len(rows)} rows of a "
            f"micro-batch, ids {named}: "
            f"{values.detach()[bad[0]].item()}). Nothing was updated.{source}"
        )


def _mean_point(points: Sequence[ReferencePoint]) -> ReferencePoint | None:
    """Return what is logged: z0 of the step, or the mean of what the micro-batches had, those of all processes."""
    if not points:
        return None
    return ReferencePoint(*(torch.stack(values).mean() for values in zip(*points, strict=True)))
