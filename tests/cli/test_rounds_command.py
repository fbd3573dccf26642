"""`prospect rounds` from the command line: the embedded world, a dry run, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from prospect.cli.main import main

FEW = ["rounds.prompts_per_round=12", "rounds.samples_per_prompt=2", "rounds.evaluate.prompts=0.1"]
FEW += ["rounds.evaluate.kl_prompts=0", "rounds.stop.no_gain=false", "train.epochs=1", "train.batch_size=8"]


@pytest.mark.slow
def test_the_embedded_world_in_rounds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "rounds"
    command = ["rounds", "online_kto", "--model", "demo", "--rounds", "2", "--output", str(out), "--set", *FEW]
    assert main([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["round"] for one in found["rounds"]] == [0, 1, 2]
    for one in found["rounds"]:
        assert 0 <= one["low"] <= one["rate"] <= one["high"] <= 1 and one["n"] == 40
    assert found["rounds"][0]["desirable"] is None and found["rounds"][1]["desirable"] + found["rounds"][1][
        "undesirable"
    ] == pytest.approx(24, abs=2)
    assert found["stopped"] == "all 2 rounds were made." and found["stop_rule"] == "done" and found["seconds"] > 0
    assert Path(found["report"]).is_file() and (Path(found["model"]) / "model").is_dir()
    assert main(command) == 1
    assert "--resume" in capsys.readouterr().err
    assert main([*command, "--resume"]) == 0  # nothing is left to do
    said = capsys.readouterr().err
    assert "start" in said and "stopped: all 2 rounds were made." in said


@pytest.mark.slow
def test_the_embedded_pictures_in_rounds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the rule of the world as the judge, which half of two thumbs or so passes."""
    few = ["rounds.samples_per_prompt=2", "rounds.evaluate.samples_per_prompt=1", "train.max_steps=2"]
    command = ["rounds", "online_kto", "--model", "demo-images", "--rounds", "1", "--output", str(tmp_path / "rounds")]
    assert main([*command, "--json", "--set", *few]) == 0
    start, one = json.loads(capsys.readouterr().out)["rounds"]
    assert 0 < start["rate"] < 0.8 and start["n"] == one["n"] == 16 and one["kl"] is None
    assert one["desirable"] + one["undesirable"] == 96 and 10 < one["desirable"] < 60
    assert (tmp_path / "rounds" / "round-1" / "run" / "model" / "model_index.json").is_file()


@pytest.mark.parametrize(("protocol", "loss"), [("online_kto", "kto"), ("spin", "dpo"), ("rft", "sft")])
def test_rounds_on_the_embedded_pictures_are_planned(
    protocol: str, loss: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["rounds", protocol, "--model", "demo-images", "--output", str(tmp_path), "--dry-run"]
    assert main(command) == 0
    said = capsys.readouterr().err
    assert f"loss {loss}" in said and "192 a round, of 8 x 8 pixels, in 20 steps" in said and "16 held out" in said


def test_a_dry_run_says_what_would_be_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": f"{i} + 1 =", "target": str(i + 1)}) + "\n" for i in range(20)))
    command = ["rounds", "online_dpo", "--model", "my/model", "--prompts", str(prompts), "--judge", "verifier:numeric"]
    assert main([*command, "--output", str(tmp_path / "out"), "--dry-run"]) == 0
    said = capsys.readouterr().err
    assert "16 to learn from" in said and "4 held out" in said and "64 a round" in said and "loss dpo" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ([], "--model and --prompts"),
        (["--model", "my/model", "--prompts", "nowhere.jsonl"], "rounds.label.judge is missing"),
        (["--model", "my/model", "--prompts", "nowhere.jsonl", "--judge", "verifier:numeric"], "nowhere.jsonl"),
        (["--model", "m", "--prompts", "p", "--judge", "verifier:exact", "--set", "rounds.cuont=1"], 'mean "count"'),
    ],
)
def test_what_is_missing_is_named(more: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rounds", "online_kto", *more]) in (1, 2)
    assert message in capsys.readouterr().err
