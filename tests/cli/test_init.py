"""`prospect init`: the recipe that it writes says why, trains as it is, and replaces none."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from conftest import pairs, thumbs, write_rows
from prospect.cli.main import main
from prospect.config import load_config


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path / "thumbs.jsonl", thumbs(45, prompts=15))
    write_rows(tmp_path / "pairs.jsonl", pairs(160))
    return tmp_path


@pytest.mark.slow
def test_the_recipe_trains_as_it_is_written(here: Path, model_path: Path) -> None:
    assert main(["init", "thumbs.jsonl", "--model", str(model_path)]) == 0
    assert main(["train", "recipe.yaml", "--quiet"]) == 0
    assert (here / "runs" / "kto" / "report.html").is_file()
    assert main(["init", "thumbs.jsonl", "--model", str(model_path), "-o", "next.yaml"]) == 0
    assert load_config(here / "next.yaml").output == "runs/kto-2"  # the first holds a run


def test_every_line_has_a_comment_and_the_feedback_decides(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "pairs.jsonl", "--model", "some/Model-7B-Instruct", "-o", "mine.yaml"]) == 0
    text = (here / "mine.yaml").read_text()
    bare = [line for line in text.splitlines() if line and "# " not in line and not line.startswith("#")]
    assert {line.strip() for line in bare} <= {"model:", "data:", "loss:", "train:"}
    config = load_config(here / "mine.yaml")
    assert config.loss.name in ("dpo", "ipo") and config.model.lora is not None
    assert "billion parameters" in text and "because " in capsys.readouterr().err


def test_flags_win_over_the_advice(here: Path) -> None:
    words = ["--model", "some/Model-7B", "--method", "sft", "--no-lora", "--run", "runs/mine"]
    assert main(["init", "pairs.jsonl", *words]) == 0
    config = load_config(here / "recipe.yaml")
    assert (config.loss.name, config.model.lora, config.output) == ("sft", None, "runs/mine")


def test_a_recipe_that_is_there_stays(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "recipe.yaml").write_text("mine")
    assert main(["init", "thumbs.jsonl"]) == 1
    assert "is there already" in capsys.readouterr().err and (here / "recipe.yaml").read_text() == "mine"
    assert main(["init", "thumbs.jsonl", "--force"]) == 0
    assert load_config(here / "recipe.yaml").model.name_or_path == "my/model"


def test_what_cannot_be_trained_on_is_said(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [json.dumps({"prompt": "p", "completion": f"c{i}", "label": False}) for i in range(30)]
    (here / "bad.jsonl").write_text("\n".join(rows))
    assert main(["init", "bad.jsonl"]) == 1
    assert not (here / "recipe.yaml").exists() and "DataError: " in capsys.readouterr().err


def test_it_asks_on_a_terminal_and_nowhere_else(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["init"]) == 2
    assert "prospect init needs FILE" in capsys.readouterr().err
    monkeypatch.setattr("prospect.cli.init._on_terminal", lambda: True)
    monkeypatch.setattr("sys.stdin", io.StringIO("thumbs.jsonl\nsome/model\n"))
    assert main(["init"]) == 0
    config = load_config(here / "recipe.yaml")
    assert (config.data.train, config.model.name_or_path) == ("thumbs.jsonl", "some/model")
