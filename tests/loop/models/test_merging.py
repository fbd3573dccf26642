"""`prospect merge`: the folder gives the adapter's logits, whatever the adapter changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

import prospect
from conftest import make_model, pairs
from prospect.cli.main import main
from prospect.config import ModelSettings
from prospect.errors import ModelError
from prospect.evaluation.contest.judges.reward_model import load_scorer
from prospect.models.adapter_files import merge
from prospect.models.adapters import quiet_peft
from prospect.models.merging import write_merged
from prospect.models.policy import load_for_scoring

IDS = torch.arange(24).reshape(2, 12)


def logits(name: Path) -> torch.Tensor:
    with torch.no_grad():
        return load_for_scoring(ModelSettings(name_or_path=str(name))).model(input_ids=IDS).logits


def save_adapter(folder: Path, base: Path, tokenizer: Any, tied: bool = True, **settings: Any) -> Path:
    """An adapter as others make them, with PEFT alone, every weight of it moved."""
    from peft import LoraConfig, get_peft_model

    model = make_model(tie_word_embeddings=tied)
    model.save_pretrained(base)
    tokenizer.save_pretrained(base)
    with quiet_peft():
        adapted = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **{"target_modules": ["q_proj"], **settings}))
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn_like(parameter))
    adapted.peft_config["default"].base_model_name_or_path = str(base)
    adapted.save_pretrained(folder, save_embedding_layers=False)
    return folder


# Two float32 sums in another order, over two layers of 32 numbers: some 1e-6 of logits near 1.
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"use_rslora": True, "r": 4, "lora_alpha": 3},
        {"use_dora": True},
        {"target_modules": ["q_proj", "lm_head"]},
        {"target_modules": ["q_proj", "embed_tokens"]},
        {"modules_to_save": ["norm"]},
        {"trainable_token_indices": [3, 7]},
    ],
    ids=["plain", "rslora", "dora", "head", "embeddings", "norm", "tokens"],
)
@pytest.mark.filterwarnings("ignore:.*tie_word_embeddings.*", "ignore:.*tied.*")
def test_merged_logits_are_the_adapters(tmp_path: Path, tokenizer: Any, tied: bool, settings: dict[str, Any]) -> None:
    """A head that is tied to the embeddings is parted from them where the adapter changes one of the two."""
    adapter = save_adapter(tmp_path / "adapter", tmp_path / "base", tokenizer, tied, **settings)
    write_merged(ModelSettings(name_or_path=str(adapter)), tmp_path / "merged")
    expected = logits(adapter)
    torch.testing.assert_close(logits(tmp_path / "merged"), expected, **CLOSE)
    assert not torch.allclose(logits(tmp_path / "base"), expected, atol=1e-3)
    parted = tied and bool({"lm_head", "embed_tokens"} & set(settings.get("target_modules", ())))
    assert json.loads((tmp_path / "merged/config.json").read_text())["tie_word_embeddings"] is (tied and not parted)


def test_tokens_that_a_run_added_are_merged_with_their_trained_rows(
    recipe: Any, tmp_path: Path, model_path: Path
) -> None:
    model = {"name_or_path": str(model_path), "lora": {"r": 4}}
    run = prospect.train(recipe("csft", model=model, train={"max_steps": 3, "learning_rate": 1e-2}), quiet=True)
    assert main(["merge", str(run.path), "-o", str(tmp_path / "merged")]) == 0
    torch.testing.assert_close(logits(tmp_path / "merged"), logits(run.path), **CLOSE)
    assert load_file(tmp_path / "merged/model.safetensors")["model.embed_tokens.weight"].shape[0] == 302
    assert load_for_scoring(ModelSettings(name_or_path=str(tmp_path / "merged"))).tokenizer.good_token == "<|good|>"


def test_a_merged_folder_has_tokenizer_template_and_a_card_that_says_how_to_load_it(
    recipe: Any, tmp_path: Path, model_path: Path, tokenizer: Any
) -> None:
    model = {"name_or_path": str(model_path), "lora": {"r": 4}}
    run = prospect.train(recipe("kto", model=model, train={"max_steps": 1}), quiet=True)
    from prospect.report.run.model_card import write_model_card

    write_model_card(run.path)
    adapters = (run.model_path / "README.md").read_text()
    assert "AutoPeftModelForCausalLM.from_pretrained" in adapters
    assert yaml.safe_load(adapters.split("---")[1])["library_name"] == "peft"
    assert main(["merge", str(run.path), "-o", str(tmp_path / "merged")]) == 0
    card = (tmp_path / "merged" / "README.md").read_text()
    assert yaml.safe_load(card.split("---")[1])["library_name"] == "transformers"
    assert "AutoModelForCausalLM.from_pretrained" in card and "AutoPeft" not in card
    assert "## Results" in card and "<!--" not in card  # what the run's own card says
    assert (tmp_path / "merged" / "chat_template.jinja").read_text() == tokenizer.chat_template
    assert [path.name for path in tmp_path.glob(".tmp-*")] == []


def test_half_precision_takes_half_the_room(tmp_path: Path, tokenizer: Any) -> None:
    adapter = save_adapter(tmp_path / "adapter", tmp_path / "base", tokenizer)
    for dtype in ("float32", "bfloat16"):
        assert main(["merge", str(adapter), "-o", str(tmp_path / dtype), "--dtype", dtype]) == 0
    sizes = [(tmp_path / dtype / "model.safetensors").stat().st_size for dtype in ("bfloat16", "float32")]
    assert sizes[0] < 0.6 * sizes[1]


def test_a_merge_that_went_wrong_is_noticed(tmp_path: Path, tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    adapter = save_adapter(tmp_path / "adapter", tmp_path / "base", tokenizer)
    adapted = load_for_scoring(ModelSettings(name_or_path=str(adapter))).model
    monkeypatch.setattr(type(adapted), "merge_and_unload", lambda self: self.unload(), raising=False)
    with pytest.raises(ModelError, match=r"could not be merged: logits differ by"):
        merge(adapted)


@pytest.mark.parametrize("what", ["model", "run", "occupied", "file"])
def test_what_cannot_be_merged_is_refused_and_nothing_is_written(
    recipe: Any, tmp_path: Path, tokenizer: Any, model_path: Path, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    output, name = tmp_path / "out", str(model_path)
    if what == "run":
        name = str(prospect.train(recipe("kto", train={"max_steps": 1}), quiet=True).path)
    if what == "occupied":
        name = str(save_adapter(tmp_path / "adapter", tmp_path / "base", tokenizer))
        output.mkdir()
        (output / "mine.txt").write_text("kept")
    if what == "file":
        name = recipe()["data"]["train"]
    assert main(["merge", name, "-o", str(output)]) in (1, 2)
    said = capsys.readouterr().err
    assert {
        "model": "a whole model already, so there is nothing to merge",
        "run": "a whole model already, so there is nothing to merge",
        "occupied": "there is something already. Choose another -o",
        "file": "expected a run directory, an adapter, or a .gguf file",
    }[what] in said
    assert [path.name for path in output.glob("*")] == (["mine.txt"] if what == "occupied" else [])


def test_an_adapter_that_adds_tokens_to_rows_is_refused(tmp_path: Path, tokenizer: Any) -> None:
    from peft import PromptTuningConfig, get_peft_model

    base = tmp_path / "base"
    model = make_model()
    model.save_pretrained(base)
    tokenizer.save_pretrained(base)
    with quiet_peft():
        adapted = get_peft_model(model, PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3))
    adapted.peft_config["default"].base_model_name_or_path = str(base)
    adapted.save_pretrained(tmp_path / "prompt")
    with pytest.raises(ModelError, match="a PROMPT_TUNING adapter adds tokens of its own to every row"):
        load_for_scoring(ModelSettings(name_or_path=str(tmp_path / "prompt")))


# -- reward models --


def save_scorer(folder: Path, base: Path, tokenizer: Any) -> Path:
    """A reward model's adapter as PEFT saves it: the score layer comes with it."""
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaForSequenceClassification

    make_model().save_pretrained(base)
    tokenizer.save_pretrained(base)
    model = LlamaForSequenceClassification.from_pretrained(base, num_labels=1)
    model.config.pad_token_id = 0
    with quiet_peft():
        adapted = get_peft_model(model, LoraConfig(task_type="SEQ_CLS", target_modules=["q_proj"]))
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1)
    adapted.peft_config["default"].base_model_name_or_path = str(base)
    adapted.save_pretrained(folder)
    return folder


def test_a_reward_models_adapter_judges_and_is_merged(tmp_path: Path, tokenizer: Any) -> None:
    adapter = save_scorer(tmp_path / "adapter", tmp_path / "base", tokenizer)
    scores = []
    write_merged(ModelSettings(name_or_path=str(adapter)), tmp_path / "merged")
    for name in (adapter, tmp_path / "merged"):
        model, _ = load_scorer(str(name))
        with torch.no_grad():
            scores.append(model(input_ids=IDS[:1]).logits)
    torch.testing.assert_close(scores[0], scores[1], **CLOSE)
    with pytest.raises(ModelError, match="an adapter for SEQ_CLS; expected one for CAUSAL_LM"):
        load_for_scoring(ModelSettings(name_or_path=str(adapter)))
    assert main(["generate", str(adapter), "--prompts", "x.jsonl", "-o", str(tmp_path / "o.jsonl")]) != 0


def test_a_reward_model_is_trained_on_an_adapter_folded_in(recipe: Any, tmp_path: Path, tokenizer: Any) -> None:
    adapter = save_adapter(tmp_path / "adapter", tmp_path / "base", tokenizer)
    values = recipe("bradley_terry", pairs(8), model={"name_or_path": str(adapter)}, train={"max_steps": 2})
    run = prospect.train(values, quiet=True)
    assert run.config()["model"]["adapter"] == "merge"
    model, _ = load_scorer(str(run.path))
    assert type(model).__name__ == "LlamaForSequenceClassification"
    with pytest.raises(ModelError, match=r"score\.weight is missing"):
        load_scorer(str(adapter))
