"""The step trains whatever a medium scores: vectors with noise here, through the step that trains texts.

A completion is a vector of 3 numbers, the prompt another. A linear model foretells one from the other; its log-prob of
a noised completion is -|y + noise - W x|^2 / 2, summed over the 3 units. Noise is of (seed, step, row) alone.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch

import prospect
from prospect.cli.dry_run import show
from prospect.config import load_config
from prospect.data.batch import row_from_ids
from prospect.data.draw import Draw
from prospect.data.render import encode_prompt
from prospect.errors import ConfigError, DataError
from prospect.losses import get_loss
from prospect.models.reference import NoReference, Reference
from prospect.models.sampling import generate
from prospect.training.medium import BothLogps, UnitLogps
from prospect.training.objective import build_objective, build_policy
from prospect.training.prepare import prepare
from prospect.training.sampled_point import SampledPoint
from prospect.training.step import Objective, accumulate_gradient, score
from prospect.training.train import hold
from tolerances import FORWARD, distance, near, rounding

SIZE = 3
TERMS = 30  # additions behind one another: 3 units of 3 products, over some rows


@dataclass(frozen=True)
class Vectors:
    """A row: `x` is the prompt and `y` the completion."""

    x: tuple[float, ...]
    y: tuple[float, ...]
    id: str
    desirable: bool
    weight: float = 1.0
    score: float = 0.0

    @property
    def prompt_key(self) -> str:
        return str(self.x)

    @property
    def key(self) -> bytes:
        return f"{self.x} {self.y}".encode()


@dataclass(frozen=True)
class VectorBatch:
    x: torch.Tensor
    y: torch.Tensor
    desirable: torch.Tensor
    weight: torch.Tensor
    score: torch.Tensor
    rows: tuple[Vectors, ...]

    def to(self, device: torch.device) -> VectorBatch:
        return self


@dataclass
class Linear:
    """A policy: no tokenizer, no tokens, no adapter."""

    model: torch.nn.Linear

    @property
    def device(self) -> torch.device:
        return self.model.weight.device

    def trainable(self) -> dict[str, torch.nn.Parameter]:
        return dict(self.model.named_parameters())

    def copies_in_use(self) -> AbstractContextManager[None]:
        return nullcontext()


class FrozenLinear(Reference):
    kind, identity = "frozen", "linear"

    def __init__(self, policy: Linear) -> None:
        self.model = copy.deepcopy(policy.model).requires_grad_(False)


class VectorMedium:
    def collate(self, rows: Sequence[Vectors]) -> VectorBatch:
        def column(name: str) -> torch.Tensor:
            return torch.tensor([getattr(row, name) for row in rows])

        return VectorBatch(*map(column, ("x", "y", "desirable", "weight", "score")), tuple(rows))

    def cost(self, row: Vectors) -> int:
        return 1

    def shape(self, row: Vectors) -> None: ...

    def scored_units(self, row: Vectors) -> int:
        return SIZE

    def mismatched(self, rows: Sequence[Vectors], seed: int) -> list[Vectors]:
        ordered = sorted(rows, key=lambda row: row.key)
        others = dict(zip(ordered, [*ordered[2:], *ordered[:2]], strict=True))
        return [replace(row, y=others[row].y) for row in rows]

    def sample(self, policy: Any, asked: Sequence[tuple[Vectors, int]], longest: int, draw: Draw) -> list[Vectors]:
        """y = W x + noise, of which the whole is one draw."""
        drawn = []
        for row, number in asked:
            noise = torch.randn(SIZE, generator=draw.generator(f"{row.x} {number}".encode()))
            drawn.append(replace(row, y=tuple((policy.model(torch.tensor(row.x)) + noise).tolist())))
        return drawn

    def compare(self, policy: Any, reference: Any, batch: VectorBatch, draw: Draw, *, by_unit: bool) -> BothLogps:
        noise = torch.stack([torch.randn(SIZE, generator=draw.generator(row.key)) for row in batch.rows])
        own, theirs = (-((batch.y + noise - m(batch.x)) ** 2) / 2 for m in (policy.model, reference.model))
        units = UnitLogps(own, theirs, torch.ones_like(own, dtype=torch.bool)) if by_unit else None
        return BothLogps(own.sum(1), theirs.sum(1), units)


def objective_for(loss: str, *, moved: bool = True, **changes: Any) -> tuple[Objective, list[tuple[Vectors, ...]]]:
    """Rows whose desirable completion is twice the prompt, two to a prompt."""
    torch.manual_seed(0)
    policy = Linear(torch.nn.Linear(SIZE, SIZE, bias=False))
    reference = FrozenLinear(policy)
    if moved:
        with torch.no_grad():
            policy.model.weight.add_(0.1 * torch.randn(SIZE, SIZE))
    rows = []
    for i, x in enumerate(torch.randn(6, SIZE).tolist()):
        rows.append(Vectors(tuple(x), tuple(2 * v for v in x), f"good {i}", True))
        rows.append(Vectors(tuple(x), tuple(-v for v in x), f"bad {i}", False))
    record = get_loss(loss)
    paired = record.feedback == "paired"
    examples = list(zip(rows[0::2], rows[1::2], strict=True)) if paired else [(row,) for row in rows]
    values = {"loss": record, "hyperparameters": record.hyperparameters, "policy": policy, "reference": reference}
    return Objective(**{**values, "max_tokens": 100, "medium": VectorMedium(), **changes}), examples


def gradient(objective: Objective, examples: Any, step: int = 1) -> torch.Tensor:
    objective.policy.model.zero_grad(set_to_none=True)
    accumulate_gradient(objective, examples, step)
    return objective.policy.model.weight.grad.flatten().clone()


SAMPLED = {"reference_point": "sampled", "sampled": SampledPoint(every=1, completions=20, max_new_tokens=SIZE)}


@pytest.mark.parametrize("changes", [{}, {"clip": (-0.5, 0.5), "sft_weight": 0.3}, SAMPLED])
@pytest.mark.parametrize("loss", ["kto", "dpo", "offline"])
def test_neither_micro_batches_nor_order_change_the_gradient(loss: str, changes: Any, own_losses: Any) -> None:
    @prospect.loss("unpaired", name="offline", level="token", mean_over="tokens")
    def offline(token_log_ratio: torch.Tensor, completion: torch.Tensor, desirable: torch.Tensor) -> torch.Tensor:
        return torch.where(desirable[:, None], -token_log_ratio, token_log_ratio.exp()).mul(completion).sum(1)

    objective, examples = objective_for(loss, **changes)
    whole, metrics = gradient(objective, examples), score(objective, examples).metrics
    assert whole.norm() > 0
    for budget in (6, 2, 1):
        cut = replace(objective, max_tokens=budget)
        random.Random(budget).shuffle(examples)
        assert distance(gradient(cut, examples), whole) < rounding(TERMS * len(examples))
        assert score(cut, examples).metrics == near(metrics, TERMS * len(examples))


def test_noise_is_of_seed_step_and_row_alone() -> None:
    objective, examples = objective_for("sft")
    first = gradient(objective, examples, step=1)
    state = torch.get_rng_state()
    assert torch.equal(gradient(objective, examples, step=1), first)
    assert torch.equal(torch.get_rng_state(), state)
    for other in (gradient(objective, examples, step=2), gradient(replace(objective, seed=1), examples, step=1)):
        assert distance(other, first) > 0.01
    draws = [Draw(0, 1).generator(key).initial_seed() for key in (b"a", b"b")]
    assert draws[0] != draws[1] and Draw(0, 1).generator(b"a").initial_seed() == draws[0]


def test_policy_and_reference_see_the_same_noise() -> None:
    objective, examples = objective_for("kto", moved=False)
    result = accumulate_gradient(objective, examples, 1)
    assert set(result.tally.rewards) == {0.0} and result.metrics["kl_raw"] == 0.0
    assert (result.tokens, result.completion_tokens, result.padding_share) == (12, 36, 0.0)


def test_it_learns() -> None:
    objective, examples = objective_for("kto", moved=False)
    before = score(objective, examples).metrics
    for step in range(1, 30):
        slope = gradient(objective, examples, step).view(SIZE, SIZE)
        with torch.no_grad():
            objective.policy.model.weight.sub_(2.0 * slope)
    after = score(objective, examples).metrics
    assert after["loss"] < before["loss"] - 0.05
    assert after["rewards/chosen"] > 0 > after["rewards/rejected"]


# -- texts: rows of sampled ids --


@pytest.fixture
def sampled_loss(own_losses: Any) -> str:
    """The ratio of the policy now to the policy that sampled."""

    @prospect.loss("unpaired", level="token", needs_reference=False, needs_sampled_logps=True)
    def sampled_ratio(
        token_log_ratio: torch.Tensor, completion: torch.Tensor, desirable: torch.Tensor, sampled_logps: torch.Tensor
    ) -> torch.Tensor:
        ratio = torch.exp(token_log_ratio - sampled_logps)
        return -(torch.where(desirable, 1.0, -1.0)[:, None] * ratio * completion).sum(1)

    return "sampled_ratio"


def test_rows_of_sampled_ids_bring_their_logps_to_the_loss(recipe: Any, sampled_loss: str) -> None:
    """Sampled at temperature 1 and scored by the same weights the ratio is 1, so the loss counts tokens."""
    prepared = prepare(load_config(recipe(sampled_loss)))
    policy = build_policy(prepared)
    prompts = ["number 1 the", "number 2 the thank you"]
    answers = generate(policy.model, policy.tokenizer, prompts, max_new_tokens=9, temperature=1.0, top_p=0.9)
    examples = [
        (
            row_from_ids(
                encode_prompt(policy.tokenizer, prompt),
                answer.ids,
                prompt_key=prompt,
                id=prompt,
                desirable=i == 0,
                sampled_logps=answer.logps,
            ),
        )
        for i, (prompt, (answer,)) in enumerate(zip(prompts, answers, strict=True))
    ]
    objective = build_objective(prepared, policy, NoReference())
    lengths = [len(row.completion_ids) for (row,) in examples]
    expected = (lengths[1] - lengths[0]) / 2
    for budget in (1, 1000):
        found = score(replace(objective, max_tokens=budget), examples).metrics["loss"]
        assert found == pytest.approx(expected, abs=rounding(FORWARD, max(lengths)))
    bare = [(replace(row, sampled_logps=None),) for (row,) in examples]
    with pytest.raises(DataError, match=r"sampled_ratio needs the log-prob.*number 1 the.*row_from_ids"):
        accumulate_gradient(objective, bare, 1)


@pytest.mark.parametrize("act", ["train", "dry run"])
def test_feedback_files_cannot_feed_such_a_loss(recipe: Any, sampled_loss: str, act: str) -> None:
    config = load_config(recipe(sampled_loss))
    with pytest.raises(DataError, match=r"feedback\.jsonl:1: loss sampled_ratio needs .* 32 of 32 rows have none"):
        prospect.train(config, quiet=True) if act == "train" else show(config, as_json=True)


def test_a_held_session_cannot_hold_text_out_for_such_a_loss(recipe: Any, sampled_loss: str) -> None:
    values = recipe(sampled_loss, data={"eval": 4})
    with (
        pytest.raises(ConfigError, match=r"data\.eval is 4, and loss sampled_ratio needs"),
        hold(values, quiet=True),
    ):
        pass
