"""Every registered loss goes through the whole loop: it learns, resumes to the same bits, and has one gradient."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import prospect
from conftest import REPOSITORY, rows_for, thumbs
from prospect.config import load_config
from prospect.losses import Loss, all_losses
from prospect.models.reference import build_reference
from prospect.training.objective import build_objective, build_policy
from prospect.training.prepare import prepare
from prospect.training.step import Objective, accumulate_gradient, score
from runs import killed_after, move, same
from tolerances import BACKWARD, FORWARD, distance, near, rounding

# Those that sample while they train are in test_online.py.
ON_FILES = [loss for loss in all_losses().values() if loss.feedback != "sampled"]
every_loss = pytest.mark.parametrize("loss", ON_FILES, ids=lambda loss: loss.name)
# From equal models, where h = 0, DiscoPOP's own tau pushes the margin down into a local minimum; see its page.
SETTINGS: dict[str, dict[str, float]] = {"discopop": {"tau": 1.0}}


def settings_of(loss: Loss) -> dict[str, Any]:
    return {"name": loss.name, **SETTINGS.get(loss.name, {})}


@every_loss
def test_it_learns(recipe: Any, loss: Loss) -> None:
    """Forty steps over all rows at once; the same rows are measured before the first and after the last."""
    rows = rows_for(loss.name)
    train = {"max_steps": 40, "batch_size": 64, "learning_rate": 2e-3, "scheduler": "constant"}
    run = prospect.train(recipe(settings_of(loss), rows, train=train), quiet=True)
    first, last = run.metrics()[0], run.metrics()[-1]
    assert last["loss"] < first["loss"]
    name = "rewards" if loss.reward_model else "logps"
    chosen = last[f"{name}/chosen"] - first[f"{name}/chosen"]
    if loss.feedback == "demonstration":
        assert chosen > 1
        return
    rejected = last[f"{name}/rejected"] - first[f"{name}/rejected"]
    if loss.direction == "up":
        assert min(chosen, rejected) > 1
    elif loss.direction == "down":
        assert rejected < chosen < -0.1
    else:
        assert chosen > 0.1
        assert chosen - rejected > 1 - 0.9 * loss.reward_model
        if loss.needs_reference:
            assert rejected < -0.1
            assert last["rewards/accuracies"] > 0.9


@every_loss
def test_it_resumes_to_the_same_bits(recipe: Any, tmp_path: Path, loss: Loss) -> None:
    """Running means, value heads and references that follow the policy included."""
    values = recipe(settings_of(loss), train={"save_every": 2, "max_steps": 7, "batch_size": 7, "learning_rate": 1e-3})
    if loss.needs_reference:
        values["reference"] = {"sync": {"every": 3, "mix": 0.6}}
    whole = prospect.train({**values, "output": str(tmp_path / "whole")}, quiet=True)
    with killed_after(4):
        prospect.train(values, quiet=True)
    assert same(whole, prospect.train(values, resume=True, quiet=True))


def objective_for(values: dict[str, Any], folder: Path) -> tuple[Objective, list[Any]]:
    """An objective whose policy has moved away from its reference, so that nothing is zero by accident."""
    prepared = prepare(load_config({**values, "reference": {"cache": False}}))
    policy = build_policy(prepared)
    reference = build_reference(prepared.config.reference, policy, prepared.loss.needs_reference, folder)
    move(policy)
    objective = build_objective(prepared, policy, reference)
    objective.running_mean.add(3.0, 2.0)
    return objective, list(prepared.train.examples)


def gradient(objective: Objective, examples: list[Any]) -> torch.Tensor:
    for parameter in objective.policy.trainable().values():
        parameter.grad = None
    mean = vars(objective.running_mean).copy()
    accumulate_gradient(objective, examples)
    vars(objective.running_mean).update(mean)
    return torch.cat([p.grad.flatten() for p in objective.policy.trainable().values() if p.grad is not None])


@every_loss
def test_neither_micro_batches_nor_the_order_of_rows_change_the_gradient(
    recipe: Any, tmp_path: Path, loss: Loss
) -> None:
    objective, examples = objective_for(recipe(settings_of(loss)), tmp_path)
    examples = examples[:8]
    whole, metrics = gradient(objective, examples), score(objective, examples).metrics
    assert whole.norm() > 0
    longest = max(len(example) * max(row.length for row in example) for example in examples)
    for count in (4, 2, 1):
        cut = Objective(**{**vars(objective), "max_tokens": count * longest})
        assert distance(gradient(cut, examples), whole) < rounding(BACKWARD)
        assert score(cut, examples).metrics == near(metrics)
    assert distance(gradient(objective, examples[::-1]), whole) < rounding(BACKWARD)


def test_what_is_computed_over_the_step_is_computed_over_all_of_it(recipe: Any, tmp_path: Path) -> None:
    """Whatever the micro-batches are, and from rows of any length."""
    seen: list[float] = []

    def mean_log_ratio(log_ratio: torch.Tensor, desirable: torch.Tensor, *, beta: float) -> torch.Tensor:
        return beta * log_ratio.mean()

    def centred(log_ratio: torch.Tensor, desirable: torch.Tensor, mean: torch.Tensor, *, beta: float = 0.5) -> Any:
        seen.append(float(mean))
        return torch.where(desirable, -1.0, 1.0) * (beta * log_ratio - mean)

    objective, examples = objective_for(recipe("kto_no_z0"), tmp_path)
    loss = Loss(centred, "centred", "unpaired", over_step={"mean": mean_log_ratio})
    whole = score(Objective(**{**vars(objective), "loss": loss, "hyperparameters": {"beta": 0.5}}), examples)
    expected = sum(whole.tally.rewards) / len(examples)
    within = rounding(FORWARD, whole.metrics["logps/chosen"])
    assert abs(expected) > 100 * within
    for tokens in (4096, 200, 1):
        cut = {**vars(objective), "loss": loss, "hyperparameters": {"beta": 0.5}, "max_tokens": tokens}
        score(Objective(**cut), examples)
    assert len(seen) > 10
    assert seen == pytest.approx([expected] * len(seen), rel=0, abs=within)


def test_advantages_are_whitened_over_the_whole_step(recipe: Any, tmp_path: Path) -> None:
    """At the start values are 0 and ratios 1, so that what is left of the surrogate is its mean: nothing."""
    prepared = prepare(load_config(recipe({"name": "offline_ppo", "value_weight": 0.0})))
    policy = build_policy(prepared)
    reference = build_reference(prepared.config.reference, policy, True, tmp_path)
    for tokens in (4096, 100):
        objective = Objective(**{**vars(build_objective(prepared, policy, reference)), "max_tokens": tokens})
        assert score(objective, prepared.train.examples[:16]).metrics["loss"] == pytest.approx(
            0.0, abs=rounding(FORWARD)
        )


def test_the_example_of_ones_own_loss_learns(recipe: Any, own_losses: object) -> None:
    name = str(REPOSITORY / "examples/kahneman_tversky.py") + ":kahneman_tversky"
    train = {"max_steps": 30, "batch_size": 64, "learning_rate": 2e-3}
    run = prospect.train(recipe(name, thumbs(32), train=train), quiet=True)
    first, last = run.metrics()[0], run.metrics()[-1]
    assert last["rewards/accuracies"] > 0.9
    assert last["logps/chosen"] > first["logps/chosen"] + 1
    assert last["logps/rejected"] < first["logps/rejected"] - 1
    assert last["kl"] == last["kl"] >= 0.0
