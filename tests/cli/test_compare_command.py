"""`prospect compare`: its plan, its errors, its table and its JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import thumbs, write_rows
from prospect.cli.main import main


@pytest.fixture
def study(tmp_path: Path, model_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Writes a study of one method and two seeds, with changes; the test's folder is where it runs."""
    monkeypatch.chdir(tmp_path)
    rows = thumbs(45, prompts=9)
    write_rows(tmp_path / "train.jsonl", rows[:30])
    write_rows(tmp_path / "held_out.jsonl", [{**row, "prompt": "now " + row["prompt"]} for row in rows[30:]])

    def make(**changes: Any) -> str:
        values: dict[str, Any] = {
            "world": {"kind": "files", "model": str(model_path), "data": "train.jsonl", "held_out": "held_out.jsonl"},
            "recipe": {"train": {"batch_size": 8, "max_steps": 1, "learning_rate": 1e-3}},
            "methods": {"kto": {"loss": "kto"}, "dpo": {"loss": "dpo"}},
            "seeds": [0],
            "baseline": {"method": "dpo"},
        }
        Path("mine.yaml").write_text(yaml.safe_dump(values | changes, sort_keys=False))
        return "mine.yaml"

    return make


def test_a_study_becomes_a_table_a_json_and_a_folder(study: Callable[..., str], capsys: Any) -> None:
    path = study()
    assert main(["compare", path, "--jobs", "1"]) == 0
    out, err = capsys.readouterr()
    assert "| method | held-out accuracy, % | less dpo |" in out, err
    assert "[2/2] dpo · as it is · seed 0" in err
    folder = Path("runs/mine")
    assert Path(folder / "table.md").read_text() == out[:-1]
    stored = json.loads((folder / "result.json").read_text())
    assert main(["compare", path, "--json", "--csv", "cells.csv"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == stored
    lines = Path("cells.csv").read_text().splitlines()
    assert lines[0].startswith("method,condition,loss.name,measure,unit,mean,low,high") and len(lines) == 7
    assert stored["format"] == "prospect.study/1.2"
    assert "[1/" not in err  # nothing was run again
    assert yaml.safe_load((folder / "study.yaml").read_text())["methods"] == {
        "kto": {"loss": {"name": "kto"}},
        "dpo": {"loss": {"name": "dpo"}},
    }


def test_a_dry_run_shows_the_runs_and_makes_none(study: Callable[..., str], capsys: Any) -> None:
    path = study(methods={"sft": {"loss": "sft"}, "kto": {"loss": "kto", "after": "sft"}}, baseline="start")
    assert main(["compare", path, "--dry-run", "-o", "out"]) == 0
    err = capsys.readouterr().err
    assert "to run  kto · as it is · seed 0, from the model of sft" in err
    assert "2 runs, 0 of them done" in err
    assert not Path("out").exists()
    assert main(["compare", path, "--dry-run", "--json", "--only", "sft"]) == 0
    shown = json.loads(capsys.readouterr().out)
    run = {"method": "sft", "condition": "as it is", "seed": 0, "after": None, "tuning": False, "done": False}
    assert (shown["runs"], shown["done"]) == ([run], 0)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nowhere.yaml"], 2, "ConfigError: nowhere.yaml: there is no such study."),
        (["mine.yaml", "-o", "train.jsonl"], 1, "OutputError: train.jsonl: is a file; expected the name of a folder"),
        (["mine.yaml", "--jobs", "0"], 2, "UsageError: --jobs 0: expected a whole number of at least 1."),
        (["mine.yaml", "--only", "ktoo"], 2, 'there is no method or condition "ktoo"; did you mean "kto"?'),
        (["mine.yaml", "--set", "world.data=no.jsonl"], 1, "DataError: no.jsonl"),
        (["mine.yaml", "--set", "world.kind=dmo"], 2, 'there is no world "dmo"; did you mean "demo"?'),
        (["mine.yaml", "--set", "primary=drift"], 2, "of which neither more nor less is better"),
        (["mine.yaml", "--set", "world.model=$NO_SUCH_VARIABLE"], 2, "the environment variable NO_SUCH_VARIABLE"),
    ],
)
def test_what_is_wrong_is_said_before_anything_runs(
    arguments: list[str], code: int, message: str, study: Callable[..., str], capsys: Any
) -> None:
    study()
    assert main(["compare", "--jobs", "1", *arguments]) == code
    err = capsys.readouterr().err
    assert message in err
    assert "Traceback" not in err
    assert "[1/" not in err


def test_labels_in_other_words_are_read_by_a_map(study: Callable[..., str], capsys: Any) -> None:
    study()
    for name in ("train", "held_out"):
        rows = [json.loads(line) for line in Path(f"{name}.jsonl").read_text().splitlines()]
        write_rows(Path(f"{name}.jsonl"), [{**row, "label": "good" if row["label"] else "bad"} for row in rows])
    path = study(methods={"kto": {"loss": "kto"}}, baseline="start")
    assert main(["compare", path, "--jobs", "1"]) == 1
    assert 'label is "good"' in capsys.readouterr().err
    assert main(["compare", path, "--jobs", "1", "--set", "world.label_map={good: true, bad: false}"]) == 0


def test_a_run_that_fails_makes_the_command_fail_after_the_others_are_done(
    study: Callable[..., str], capsys: Any
) -> None:
    path = study(
        conditions={"all": {}, "one class": {"keep_undesirable": 0.0}},
        methods={"kto": {"loss": "kto"}},
        baseline="start",
    )
    assert main(["compare", path, "--jobs", "1"]) == 1
    out, err = capsys.readouterr()
    assert "[2/2] kto · one class · seed 0: failed: DataError" in err
    assert "kto (one class) could not be run with seed 0" in out
