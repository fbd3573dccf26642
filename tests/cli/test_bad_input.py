"""Bad input, each kind once, through the command line: the message says what, where, what was found, what to do."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from conftest import thumbs, write_rows
from prospect.cli.main import main


@pytest.fixture
def attempt(
    tmp_path: Path, model_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Any:
    """Runs `prospect train` on the given file contents and gives (exit code, what it printed on stderr)."""
    monkeypatch.chdir(tmp_path)

    def run(
        content: str | bytes | list[dict[str, Any]], *extra: str, loss: str = "kto", name: str = "feedback.jsonl"
    ) -> tuple[int, str]:
        if isinstance(content, list):
            write_rows(Path(name), content)
        elif isinstance(content, bytes):
            Path(name).write_bytes(content)
        else:
            Path(name).write_text(content)
        settings = ["--set", "train.batch_size=8", "train.samples=0", "data.eval=null"]
        code = main(
            ["train", loss, "--model", str(model_path), "--data", name, "--output", "run", "--quiet", *settings, *extra]
        )
        return code, capsys.readouterr().err

    return run


def row(**changes: Any) -> dict[str, Any]:
    return {"prompt": "the quick", "completion": " fox", "label": True, **changes}


def lines(rows: list[Any]) -> str:
    return "".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows)


DATA_CASES: dict[str, tuple[Any, list[str]]] = {
    "empty file": ("", ["feedback.jsonl", "empty"]),
    "broken JSON at line 2": (lines([row(), '{"prompt": "a", ']), ["feedback.jsonl:2", "JSON"]),
    "unknown label": (
        lines([row(), row(label="good")]),
        ['feedback.jsonl:2: label is "good"; expected true/false, 1/0 or 1/-1', "data.label_map: {good: true}"],
    ),
    "missing column": (
        lines([{"prompt": "a", "response": "b", "label": True}]),
        ["feedback.jsonl:1", "response", "completion"],
    ),
    "wrong type": (lines([row(prompt=7)]), ["feedback.jsonl:1", "prompt"]),
    "one class only": (
        lines([row(), row(prompt="other")]),
        ["all 2 rows are desirable and none is undesirable", "prospect train sft"],
    ),
    "prompt fills max_length": (
        lines([row(), row(prompt="the fox " * 200, label=False)]),
        ["feedback.jsonl:2: the prompt alone has", "max_length is 256", "data.overlong_prompts: drop"],
    ),
    "one prompt only": (lines([row(), row(completion=" dog", label=False)]), ["one single prompt", "train.batch_size"]),
    "stepwise supervision": (
        lines([{"prompt": "a", "completions": ["b"], "labels": [True]}]),
        ["feedback.jsonl:1", "completions"],
    ),
    "prompt only": (lines([{"prompt": "a"}]), ["feedback.jsonl:1", "prompt"]),
}


@pytest.mark.parametrize("case", DATA_CASES)
def test_bad_data_is_refused_with_what_where_found_and_do(attempt: Any, case: str) -> None:
    content, expected = DATA_CASES[case]
    code, message = attempt(content)
    assert code == 1
    assert message.startswith("DataError: ")
    for part in expected:
        assert part in message
    assert "Traceback" not in message
    assert not Path("run").exists()


def test_an_empty_completion_is_legal_and_counted(attempt: Any) -> None:
    code, message = attempt([*thumbs(8), row(completion="", prompt="x"), row(completion="", label=False, prompt="y")])
    assert code == 0, message
    provenance = json.loads(Path("run/provenance.json").read_text())
    assert provenance["data"]["train"]["empty_completions"] == 2


def test_overlong_prompts_can_be_dropped_and_are_counted(attempt: Any) -> None:
    rows = [*thumbs(8), row(prompt="the fox " * 200)]
    code, message = attempt(rows, "--set", "data.overlong_prompts=drop")
    assert code == 0, message
    assert json.loads(Path("run/provenance.json").read_text())["data"]["train"]["dropped"] == 1


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("train.batchsize=3", 'unknown key train.batchsize; did you mean "batch_size"?'),
        (
            "loss.bta=1",
            'loss kto has no hyperparameter "bta"; did you mean "beta"? It takes beta, desirable_weight, '
            "undesirable_weight.",
        ),
        ("loss.beta=-1", "loss kto: beta is -1; expected a finite number > 0."),
        ("train.per_device_train_batch_size=4", "here it is train.batch_size"),
        ("train.epochs=none", "train.epochs is 'none'"),
        ("nonsense", "expected key=value"),
        ("train.max_tokens_per_micro_batch=5", "train.max_tokens_per_micro_batch is 5. Raise it to"),
        ("data.max_length=100000", "the model reads 256 tokens at most"),
    ],
)
def test_bad_settings_are_wrong_usage(attempt: Any, setting: str, expected: str) -> None:
    code, message = attempt(thumbs(8), "--set", setting)
    assert code == 2
    assert message.startswith("ConfigError: ") and expected in message


@pytest.mark.parametrize(
    ("extra", "loss", "code", "parts"),
    [
        (["--data", "nothing.jsonl"], "kto", 1, ["DataError: ", "nothing.jsonl"]),
        ([], "dpo", 1, ["loss dpo needs paired feedback", "loss kto"]),
        ([], "kot", 2, ['unknown loss "kot"; did you mean "kto"?']),
        (["--model", "./models/absent"], "kto", 1, ["./models/absent: there is no such model folder"]),
        (["--model", "demo"], "kto", 1, ["demo: the embedded example", "prospect rounds"]),
    ],
    ids=[
        "no such file",
        "thumbs for pairs",
        "no such loss",
        "no such folder, which is not looked up on the hub",
        "the embedded example, which is not looked up either",
    ],
)
def test_what_is_not_there_is_named(attempt: Any, extra: list[str], loss: str, code: int, parts: list[str]) -> None:
    found, message = attempt(thumbs(8), *extra, loss=loss)
    assert found == code
    assert [part for part in parts if part not in message] == []


def test_unknown_recipe_key_names_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(
        yaml.safe_dump({"model": {"name_or_path": "m"}, "data": {"train": "d"}, "output": "o", "lora": {}})
    )
    assert main(["train", str(recipe)]) == 2
    assert "mine.yaml: unknown key lora; it belongs at model.lora." in capsys.readouterr().err


def test_a_model_folder_without_a_tokenizer(attempt: Any, model_path: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copy(model_path / name, bare / name)
    code, message = attempt(thumbs(8), "--model", str(bare))
    assert code == 1
    assert (
        message.startswith("ModelError: ")
        and "the tokenizer could not be loaded" in message
        and "tokenizer.json" in message
    )


def test_weights_that_could_run_code_are_refused_and_not_read(attempt: Any, model_path: Path, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "it ran",)

    pickled = tmp_path / "pickled"
    shutil.copytree(model_path, pickled)
    (pickled / "model.safetensors").unlink()
    torch.save({"model.embed_tokens.weight": Evil()}, pickled / "pytorch_model.bin")
    code, message = attempt(thumbs(8), "--model", str(pickled))
    assert code == 1
    assert message.startswith("ModelError: ") and "safetensors weights" in message
    assert not (tmp_path / "it ran").exists()
    assert not Path("run").exists()


def test_an_output_folder_that_holds_another_run(attempt: Any) -> None:
    assert attempt(thumbs(8))[0] == 0
    code, message = attempt(thumbs(8))
    assert code == 1
    assert "run holds another run. Continue that one with --resume, choose another --output" in message


def test_nan_in_the_reference_names_the_rows(attempt: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from prospect.models.reference import FrozenReference

    logps = FrozenReference.logps
    monkeypatch.setattr(FrozenReference, "logps", lambda self, batch: logps(self, batch) * float("nan"))
    code, message = attempt(thumbs(8))
    assert code == 1
    assert "TrainingError: the reference's log-prob is not finite at step 1" in message
    assert "Nothing was updated" in message and "feedback.jsonl:" in message


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["train", "kto"], "needs --model and --data"),
        (["train", "absent.yaml"], "there is no such recipe"),
        (["report", "absent"], "there is no such run directory"),
        (
            ["data", "convert", "x.jsonl", "--to", "paired", "-o", "y.jsonl", "--label-map", "nonsense"],
            "expected a mapping",
        ),
    ],
)
def test_wrong_usage_ends_with_two(arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert expected in capsys.readouterr().err


def test_no_command_prints_help_and_ends_with_two(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "COMMAND" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["frobnicate"], ["train", "kto", "--nonsense"], ["demo", "--method", "ppo"]])
def test_what_argparse_refuses_ends_with_two(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as error:
        main(arguments)
    assert error.value.code == 2
