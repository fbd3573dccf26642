"""Files as people bring them, through the commands: what is read, what is warned of, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from conftest import write_rows
from prospect.cli.main import main

SETTINGS = ["--set", "train.batch_size=8", "train.max_steps=1", "train.samples=0", "data.eval=null"]


@pytest.fixture
def desk(tmp_path: Path, model_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").symlink_to(model_path)
    return tmp_path


def pair(number: int) -> dict[str, Any]:
    return {"question": f"the quick {number}", "chosen": " fox", "rejected": " dog"}


def thumb(number: int, **more: Any) -> dict[str, Any]:
    return {"prompt": f"the quick {number}", "completion": " fox", "thumbs": "up", **more}


def test_pairs_with_a_question_are_trained_on(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_rows(desk / "pairs.jsonl", [pair(number) for number in range(8)])
    assert main(["train", "DPO", "--model", "model", "--data", "pairs.jsonl", "--output", "run", *SETTINGS]) == 0
    data = json.loads(Path("run/provenance.json").read_text())["data"]["train"]
    assert (data["kind"], data["rows"], data["prompts"]) == ("paired", 8, 8)
    assert "warning" not in capsys.readouterr().err


def test_a_verdict_that_is_ignored_is_told_before_and_while_training(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_rows(desk / "thumbs.jsonl", [thumb(number) for number in range(8)])
    said = "column thumbs looks like a verdict and is ignored, in 8 rows"
    arguments = ["train", "sft", "--model", "model", "--data", "thumbs.jsonl", "--output", "run", *SETTINGS]
    assert main([*arguments, "--dry-run"]) == 0
    assert said in " ".join(capsys.readouterr().out.split())
    assert main(arguments) == 0
    assert f"warning: {said}" in capsys.readouterr().err


def test_thumbs_in_words_are_refused_by_training_with_the_command_that_reads_them(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [thumb(number, thumbs="up" if number % 2 else "down") for number in range(8)]
    write_rows(desk / "thumbs.jsonl", [{**row, "response": row["completion"], "completion": None} for row in rows])
    train = ["train", "kto", "--model", "model", "--output", "run", *SETTINGS]
    assert main([*train, "--data", "thumbs.jsonl"]) == 1
    assert "prospect data import FILE -o OUT.jsonl" in capsys.readouterr().err
    assert main(["data", "import", "thumbs.jsonl", "-o", "imported.jsonl"]) == 0
    told = capsys.readouterr().err
    assert "thumbs is taken as label" in told and "4 desirable, 4 undesirable" in told
    assert main([*train, "--data", "imported.jsonl"]) == 0


def test_generate_takes_conversations(desk: Path) -> None:
    turns = [{"from": "human", "value": "the fox"}, {"from": "gpt", "value": "ran"}]
    write_rows(desk / "talk.jsonl", [{"prompt": "the quick"}, {"question": "the dog"}])
    write_rows(desk / "chat.jsonl", [{"conversations": turns}])
    command = ["generate", "model", "--max-new-tokens", "2", "-o", "out.jsonl", "--prompts"]
    assert main([*command, "talk.jsonl"]) == 0
    rows = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]
    assert [row["prompt"] for row in rows] == ["the quick", "the dog"]
    assert main([*command, "chat.jsonl"]) == 0
    (row,) = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]
    assert row["prompt"] == [{"role": "user", "content": "the fox"}]


def test_two_files_of_completions_need_no_data(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    turn = [{"role": "user", "content": "the dog "}]
    write_rows(desk / "a.jsonl", [{"prompt": p, "completion": "cat", "target": "cat"} for p in ("the fox", "the dog")])
    write_rows(desk / "b.jsonl", [{"prompt": "the fox\n", "completion": "hen"}, {"prompt": turn, "completion": "cat"}])
    command = ["contest", "a.jsonl", "--against", "b.jsonl", "--judge", "verifier:exact", "--json", "-o", "out.json"]
    assert main(command) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["n"], result["data"]["left_out"], result["data"]["source"]) == (2, 0, "a.jsonl")
    assert main(["contest", "a.jsonl", "--judge", "verifier:exact"]) == 2, "there is nothing to compare it with"
