"""Each verb as a subprocess in a folder of its own, as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from conftest import pairs, thumbs, write_rows
from prospect.cli.main import main


def prospect(*arguments: str | Path, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "prospect", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env={**os.environ, **environment})


def test_train_writes_a_run_and_a_report_and_says_where(tmp_path: Path, model_path: Path) -> None:
    write_rows(tmp_path / "thumbs.jsonl", thumbs(40))
    done = prospect(
        "train", "kto", "--model", model_path, "--data", "thumbs.jsonl", "--output", "out", "--json",
        "--set", "train.batch_size=8", "train.learning_rate=1e-3", "data.eval=0.2", "train.sample_tokens=8",
        folder=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["run"] == "out" and Path(tmp_path, result["report"]).stat().st_size > 10_000
    assert 0 <= result["eval"]["eval_rewards/auroc"] <= 1
    # stderr is no terminal here: plain lines, no control characters.
    assert "step 4/4" in done.stderr and "\x1b" not in done.stderr and "\r" not in done.stderr.replace("\r\n", "")
    phases = ("loading PyTorch", "reading the", "loading the model", "held out at step 0", "writing 8 samples ...",
              "step 1/4", "step 4/4", "held out at step 4", "saving the model", "writing the report")  # fmt: skip
    places = [done.stderr.index(phase) for phase in phases]
    assert places == sorted(places)
    assert "The evaluation counts only 8 rows" in [worry["title"] for worry in result["worries"]]
    again = prospect("report", "out", folder=tmp_path)
    assert again.returncode == 0 and again.stdout.strip() == "out/report.html"


def test_training_ends_with_what_to_worry_about_unless_quiet(
    tmp_path: Path, model_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = write_rows(tmp_path / "thumbs.jsonl", thumbs(40))
    command = ["train", "kto", "--model", str(model_path), "--data", str(rows)]
    settings = ["--set", "train.batch_size=16", "data.eval=0.2", "train.samples=0"]
    assert main([*command, "--output", str(tmp_path / "told"), *settings]) == 0
    said = capsys.readouterr().err.splitlines()
    assert said[-2].startswith("report  ") and said[-1].startswith("worry   The evaluation counts only 8 rows. A share")
    assert main([*command, "--output", str(tmp_path / "quiet"), "--quiet", *settings]) == 0
    assert capsys.readouterr().err == ""


def test_dry_run_shows_everything_and_writes_nothing(tmp_path: Path, model_path: Path) -> None:
    write_rows(tmp_path / "pairs.jsonl", pairs(12))
    arguments = ("train", "dpo", "--model", model_path, "--data", "pairs.jsonl", "--output", "out", "--dry-run")
    done = prospect(*arguments, "--set", "data.eval=null", "train.batch_size=4", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    for part in (
        "batch_size: 4",
        "first rows: scored tokens in ⟦ ⟧ ─",  # whole, on 80 columns
        "12 paired examples",
        "12 desirable, 12 undesirable",
        "steps        3",
        "memory       about",
    ):
        assert part in done.stdout
    plain = "12 of 12 rows go to the model as they are, without the chat template that it has; data.plain_as_chat: true"
    assert plain in " ".join(done.stdout.split())
    facts = json.loads(
        prospect(*arguments, "--json", "--set", "data.eval=null", "train.batch_size=4", folder=tmp_path).stdout
    )
    assert facts["plain_rows"] == 12
    assert facts["steps"] == 3 and facts["data"]["train"]["rows"] == 12
    assert facts["rows"][0][0]["scored"][-1] == "</s>"
    parts = ("libraries", "weights", "gradients", "optimizer", "reference", "activations")
    assert facts["memory"]["total"] == sum(facts["memory"][part] for part in parts)
    assert [path.name for path in tmp_path.iterdir()] == ["pairs.jsonl"]


@pytest.mark.slow
def test_dry_run_says_how_z0_is_estimated_and_what_its_samples_cost(tmp_path: Path, model_path: Path) -> None:
    write_rows(tmp_path / "thumbs.jsonl", thumbs(40))
    arguments = (
        "train",
        "kto",
        "--model",
        model_path,
        "--data",
        "thumbs.jsonl",
        "--output",
        "out",
        "--dry-run",
        "--set",
    )
    settings = ("data.eval=null", "train.batch_size=4", "reference_point=sampled", "reference_point.max_new_tokens=7")
    done = prospect(*arguments, *settings, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    said = (
        "z0 from 16 completions that the policy writes every 4 steps, of at most 7 tokens: 3 times, at most 336 tokens "
        "in all"
    )
    assert said in " ".join(done.stdout.split())
    done = prospect(*arguments, "data.eval=null", folder=tmp_path)
    assert "z0 from each prompt with another prompt's completion, over each step" in " ".join(done.stdout.split())
    done = prospect("train", "kto_no_z0", *arguments[2:], "reference_point=sampled", folder=tmp_path)
    assert done.returncode == 2
    assert "reference_point is sampled and loss kto_no_z0 has no reference point" in done.stderr


def test_losses_lists_and_shows(tmp_path: Path) -> None:
    table = prospect("losses", folder=tmp_path).stdout
    assert all(name in table for name in ("kto", "dpo", "sft", "bradley_terry"))
    assert "lambda_D s(-beta (r - z0))" in prospect("losses", "kto", folder=tmp_path).stdout
    records = json.loads(prospect("losses", "--json", folder=tmp_path).stdout)
    assert {record["name"]: record["hyperparameters"] for record in records}["kto"]["beta"] == 0.1


def test_data_convert_goes_both_ways_and_counts(tmp_path: Path) -> None:
    write_rows(tmp_path / "pairs.jsonl", pairs(5))
    there = prospect("data", "convert", "pairs.jsonl", "--to", "unpaired", "-o", "thumbs.jsonl", folder=tmp_path)
    assert there.returncode == 0 and "5 paired rows in, 10 unpaired rows out" in there.stderr
    back = prospect("data", "convert", "thumbs.jsonl", "--to", "paired", "-o", "back.jsonl", folder=tmp_path)
    assert back.returncode == 0
    texts = [
        [json.loads(line)[side] for side in ("chosen", "rejected")]
        for line in (tmp_path / "back.jsonl").read_text().splitlines()
    ]
    assert texts == [[row["chosen"], row["rejected"]] for row in pairs(5)]


def test_generate_writes_completions_that_load_as_feedback(tmp_path: Path, model_path: Path) -> None:
    from prospect import load_feedback

    write_rows(
        tmp_path / "prompts.jsonl", [{"prompt": "the quick"}, {"prompt": [{"role": "user", "content": "hello"}]}]
    )
    arguments = (
        "generate",
        model_path,
        "--prompts",
        "prompts.jsonl",
        "-o",
        "out.jsonl",
        "--samples",
        "2",
        "--max-new-tokens",
        "6",
    )
    done = prospect(*arguments, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    rows: Any = load_feedback(tmp_path / "out.jsonl")
    assert [row.kind for row in rows] == ["demonstration"] * 4
    first = (tmp_path / "out.jsonl").read_bytes()
    assert prospect(*arguments, folder=tmp_path).returncode == 0
    assert (tmp_path / "out.jsonl").read_bytes() == first


def test_help_and_version_start_without_torch(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "class Block:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in {'torch', 'transformers', 'peft', 'datasets'}: raise ImportError(name)\n"
        "sys.meta_path.insert(0, Block())\n"
        "from prospect.cli.main import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    rows = write_rows(tmp_path / "p.jsonl", pairs(2))
    for arguments in (
        ["--help"],
        ["--version"],
        ["data", "convert", str(rows), "--to", "unpaired", "-o", str(tmp_path / "o.jsonl")],
    ):
        done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("method", ["kto"])
def test_demo_beats_its_start(tmp_path: Path, method: str) -> None:
    """The whole command, smaller by one setting: fewer customers."""
    script = (
        "import sys, prospect.demo.run as r\n"
        "r.PROMPTS, r.HELD_OUT = 160, 100\n"
        "from prospect.cli.main import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    command = [sys.executable, "-c", script, "demo", "--method", method, "--json", "--output", str(tmp_path / "demo")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["method"] == method and set(result) >= {"before", "after", "win_rate", "seconds", "report"}
    assert result["before"]["high"] < result["after"]["low"]
    assert result["win_rate"]["low"] > 0.5
    assert result["before"]["n"] == result["after"]["n"] == result["win_rate"]["n"] == 100
    assert Path(result["report"]).exists()
    assert "all rules" in done.stderr
