"""Every word of another trainer's is answered with ours, in a recipe and on the command line."""

from __future__ import annotations

from typing import Any

import pytest

from prospect.cli.main import VERBS, main
from prospect.cli.train_flags import FLAGS
from prospect.config import Config, all_keys, load_config
from prospect.errors import ConfigError
from prospect.losses import all_losses, get_loss
from prospect.peers import (
    LOSSES_WITHOUT_COUNTERPART,
    PEERS_COMMANDS,
    PEERS_LOSSES,
    PEERS_NAMES,
    WITHOUT_COUNTERPART,
    setting_of,
)

BASE: dict[str, Any] = {"model": {"name_or_path": "m"}, "data": {"train": "feedback.jsonl"}, "output": "run"}
KEYS = {*all_keys(), *(f"loss.{name}" for loss in all_losses().values() for name in loss.hyperparameters)}
ANSWERS = {**{name: f"here it is {ours}" for name, ours in PEERS_NAMES.items()}, **WITHOUT_COUNTERPART}


def refusal(changes: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config({**BASE, **changes})
    return str(caught.value)


@pytest.mark.parametrize("section", ["", "train", "data", "model", "loss"])
@pytest.mark.parametrize("name", sorted(ANSWERS))
def test_a_peers_key_is_answered_wherever_it_stands(section: str, name: str) -> None:
    key = f"{section}.{name}" if section else name
    if key in KEYS:
        return
    changes = {section: {**BASE.get(section, {}), name: 1}} if section else {name: 1}
    assert refusal(changes) == f"recipe: unknown key {key}; {ANSWERS[name]}."


def test_every_answer_names_a_key_that_exists() -> None:
    assert not PEERS_NAMES.keys() & WITHOUT_COUNTERPART.keys()
    for name, ours in PEERS_NAMES.items():
        found = setting_of(name)
        assert found is not None
        assert found[0] in KEYS, (name, ours)
        words = ours.replace(":", " ").replace(",", " ").replace("(", " ").replace(")", " ").split()
        assert all(word in KEYS for word in words if word.split(".")[0] in Config.model_fields and "." in word), ours


@pytest.mark.parametrize(
    ("name", "value"),
    [("use_peft", "model.lora=true"), ("bf16", "train.precision=bf16"), ("deepspeed", "train.parallel=fsdp")],
)
def test_an_answer_with_a_value_can_be_set(name: str, value: str) -> None:
    found = setting_of(name)
    assert found is not None and "=".join(found) == value
    load_config(BASE, [value])


@pytest.mark.parametrize("name", [*PEERS_LOSSES, "SIGMOID", "kto-pair"])
def test_a_peers_loss_is_answered_with_ours(name: str) -> None:
    ours = PEERS_LOSSES[name.lower().replace("-", "_")]
    get_loss(ours)
    assert refusal({"loss": name}) == f"recipe: loss.name is {name!r}; here it is {ours}."


@pytest.mark.parametrize("name", LOSSES_WITHOUT_COUNTERPART)
def test_a_method_that_is_not_here_names_the_nearest(name: str) -> None:
    message = refusal({"loss": {"name": name}})
    assert message.startswith(f"recipe: loss.name is {name!r}; there is no such ")
    assert any(loss in message for loss in all_losses())


def test_no_loss_of_ours_is_taken_for_a_peers() -> None:
    for name in all_losses():
        assert load_config({**BASE, "loss": name}).loss.name == name
        assert load_config({**BASE, "loss": name.upper()}).loss.name == name


def test_the_name_of_an_own_loss_keeps_its_case() -> None:
    assert load_config({**BASE, "loss": "My.py:Sigmoid"}).loss.name == "My.py:Sigmoid"


def test_sections_may_be_what_they_name_and_lora_a_switch() -> None:
    config = load_config({**BASE, "model": "my/model"}, ["model.dtype=bfloat16"])
    assert (config.model.name_or_path, config.model.dtype) == ("my/model", "bfloat16")
    on, off = (load_config({**BASE, "model": {"name_or_path": "m", "lora": value}}) for value in (True, False))
    assert on.model.lora is not None and on.model.lora.r == 16
    assert off.model.lora is None
    assert load_config(on.as_dict()) == on


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    return capsys.readouterr().err.splitlines()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["train", "kto", "--model_name_or_path", "X"], "--model_name_or_path: write --model X"),
        (["train", "kto", "--dataset=d.jsonl"], "--dataset: write --data d.jsonl"),
        (["train", "kto", "--output_dir", "o"], "--output_dir: write --output o"),
        (["train", "kto", "--learning_rate", "1e-5"], "--learning_rate: write --learning-rate"),
        (["train", "kto", "--train.epochs=2"], "--train.epochs: write --epochs 2"),
        (["train", "kto", "--rl_beta", "0.2"], "--rl_beta: write --beta 0.2"),
        (["train", "kto", "--weight_decay", "1"], "--weight_decay: write --set train.weight_decay=1"),
        (
            ["train", "kto", "--per_device_train_batch_size", "2"],
            "--per_device_train_batch_size: here it is train.batch_size (examples per step) and "
            "train.max_tokens_per_micro_batch (memory); write --batch-size VALUE",
        ),
        (["train", "kto", "--bf16"], "--bf16: here it is train.precision: bf16; write --precision bf16"),
        (
            ["train", "kto", "--packing"],
            "--packing: not needed here: the rows of a step are sorted by length and cut by tokens, so there is little "
            "padding",
        ),
        (["train", "--stage", "kto"], "--stage: write --loss kto"),
        (["kto", "--learning_rate", "1"], "--learning_rate: write --learning-rate"),
        (["kto"], "kto: here it is prospect train kto --model MODEL --data FILE"),
        (["inspect", "f.jsonl"], "inspect: here it is prospect data inspect"),
        (["trian"], 'trian: did you mean "train"?'),
        (["data", "inspct"], 'inspct: did you mean "inspect"?'),
        (["data", "inspect", "f.jsonl", "--label_map", "x"], "--label_map: write --label-map"),
        (["generate", "m", "--max_new_tokens", "3"], "--max_new_tokens: write --max-new-tokens"),
        (["evaluate", "m", "--lora_r", "3"], "--lora_r: here it is model.lora.r"),
    ],
)
def test_a_peers_word_on_the_command_line_is_answered(
    capsys: pytest.CaptureFixture[str], arguments: list[str], expected: str
) -> None:
    assert expected in said(capsys, *arguments)


@pytest.mark.parametrize("name", sorted(ANSWERS.keys() - {flag.name for flag in FLAGS}))
def test_every_key_of_a_peer_is_answered_as_a_flag(capsys: pytest.CaptureFixture[str], name: str) -> None:
    lines = said(capsys, "train", "kto", f"--{name}", "1")
    assert any(line.startswith(f"--{name}: ") for line in lines)


@pytest.mark.parametrize("name", PEERS_COMMANDS)
def test_every_command_of_a_peer_is_answered(capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert name not in VERBS
    assert f"{name}: here it is {PEERS_COMMANDS[name]}" in said(capsys, name)


def test_a_word_that_is_nobodys_has_no_hint(capsys: pytest.CaptureFixture[str]) -> None:
    lines = said(capsys, "train", "kto", "--model", "m", "--data", "d", "--wibble", "3")
    assert lines[-1].endswith("unrecognized arguments: --wibble 3")
