"""PEFT's options through `model.lora`: the run starts at its reference, and what is saved loads elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import prospect
from conftest import thumbs
from prospect.config import ModelSettings, load_config
from prospect.errors import ConfigError
from prospect.models.adapters import quiet_peft
from prospect.models.lora_options import check_options
from prospect.models.merging import write_merged
from prospect.models.policy import load_for_scoring
from prospect.training.prepare import prepare

IDS = torch.arange(24).reshape(2, 12)
TRAIN = {"max_steps": 3, "learning_rate": 1e-2}


def logits(name: Path) -> torch.Tensor:
    with torch.no_grad():
        return load_for_scoring(ModelSettings(name_or_path=str(name))).model(input_ids=IDS).logits


@pytest.mark.parametrize(
    ("options", "saved"),
    [
        ({"use_dora": True, "r": 4, "init_lora_weights": "gaussian"}, "lora_magnitude_vector"),
        ({"modules_to_save": ["lm_head", "norm"], "use_rslora": True}, "lm_head"),
        (
            {
                "rank_pattern": {"q_proj": 3},
                "alpha_pattern": {"v_proj": 5},
                "target_modules": ["q_proj", "v_proj", "k_proj"],
                "layers_to_transform": [1],
                "exclude_modules": ["k_proj"],
            },
            "layers.1.self_attn.q_proj",
        ),
    ],
    ids=["dora", "modules", "patterns"],
)
def test_an_adapter_with_any_options_starts_at_its_reference_and_loads_and_merges_elsewhere(
    recipe: Any, tmp_path: Path, model_path: Path, options: dict[str, Any], saved: str
) -> None:
    from peft import AutoPeftModelForCausalLM

    model = {"name_or_path": str(model_path), "lora": options}
    run = prospect.train(recipe("kto", thumbs(24), model=model, train=TRAIN), quiet=True)
    first = next(row for row in run.metrics() if "loss" in row)
    assert first["rewards/chosen"] == first["rewards/rejected"] == first["kl"] == 0.0
    assert run.config()["model"]["lora"].items() >= options.items()
    with quiet_peft():
        plain = AutoPeftModelForCausalLM.from_pretrained(run.model_path).eval()
    assert any(saved in name for name, p in plain.named_parameters() if "lora_" in name or "modules_to_save" in name)
    with torch.no_grad():
        expected = plain(input_ids=IDS).logits
    assert not torch.allclose(expected, logits(model_path), atol=1e-3)
    torch.testing.assert_close(logits(run.path), expected, rtol=1e-5, atol=1e-6)
    write_merged(ModelSettings(name_or_path=str(run.path)), tmp_path / "merged")
    torch.testing.assert_close(logits(tmp_path / "merged"), expected, rtol=1e-4, atol=1e-5)


def test_patterns_reach_peft(recipe: Any, model_path: Path) -> None:
    model = {"name_or_path": str(model_path), "lora": {"r": 2, "rank_pattern": {"q_proj": 3}, "use_rslora": True}}
    run = prospect.train(recipe("kto", thumbs(8), model=model, train={"max_steps": 1}), quiet=True)
    written = json.loads((run.model_path / "adapter_config.json").read_text())
    assert (written["r"], written["lora_alpha"], written["rank_pattern"]) == (2, 32, {"q_proj": 3})
    assert written["use_rslora"] is True


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"use_dorra": True}, r"model\.lora\.use_dorra: .* no such option of LoraConfig; did you mean use_dora"),
        ({"qqq": 1}, r"model\.lora\.qqq: .*There are alpha, alpha_pattern"),
        ({"bias": "all"}, r"model\.lora\.bias is all, which trains biases of the model itself.*lora_bias: true"),
        ({"init_lora_weights": "pissa"}, r"init_lora_weights is pissa: such a start changes.*Set it to true or gauss"),
        ({"init_lora_weights": False}, r"init_lora_weights is False"),
        ({"layer_replication": [[0, 1]]}, r"model\.lora\.layer_replication repeats layers"),
        ({"task_type": "CAUSAL_LM"}, r"model\.lora\.task_type is filled in by the run"),
        ({"layers_to_transform": 1}, r"layers_to_transform: PEFT counts layers only of modules that are listed"),
        ({"layers_pattern": "h"}, r"model\.lora: .*layers_pattern"),
        ({"lora_alpha": 3}, r"unknown key model\.lora\.lora_alpha; here it is model\.lora\.alpha"),
    ],
)
def test_what_peft_has_not_or_breaks_a_promise_is_refused(options: dict[str, Any], message: str) -> None:
    values = {"model": {"name_or_path": "m", "lora": options}, "data": {"train": "x"}, "output": "run"}
    with pytest.raises(ConfigError, match=message):
        check_options(load_config(values))


@pytest.mark.parametrize(
    ("model", "reference", "message"),
    [
        ({"lora": {"modules_to_save": ["norm"]}, "dtype": "bfloat16"}, {}, r"modules_to_save trains whole modules"),
        ({"lora": {"use_dora": True}, "dtype": "bfloat16"}, {}, r"use_dora divides by lengths .* Leave model\.dtype"),
        ({"lora": {"use_dora": True}}, {"sync": {"every": 2}}, r"reference\.sync adds .* model\.lora\.use_dora"),
        ({"lora": {"modules_to_save": ["nom"]}}, {}, r"model\.lora\.modules_to_save: the model has no module nom"),
        ({"lora": {"rank_pattern": {"qq": 3}}}, {}, r"model\.lora.*: .*rank_pattern keys did not match .*qq"),
    ],
)
def test_what_does_not_go_with_the_rest_is_refused(
    recipe: Any, model_path: Path, model: dict[str, Any], reference: dict[str, Any], message: str
) -> None:
    from prospect.models.policy import load_policy

    values = recipe("kto", thumbs(8), model={"name_or_path": str(model_path), **model}, reference=reference)
    with pytest.raises(ConfigError, match=message):
        prepared = prepare(load_config(values))
        load_policy(prepared.config, prepared.tokenizer)
