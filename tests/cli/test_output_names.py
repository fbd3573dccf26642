"""Every option that names an output refuses a name under which nothing can be written, before anything is computed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from conftest import thumbs, write_rows
from prospect.cli.main import main
from prospect.errors import ConfigError, OutputError
from prospect.outputs import output_file, output_folder

STUDY = {"world": {"kind": "demo"}, "methods": {"kto": {"loss": "kto"}}}

FILES: dict[str, tuple[str, list[str]]] = {
    "import": ("out.jsonl", ["data", "import", "thumbs.jsonl", "-o"]),
    "convert": ("out.jsonl", ["data", "convert", "thumbs.jsonl", "--to", "unpaired", "-o"]),
    "split": ("out.jsonl", ["data", "split", "thumbs.jsonl", "-o", "train.jsonl"]),
    "export": ("out.jsonl", ["data", "export", "thumbs.jsonl", "--to", "trl", "-o"]),
    "inspect": ("out.html", ["data", "inspect", "thumbs.jsonl", "--html"]),
    "generate": ("out.jsonl", ["generate", "./no-model", "--prompts", "thumbs.jsonl", "-o"]),
    "evaluate": ("out.json", ["evaluate", "./no-model", "--data", "thumbs.jsonl", "-o"]),
    "page": ("out.html", ["contest", "./no-model", "--data", "thumbs.jsonl", "--page"]),
    "plot": ("out.svg", ["losses", "kto", "--plot"]),
}
FOLDERS: dict[str, list[str]] = {
    "freeze": ["data", "freeze", "thumbs.jsonl", "-o"],
    "train": ["train", "kto", "--model", "./no-model", "--data", "thumbs.jsonl", "--output"],
    "recipe": ["train", "kto", "--model", "./no-model", "--data", "thumbs.jsonl", "--set", "output="],
    "cache": ["train", "kto", "--model", "./no-model", "--data", "thumbs.jsonl", "--set", "reference.cache="],
    "compare": ["compare", "study.yaml", "-o"],
    "demo": ["demo", "--output"],
}


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path / "thumbs.jsonl", thumbs(8))
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(STUDY))
    return tmp_path


@pytest.fixture
def refused(desk: Path, capsys: pytest.CaptureFixture[str]) -> Callable[[list[str], str], str]:
    """Runs a command with an output's name, sees that it is refused and nothing is left, and gives the message."""

    def run(command: list[str], name: str) -> str:
        before = sorted(path for path in desk.rglob("*"))
        words = [*command[:-1], command[-1] + name] if command[-1].endswith("=") else [*command, name]
        code = main(words)
        message = capsys.readouterr().err
        assert code in (1, 2), message
        assert "Traceback" not in message
        assert sorted(path for path in desk.rglob("*")) == before
        return message

    return run


@pytest.mark.parametrize("verb", FILES)
def test_a_file_that_cannot_be_written_is_refused_by_every_verb(verb: str, desk: Path, refused: Any) -> None:
    name, command = FILES[verb]
    suffix = Path(name).suffix
    (desk / f"folder{suffix}").mkdir()
    (desk / f"locked{suffix}").write_text("kept")
    (desk / f"locked{suffix}").chmod(0o444)
    os.mkfifo(desk / f"pipe{suffix}")
    assert 'OutputError: the output is named ""; expected the name of a file' in refused(command, "")
    assert f"folder{suffix}: is a folder; expected the name of a file" in refused(command, f"folder{suffix}")
    assert f"locked{suffix}: is there and read-only" in refused(command, f"locked{suffix}")
    assert f"pipe{suffix}: is a pipe; expected the name of a file" in refused(command, f"pipe{suffix}")
    assert "there is no folder absent. Make it first" in refused(command, f"absent/{name}")
    assert "there is no folder thumbs.jsonl" in refused(command, f"thumbs.jsonl/{name}")
    assert "bytes; expected 223 at most" in refused(command, "x" * 300 + suffix)
    assert "bytes; expected 3840 at most" in refused(command, "d/" * 2500 + name)
    assert (desk / f"locked{suffix}").read_text() == "kept"


@pytest.mark.parametrize("verb", FOLDERS)
def test_a_folder_that_cannot_be_written_is_refused_by_every_verb(verb: str, desk: Path, refused: Any) -> None:
    command = FOLDERS[verb]
    assert "the name of a folder" in refused(command, '""' if verb in ("recipe", "cache") else "")
    assert "thumbs.jsonl: is a file; expected the name of a folder" in refused(command, "thumbs.jsonl")
    message = refused(command, "thumbs.jsonl/run")
    assert f"thumbs.jsonl/run: {desk / 'thumbs.jsonl'} is a file; expected the name of a folder" in message
    assert "bytes; expected 223 at most" in refused(command, "x" * 300)
    assert "bytes; expected 3840 at most" in refused(command, "d/" * 2500 + "run")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a file system in which nobody can write")
@pytest.mark.parametrize("verb", [*FILES, *FOLDERS])
def test_a_place_where_nothing_can_be_written_is_refused_by_every_verb(verb: str, refused: Any) -> None:
    name, command = FILES[verb] if verb in FILES else ("run", FOLDERS[verb])
    assert f"/proc/{name}: nothing can be written in /proc: " in refused(command, f"/proc/{name}")


def test_the_default_folder_of_demo_and_compare_is_checked_as_well(desk: Path, refused: Any) -> None:
    (desk / "runs").write_text("a file")
    assert f"runs/demo-kto: {desk / 'runs'} is a file" in refused(["demo", "--seed"], "1")
    assert f"runs/study: {desk / 'runs'} is a file" in refused(["compare"], "study.yaml")


def test_the_library_refuses_as_the_command_does_before_it_looks_for_the_model(desk: Path) -> None:
    from prospect.training.train import train

    recipe = {"model": {"name_or_path": "./no-model"}, "data": {"train": "thumbs.jsonl"}, "output": "thumbs.jsonl/run"}
    with pytest.raises(OutputError, match="is a file; expected the name of a folder"):
        train(recipe)


def test_the_home_folder_is_expanded_everywhere(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = desk / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    assert main(["data", "convert", "thumbs.jsonl", "--to", "unpaired", "-o", "~/out.jsonl"]) == 0
    assert main(["data", "freeze", "thumbs.jsonl", "-o", "~/frozen"]) == 0
    assert {path.name for path in home.iterdir()} == {"out.jsonl", "frozen"}
    assert not (desk / "~").exists()


def test_a_recipe_expands_the_home_folder_and_refuses_an_empty_name(monkeypatch: pytest.MonkeyPatch) -> None:
    from prospect.config import load_config

    monkeypatch.setenv("HOME", "/home/me")
    base = {"model": {"name_or_path": "m"}, "data": {"train": "d"}}
    config = load_config({**base, "output": "~/run", "reference": {"cache": "~/cache"}})
    assert (config.output, config.reference.cache) == ("/home/me/run", "/home/me/cache")
    for changes in ({"output": ""}, {"output": "  "}, {"output": "o", "reference": {"cache": ""}}):
        with pytest.raises(ConfigError, match=r"is '\s*'; input should be the name of a folder\."):
            load_config({**base, **changes})


def test_a_disk_that_refuses_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with pytest.raises(OutputError, match=f"nothing can be written in {tmp_path}: No space left on device"):
        output_file(tmp_path / "x.json")
    with pytest.raises(OutputError, match=f"nothing can be written in {tmp_path}: No space left on device"):
        output_folder(tmp_path / "a" / "b")


def test_a_check_leaves_nothing_behind(tmp_path: Path) -> None:
    output_file(tmp_path / "x.json")
    output_folder(tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []


@given(st.text(max_size=300) | st.text(alphabet="ab/.~\0é \ud800\x1b", max_size=40))
def test_no_name_whatever_does_more_than_being_taken_or_refused(name: str) -> None:
    for check in (output_file, output_folder):
        try:
            check(name)
        except OutputError as error:
            str(error).encode()
