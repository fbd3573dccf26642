"""What stands in the documentation works: commands and code are run, or read by the real parser."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from pages import PAGES, RECIPES, Block, blocks, blocks_of, commands, read

from conftest import REPOSITORY, pairs, thumbs, write_rows
from pictures import save_picture
from prospect.cli.main import VERBS, main
from prospect.cli.parser import module_of
from prospect.config import load_config
from prospect.errors import DataError
from prospect.feedback import load_feedback
from prospect.rounds import load_rounds

RUNNING = [page for page in PAGES if any(block.note == "run" for block in blocks_of(page))]


def open_webui_vote(number: int) -> dict[str, Any]:
    """A row of the export of Open WebUI's votes; each chat has a vote for its answer and one against it."""
    chat, rating = number // 2, (1, -1)[number % 2]
    messages = {
        "q": {"id": "q", "parentId": None, "role": "user", "content": f"Where is parcel {chat}?"},
        "a": {"id": "a", "parentId": "q", "role": "assistant", "content": "On its way.", "model": "small"},
    }
    return {
        "id": f"vote{number}",
        "user_id": f"user{rating}",
        "type": "rating",
        "data": {"rating": rating, "model_id": "small"},
        "meta": {"chat_id": f"c{chat}", "message_id": "a", "arena": False},
        "snapshot": {"chat": {"id": f"c{chat}", "chat": {"history": {"currentId": "a", "messages": messages}}}},
        "created_at": 1732000000,
        "updated_at": 1732000001,
    }


@pytest.fixture
def desk(
    page: str,
    tmp_path: Path,
    model_path: Path,
    own_losses: object,
    own_importers: None,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """The folder in which the pages' commands run: a model and a little feedback, by the pages' names."""
    (tmp_path / "my").mkdir()
    (tmp_path / "my" / "model").symlink_to(model_path)
    rows = thumbs(45, prompts=15)  # an odd number of prompts, so that each has both labels
    write_rows(tmp_path / "feedback.jsonl", rows)
    write_rows(tmp_path / "pairs.jsonl", pairs(24))
    (tmp_path / "export.json").write_text(json.dumps([open_webui_vote(number) for number in range(12)]))
    write_rows(tmp_path / "prompts.jsonl", [{"prompt": row["prompt"]} for row in rows[:3]])
    if "my/pipeline" in read(page):  # with a CLIP, and pictures that were liked or not
        from pipelines import save_clip, save_pipeline

        save_pipeline("sd15", tmp_path / "my" / "pipeline")
        save_clip(tmp_path / "my" / "clip")
        for i in range(16):
            place = save_picture(tmp_path / "pictures" / ("disliked", "liked")[i % 2] / f"{i}.png", i, size=(16, 16))
            place.with_suffix(".txt").write_text(f"picture {i // 4}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PROSPECT_RATER_KEY", "a key for the pages only")  # none is made in the home folder
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path


@pytest.mark.parametrize("page", RUNNING)
def test_the_page_runs_from_top_to_bottom(page: str, desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = {"__name__": "__main__"}
    for block in blocks_of(page):
        if block.note.startswith("file="):
            (desk / block.note.removeprefix("file=")).write_text(block.text, encoding="utf-8")
        elif block.note == "run" and block.language == "python":
            exec(compile(block.text, str(block), "exec"), names)
        elif block.note == "run":
            for words in commands(block.text):
                assert words[0] == "prospect", f"{block}: only prospect commands are run, not {words[0]}"
                code = main(words[1:])
                assert code == 0, f"{block}: {' '.join(words)}\n{capsys.readouterr().err}"


@pytest.mark.parametrize("block", blocks("bash"), ids=str)
def test_commands_are_ones_that_exist(block: Block) -> None:
    for words in commands(block.text):
        check_command(words, str(block))


@pytest.mark.parametrize("block", blocks("sh"), ids=str)
def test_scripts_are_ones_that_a_shell_reads(block: Block) -> None:
    """They start servers that are not here."""
    read = subprocess.run(["sh", "-n"], input=block.text, text=True, capture_output=True, check=False)
    assert read.returncode == 0, read.stderr


def check_command(words: list[str], where: str) -> None:
    match words:
        case ["prospect", *arguments]:
            options = parse(arguments, where)
            if options.verb == "train":
                check_recipe_of(options)
        case ["torchrun", *rest]:
            place = rest.index("prospect")
            assert rest[place - 1] == "-m", where
            torchrun_parser().parse_args(rest)
            check_command(rest[place:], where)
        case ["make", *targets]:
            known = re.findall(r"^([a-z-]+):", read("Makefile"), flags=re.MULTILINE)
            assert {target for target in targets if "=" not in target} <= set(known), where
        case ["python", script, *_]:
            assert (REPOSITORY / script).is_file(), f"{where}: there is no {script}"
        case [script, *_] if script.startswith("benchmarks/"):
            assert (REPOSITORY / script).is_file(), f"{where}: there is no {script}"
        case [".", ".venv/bin/activate"] | ["pre-commit", "install"]:
            pass
        case _:
            pytest.fail(f"{where}: no test knows the command {' '.join(words)}")


def torchrun_parser() -> argparse.ArgumentParser:
    from torch.distributed.run import get_args_parser

    return get_args_parser()


def parse(arguments: list[str], where: str) -> argparse.Namespace:
    parser = parser_of(arguments[0], where)
    try:
        return argparse.Namespace(verb=arguments[0], **vars(parser.parse_args(arguments[1:])))
    except SystemExit:
        pytest.fail(f"{where}: the parser refuses prospect {' '.join(arguments)}")


def parser_of(verb: str, where: str) -> argparse.ArgumentParser:
    assert verb in VERBS, f"{where}: there is no command prospect {verb}"
    parser = argparse.ArgumentParser(prog=f"prospect {verb}")
    module_of(verb).add_arguments(parser)
    return parser


def check_recipe_of(options: argparse.Namespace) -> None:
    """The recipe with what the command line sets is a legal one."""
    from prospect.cli.train import config_from

    if options.recipe.endswith(".yaml"):
        here = [folder / options.recipe for folder in (REPOSITORY, REPOSITORY / "recipes")]
        found = [path for path in here if path.is_file()]
        if not found:  # one that the reader writes
            return
        options.recipe = str(found[0])
    config_from(options)


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_commands_in_a_recipes_head_exist(recipe: str) -> None:
    lines = re.findall(r"^# +(prospect .*?)(?:  .*)?$", read(recipe), flags=re.MULTILINE)
    assert lines, f"{recipe}: the head should say how it is run"
    for words in commands("\n".join(lines)):
        check_command(words, recipe)


@pytest.mark.parametrize("page", PAGES)
def test_commands_named_in_the_text_exist(page: str) -> None:
    for command in re.findall(r"`prospect ([a-z][^`]*)`", read(page)):
        verb, *rest = command.split()
        known = " ".join(options_of(parser_of(verb, page)))
        for option in re.findall(r"--[a-z-]+", " ".join(rest)):
            assert option in known.split(), f"{page}: prospect {verb} has no {option}"


def options_of(parser: argparse.ArgumentParser) -> list[str]:
    options: list[str] = []
    for action in parser._actions:
        options += action.option_strings
        if isinstance(action, argparse._SubParsersAction):
            options += [option for inner in action.choices.values() for option in options_of(inner)]
    return options


@pytest.mark.parametrize("block", blocks("python"), ids=str)
def test_python_compiles(block: Block) -> None:
    compile(block.text, str(block), "exec")


@pytest.mark.parametrize("block", blocks("yaml"), ids=str)
def test_yaml_is_part_of_a_recipe(block: Block) -> None:
    least: dict[str, Any] = {"model": {"name_or_path": "my/model"}, "output": "runs/it"}
    values = yaml.safe_load(block.text)
    if "rounds" in values:
        load_rounds(merged(least, values))
    else:
        data = {} if "online" in values else {"data": {"train": "feedback.jsonl"}}
        load_config(merged({**least, **data}, values))


def merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    inner = {
        k: merged(values[k], v)
        for k, v in changes.items()
        if isinstance(values.get(k), Mapping) and isinstance(v, Mapping)
    }
    return {**values, **changes, **inner}


@pytest.mark.parametrize("block", blocks("jsonl", "csv"), ids=str)
def test_feedback_on_the_pages_is_read_or_refused_as_they_say(block: Block, tmp_path: Path) -> None:
    path = tmp_path / f"feedback.{block.language}"
    path.write_text(block.text, encoding="utf-8")
    if block.note == "refused":
        with pytest.raises(DataError):
            load_feedback(path)
    else:
        assert load_feedback(path)


def test_every_block_is_of_a_kind_that_is_checked() -> None:
    kinds = {"bash", "sh", "python", "yaml", "jsonl", "csv", "text"}
    found = [block for page in PAGES for block in blocks_of(page)]
    assert not [f"{block}: {block.language}" for block in found if block.language not in kinds]
    assert not [f"{block}: {block.note}" for block in found if not re.fullmatch("|run|refused|file=.+", block.note)]
