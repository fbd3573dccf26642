"""A model's folder is tried as a server loads it: each thing that can be wrong is said, with what to do."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from conftest import write_rows
from prospect.cli.main import main
from prospect.config import ModelSettings
from prospect.demo.base import BASE
from prospect.errors import UsageError
from prospect.evaluation.handover.check import check_model
from prospect.models.merging import write_merged
from prospect.results.model_check import ModelCheck, ModelFinding
from prospect.training.train import train

TOKENS = 48  # the desk's longest reply of these
QUESTIONS = ["Where is my parcel?", "I paid two times for one radio.", "The mixer is broken.", "What now?"]


def chat(i: int) -> dict[str, Any]:
    asked = [{"role": "user", "content": QUESTIONS[i % 4]}]
    return {"prompt": asked, "completion": [{"role": "assistant", "content": "On its way."}], "label": i % 2 == 0}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA run of one step on the desk's model, whose answers end."""
    folder = tmp_path_factory.mktemp("handover")
    config = {
        "model": {"name_or_path": str(BASE), "lora": {"r": 2}},
        "data": {"train": str(write_rows(folder / "chats.jsonl", [chat(i) for i in range(8)])), "eval": None},
        "loss": {"name": "kto"},
        "train": {"batch_size": 8, "learning_rate": 1e-4, "max_steps": 1, "samples": 0, "save_every": None},
        "output": str(folder / "run"),
    }
    return train(config, quiet=True).path


@pytest.fixture(scope="module")
def merged(run: Path) -> Path:
    write_merged(ModelSettings(name_or_path=str(run)), run.parent / "merged")
    return run.parent / "merged"


@pytest.fixture
def copy(run: Path, merged: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Copies the run or the merged folder, to be broken."""

    def of(name: str) -> Path:
        return Path(shutil.copytree(run if name == "run" else merged, tmp_path / name))

    return of


def states(found: ModelCheck) -> dict[str, str]:
    return {finding.name: finding.state for finding in found.findings}


def wrong(found: ModelCheck) -> ModelFinding:
    (one,) = (finding for finding in found.findings if finding.state == "wrong")
    assert one.do
    return one


ALL_WELL = dict.fromkeys(("files", "loading", "template", "end_token", "answer", "log_probs"), "ok")


def test_a_run_its_adapter_and_what_is_merged_of_it_are_well(run: Path, merged: Path) -> None:
    for name, named in ((run, None), (run / "model", None), (merged, run)):
        found = check_model(name, named, max_new_tokens=TOKENS)
        assert states(found) == ALL_WELL and found.passed
        assert found.kind == ("model" if name == merged else "adapter") and len(found.rows) == 3
        shown = f"<|begin|><|user|>{QUESTIONS[0]}<|assistant|>"
        assert found.rows[0].served == found.rows[0].trained == shown
        assert any(row.finished for row in found.rows)


def test_without_a_run_what_training_saw_is_unknown(merged: Path) -> None:
    found = check_model(merged, max_new_tokens=TOKENS)
    assert states(found) == {**ALL_WELL, "template": "unknown"} and found.passed
    assert found.rows_from == "questions of our own"


def test_a_pickle_in_the_folder_is_named(copy: Callable[[str], Path], run: Path) -> None:
    folder = copy("merged")
    (folder / "training_args.bin").write_bytes(b"")
    assert wrong(check_model(folder, run, max_new_tokens=TOKENS)).found.startswith("training_args.bin: pickle")


def test_a_missing_shard_is_named(copy: Callable[[str], Path]) -> None:
    folder = copy("merged")
    (folder / "model.safetensors").rename(folder / "model-1.safetensors")
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    found = check_model(folder)
    assert "model-2.safetensors is not there" in found.findings[0].found
    assert states(found) == {"files": "wrong", "loading": "wrong"}


def test_another_chat_template_is_seen(copy: Callable[[str], Path], run: Path) -> None:
    folder = copy("merged")
    template = folder / "chat_template.jinja"
    template.write_text(template.read_text().replace("message['content']", "message['content'] | trim | upper"))
    found = check_model(folder, run, max_new_tokens=TOKENS)
    assert states(found)["template"] == "wrong"
    assert "WHERE IS MY PARCEL?" in found.rows[0].served and "Where is my" in str(found.rows[0].trained)
    template.unlink()
    assert "chat_template.jinja" in wrong(check_model(folder, run, max_new_tokens=TOKENS)).do


def test_what_the_recipe_does_to_system_turns_a_server_does_not(copy: Callable[[str], Path], tmp_path: Path) -> None:
    folder, row = copy("run"), chat(0)
    recipe = folder / "config.yaml"
    recipe.write_text(recipe.read_text().replace("system_role: keep", "system_role: fold"))
    row["prompt"].insert(0, {"role": "system", "content": "Be kind."})
    found = check_model(folder, data=str(write_rows(tmp_path / "kind.jsonl", [row])), max_new_tokens=TOKENS)
    assert states(found) == {**ALL_WELL, "template": "wrong"}
    assert "a server cannot render" in wrong(found).found and "system_role: fold" in wrong(found).do


def test_an_end_token_at_which_nothing_stops_is_seen(copy: Callable[[str], Path], run: Path) -> None:
    folder = copy("merged")
    settings = json.loads((folder / "generation_config.json").read_text())
    (folder / "generation_config.json").write_text(json.dumps({**settings, "eos_token_id": 0}))
    found = check_model(folder, run, max_new_tokens=TOKENS)
    assert states(found) == {**ALL_WELL, "end_token": "wrong", "answer": "wrong"}
    advice = next(finding.do for finding in found.findings if finding.name == "end_token")
    assert '"eos_token_id": [0, 2]' in advice


def test_answers_that_are_cut_are_no_answers(merged: Path, run: Path) -> None:
    assert wrong(check_model(merged, run, max_new_tokens=2)).name == "answer"


def test_other_weights_are_seen_and_half_precision_is_not_blamed(copy: Callable[[str], Path], run: Path) -> None:
    folder = copy("merged")
    weights = load_file(folder / "model.safetensors")
    half = {name: value.to(torch.bfloat16) for name, value in weights.items()}
    settings = json.loads((folder / "config.json").read_text())
    save_file(half, folder / "model.safetensors", {"format": "pt"})
    assert wrong(check_model(folder, run, max_new_tokens=TOKENS)).name == "log_probs"
    (folder / "config.json").write_text(json.dumps({**settings, "dtype": "bfloat16"}))
    assert check_model(folder, run, max_new_tokens=TOKENS).passed
    damaged = {name: value + 0.02 if "norm" in name else value for name, value in weights.items()}
    save_file(damaged, folder / "model.safetensors", {"format": "pt"})
    assert states(check_model(folder, run, max_new_tokens=TOKENS))["log_probs"] == "wrong"


def test_what_is_no_folder_of_a_language_model_is_refused(tmp_path: Path, merged: Path) -> None:
    with pytest.raises(UsageError, match="expected a run directory"):
        check_model(merged, merged)
    with pytest.raises(UsageError, match="a folder"):
        check_model("owner/name")


def test_the_command_says_all_of_it_and_exits_by_it(
    copy: Callable[[str], Path], run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copy("merged")
    assert main(["check-model", str(folder), "--run", str(run), "--max-new-tokens", str(TOKENS), "--json"]) == 0
    assert ModelCheck.parse(json.loads(capsys.readouterr().out), "stdout").passed
    assert main(["check-model", str(folder), "--run", str(run), "--max-new-tokens", "2"]) == 1
    said = capsys.readouterr().out
    assert "ok       template   3 prompts are, to the token" in said and "wrong    answer" in said
    assert main(["check-model", str(folder), "--max-new-tokens", "0"]) == 2
