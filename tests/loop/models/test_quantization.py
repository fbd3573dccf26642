"""Adapters on frozen weights in 8 or 4 bits: the reference is the same quantised model, to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import prospect
from conftest import make_model, thumbs
from prospect.cli.main import main
from prospect.config import ModelSettings, load_config
from prospect.errors import ConfigError
from prospect.evaluation.answers.subject import find_subject
from prospect.models.adapters import quiet_peft
from prospect.models.policy import load_for_scoring
from prospect.models.quantization import saved_by_quantization
from prospect.training.prepare import prepare
from runs import killed_after, same

IDS = torch.arange(24).reshape(2, 12)
TRAIN = {"max_steps": 4, "learning_rate": 1e-2, "save_every": 1, "batch_size": 6}


def logits(settings: ModelSettings) -> torch.Tensor:
    with torch.no_grad():
        return load_for_scoring(settings, "fp32").model(input_ids=IDS).logits


@pytest.fixture
def wide(tmp_path: Path, tokenizer: Any) -> Path:
    """Wide enough for blocks of 64 numbers."""
    make_model(hidden_size=64, intermediate_size=128).save_pretrained(tmp_path / "wide")
    tokenizer.save_pretrained(tmp_path / "wide")
    return tmp_path / "wide"


@pytest.mark.parametrize("kind", ["int8", "nf4"])
@pytest.mark.filterwarnings("ignore:Merge lora module.*")
def test_a_run_on_quantised_weights_starts_at_zero_resumes_to_the_same_bits_and_is_merged(
    recipe: Any, tmp_path: Path, wide: Path, kind: str
) -> None:
    pytest.importorskip("bitsandbytes")
    model = {"name_or_path": str(wide), "lora": {"r": 4}, "quantization": kind}
    values = recipe("kto", thumbs(24), model=model, train=TRAIN)
    whole = prospect.train({**values, "output": str(tmp_path / "whole")}, quiet=True)
    with killed_after(2):
        prospect.train(values, quiet=True)
    run = prospect.train(values, resume=True, quiet=True)
    assert same(whole, run)
    first = next(row for row in run.metrics() if "loss" in row)
    assert first["rewards/chosen"] == first["rewards/rejected"] == first["kl"] == 0.0

    plain, held = ModelSettings(name_or_path=str(wide)), ModelSettings(name_or_path=str(wide), quantization=kind)  # type: ignore[arg-type]
    rounding = float((logits(held) - logits(plain)).abs().max())
    assert 1e-4 < rounding < 1.0
    bits, floats = load_for_scoring(held), load_for_scoring(plain)
    assert bits.identity != floats.identity
    held_bytes, float_bytes = (sum(t.nbytes for t in one.model.state_dict().values()) for one in (bits, floats))
    expected = saved_by_quantization(floats.model.requires_grad_(False), held)
    assert float_bytes - held_bytes == pytest.approx(expected, rel=0.05)
    trained = logits(find_subject(run.path).settings)  # as a run is evaluated: on the quantised weights
    assert main(["merge", str(run.path), "-o", str(tmp_path / "merged")]) == 0
    merged = logits(ModelSettings(name_or_path=str(tmp_path / "merged")))
    torch.testing.assert_close(merged, trained, rtol=1e-4, atol=1e-4)

    from peft import AutoPeftModelForCausalLM

    with quiet_peft(), torch.no_grad():
        elsewhere = AutoPeftModelForCausalLM.from_pretrained(run.model_path).eval()(input_ids=IDS).logits
    assert 1e-4 < float((elsewhere - trained).abs().max()) < 2 * rounding + 0.1  # on the weights that were not rounded


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": {"lora": None}}, r"model\.quantization is nf4 and all weights are trained.*Set model\.lora: true"),
        ({"reference": {"kind": "frozen"}}, r"is nf4 and reference\.kind is frozen\. Leave it out"),
        ({"reference": {"sync": {"every": 2}}}, r"is nf4 and reference\.sync adds the adapter"),
        ({"train": {"parallel": "fsdp"}}, r"is nf4 and train\.parallel is fsdp"),
        ({"loss": {"name": "bradley_terry"}}, r"is nf4 and a reward model is saved whole"),
    ],
)
def test_what_quantised_weights_cannot_do_is_refused(
    recipe: Any, monkeypatch: pytest.MonkeyPatch, model_path: Path, changes: dict[str, Any], message: str
) -> None:
    monkeypatch.setattr("prospect.models.quantization.require_bitsandbytes", lambda *_: None)
    sections = {"model": {"name_or_path": str(model_path), "lora": {"r": 2}, "quantization": "nf4"}}
    values = recipe(changes.get("loss", {"name": "kto"}), **sections)
    for section, change in changes.items():
        values[section] = {**values.get(section, {}), **change}
    with pytest.raises(ConfigError, match=message):
        prepare(load_config(values))
