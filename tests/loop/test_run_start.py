"""What fails before the first step leaves no trace, what is in a run directory is one run's, and it says so if not."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors import SafetensorError

import prospect
from conftest import thumbs
from prospect.errors import CheckpointError, ConfigError, DataError, ModelError, ProspectError, TrainingError
from prospect.results.run import Provenance, SampleRow
from prospect.run_dir import RunDir
from prospect.training.run_lock import claim
from prospect.training.session import Session


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


FAILURES: list[tuple[dict[str, Any], type[ProspectError]]] = [
    ({"train": {"trackers": ["trackio"]}}, ConfigError),
    ({"data": {"max_length": 100_000}}, ConfigError),
    ({"data": {"train": "nowhere.jsonl"}}, DataError),
    ({"model": {"name_or_path": "./nowhere"}}, ModelError),
    ({"loss": {"name": "nothing_like_it"}}, ConfigError),
    ({"reference": {"kind": "adapter_off"}}, ConfigError),
    ({"train": {"device": "mps"}}, ConfigError),
]


@pytest.mark.parametrize(("changes", "error"), FAILURES)
@pytest.mark.parametrize("resume", [False, True])
def test_what_is_refused_before_the_first_step_leaves_no_trace(
    recipe: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    error: type[ProspectError],
    resume: bool,
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    values = recipe("kto")
    for section, settings in changes.items():
        values[section] = {**values[section], **settings} if section in values else settings
    values["output"] = str(tmp_path / "runs" / "of today" / "first")
    with pytest.raises(error):
        prospect.train(values, resume=resume, quiet=True)
    assert [path.name for path in tmp_path.iterdir()] == ["feedback.jsonl"]


@pytest.mark.parametrize("moment", ["evaluate", "clip_gradient", "write_config", "open_trackers"])
def test_a_failure_up_to_the_first_step_leaves_a_users_files_and_nothing_else(
    recipe: Any, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    values = recipe("kto", data={"eval": 8}, train={"samples": 2, "sample_tokens": 4})
    folder = Path(values["output"])
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")

    def failing(*_: Any) -> None:
        raise TrainingError("just now")

    where = {
        "evaluate": "prospect.training.session.write_samples",
        "clip_gradient": "prospect.training.session.Session.clip_gradient",
        "write_config": "prospect.run_dir.RunDir.write_config",
        "open_trackers": "prospect.training.session.open_trackers",
    }
    with monkeypatch.context() as patch:
        patch.setattr(where[moment], failing)
        with pytest.raises(TrainingError, match="just now"):
            prospect.train(values, quiet=True)
    assert files(folder) == {"notes.txt": b"mine"}
    assert prospect.train(values, quiet=True).provenance().finished
    assert (folder / "notes.txt").read_text() == "mine"


def test_a_failure_after_the_first_step_keeps_what_was_written(recipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    values = recipe("kto", train={"log_every": 50})
    clip = Session.clip_gradient

    def failing(self: Any, step: int) -> float:
        if step == 2:
            raise TrainingError("just now")
        return clip(self, step)

    monkeypatch.setattr(Session, "clip_gradient", failing)
    with pytest.raises(TrainingError):
        prospect.train(values, quiet=True)
    assert {"config.yaml", "provenance.json"} <= files(Path(values["output"])).keys()


def test_a_tracker_that_does_not_start_is_named_and_those_before_it_are_ended(
    recipe: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prospect.training import trackers

    told: list[str] = []

    class Good(trackers.Tracker):
        def on_end(self) -> None:
            told.append("closed")

    class Bad(trackers.Tracker):
        def __init__(self, *_: Any) -> None:
            raise PermissionError("no key")

    monkeypatch.setitem(trackers.TRACKERS, "wandb", Good)  # type: ignore[index]
    monkeypatch.setitem(trackers.TRACKERS, "mlflow", Bad)  # type: ignore[index]
    monkeypatch.setattr("prospect.training.early.require_trackers", lambda names: None)
    values = recipe("kto", train={"trackers": ["wandb", "mlflow"]})
    with pytest.raises(ConfigError, match=r"names mlflow, which does not start \(PermissionError: no key\)"):
        prospect.train(values, quiet=True)
    assert told == ["closed"] and not Path(values["output"]).exists()


def test_a_run_that_another_process_writes_is_left_alone(recipe: Any) -> None:
    values = recipe("kto", train={"save_every": 1})
    run = prospect.train(values, quiet=True)
    before = files(run.path)
    with claim(run, resume=True):
        for resume in (False, True):
            with pytest.raises(CheckpointError, match=f"is being written by process {os.getpid()} on "):
                prospect.train(values, resume=resume, quiet=True)
        assert files(run.path).keys() == before.keys() | {".prospect.lock"}
    assert files(run.path) == before


def test_a_start_that_was_killed_is_started_again_with_any_recipe(recipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without --resume, and with it."""
    values = recipe("kto", data={"eval": 8}, train={"samples": 2, "sample_tokens": 4})
    folder, kept = Path(values["output"]), dict[str, bytes]()

    def remember(self: Any, step: int) -> float:
        kept.update({name: text for name, text in files(folder).items() if not name.startswith(".")})
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Session, "clip_gradient", remember)
        with pytest.raises(KeyboardInterrupt):
            prospect.train(values, quiet=True)
    assert {"config.yaml", "provenance.json", "metrics.jsonl", "samples.jsonl"} <= kept.keys()
    for resume in (False, True):
        folder.mkdir(exist_ok=True)
        for name, text in kept.items():
            (folder / name).write_bytes(text)  # as kill -9 leaves it
        run = prospect.train(values, overrides=["loss.beta=0.3"], resume=resume, quiet=True)
        assert run.config()["loss"]["beta"] == 0.3
        assert [row["step"] for row in run.metrics() if "eval_loss" in row] == [0, 3]
        subprocess.run(["rm", "-r", str(folder)], check=True)


def test_the_recipe_of_a_user_in_the_output_folder_is_not_replaced(recipe: Any, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({**recipe("kto"), "output": str(tmp_path)}))
    before = path.read_bytes()
    with pytest.raises(CheckpointError, match=r"holds config\.yaml, which no run wrote and this one would replace"):
        prospect.train(path, quiet=True)
    assert path.read_bytes() == before


# -- a loss of one's own belongs to the run --

LOSS = (
    "import torch\nimport prospect\n\n\n"
    '@prospect.loss("unpaired")\n'
    "def mine(log_ratio, desirable, *, beta=0.1):\n"
    '    """Log-ratios one way or the other."""\n'
    "    return torch.where(desirable, -beta, beta) * log_ratio\n"
)


def test_a_loss_that_was_edited_between_stop_and_resume_is_refused(
    recipe: Any, own_losses: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the same length and in the same second, so that neither tells."""
    file = tmp_path / "my_loss.py"
    file.write_text(LOSS)
    values = recipe({"name": f"{file}:mine"}, thumbs(32), train={"save_every": 1})

    def dying(self: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Session, "finish", dying)
        with pytest.raises(KeyboardInterrupt):
            prospect.train(values, quiet=True)
    run = RunDir(values["output"])
    (digest,) = run.provenance().loss.sources.values()
    stat = file.stat()
    file.write_text(LOSS.replace("-beta, beta", "beta, -beta"))
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with pytest.raises(CheckpointError, match=r"my_loss\.py was changed since this checkpoint\. Restore it, or start"):
        prospect.train(values, resume=True, quiet=True)
    file.write_text(LOSS)
    assert prospect.train(values, resume=True, quiet=True).provenance().loss.sources == {str(file): digest}


# -- a full disk --


def test_a_full_disk_when_the_model_is_written_is_said_and_leaves_nothing_half_written(
    recipe: Any, tmp_path: Path
) -> None:
    """A real limit on file size, in a process of its own."""
    values = recipe("kto", train={"save_every": 3})
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(values))
    script = (
        "import resource, sys, prospect.training.session as t\n"
        "finish = t.Session.finish\n"
        "def limited(self):\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))\n"
        "    finish(self)\n"
        "t.Session.finish = limited\n"
        "from prospect.cli.main import main\n"
        "sys.exit(main(['train', sys.argv[1], '--quiet']))\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "recipe.yaml")], capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "CheckpointError" in done.stderr and "Free some space and continue with --resume." in done.stderr
    run = RunDir(values["output"])
    assert not run.model_path.exists() and not list(run.path.rglob(".tmp-*"))
    assert run.provenance().finished is None
    assert prospect.train(values, resume=True, quiet=True).model_path.exists()


@pytest.mark.parametrize(
    ("error", "writer"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "PreTrainedModel"),
        (SafetensorError("I/O error: No space left on device (os error 28)"), "PreTrainedModel"),
        (Exception("No space left on device (os error 28)"), "PreTrainedTokenizerFast"),  # as tokenizers says it
    ],
)
def test_every_librarys_error_of_a_full_disk_is_that_of_a_checkpoint(
    recipe: Any, monkeypatch: pytest.MonkeyPatch, error: Exception, writer: str
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise error

    values = recipe("kto")
    monkeypatch.setattr(f"transformers.{writer}.save_pretrained", full)
    with pytest.raises(CheckpointError, match=r"model: the model could not be written .*Nothing half-written was left"):
        prospect.train(values, quiet=True)
    assert not RunDir(values["output"]).model_path.exists()


def test_an_error_of_the_program_is_not_taken_for_a_full_disk(recipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*_: Any, **__: Any) -> None:
        raise AttributeError("no such thing")

    monkeypatch.setattr("transformers.PreTrainedModel.save_pretrained", wrong)
    with pytest.raises(AttributeError):
        prospect.train(recipe("kto"), quiet=True)


@pytest.mark.parametrize(
    ("method", "value"),
    [
        ("append_metrics", {"step": 1}),
        ("append_samples", [SampleRow(step=1, prompt="p", completion="c")]),
        ("write_config", {"step": 1}),
        ("write_provenance", Provenance()),
    ],
)
def test_a_full_disk_is_said_of_every_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, value: Any
) -> None:
    run = RunDir(tmp_path)

    def full(*_: Any, **__: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "open", full)
    monkeypatch.setattr("prospect.atomic.os.fsync", full)
    with pytest.raises(CheckpointError, match=r"cannot be written \(No space left on device\)\. Free some space"):
        getattr(run, method)(value)
