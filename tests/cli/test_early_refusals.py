"""What needs no weights is refused before torch is imported, in the words in which training itself refuses it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import prospect
from conftest import thumbs, write_rows
from prospect.errors import ProspectError

SCRIPT = (
    "import json, sys\n"
    "for name in ('wandb',): sys.modules[name] = None\n"  # as where it is not installed
    "from prospect.cli.main import main\n"
    "code = main(sys.argv[1:])\n"
    "heavy = [name for name in ('torch', 'transformers', 'peft', 'numpy.linalg') if name in sys.modules]\n"
    "print(json.dumps([code, heavy]))\n"
)

OWN = "from prospect import loss\n\n@loss('unpaired')\ndef other(log_ratio, desirable):\n    return -log_ratio\n"


def refuse(folder: Path, *arguments: str) -> tuple[int, list[str], str]:
    """Exit code, what heavy libraries were imported, and stderr, of a command that is run in the folder."""
    done = subprocess.run([sys.executable, "-c", SCRIPT, *arguments], cwd=folder, capture_output=True, text=True)
    code, heavy = json.loads(done.stdout.splitlines()[-1])
    return code, heavy, done.stderr


@pytest.fixture
def folder(tmp_path: Path, model_path: Path) -> Path:
    write_rows(tmp_path / "thumbs.jsonl", thumbs(8))
    (tmp_path / "m").symlink_to(model_path)
    (tmp_path / "mine.py").write_text(OWN)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken/config.yaml").write_text("{}")
    (tmp_path / "taken/metrics.jsonl").write_text('{"step": 1}\n')
    return tmp_path


CASES: dict[str, tuple[dict[str, Any], str]] = {
    "unknown loss": ({"loss": "kot"}, 'unknown loss "kot"; did you mean "kto"?'),
    "unknown hyperparameter": ({"loss": {"name": "kto", "bta": 1}}, 'no hyperparameter "bta"; did you mean "beta"?'),
    "hyperparameter out of bounds": ({"loss": {"name": "exo_pair", "label_smoothing": 0}}, "label_smoothing is 0"),
    "no file of one's own loss": ({"loss": "their.py:mine"}, "there is no file"),
    "no such function in it": ({"loss": "mine.py:mine"}, "is nothing; expected a function under @prospect.loss"),
    "missing tracker": ({"train": {"trackers": ["trackio"]}}, 'pip install trackio"'),
    "max_length above the context": ({"data": {"max_length": 300}}, "data.max_length is 300 and the model reads 256"),
    "no data file": ({"data": {"train": "thums.jsonl"}}, 'thums.jsonl: no such file. Did you mean "thumbs.jsonl"?'),
    "no held-out file": ({"data": {"eval": "none.jsonl"}}, "none.jsonl: no such file"),
    "no model folder": ({"model": {"name_or_path": "./n"}}, "./n: there is no such model folder."),
    "occupied folder": ({"output": "taken"}, "taken holds another run. Continue that one with --resume"),
    "unknown key": ({"train": {"batchsize": 1}}, 'unknown key train.batchsize; did you mean "batch_size"?'),
    "a hyperparameter that is none": ({"loss": {"name": "kto", "beta": True}}, "beta is True; expected a number."),
}


@pytest.mark.parametrize("case", CASES)
def test_it_is_refused_before_torch_and_as_training_refuses_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    changes, expected = CASES[case]
    recipe: dict[str, Any] = {"model": {"name_or_path": "./m"}, "data": {"train": "thumbs.jsonl"}, "output": "run"}
    for section, change in changes.items():
        recipe[section] = {**recipe.get(section, {}), **change} if isinstance(change, dict) else change
    (folder / "recipe.yaml").write_text(json.dumps(recipe))
    code, heavy, said = refuse(folder, "train", "recipe.yaml")
    assert code in (1, 2) and heavy == []
    assert expected in said
    monkeypatch.chdir(folder)
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ProspectError) as refusal:
        prospect.train("recipe.yaml", quiet=True)
    assert f"{type(refusal.value).__name__}: {refusal.value}\n" == said
    assert not (folder / "run").exists()


@pytest.mark.parametrize("flag", ["--dry-run", "--probe"])
def test_looking_at_a_run_refuses_as_early(folder: Path, flag: str) -> None:
    code, heavy, said = refuse(folder, "train", "kot", "--model", "./m", "--data", "thumbs.jsonl", flag)
    assert (code, heavy) == (2, []) and 'unknown loss "kot"' in said
    code, heavy, said = refuse(folder, "train", "kto", "--model", "./m", "--data", "thumbs.jsonl", "--probe", "0")
    assert (code, heavy) == (2, []) and "--probe is 0; expected a number of steps" in said


def test_the_demo_refuses_an_occupied_folder_as_early(folder: Path) -> None:
    code, heavy, said = refuse(folder, "demo", "--output", "taken")
    assert (code, heavy) == (2, []) and "taken holds another run" in said


@pytest.mark.parametrize(
    "text",
    [
        "from theirs import *\n",
        "for b in (1, 2):\n    globals()[f'loss_{b}'] = make(b)\n",
        "def __getattr__(name):\n    return make(name)\n",
        "from theirs import loss_1\n",
    ],
)
def test_a_loss_that_may_be_there_is_left_to_the_file_itself(tmp_path: Path, text: str) -> None:
    from prospect.losses.declared import check_declared

    (tmp_path / "mine.py").write_text(text)
    check_declared(f"{tmp_path}/mine.py:loss_1", {"anything": 1})


def test_a_loss_that_was_registered_in_this_process_is_no_unknown_one(recipe: Any, own_losses: object) -> None:
    @prospect.loss("unpaired", name="made_here")
    def made_here(log_ratio: Any, desirable: Any) -> Any:
        return -log_ratio * desirable

    assert prospect.train(recipe("made_here"), quiet=True).provenance().finished


@pytest.mark.parametrize(
    ("config", "context"),
    [
        ({"max_position_embeddings": 256}, 256),
        ({"text_config": {"max_position_embeddings": 128}, "max_position_embeddings": 256}, 128),
        ({"text_config": {}}, None),
        ({"n_positions": 256}, None),
        ({"max_position_embeddings": "256"}, None),
        ([], None),
    ],
)
def test_a_context_is_what_config_json_says_outright(tmp_path: Path, config: Any, context: int | None) -> None:
    from prospect.model_source import find_model

    assert find_model(tmp_path).context is None
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert find_model(tmp_path).context == context
