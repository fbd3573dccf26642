"""The commonest keys as flags of `prospect train`: each sets its key, none twice."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest

from prospect.cli.train import add_arguments, config_from
from prospect.cli.train_flags import FLAGS
from prospect.config import Config, all_keys
from prospect.errors import ConfigError, UsageError

KTO = ["kto", "--model", "m", "--data", "a.jsonl"]
WORDS = {
    "eval": ["0.2"],
    "precision": ["fp32"],
    "loss": ["dpo"],
    "output": ["other"],
    "model": ["n"],
    "data": ["b", "c"],
}


def recipe(*words: str) -> Config:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return config_from(parser.parse_args(words))


def at(config: Config, key: str) -> Any:
    found: Any = config.as_dict()
    for part in key.split("."):
        found = found.get(part)
    return found


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "recipe.yaml"
    path.write_text("model: {name_or_path: m, lora: {r: 64}}\ndata: {train: a.jsonl}\noutput: o\nloss: kto\n")
    return str(path)


@pytest.mark.parametrize("flag", FLAGS, ids=lambda flag: flag.name)
def test_a_flag_sets_its_key_as_set_does(flag: Any, file: str) -> None:
    assert flag.key in {*all_keys(), "loss.beta"}
    words = WORDS.get(flag.name, ["3"])
    value = f"[{', '.join(words)}]" if len(words) > 1 else words[0]
    by_flag, by_set = recipe(file, f"--{flag.name}", *words), recipe(file, "--set", f"{flag.key}={value}")
    assert by_flag == by_set
    assert by_flag != recipe(file)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--beta", "0.2", "--set", "loss.beta=0.1"], "loss.beta is said twice: --beta and --set loss.beta=0.1"),
        (["--set", "model=other"], "model.name_or_path is said twice: --model and --set model=other"),
        (["--lora", "--set", "model.lora=false"], "model.lora is said twice: --lora and --set model.lora=false"),
        (["--loss", "dpo"], "the loss is said twice: kto and --loss dpo"),
    ],
)
def test_what_is_said_twice_is_refused(words: list[str], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        recipe(*KTO, *words)
    assert said in str(caught.value)


def test_lora_switches_an_adapter_on_and_leaves_one_that_is_described(file: str) -> None:
    assert at(recipe(*KTO, "--lora"), "model.lora.r") == 16
    assert at(recipe(*KTO, "--lora", "--set", "model.lora.r=8"), "model.lora.r") == 8
    assert at(recipe(file, "--lora"), "model.lora.r") == 64


def test_a_flags_value_is_bounded_like_the_recipes() -> None:
    with pytest.raises(ConfigError, match=r"train.epochs is 1.5"):
        recipe(*KTO, "--epochs", "1.5")
    assert at(recipe(*KTO, "--learning-rate", "1e-4", "--eval", "null"), "train.learning_rate") == 1e-4
