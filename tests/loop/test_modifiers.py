"""What goes with many losses: a moving reference, clipped token log-ratios, an SFT term, row weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import prospect
from conftest import make_model, pairs, rows_for, thumbs
from prospect.config import load_config
from prospect.data.batch import collate, flatten
from prospect.errors import ConfigError
from prospect.models.reference import Reference, build_reference
from prospect.training.objective import build_objective, build_policy
from prospect.training.prepare import prepare
from prospect.training.step import Objective, accumulate_gradient, score
from runs import move
from tolerances import BACKWARD, FORWARD, assert_near, distance, near, rounding


def ready(values: dict[str, Any], folder: Path) -> tuple[Objective, list[Any]]:
    """Policy and reference of a recipe, still equal."""
    prepared = prepare(load_config(values))
    torch.manual_seed(0)  # of a value head
    policy = build_policy(prepared)
    reference = build_reference(prepared.config.reference, policy, prepared.loss.needs_reference, folder)
    return build_objective(prepared, policy, reference), list(prepared.train.examples)


def gradient(objective: Objective, examples: list[Any]) -> torch.Tensor:
    parameters = objective.policy.trainable().values()
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    accumulate_gradient(objective, examples)
    return torch.cat([p.grad.flatten() for p in parameters if p.grad is not None])


def rounding_of(found: Any) -> float:
    """Bound rewards that are 0 but for rounding: beta times a difference of log-probs whose means are `logps/...`."""
    return 0.1 * rounding(FORWARD, 2 * max(abs(found.metrics[f"logps/{side}"]) for side in ("chosen", "rejected")))


LORA = {"r": 4, "alpha": 8}


def with_model(recipe: Any, loss: Any, lora: Any, **sections: Any) -> dict[str, Any]:
    path = recipe()["model"]["name_or_path"]
    name = loss if isinstance(loss, str) else loss["name"]
    return recipe(loss, rows_for(name), model={"name_or_path": path, "lora": lora}, **sections)


# -- a reference that follows the policy --


@pytest.mark.parametrize("lora", [None, LORA])
def test_a_full_sync_makes_the_reference_the_policy(recipe: Any, tmp_path: Path, lora: Any) -> None:
    objective, examples = ready(with_model(recipe, "kto", lora, reference={"sync": {"every": 1}}), tmp_path)
    move(objective.policy)
    assert max(map(abs, score(objective, examples).tally.rewards)) > 1e-2
    objective.reference.sync(objective.policy, 1.0)
    found = score(objective, examples)
    # A merged adapter multiplies once where the adapter beside its weight multiplies twice: equal but for rounding.
    assert max(map(abs, found.tally.rewards)) <= (rounding_of(found) if lora else 0.0)


@pytest.mark.parametrize("lora", [None, LORA])
def test_a_partial_sync_mixes_the_weights(recipe: Any, tmp_path: Path, lora: Any) -> None:
    objective, _ = ready(with_model(recipe, "dpo", lora, reference={"sync": {"every": 1}}), tmp_path)
    reference: Any = objective.reference
    before = {name: p.clone() for name, p in reference._policy.model.named_parameters()}
    assert reference.state() == {}
    for _ in range(2):
        move(objective.policy)
        reference.sync(objective.policy, 0.6)
        merged = dict(objective.policy.merged_weights())
        assert reference.state().keys() == merged.keys()
        for name, after in reference._policy.model.named_parameters():
            expected = 0.6 * merged[name] + 0.4 * before[name] if name in merged else before[name]
            assert_near(after, expected, 10, name)  # the rank, twice, and the mixture
        before = {name: p.clone() for name, p in reference._policy.model.named_parameters()}


def test_merged_weights_of_an_adapter_are_those_that_peft_merges(recipe: Any, tmp_path: Path) -> None:
    objective, _ = ready(with_model(recipe, "kto", LORA, reference={"kind": "frozen"}), tmp_path)
    move(objective.policy)
    ours = {name.removeprefix("base_model.model."): w for name, w in objective.policy.merged_weights()}
    theirs = dict(objective.policy.model.merge_and_unload().named_parameters())
    assert len(ours) == 14  # seven linear layers in each of two blocks
    for name, weight in ours.items():
        assert_near(weight, theirs[name.replace(".base_layer", "")], 5, name)  # the rank, and the sum


def test_the_reference_moves_every_k_steps_of_a_run(recipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from prospect.models.reference import FrozenReference

    synced: list[float] = []
    monkeypatch.setattr(FrozenReference, "sync", lambda self, policy, mix: synced.append(mix))
    train = {"max_steps": 7, "batch_size": 4}
    prospect.train(recipe("kto", train=train, reference={"sync": {"every": 3, "mix": 0.25}}), quiet=True)
    assert synced == [0.25, 0.25]


def test_after_a_full_sync_rewards_start_again_from_zero(recipe: Any) -> None:
    train = {"max_steps": 4, "batch_size": 64, "learning_rate": 1e-2, "scheduler": "constant", "warmup": 0}
    run = prospect.train(recipe("kto", train=train, reference={"sync": {"every": 2, "mix": 1.0}}), quiet=True)
    margins = [row["rewards/margins"] for row in run.metrics()]
    assert margins[0] == margins[2] == 0.0
    assert margins[1] > 0.1
    assert run.config()["reference"] == {
        "kind": "frozen",
        "name_or_path": None,
        "cache": False,
        "sync": {"every": 2, "mix": 1.0},
    }


def test_the_evaluation_of_a_step_comes_before_its_sync(recipe: Any) -> None:
    """Else the last evaluation would compare the policy with itself."""
    train = {"max_steps": 4, "learning_rate": 1e-2, "warmup": 0}
    values = recipe("kto", data={"eval": 8}, train=train, reference={"sync": {"every": 2, "mix": 1.0}})
    last = prospect.train(values, quiet=True).metrics()[-1]
    assert last["step"] == 4 and abs(last["eval_rewards/margins"]) > 1e-3


def test_a_running_mean_starts_again_with_each_new_reference(recipe: Any) -> None:
    train = {"max_steps": 5, "batch_size": 16, "learning_rate": 1e-2, "scheduler": "constant", "warmup": 0}
    run = prospect.train(recipe("bco", train=train, reference={"sync": {"every": 3, "mix": 1.0}}), quiet=True)
    means = [row["running_mean"] for row in run.metrics()]
    assert means[0] == means[1] == means[3] == 0.0 != means[2]


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`")  # PEFT's own word on it
@pytest.mark.parametrize(("target", "other"), [("lm_head", "embed_tokens"), ("embed_tokens", "lm_head")])
def test_a_sync_of_an_adapter_on_a_tied_matrix_is_refused_before_training(recipe: Any, target: str, other: str) -> None:
    lora = {**LORA, "target_modules": ["q_proj", target]}
    values = with_model(recipe, "kto", lora, reference={"sync": {"every": 2}})
    with pytest.raises(ConfigError, match=rf"adapts .*{target}\.weight, which is one matrix with .*{other}\.weight"):
        prospect.train(values, quiet=True)
    values = with_model(recipe, "kto", lora, reference={"sync": {"every": 0}})
    assert build_policy(prepare(load_config(values))).has_adapter


@pytest.mark.parametrize("target", ["lm_head", "embed_tokens"])
def test_an_adapter_on_a_matrix_that_is_not_tied_is_synced(
    recipe: Any, tmp_path: Path, tokenizer: Any, target: str
) -> None:
    make_model(tie_word_embeddings=False).save_pretrained(tmp_path / "untied")
    tokenizer.save_pretrained(tmp_path / "untied")
    model = {"name_or_path": str(tmp_path / "untied"), "lora": {**LORA, "target_modules": ["q_proj", target]}}
    objective, examples = ready(recipe("kto", model=model, reference={"sync": {"every": 1}}), tmp_path)
    move(objective.policy)
    assert max(map(abs, score(objective, examples).tally.rewards)) > 1e-3
    objective.reference.sync(objective.policy, 1.0)
    found = score(objective, examples)
    assert max(map(abs, found.tally.rewards)) <= rounding_of(found)


# -- humanline --


def test_humanline_clips_token_log_ratios_before_the_loss_and_in_z0(recipe: Any, tmp_path: Path) -> None:
    loss = {"name": "kto", "humanline": {"low": -0.5, "high": 0.25}}
    objective, examples = ready(recipe(loss, thumbs(12)), tmp_path)
    move(objective.policy)
    batch = collate(flatten(examples))
    logps = objective.policy.score_tokens(batch).logps.detach()
    token = logps - objective.reference.token_logps(batch)
    clipped = (token.clamp(-0.5, 0.25) * batch.completion).sum(1)
    within = rounding(FORWARD, float(logps.sum(1).abs().max()))
    assert (token.sum(1) - clipped).abs().max() > 100 * within
    found = score(objective, examples)
    ordered = {row.id: r for row, r in zip(_rows_in_order(objective, examples), found.tally.rewards, strict=True)}
    for row, value in zip(batch.rows, clipped.tolist(), strict=True):
        assert ordered[row.id] == pytest.approx(0.1 * value, rel=0, abs=0.1 * within)
    # Clipping subtracts token by token and adds up after that; without it sums are subtracted.
    wide = score(Objective(**{**vars(objective), "clip": (-100.0, 100.0)}), examples).metrics
    assert wide == near(score(Objective(**{**vars(objective), "clip": None}), examples).metrics)
    assert abs(wide["kl_raw"] - found.metrics["kl_raw"]) > 100 * within


def _rows_in_order(objective: Objective, examples: list[Any]) -> list[Any]:
    from prospect.data.loader import micro_batches

    return [row for group in micro_batches(examples, objective.max_tokens) for row in flatten(group)]


def test_a_clipped_token_has_no_gradient(recipe: Any, tmp_path: Path) -> None:
    objective, examples = ready(recipe("dpo", pairs(4)), tmp_path)
    move(objective.policy)
    closed = Objective(**{**vars(objective), "clip": (-1e-9, 1e-9)})
    assert gradient(objective, examples).norm() > 1e-3
    assert gradient(closed, examples).norm() < 1e-3 * gradient(objective, examples).norm()


@pytest.mark.parametrize(
    ("reference", "sync"),
    [
        ({}, {"every": 12, "mix": 1.0}),
        ({"sync": {"every": 24, "mix": 0.5}}, {"every": 24, "mix": 0.5}),
        ({"sync": {"every": 0}}, {"every": 0, "mix": 0.6}),
    ],
)
def test_humanline_brings_its_sync_unless_the_recipe_says_otherwise(recipe: Any, reference: Any, sync: Any) -> None:
    prepared = prepare(load_config(recipe({"name": "kto", "humanline": True}, reference=reference)))
    assert prepared.config.as_dict()["reference"]["sync"] == sync
    assert prepared.config.loss.humanline is not None
    assert (prepared.config.loss.humanline.low, prepared.config.loss.humanline.high) == (-1.0, 1.5)
    assert prepared.config.reference.cache is False
    again = prepare(load_config(prepared.config.as_dict()))
    assert again.config == prepared.config


def test_humanline_with_an_adapter_and_without_sync_needs_no_second_model(recipe: Any, tmp_path: Path) -> None:
    values = with_model(recipe, {"name": "dpo", "humanline": True}, LORA, reference={"sync": {"every": 0}})
    objective, examples = ready(values, tmp_path)
    assert objective.reference.kind == "adapter_off"
    assert set(score(objective, examples).tally.rewards) == {0.0}


# -- the SFT term --


@pytest.mark.parametrize("loss", ["kto", "dpo", "nca", "simpo", "offline_ppo"])
def test_the_sft_term_adds_the_gradient_of_sft_on_desirable_completions(recipe: Any, tmp_path: Path, loss: str) -> None:
    objective, examples = ready(recipe(loss), tmp_path)
    move(objective.policy)
    plain = gradient(objective, examples)
    both = Objective(**{**vars(objective), "sft_weight": 0.7})
    rows = [(row,) for example in examples for row in example if row.desirable]
    sft = Objective(**{**vars(objective), "loss": prospect.get_loss("sft"), "hyperparameters": {}})
    sft = Objective(**{**vars(sft), "reference": _nothing()})
    expected = plain + 0.7 * gradient(sft, rows)
    metrics, plain_loss = score(both, examples).metrics, score(objective, examples).metrics["loss"]
    expected_loss = score(sft, rows).metrics["loss"]
    added = {"sft_loss": expected_loss, "loss": plain_loss + 0.7 * expected_loss}
    assert {name: metrics[name] for name in added} == near(added)
    for tokens in (both.max_tokens, 400, 100, 1):
        cut = Objective(**{**vars(both), "max_tokens": tokens})
        assert distance(gradient(cut, examples), expected) < rounding(BACKWARD)


def _nothing() -> Reference:
    from prospect.models.reference import NoReference

    return NoReference()


# -- row weights --


@pytest.mark.parametrize("loss", ["bco", "ipo", "nca", "offline_ppo", "orpo", "csft", "bradley_terry", "unlikelihood"])
def test_row_weights_scale_their_examples(recipe: Any, tmp_path: Path, loss: str) -> None:
    """A gradient that is linear in the weights: twice the weight adds what no weight takes away."""

    def weighted(weight: float) -> torch.Tensor:
        rows = [dict(row, weight=weight if i in (0, 9, 18, 27) else 1.0) for i, row in enumerate(rows_for(loss))]
        objective, examples = ready(recipe(loss, rows), tmp_path)
        move(objective.policy)
        return gradient(objective, examples)

    none, plain, double = (weighted(w) for w in (0.0, 1.0, 2.0))
    # Four whole gradients are added up, and what is left of them is a few rows'.
    within = rounding(BACKWARD, 4 * float(plain.norm()))
    assert (double - 2 * plain + none).norm() < within < 0.01 * (plain - none).norm()


# -- what is refused --


@pytest.mark.parametrize(
    ("loss", "sections", "message"),
    [
        ({"name": "sft", "sft_weight": 0.1}, {}, r"loss\.sft_weight adds the sft loss, and loss sft is no comparison"),
        ({"name": "csft", "sft_weight": 0.1}, {}, r"loss csft is no comparison"),
        ({"name": "bradley_terry", "sft_weight": 0.1}, {}, r"loss bradley_terry is no comparison"),
        ({"name": "simpo", "humanline": True}, {}, r"loss\.humanline is about the reference, and loss simpo has none"),
        ("orpo", {"reference": {"sync": {"every": 4}}}, r"reference\.sync is about the reference, and loss orpo has"),
        ("kto", {"reference": {"sync": {"every": 4}, "kind": "adapter_off"}}, r"adapter_off has no weights"),
        ("kto", {"reference": {"sync": {"every": 4}, "cache": "c"}}, r"cache is c and cannot be used: reference\.sync"),
        ("offline_ppo", {"reference": {"cache": "c"}}, r"cannot be used: it is asked for every token"),
        ({"name": "dpo", "humanline": True}, {"reference": {"sync": {"every": 0}, "cache": "c"}}, "every token"),
        ("kto", {"reference": {"sync": {"every": -1}}}, r"reference\.sync\.every is -1"),
        ("kto", {"reference": {"sync": {"mix": 0.0}}}, r"reference\.sync\.mix is 0"),
        ({"name": "kto", "humanline": {"low": 0.5}}, {}, r"loss\.humanline\.low is 0\.5"),
        ({"name": "kto", "humanline": {"lwo": -1}}, {}, r'loss\.humanline\.lwo; did you mean "low"'),
        ({"name": "kto", "sft_weight": -1}, {}, r"loss\.sft_weight is -1"),
        ({"name": "kto", "sft_weight": True}, {}, r"loss\.sft_weight is True"),
    ],
)
def test_a_modifier_that_would_change_nothing_is_refused(recipe: Any, loss: Any, sections: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        prepare(load_config(recipe(loss, **sections)))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize(("loss", "sync"), [("kto", {"every": 4}), ({"name": "kto", "humanline": True}, None)])
def test_a_sync_of_an_adapter_into_half_precision_weights_is_refused(
    recipe: Any, dtype: str, loss: Any, sync: Any
) -> None:
    values = with_model(recipe, loss, LORA, reference={"sync": sync})
    values["model"]["dtype"] = dtype
    with pytest.raises(ConfigError, match=rf"model\.dtype is {dtype}.*Set model\.dtype: float32, or leave"):
        prepare(load_config(values))
    values["reference"] = {"sync": {"every": 0}}
    assert prepare(load_config(values)).config.model.dtype == dtype
