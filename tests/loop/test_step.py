"""One step has exact semantics: the gradient does not depend on how the step was cut or ordered."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from conftest import pairs, thumbs
from prospect.config import load_config
from prospect.errors import DataError, TrainingError
from prospect.losses import get_loss
from prospect.models.policy import load_policy
from prospect.models.reference import AdapterOffReference, CachedReference, FrozenReference, NoReference, Reference
from prospect.training.prepare import prepare
from prospect.training.processes.world import World
from prospect.training.step import Objective, _Pass, accumulate_gradient, score
from prospect.training.text_medium import TextMedium
from tolerances import BACKWARD, distance, near, rounding


def objective_for(
    recipe: dict[str, Any], max_tokens: int = 4096, moved: bool = True, **changes: Any
) -> tuple[Objective, list[Any]]:
    """An objective whose policy has moved away from its reference, so that nothing is zero by accident."""
    prepared = prepare(load_config(recipe))
    policy = load_policy(prepared.config, prepared.tokenizer, value_head=prepared.loss.needs_values)
    needs = prepared.loss.needs_reference
    kind = AdapterOffReference if policy.has_adapter else FrozenReference
    reference = kind(policy) if needs else NoReference()
    if moved:
        torch.manual_seed(1)
        with torch.no_grad():
            for parameter in policy.trainable().values():
                parameter.add_(0.05 * torch.randn_like(parameter))
    values = {
        "loss": prepared.loss,
        "hyperparameters": prepared.hyperparameters,
        "policy": policy,
        "reference": reference,
        "max_tokens": max_tokens,
        "medium": TextMedium(prepared.max_length),
    }
    return Objective(**(values | changes)), list(prepared.train.examples)


def gradient(objective: Objective, examples: list[Any]) -> torch.Tensor:
    objective.policy.model.zero_grad(set_to_none=True)
    accumulate_gradient(objective, examples)
    return torch.cat([p.grad.flatten() for p in objective.policy.trainable().values()])


@pytest.mark.parametrize("loss", ["kto", "dpo", "sft"])
def test_micro_batch_size_does_not_change_the_gradient(recipe: Any, loss: str) -> None:
    objective, examples = objective_for(recipe(loss, pairs(8) if loss == "dpo" else thumbs(8, prompts=6)))
    longest = max(row.length for example in examples for row in example)
    per_example = len(examples[0]) * longest
    whole = gradient(objective, examples)
    assert whole.norm() > 0
    for size in (8, 4, 2, 1):
        cut = Objective(**{**vars(objective), "max_tokens": size * per_example})
        assert distance(gradient(cut, examples), whole) < rounding(BACKWARD)


@pytest.mark.parametrize("loss", ["kto", "dpo", "sft"])
def test_order_of_rows_does_not_change_the_gradient(recipe: Any, loss: str) -> None:
    objective, examples = objective_for(recipe(loss, pairs(8) if loss == "dpo" else thumbs(9, prompts=5)))
    whole = gradient(objective, examples)
    for seed in range(3):
        random.Random(seed).shuffle(examples)
        assert distance(gradient(objective, examples), whole) < rounding(BACKWARD)


def test_z0_per_micro_batch_depends_on_the_micro_batch(recipe: Any) -> None:
    """The peers' way, offered for comparison only: this is what the test above would catch."""
    objective, examples = objective_for(recipe("kto", thumbs(8)), reference_point="micro_batch")
    whole = gradient(objective, examples)
    cut = Objective(**{**vars(objective), "max_tokens": 70})
    assert distance(gradient(cut, examples), whole) > 10 * rounding(BACKWARD)
    # Where every row would go alone, rows join: a single prompt gives no z0.
    alone = Objective(**{**vars(objective), "max_tokens": 1})
    assert distance(gradient(alone, examples), whole) > 10 * rounding(BACKWARD)


def test_gradient_is_the_formula_computed_by_hand(recipe: Any) -> None:
    """KTO from the model's plain logits, rows one at a time, z0 from explicit mismatched rows."""
    from prospect.data.batch import mismatched_partners

    objective, examples = objective_for(recipe("kto", thumbs(6)))
    rows = [example[0] for example in examples]
    ours = gradient(objective, examples)

    def logp(model: Any, prompt: Any, completion: Any) -> torch.Tensor:
        ids = torch.tensor([[*prompt.tolist(), *completion.tolist()]])
        logps = model(ids).logits.log_softmax(-1)[0, :-1].gather(1, ids[0, 1:, None]).squeeze(1)
        return logps[len(prompt) - 1 :].sum()

    policy, reference = objective.policy.model, objective.reference._policy.model
    policy.zero_grad(set_to_none=True)
    partners = mismatched_partners(rows, objective.seed)
    with torch.no_grad():
        borrowed = [(row.prompt_ids, rows[j].completion_ids) for row, j in zip(rows, partners, strict=True)]
        z0 = torch.stack([logp(policy, *b) - logp(reference, *b) for b in borrowed]).mean().clamp(min=0)
    total = 0.0
    for row in rows:
        ratio = (
            logp(policy, row.prompt_ids, row.completion_ids)
            - logp(reference, row.prompt_ids, row.completion_ids).detach()
        )
        sign = 1.0 if row.desirable else -1.0
        total = total + torch.sigmoid(-0.1 * sign * (ratio - z0))
    (total / len(rows)).backward()
    theirs = torch.cat([p.grad.flatten() for p in objective.policy.trainable().values()])
    assert distance(ours, theirs) < rounding(BACKWARD)


def test_row_weights_scale_their_examples(recipe: Any) -> None:
    rows = thumbs(6)
    heavy = [dict(row, weight=2.0 if i == 0 else 1.0) for i, row in enumerate(rows)]
    silent = [dict(row, weight=0.0 if i == 0 else 1.0) for i, row in enumerate(rows)]
    plain = gradient(*objective_for(recipe("kto", rows)))
    more = gradient(*objective_for(recipe("kto", heavy)))
    none = gradient(*objective_for(recipe("kto", silent)))
    # Four whole gradients are added up, and what is left of them is one row's.
    within = rounding(BACKWARD, 4 * float(plain.norm()))
    assert (more - 2 * plain + none).norm() < within < 0.01 * (more - plain).norm()


@pytest.mark.parametrize("lora", [None, {"r": 4, "alpha": 8}])
def test_frozen_cached_and_adapter_off_agree(recipe: Any, tmp_path: Any, lora: Any) -> None:
    values = recipe("kto", thumbs(8), model={"name_or_path": recipe()["model"]["name_or_path"], "lora": lora})
    objective, examples = objective_for(values, moved=False)
    policy = objective.policy
    references: list[Any] = [
        FrozenReference(policy),
        CachedReference(FrozenReference(policy), tmp_path / "cache"),
    ]
    if lora:
        references.append(AdapterOffReference(policy))
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in policy.trainable().values():
            parameter.add_(0.05 * torch.randn_like(parameter))
    references[1].policy_moved()
    score(Objective(**{**vars(objective), "reference": references[1]}), examples)  # fills the cache
    rewards = [score(Objective(**{**vars(objective), "reference": r}), examples).tally.rewards for r in references]
    assert any(abs(value) > 1e-3 for value in rewards[0])
    for other in rewards[1:]:
        assert other == rewards[0]


@pytest.mark.parametrize("loss", ["kto", "dpo"])
def test_before_the_first_step_every_reward_is_exactly_zero(recipe: Any, loss: str) -> None:
    objective, examples = objective_for(recipe(loss), moved=False)
    result = accumulate_gradient(objective, examples)
    assert set(result.tally.rewards) == {0.0}
    expected = 0.5 if loss == "kto" else 0.6931471805599453
    assert result.metrics["loss"] == pytest.approx(expected, abs=rounding(1))
    if loss == "kto":
        assert result.metrics["kl"] == result.metrics["kl_raw"] == result.metrics["kl_stderr"] == 0.0


def test_metrics_do_not_depend_on_the_evaluation_batch_size(recipe: Any) -> None:
    objective, examples = objective_for(recipe("kto", thumbs(12)))
    whole = score(objective, examples).metrics
    for max_tokens in (200, 60, 1):
        cut = score(Objective(**{**vars(objective), "max_tokens": max_tokens}), examples).metrics
        assert cut == near(whole)


def test_one_row_or_one_prompt_cannot_give_a_z0(recipe: Any) -> None:
    objective, examples = objective_for(recipe("kto", thumbs(8)))
    with pytest.raises(DataError, match=r"z0 needs completions of other prompts.*1 row\(s\) of 1 prompt"):
        accumulate_gradient(objective, examples[:1])
    same = [tuple(vars_replace(row, examples[0][0].prompt_key) for row in example) for example in examples]
    with pytest.raises(DataError, match=r"8 row\(s\) of 1 prompt"):
        accumulate_gradient(objective, same)


def vars_replace(row: Any, key: str) -> Any:
    from dataclasses import replace

    return replace(row, prompt_key=key)


class BrokenReference(Reference):
    """Gives NaN for one row."""

    kind, identity = "broken", "x"

    def __init__(self, inner: Any, row_id: str) -> None:
        self.inner, self.row_id = inner, row_id

    def logps(self, batch: Any) -> torch.Tensor:
        values = self.inner.logps(batch).clone()
        for i, row in enumerate(batch.rows):
            if row.id == self.row_id:
                values[i] = float("nan")
        return values


def test_nan_in_the_reference_stops_the_step_and_names_the_row(recipe: Any) -> None:
    objective, examples = objective_for(recipe("kto", thumbs(8)))
    broken = BrokenReference(objective.reference, examples[3][0].id)
    with pytest.raises(
        TrainingError,
        match=r"the reference's log-prob is not finite at step 7 .*feedback\.jsonl:4.*Nothing was updated",
    ):
        accumulate_gradient(Objective(**{**vars(objective), "reference": broken}), examples, step=7)
    assert all(p.grad is None for p in objective.policy.trainable().values())


def test_paired_data_feeds_kto_and_thumbs_feed_dpo(recipe: Any) -> None:
    assert gradient(*objective_for(recipe("kto", pairs(6)))).norm() > 0
    assert gradient(*objective_for(recipe("dpo", thumbs(8, prompts=3)))).norm() > 0


def test_loss_is_called_with_what_it_declares() -> None:
    assert get_loss("kto").argument_names == ("log_ratio", "desirable", "z0")
    assert get_loss("dpo").argument_names == ("chosen", "rejected")
    assert get_loss("sft").argument_names == ("logps",)


# -- LoRA's dropout --

NOISY = {"r": 4, "alpha": 8, "dropout": 0.3}


def noisy(recipe: Any, loss: str, **changes: Any) -> tuple[Objective, list[Any]]:
    """An adapter with dropout that has learnt something."""
    values = recipe(loss, model={"name_or_path": recipe()["model"]["name_or_path"], "lora": NOISY})
    objective, examples = objective_for(values, **changes)
    assert any(module.training for module in objective.policy.model.modules())
    return objective, examples


@pytest.mark.parametrize("loss", ["kto", "dpo", "offline_ppo"])
def test_an_evaluation_is_of_the_model_without_dropout_and_draws_no_random_number(recipe: Any, loss: str) -> None:
    objective, examples = noisy(recipe, loss)
    state = torch.get_rng_state()
    first, second, third = (score(objective, examples).metrics for _ in range(3))
    assert first == second == third
    assert torch.equal(torch.get_rng_state(), state)
    assert any(module.training for module in objective.policy.model.modules())


@pytest.mark.parametrize("point", ["step", "micro_batch"])
def test_z0_is_of_the_model_without_dropout_and_the_gradient_is_with_it(recipe: Any, point: str) -> None:
    objective, examples = noisy(recipe, "kto", max_tokens=200, reference_point=point)
    results = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        results.append(accumulate_gradient(objective, examples).metrics)
    one, two = results
    assert one["kl_raw"] == two["kl_raw"] != 0.0
    assert one["loss"] != two["loss"] and one["logps/chosen"] != two["logps/chosen"]
    if point == "step":
        assert one["kl_raw"] == score(objective, examples).metrics["kl_raw"]


def test_what_a_loss_asks_of_the_whole_step_is_of_the_model_without_dropout(recipe: Any) -> None:
    objective, examples = noisy(recipe, "offline_ppo")
    one, two = (_Pass(objective, examples, "", with_gradient=True).over_whole_step() for _ in range(2))
    assert [value.tolist() for value in one] == [value.tolist() for value in two] != []


# -- z0 of a micro-batch --


def test_an_evaluation_takes_z0_over_all_rows_whatever_the_steps_do(recipe: Any) -> None:
    objective, examples = objective_for(recipe("kto", thumbs(12)), reference_point="micro_batch")
    whole = score(objective, examples).metrics
    assert score(Objective(**{**vars(objective), "max_tokens": 70}), examples).metrics == near(whole)
    step = Objective(**{**vars(objective), "reference_point": "step", "max_tokens": 70})
    assert score(step, examples).metrics == near(whole)


@dataclass(frozen=True)
class _Replayed(World):
    """One of two processes, which hears what the other has said in a pass before."""

    said: list[Any] = field(default_factory=list)
    heard: list[Any] = field(default_factory=list)

    def gather(self, value: Any) -> list[Any]:
        self.said.append(value)
        return [value, self.heard.pop(0)] if self.heard else [value]

    def sum_gradients(self, parameters: Any) -> None:
        """Nobody to add up with."""


def test_the_logged_z0_of_micro_batches_is_the_mean_over_those_of_all_processes(recipe: Any) -> None:
    objective, examples = objective_for(recipe("kto", thumbs(16)), max_tokens=120, reference_point="micro_batch")
    second = _Replayed(rank=1, size=2)
    accumulate_gradient(Objective(**{**vars(objective), "world": second}), examples)
    first = _Replayed(rank=0, size=2, heard=list(second.said))
    metrics = accumulate_gradient(Objective(**{**vars(objective), "world": first}), examples).metrics
    points = [[float(point.raw) for point in world.said[-1]] for world in (first, second)]
    assert min(map(len, points)) > 0 and points[0] != points[1]
    assert metrics["kl_raw"] == pytest.approx(sum(map(sum, points)) / sum(map(len, points)), rel=1e-9)
