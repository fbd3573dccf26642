"""One optimizer step's gradient: the only place that knows micro-batches.

The gradient is the same, to float rounding, for any micro-batch size and any order of rows, because (1) what
concerns the whole step (z0, and what a loss asks for in `over_step`) is computed over the whole step before any
gradient is taken, (2) sums are divided by the count of the whole step, and (3) metrics are sums and counts. For the
same reason it does not depend on how many processes share the micro-batches: each knows all examples of the step and
runs some. What completions are made of, the medium knows (`medium.py`). Letters: N rows of a micro-batch.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch

from prospect import progress
from prospect.data.batch import AnyRow, flatten
from prospect.data.draw import Draw
from prospect.data.loader import count_tokens, micro_batches, share_out
from prospect.errors import TrainingError
from prospect.losses.base import Loss
from prospect.losses.reference_point import ReferencePoint, estimate_reference_point
from prospect.losses.running_mean import RunningMean
from prospect.models.in_place import adding_in_place
from prospect.models.modes import draws_dropout, evaluating
from prospect.models.reference import Reference
from prospect.training.arguments import Comparison, arrange, concatenate, contrast, first_rows
from prospect.training.medium import AnyBatch, Learner, Medium
from prospect.training.metrics import Tally, compare_errors, summarise, tally_rows, tally_sampled
from prospect.training.processes.world import World
from prospect.training.sampled_point import SampledPoint, choose_prompts

Examples = Sequence[tuple[AnyRow, ...]]


@dataclass(frozen=True)
class Objective:
    """What is minimised, and how a step is cut.

    Attributes:
        loss: the loss.
        hyperparameters: all of them.
        policy: the model that is trained.
        reference: what it is compared with.
        max_tokens: the budget of a micro-batch, in what the medium counts as a row's cost: tokens of a text.
        medium: what completions are made of.
        reference_point: "step", "micro_batch" or "matched" for comparison with other trainers, or "sampled".
            Evaluations take "step" in any case: they draw nothing, and those of runs that differ in this can be
            compared.
        sampled: how z0 is sampled, where it is.
        seed: of the pairing of mismatched rows, and of a medium's noise.
        sft_weight: how many times the sft loss of desirable completions is added.
        clip: lowest and highest log-ratio of a token, nats; None leaves them as they are.
        over_units: whether a step is divided by its scored units or its examples; None leaves that to the loss.
        running_mean: of the log-ratios of all steps so far, for losses that need it.
        logps_are_errors: whether a log-prob is minus half a squared error, as of images; both models' are then compared
            in the metrics.
        world: the processes that share a step's micro-batches.
    """

    loss: Loss
    hyperparameters: Mapping[str, Any]
    policy: Learner
    reference: Reference
    max_tokens: int
    medium: Medium
    reference_point: str = "step"
    sampled: SampledPoint | None = None
    seed: int = 0
    sft_weight: float = 0.0
    clip: tuple[float, float] | None = None
    over_units: bool | None = None
    running_mean: RunningMean = field(default_factory=RunningMean)
    logps_are_errors: bool = False
    world: World = field(default_factory=World)

    @property
    def beta(self) -> float:
        """Scale of logged rewards; 1 for losses without a beta."""
        return float(self.hyperparameters.get("beta", 1.0))


@dataclass(frozen=True)
class StepResult:
    """The result of one pass over examples.

    Attributes:
        metrics: the logged values.
        tally: the sums behind them.
        tokens: the cost of all rows, mismatched rows not counted: tokens of prompts and completions.
        completion_tokens: scored units.
        padding_share: of what went through the policy, the share that was padding; no metric, for it depends on how
            the step was cut.
        point_seconds: what a sampled z0 took; 0 where none was sampled.
    """

    metrics: dict[str, float]
    tally: Tally
    tokens: int
    completion_tokens: int
    padding_share: float
    point_seconds: float


def accumulate_gradient(objective: Objective, examples: Examples, step: int = 0) -> StepResult:
    """Add the gradient of one step to the policy's `.grad`.

    L = (1 / D) sum_i weight_i loss_i, D the examples of the step, or its scored units for losses that are means over
    units.

    Args:
        objective: the loss and the two models.
        examples: of the whole step.
        step: its number, for messages and for a medium's noise.

    Raises:
        TrainingError: a log-prob, z0 or loss is not finite; the rows are named, and no gradient is left
            behind.
        DataError: z0 cannot be estimated from these rows.
    """
    result = _Pass(objective, examples, f"at step {step}", step, with_gradient=True).run()
    objective.world.sum_gradients(list(objective.policy.trainable().values()))
    if objective.loss.needs_running_mean:
        objective.running_mean.add(result.tally.sums["log_ratio"], result.tally.counts["log_ratio"])
    return result


def score(objective: Objective, examples: Examples) -> StepResult:
    """Return the same metrics without gradient and dropout; z0 is always over all examples.

    So the result does not depend on `max_tokens`, and no random number is drawn.
    """
    with evaluating(objective.policy.model):
        return _Pass(objective, examples, "in the evaluation", with_gradient=False).run()


class UnitScores(NamedTuple):
    """What the models say of the C units of one row.

    Attributes:
        logps: float32 (C,) nats of the policy.
        reference_logps: the same of the reference.
        values: float32 (C,) of the value head; None without one.
    """

    logps: torch.Tensor
    reference_logps: torch.Tensor
    values: torch.Tensor | None


def score_units(objective: Objective, rows: Sequence[AnyRow]) -> list[UnitScores]:
    """Return what both models say of each row's units, on the CPU, without gradient or dropout.

    Args:
        objective: the models; its loss is not asked.
        rows: in any order, of different ids.
    """
    examples = [(row,) for row in rows]
    found = _Pass(objective, examples, "in the scoring of sampled completions", with_gradient=False).units_of_rows()
    return [found[row.id] for row in rows]


class _MicroBatch(NamedTuple):
    """Examples that go through the models together.

    Attributes:
        examples: their rows.
        batch: the rows, laid out on the policy's device.
        lockstep_only: whether it is run only because sharded weights need equally many passes on all ranks.
    """

    examples: Examples
    batch: AnyBatch
    lockstep_only: bool


class _Pass:
    """One pass over the examples of a step, or of an evaluation."""

    def __init__(
        self, objective: Objective, examples: Examples, when: str, step: int = 0, *, with_gradient: bool
    ) -> None:
        self.objective, self.loss, self.medium = objective, objective.loss, objective.medium
        self.examples, self.rows = examples, flatten(examples)
        self.when, self.with_gradient = when, with_gradient
        self.draw = Draw(objective.seed, step)
        kind = objective.reference_point if with_gradient else "step"
        self.z0_kind = kind if self.loss.needs_reference_point else "none"
        self.units = self.count_units(self.rows)
        self.desirable_units = self.count_units([row for row in self.rows if row.desirable])
        over_units = self.loss.over_units if objective.over_units is None else objective.over_units
        self.denominator = self.units if over_units else len(examples)
        self.tally = Tally()
        self.points: list[ReferencePoint] = []
        self.point_tokens, self.point_seconds = 0, 0.0

    def run(self) -> StepResult:
        """Compute what concerns the whole step, then each micro-batch's share of the gradient."""
        with progress.phase(self.when, aloud=False):
            if self.z0_kind == "step":
                self.points.append(self.reference_point(self.rows, self.objective.world))
            elif self.z0_kind == "matched" and not self.in_one_pass():
                self.points.append(self.matched_point())
            elif self.z0_kind == "sampled":
                self.points.append(self.sampled_point())
            over_step = self.over_whole_step() if self.loss.over_step else []
            cut = self.z0_kind == "micro_batch"
            for part in self.micro_batches(self.examples, self.objective.world, two_prompts=cut):
                if cut:
                    self.points.append(self.reference_point(part.batch.rows, World()))
                self.add(part, over_step)
            return self.result()

    def add(self, part: _MicroBatch, over_step: Sequence[torch.Tensor]) -> None:
        """Add a micro-batch's share of the gradient and of the sums."""
        tally = Tally() if part.lockstep_only else self.tally
        with nullcontext() if self.with_gradient else torch.no_grad():
            share = self.share_of_loss(part, over_step, tally)
        tally.add("loss", share, count=0)
        cost, padded = count_tokens([part.examples], self.medium.cost)
        tally.add("padding", torch.tensor(padded - cost), count=padded)
        if self.with_gradient:
            with adding_in_place(), self.objective.policy.copies_in_use():
                (share * self.gradient_scale(part)).backward()

    def result(self) -> StepResult:
        """Put the sums of all ranks together."""
        world = self.objective.world
        tally = Tally.together(world.gather(self.tally))
        tally.counts["loss"] = 1
        padding = tally.take("padding")
        all_ranks = world.gather(self.points) if self.z0_kind == "micro_batch" else [self.points]
        metrics = summarise(tally, _mean_point([point for points in all_ranks for point in points]))
        if self.objective.logps_are_errors:
            metrics |= compare_errors(metrics, self.objective.beta)
        if self.z0_kind == "sampled":
            metrics["kl_tokens"] = self.point_tokens
        if self.loss.needs_running_mean:
            metrics["running_mean"] = self.objective.running_mean.mean
        cost = sum(map(self.medium.cost, self.rows))
        return StepResult(metrics, tally, cost, self.units, padding, self.point_seconds)

    def micro_batches(
        self, examples: Examples, world: World, *, two_prompts: bool = False, what: str = "micro-batches"
    ) -> Iterator[_MicroBatch]:
        """Yield this rank's micro-batches, and count them as what they are for."""
        cost, device = self.medium.cost, self.objective.policy.device
        groups = self.groups(examples, two_prompts=two_prompts)
        shares = share_out(groups, world.rank, world.size, lockstep=world.lockstep, two_prompts=two_prompts, cost=cost)
        return _prefetch(
            _MicroBatch(group, self.medium.collate(flatten(group)).to(device), not counted)
            for group, counted in progress.counted(shares, what, len(shares))
        )

    def groups(self, examples: Examples, *, two_prompts: bool = False) -> list[list[Any]]:
        """Cut examples into micro-batches, those of all ranks."""
        medium, budget = self.medium, self.objective.max_tokens
        return micro_batches(examples, budget, two_prompts=two_prompts, cost=medium.cost, shape=medium.shape)

    def gradient_scale(self, part: _MicroBatch) -> float:
        """Return a factor on the loss: FSDP averages gradients over ranks during backward, and a sum is meant."""
        if part.lockstep_only:
            return 0.0
        return float(self.objective.world.size if self.objective.world.lockstep else 1)

    def share_of_loss(self, part: _MicroBatch, over_step: Sequence[torch.Tensor], tally: Tally) -> torch.Tensor:
        """Return a micro-batch's share of the step's loss, a () tensor."""
        batch, examples = part.batch, part.examples
        compared = self.compare(batch)
        if self.z0_kind == "matched" and not self.points:  # the whole step is in these rows
            self.points.append(self.point_of(compared.log_ratio.tolist()))
        arguments = [*arrange(self.loss, compared, batch, examples), *self.numbers(compared.log_ratio), *over_step]
        values = self.loss(*arguments, **self.objective.hyperparameters)
        self.require_finite(values, [example[0] for example in examples], "loss")
        share = (batch.weight[first_rows(examples)] * values).sum() / self.denominator
        z0 = float(self.points[-1].z0) if self.points else 0.0
        if self.loss.needs_running_mean:
            z0 = self.objective.running_mean.mean
        if self.loss.feedback == "sampled":
            tally_sampled(tally, self.loss, self.objective.hyperparameters, compared)
        else:
            tally_rows(tally, self.loss, self.objective.beta, batch, examples, compared, z0)
        if self.objective.sft_weight and self.desirable_units:
            imitation = -(compared.logps * batch.weight * batch.desirable).sum()
            tally.add("sft_loss", imitation, count=self.count_units([row for row in batch.rows if row.desirable]))
            share = share + self.objective.sft_weight * imitation / self.desirable_units
        return share

    def compare(self, batch: AnyBatch, *, by_unit: bool = False) -> Comparison:
        """Return the log-ratios of policy and reference on the rows."""
        objective, clip = self.objective, self.objective.clip
        by_unit = by_unit or self.loss.level == "token" or clip is not None
        both = self.medium.compare(objective.policy, objective.reference, batch, self.draw, by_unit=by_unit)
        what = "the model's score" if self.loss.reward_model else "the policy's log-prob"
        self.require_finite(both.logps, batch.rows, what)
        self.require_finite(both.reference_logps, batch.rows, "the reference's log-prob")
        compared = contrast(both, clip)
        if not self.loss.length_normalised:
            return compared
        counts = torch.tensor([self.medium.scored_units(row) for row in batch.rows], device=both.logps.device)
        return compared._replace(log_ratio=compared.log_ratio / counts)

    def count_units(self, rows: Sequence[AnyRow]) -> int:
        """Return the scored units of rows."""
        return sum(map(self.medium.scored_units, rows))

    def numbers(self, like: torch.Tensor) -> list[torch.Tensor]:
        """Return the () tensors that the loss asks for."""
        numbers = [self.points[-1].z0.to(like)] if self.loss.needs_reference_point else []
        if self.loss.needs_running_mean:
            numbers.append(torch.tensor(self.objective.running_mean.mean).to(like))
        return numbers

    @torch.no_grad()
    def over_whole_step(self) -> list[torch.Tensor]:
        """Return the arguments that need all examples; forward passes without gradient or dropout."""
        world = self.objective.world
        with evaluating(self.objective.policy.model):
            own = [
                tuple(argument.cpu() for argument in arrange(self.loss, compared, part.batch, part.examples))
                for part, compared in self.compared(self.examples, world, "micro-batches compared")
            ]
        all_ranks = [piece for pieces in world.gather(own) for piece in pieces]
        values = self.loss.over_whole_step(concatenate(all_ranks), self.objective.hyperparameters)
        return [value.to(self.objective.policy.device) for value in values]

    @torch.no_grad()
    def reference_point(self, rows: Sequence[AnyRow], world: World) -> ReferencePoint:
        """Estimate z0 from each prompt with another prompt's completion; forwards without gradient or dropout.

        Args:
            rows: whose prompts and completions are crossed.
            world: the ranks that share them; this one alone where z0 is of a micro-batch.
        """
        with evaluating(self.objective.policy.model):
            return self.estimate(self.medium.mismatched(rows, self.objective.seed), world)

    def in_one_pass(self) -> bool:
        """Whether one micro-batch has the whole step, and what it says of the rows is what it says without dropout."""
        if self.objective.world.size > 1:
            return False
        return not draws_dropout(self.objective.policy.model) and len(self.groups(self.examples)) == 1

    @torch.no_grad()
    def matched_point(self) -> ReferencePoint:
        """Estimate z0 from the step's own rows; forwards without gradient or dropout.

        Where one micro-batch has them all, its own pass says the same (`in_one_pass`).
        """
        with evaluating(self.objective.policy.model):
            return self.estimate(self.rows, self.objective.world)

    @torch.no_grad()
    def sampled_point(self) -> ReferencePoint:
        """Estimate z0 from completions that the policy draws now; between two estimates return the last."""
        sampled = self.objective.sampled
        assert sampled is not None
        kept = sampled.kept(self.draw.step)
        if kept is not None:
            return kept
        begun = time.monotonic()
        with evaluating(self.objective.policy.model):
            rows = self.sample(sampled)
            sampled.point = self.estimate(rows, self.objective.world, by_unit=True)
        self.point_tokens, self.point_seconds = self.count_units(rows), time.monotonic() - begun
        return sampled.point

    def sample(self, sampled: SampledPoint) -> list[AnyRow]:
        """Let the policy answer prompts of the step; ranks share them, but for sharded weights, which need all."""
        world = self.objective.world
        asked = choose_prompts(self.rows, sampled.completions, self.draw)
        own = asked if world.lockstep else asked[world.rank :: world.size]
        all_ranks = world.gather(self.medium.sample(self.objective.policy, own, sampled.max_new_tokens, self.draw))
        return [row for part in (all_ranks[:1] if world.lockstep else all_ranks) for row in part]

    def estimate(self, rows: Sequence[AnyRow], world: World, *, by_unit: bool = False) -> ReferencePoint:
        """Estimate z0 from the log-ratios of rows.

        Args:
            rows: the same on all ranks.
            world: the ranks that share them.
            by_unit: whether the models are asked for single units, which a cached reference does not keep: a row that
                was drawn is met once.
        """
        if self.objective.reference.is_policy():
            return self.point_of([0.0] * len(rows))
        parts = self.compared([(row,) for row in rows], world, "micro-batches for z0", by_unit=by_unit)
        own = [log_ratio for _, compared in parts for log_ratio in compared.log_ratio.tolist()]
        return self.point_of([log_ratio for part in world.gather(own) for log_ratio in part])

    def point_of(self, log_ratios: Sequence[float]) -> ReferencePoint:
        """Estimate z0 from the log-ratios of rows, nats."""
        return estimate_reference_point(torch.tensor(log_ratios), clamp=self.loss.needs_reference)

    def compared(
        self, examples: Examples, world: World, what: str, *, by_unit: bool = False
    ) -> Iterator[tuple[_MicroBatch, Comparison]]:
        """Compare the models on this rank's micro-batches; those that are only for lockstep are run and left out."""
        for part in self.micro_batches(examples, world, what=what):
            compared = self.compare(part.batch, by_unit=by_unit)
            if not part.lockstep_only:
                yield part, compared

    @torch.no_grad()
    def units_of_rows(self) -> dict[str, UnitScores]:
        """Return what the models say of the units of every row, by its id, from all ranks."""
        objective, own = self.objective, dict[str, UnitScores]()
        with evaluating(objective.policy.model):
            for part in self.micro_batches(self.examples, objective.world):
                both = self.medium.compare(objective.policy, objective.reference, part.batch, self.draw, by_unit=True)
                self.require_finite(both.logps, part.batch.rows, "the policy's log-prob")
                self.require_finite(both.reference_logps, part.batch.rows, "the reference's log-prob")
                assert both.units is not None, "they were asked for"
                scored, values = both.units.scored.cpu(), both.units.values
                whole = (both.units.logps, both.units.reference_logps, *(() if values is None else (values,)))
                tensors = [tensor.float().cpu() for tensor in whole]
                for i, row in enumerate(part.batch.rows if not part.lockstep_only else ()):
                    of_row = [tensor[i][scored[i]] for tensor in tensors]
                    own[row.id] = UnitScores(of_row[0], of_row[1], of_row[2] if values is not None else None)
        return {name: found for part in objective.world.gather(own) for name, found in part.items()}

    def require_finite(self, values: torch.Tensor, rows: Sequence[AnyRow], what: str) -> None:
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


def _prefetch(parts: Iterator[_MicroBatch]) -> Iterator[_MicroBatch]:
    """Yield each micro-batch once the next is laid out: a GPU gets that while it works on this one."""
    ready = next(parts, None)
    while ready is not None:
        following = next(parts, None)
        yield ready
        ready = following


def _mean_point(points: Sequence[ReferencePoint]) -> ReferencePoint | None:
    """Return what is logged: z0 of the step, or the mean of what the micro-batches had, those of all processes."""
    if not points:
        return None
    return ReferencePoint(*(torch.stack(values).mean() for values in zip(*points, strict=True)))
