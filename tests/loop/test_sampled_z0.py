"""`reference_point: sampled` in the step and in whole runs: what it may depend on, and what it may not."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import prospect
from conftest import thumbs
from prospect.config import load_config
from prospect.errors import ConfigError
from prospect.training.memory.estimate import estimate_memory
from prospect.training.memory.probe import Rates, count_points, probe, training_seconds
from prospect.training.objective import build_objective, build_policy, build_run_reference
from prospect.training.prepare import prepare
from prospect.training.step import Objective, accumulate_gradient, score
from runs import killed_after, move, numbers, same
from tolerances import BACKWARD, distance, near, rounding

EVERY_STEP = {"kind": "sampled", "every": 1}


def objective_for(recipe: Any, *, moved: bool = True, **sections: Any) -> tuple[Objective, list[Any]]:
    values = recipe(sections.pop("loss", "kto"), thumbs(12, prompts=7), reference_point=EVERY_STEP, **sections)
    prepared = prepare(load_config(values))
    torch.manual_seed(0)
    policy = build_policy(prepared)
    reference = build_run_reference(prepared, policy, Path(values["output"]))
    if moved:
        move(policy)
        reference.policy_moved()
    return build_objective(prepared, policy, reference), list(prepared.train.examples)


def gradient(objective: Objective, examples: list[Any], step: int = 1) -> torch.Tensor:
    objective.policy.model.zero_grad(set_to_none=True)
    accumulate_gradient(objective, examples, step)
    return torch.cat([p.grad.flatten() for p in objective.policy.trainable().values() if p.grad is not None])


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("lora", [None, {"r": 4, "dropout": 0.3}])
def test_it_is_exactly_0_where_policy_and_reference_are_one_model(recipe: Any, lora: Any, precision: str) -> None:
    sections: dict[str, Any] = {"model": {"lora": lora} if lora else {}, "train": {"precision": precision}}
    objective, examples = objective_for(recipe, moved=False, **sections)
    metrics = accumulate_gradient(objective, examples, 1).metrics
    assert (metrics["kl"], metrics["kl_raw"], metrics["kl_stderr"]) == (0.0, 0.0, 0.0)
    assert metrics["kl_tokens"] > 0


def test_neither_micro_batches_nor_the_order_of_rows_change_the_gradient(recipe: Any) -> None:
    objective, examples = objective_for(recipe)
    whole, metrics = gradient(objective, examples), accumulate_gradient(objective, examples, 1).metrics
    assert metrics["kl_raw"] > 0.1
    for size in (200, 60, 1):
        cut = replace(objective, max_tokens=size)
        assert distance(gradient(cut, examples), whole) < rounding(BACKWARD)
        assert accumulate_gradient(cut, examples, 1).metrics == near(metrics)
    for seed in range(3):
        random.Random(seed).shuffle(examples)
        assert distance(gradient(objective, examples), whole) < rounding(BACKWARD)


def test_another_step_and_another_seed_draw_other_completions(recipe: Any) -> None:
    objective, examples = objective_for(recipe)
    found = [
        accumulate_gradient(one, examples, step).metrics["kl_raw"]
        for one, step in ((objective, 1), (objective, 1), (objective, 2), (replace(objective, seed=1), 1))
    ]
    assert found[0] == found[1] and len(set(found)) == 3


def test_it_is_of_the_model_without_dropout_and_draws_no_random_number_of_the_run(recipe: Any) -> None:
    objective, examples = objective_for(recipe, model={"lora": {"r": 4, "dropout": 0.5}})
    results = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        results.append(accumulate_gradient(objective, examples, 1).metrics)
    assert results[0]["kl_raw"] == results[1]["kl_raw"] > 0 and results[0]["loss"] != results[1]["loss"]
    torch.manual_seed(1)
    mismatched = replace(objective, reference_point="step", sampled=None)
    accumulate_gradient(mismatched, examples, 1)
    after = torch.get_rng_state()
    torch.manual_seed(1)
    accumulate_gradient(objective, examples, 1)
    assert torch.equal(torch.get_rng_state(), after)


def test_an_evaluation_takes_the_mismatched_estimate_and_draws_nothing(recipe: Any) -> None:
    objective, examples = objective_for(recipe)
    usual = replace(objective, reference_point="step", sampled=None)
    metrics = score(objective, examples).metrics
    assert metrics == score(usual, examples).metrics
    assert metrics["kl_raw"] != accumulate_gradient(objective, examples, 1).metrics["kl_raw"]


def test_a_reference_keeps_no_answer_about_a_completion_that_is_met_once(recipe: Any, tmp_path: Path) -> None:
    values = recipe("kto", thumbs(16), reference_point=EVERY_STEP, train={"epochs": 2})
    run = prospect.train(values, quiet=True)
    (kept,) = run.path.glob("reference_cache/*.logps")
    with_rows_only = kept.stat().st_size
    prospect.train({**values, "reference_point": "step", "output": str(tmp_path / "usual")}, quiet=True)
    (kept,) = tmp_path.glob("usual/reference_cache/*.logps")
    assert with_rows_only < kept.stat().st_size


def train_for(recipe: Any, output: Path, **sections: Any) -> dict[str, Any]:
    train = {"max_steps": 11, "save_every": 2, "learning_rate": 3e-3, **sections.pop("train", {})}
    values = recipe("kto", thumbs(24), reference_point={"kind": "sampled", "every": 3}, train=train, **sections)
    return {**values, "output": str(output)}


MOVING = {"reference": {"sync": {"every": 5, "mix": 1.0}}}


@pytest.mark.parametrize("sections", [{}, MOVING], ids=["frozen", "moving"])
def test_a_resumed_run_ends_with_the_same_bits(recipe: Any, tmp_path: Path, sections: dict[str, Any]) -> None:
    """It dies between two estimates, and its last checkpoint lies there too."""
    whole = prospect.train(train_for(recipe, tmp_path / "whole", **sections), quiet=True)
    values = train_for(recipe, tmp_path / "again", **sections)
    with killed_after(8):
        prospect.train(values, quiet=True)
    assert same(prospect.train(values, resume=True, quiet=True), whole)


def test_steps_between_two_estimates_keep_the_last(recipe: Any, tmp_path: Path) -> None:
    run = prospect.train(train_for(recipe, tmp_path / "run"), quiet=True)
    rows = numbers(run)
    assert [row["step"] for row in rows if row["kl_tokens"]] == [1, 4, 7, 10]
    assert rows[3]["kl"] > 0 and rows[3]["kl_stderr"] > 0
    assert all(rows[i]["kl"] == rows[i - i % 3]["kl"] for i in range(len(rows)))
    assert all((row["kl_seconds"] > 0) is (row["step"] in (1, 4, 7, 10)) for row in run.metrics())


def test_a_reference_that_moves_takes_the_estimate_with_it(recipe: Any, tmp_path: Path) -> None:
    """It was of the KL to another reference; right after the move policy and reference are one model."""
    rows = numbers(prospect.train(train_for(recipe, tmp_path / "run", **MOVING), quiet=True))
    assert [row["step"] for row in rows if row["kl_tokens"]] == [1, 4, 6, 7, 10, 11]
    assert rows[4]["kl"] > 0 and rows[5]["kl_raw"] == rows[10]["kl_raw"] == 0.0


def test_a_word_is_enough_and_samples_are_as_long_as_the_longest_completion(recipe: Any) -> None:
    prepared = prepare(load_config(recipe("kto", thumbs(12), reference_point="sampled")))
    longest = max(len(example[0].completion_ids) for example in prepared.train.examples)
    assert prepared.config.reference_point.model_dump() == {
        "kind": "sampled",
        "every": 4,
        "completions": 16,
        "max_new_tokens": longest,
    }
    assert load_config(prepared.config.as_dict()) == prepared.config


@pytest.mark.parametrize(
    ("loss", "settings", "words"),
    [
        ("dpo", "sampled", "reference_point is sampled and loss dpo has no reference point"),
        ("bradley_terry", "sampled", "reference_point is sampled and loss bradley_terry has no reference point"),
        ("kto_no_z0", "sampled", "reference_point is sampled and loss kto_no_z0 has no reference point"),
        ("kto_no_reference", "sampled", "loss kto_no_reference has no reference. Leave it out"),
        ("kto", {"every": 2}, r"reference_point.every is about samples, and reference_point.kind is step. Set kind"),
        ("kto", {"kind": "micro_batch", "max_new_tokens": 2}, r"reference_point.max_new_tokens is about samples"),
        (
            "kto",
            "often",
            "reference_point.kind is 'often'; input should be 'step', 'micro_batch', 'sampled' or 'matched'",
        ),
        ("kto", {"kind": "sampled", "completions": 1}, "reference_point.completions is 1"),
    ],
)
def test_what_cannot_be_sampled_is_refused_with_advice(recipe: Any, loss: str, settings: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        prepare(load_config(recipe(loss, reference_point=settings)))


def test_a_probe_counts_what_the_samples_take(recipe: Any) -> None:
    prepared = prepare(load_config(recipe("kto", thumbs(32), reference_point=EVERY_STEP, train={"epochs": 3})))
    assert count_points(prepared) == prepared.total_steps == 12
    usual = prepare(load_config(recipe("kto", thumbs(32), train={"epochs": 3})))
    assert count_points(usual) == 0
    rates = Rates(0.0, 1.0, 0.0)  # the reference is asked about no mismatched row
    assert training_seconds(usual, rates, False) == 2 * training_seconds(prepared, rates, False)
    assert probe(prepared, steps=1)["training"] > 0


def test_the_estimate_of_memory_knows_the_keys_and_values_of_samples(recipe: Any) -> None:
    def activations(**settings: Any) -> int:
        values = recipe("kto", thumbs(12), reference_point={"kind": "sampled", **settings})
        return int(estimate_memory(prepare(load_config(values)))["activations"])

    assert activations(completions=2) < activations(completions=60, max_new_tokens=200)
    assert activations(completions=60, max_new_tokens=200) < 2.5 * activations(completions=30, max_new_tokens=200)
