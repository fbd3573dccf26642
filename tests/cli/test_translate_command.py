"""`prospect translate` as a command: what goes where, and its exit codes."""

from __future__ import annotations

from pathlib import Path

import pytest

from prospect.cli.main import main
from prospect.config import load_config

COMMAND = "trl kto --model_name_or_path my/model --dataset_name thumbs.jsonl --beta 0.2"


def test_the_recipe_is_on_stdout_and_what_became_of_keys_on_stderr(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["translate", COMMAND]) == 0
    out, err = capsys.readouterr()
    (tmp_path / "recipe.yaml").write_text(out)
    config = load_config(tmp_path / "recipe.yaml")
    assert config.loss.hyperparameters["beta"] == 0.2 and config.train.batch_size == 8
    assert "TRL -> kto" in err and "its defaults, where ours are others" in err and "loss.beta: 0.2" in err


def test_a_file_is_never_replaced_unasked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("mine")
    assert main(["translate", COMMAND, "-o", str(path)]) == 1
    assert path.read_text() == "mine" and "is there already" in capsys.readouterr().err
    assert main(["translate", COMMAND, "-o", str(path), "--force"]) == 0
    assert load_config(path).data.train == "thumbs.jsonl" and capsys.readouterr().out == ""


@pytest.mark.parametrize(("more", "code"), [("", 0), (" --made_up \x1b[2J", 1), (" --use_dora", 0), (" --packing", 0)])
def test_strict_fails_where_something_is_lost(more: str, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["translate", COMMAND + more]) == 0
    assert main(["translate", COMMAND + more, "--strict"]) == code
    out, err = capsys.readouterr()
    assert more.split(" --")[-1].split()[0] in err if more else True
    assert "\x1b" not in out + err


def test_a_command_without_quotes_is_told_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["translate", *COMMAND.split()])
    assert "a command line stands in quotes" in capsys.readouterr().err


def test_keys_to_accounts_are_never_shown(capsys: pytest.CaptureFixture[str]) -> None:
    keys = "--hub_token hf_abc --swanlab_api_key hf_abc --HF_TOKEN hf_abc --pad_token '<pad>'"
    assert main(["translate", f"llamafactory-cli train --stage kto {keys}"]) == 0
    out, err = capsys.readouterr()
    assert "hf_abc" not in out + err and err.count("***") == 3 and "<pad>" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nothing.yaml"], "there is no such config"),
        (["swift rlhf --rlhf_type grpo"], "grpo samples while it trains"),
        (["a b c"], "nor a command of a trainer that is known"),
        ([COMMAND, "--processes", "0"], "--processes is 0"),
    ],
)
def test_wrong_usage_ends_with_2(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["translate", *words]) == 2
    assert said in capsys.readouterr().err
