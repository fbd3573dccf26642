"""Configs of other trainers become recipes: what each key becomes, and that none is dropped without a word."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from prospect.config import load_config
from prospect.errors import ConfigError
from prospect.losses.declared import check_declared
from prospect.recipe_text import commented
from prospect.translate.reading import read
from prospect.translate.tools import TOOLS, tool_of
from prospect.translate.translation import Translation, translate

KEYS: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_name("keys.json").read_text(encoding="utf-8"))

TRL = """
model_name_or_path: my/model
datasets: [{path: json, data_files: feedback.jsonl}]
per_device_train_batch_size: 4
gradient_accumulation_steps: 8
learning_rate: 5e-7
lr_scheduler_type: constant_with_warmup
warmup_ratio: 0.1
max_prompt_length: 512
max_length: 1024
desirable_weight: 1.5
use_peft: true
lora_target_modules: all-linear
use_rslora: true
load_in_4bit: true
bf16: true
report_to: [wandb, comet_ml]
eval_strategy: epoch
dataloader_num_workers: 4
made_up: 3
output_dir: out
"""
LLAMA_FACTORY = """
model_name_or_path: my/model
stage: dpo
pref_loss: simpo
pref_beta: 2.0
simpo_gamma: 1.4
finetuning_type: lora
lora_rank: 16
lora_target: q_proj,v_proj
dataset: mine, theirs
cutoff_len: 1024
val_size: 0.05
template: qwen
packing: false
per_device_train_batch_size: 1
gradient_accumulation_steps: 8
warmup_steps: 20
bf16: true
deepspeed: examples/deepspeed/ds_z3_config.json
output_dir: saves/simpo
"""
AXOLOTL = """
base_model: my/model
rl: kto
rl_beta: 0.2
kto_desirable_weight: 1.0
datasets:
  - {path: owner/thumbs, split: train_prefs, type: llama3.ultra}
  - {path: more.jsonl, ds_type: json, type: chatml.argilla}
val_set_size: 0.02
adapter: qlora
load_in_4bit: true
lora_r: 32
lora_alpha: 16
lora_target_linear: true
sequence_len: 2048
micro_batch_size: 2
gradient_accumulation_steps: 4
num_epochs: 1.5
optimizer: paged_adamw_8bit
lr_scheduler: rex
learning_rate: 0.0002
flash_attention: true
gradient_checkpointing: true
wandb_project: thumbs
save_safetensors: true
"""
MS_SWIFT = (
    "NPROC_PER_NODE=4 CUDA_VISIBLE_DEVICES=0,1,2,3 swift rlhf --rlhf_type dpo --loss_type ipo --beta 0.3 "
    "--model my/model --dataset 'pairs.jsonl#500' --train_type full --torch_dtype bfloat16 --max_length 2048 "
    "--gradient_accumulation_steps 2 --save_strategy no --deepspeed zero2 --ref_model my/other --rpo_alpha 0.1"
)


def made(source: str, tmp_path: Path, **how: Any) -> Translation:
    if "\n" in source:
        path = tmp_path / "config.yaml"
        path.write_text(source)
        source = str(path)
    found = read(source)
    tool = TOOLS[found.tool] if found.tool else tool_of(found.given, found.where)
    how = {"method": found.method, "processes": found.processes, "folder": found.folder, **how}
    return translate(tool, found.given, **how)


def fates(one: Translation) -> dict[str, str]:
    return {key: entry.fate for entry in one.entries for key in entry.keys}


def notes(one: Translation) -> dict[str, str]:
    return {key: entry.note for entry in one.entries for key in entry.keys}


EXPECTED: dict[str, tuple[str, dict[str, Any]]] = {
    "trl": (
        TRL,
        {
            "model.lora.r": 16,
            "model.lora.dropout": 0.05,
            "data.train": "feedback.jsonl",
            "data.max_length": 1024,
            "loss.name": "kto",
            "loss.beta": 0.1,
            "loss.desirable_weight": 1.5,
            "loss.undesirable_weight": 1.0,
            "train.batch_size": 32,
            "train.epochs": 3,
            "train.learning_rate": 5e-7,
            "train.scheduler": "constant",
            "train.warmup": 0.1,
            "train.trackers": ["wandb"],
            "output": "out",
        },
    ),
    "llama-factory": (
        LLAMA_FACTORY,
        {
            "model.lora.r": 16,
            "model.lora.alpha": 32,
            "model.lora.target_modules": ["q_proj", "v_proj"],
            "data.train": ["data/mine.json", "data/theirs.json"],
            "data.eval": 0.05,
            "loss.name": "simpo",
            "loss.beta": 2.0,
            "loss.gamma": 1.4,
            "train.batch_size": 8,
            "train.learning_rate": 5e-5,
            "train.warmup": 20,
            "train.parallel": "fsdp",
            "train.precision": "bf16",
        },
    ),
    "axolotl": (
        AXOLOTL,
        {
            "data.train": ["owner/thumbs:train_prefs", "more.jsonl"],
            "data.eval": 0.02,
            "model.lora.r": 32,
            "model.lora.alpha": 16,
            "model.attn_implementation": "flash_attention_2",
            "loss.name": "kto",
            "loss.beta": 0.2,
            "loss.undesirable_weight": 1.0,
            "train.batch_size": 8,
            "train.epochs": 2,
            "train.scheduler": "linear",
            "train.warmup": 0.03,
            "train.trackers": ["wandb"],
        },
    ),
    "ms-swift": (
        MS_SWIFT,
        {
            "data.train": "pairs.jsonl",
            "data.eval": None,
            "loss.name": "ipo",
            "loss.tau": 0.3,
            "loss.sft_weight": 0.1,
            "reference.name_or_path": "my/other",
            "train.batch_size": 8,
            "train.learning_rate": 1e-5,
            "train.adam_betas": [0.9, 0.95],
            "train.weight_decay": 0.1,
            "train.save_every": None,
            "train.parallel": "fsdp",
        },
    ),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_config_becomes_a_recipe_that_says_the_same(name: str, tmp_path: Path) -> None:
    source, expected = EXPECTED[name]
    one = made(source, tmp_path)
    assert one.tool.name == name
    assert {key: one.settings.get(key, "not there") for key in expected} == expected
    path = tmp_path / "recipe.yaml"
    path.write_text(one.text())
    config = load_config(path)
    assert config == load_config(one.recipe())
    check_declared(config.loss.name, config.loss.hyperparameters)
    assert {key for entry in one.entries for key in entry.keys} == set(read_given(source, tmp_path))


def read_given(source: str, tmp_path: Path) -> Any:
    return read(str(tmp_path / "config.yaml") if "\n" in source else source).given


def test_what_is_not_here_says_why_and_the_rest_is_told_apart(tmp_path: Path) -> None:
    one = made(TRL, tmp_path)
    told, why = fates(one), notes(one)
    assert (told["load_in_4bit"], told["use_rslora"], told["made_up"]) == ("carried", "carried", "unknown")
    assert (told["dataloader_num_workers"], told["eval_strategy"]) == ("needless", "not here")
    assert "bitsandbytes" in why["load_in_4bit"]
    assert "comet_ml is not here" in why["report_to"]
    assert "micro-batch" in notes(made(TRL + "beta: 0.1\n", tmp_path))["beta"]
    assert not one.is_whole
    axolotl = notes(made(AXOLOTL, tmp_path))
    assert "rex is not here" in axolotl["lr_scheduler"] and "rounded up" in axolotl["num_epochs"]
    assert "500 rows of pairs.jsonl" in notes(made(MS_SWIFT, tmp_path))["dataset"]


@pytest.mark.parametrize("name", KEYS)
def test_every_published_key_becomes_something_or_has_a_reason(name: str) -> None:
    for key in KEYS[name]["keys"]:
        assert TOOLS[name].rule_of(key) is not None, key
        [entry] = [entry for entry in translate(TOOLS[name], {key: None}, method="kto").entries if entry.keys]
        assert entry.settings or entry.note, key


@pytest.mark.parametrize(
    ("command", "batch"),
    [
        ("trl kto --per_device_train_batch_size 2 --gradient_accumulation_steps 3", 6),
        ("accelerate launch --num_processes 4 trl/scripts/kto.py --per_device_train_batch_size=2", 8),
        ("accelerate launch --num_processes 4 -m trl.scripts.kto --per_device_train_batch_size=2", 8),
        (
            "torchrun --nproc_per_node 2 --nnodes 2 -m llamafactory.launcher --per-device-train-batch-size 1",
            4,
        ),
        ("CUDA_VISIBLE_DEVICES=0,1 llamafactory-cli train --stage kto gradient_accumulation_steps=2", 32),
        ("NPROC_PER_NODE=3 swift rlhf --rlhf_type kto", 18),  # as many steps as make 16: 6 of 3
        ("swift sft --per_device_train_batch_size 3", 18),
    ],
)
def test_batch_size_is_device_times_accumulation_times_processes(command: str, batch: int, tmp_path: Path) -> None:
    assert made(command, tmp_path).settings["train.batch_size"] == batch


@pytest.mark.parametrize(
    ("config", "settings"),
    [
        ("trl kto --push_to_hub --hub_model_id me/mine", {"repo": "me/mine", "private": True}),
        (
            "trl kto --push_to_hub --hub_model_id me/mine --hub_private_repo False",
            {"repo": "me/mine", "private": False},
        ),
        ("trl kto --push_to_hub --hub_model_id mine", None),  # whose is not said
        ("trl kto --hub_model_id me/mine", {}),  # a name alone uploads nothing there
        ("llamafactory-cli train --stage kto --push_to_hub true --hub_model_id me/mine", {"repo": "me/mine"}),
        ("swift rlhf --rlhf_type kto --push_to_hub true --hub_model_id me/mine", {"repo": "me/mine"}),
        (f"{AXOLOTL}hub_model_id: me/mine\n", {"repo": "me/mine", "private": True}),  # there it does
    ],
)
def test_uploads_are_carried_over_and_tokens_are_not(
    config: str, settings: dict[str, Any] | None, tmp_path: Path
) -> None:
    one = made(config if "\n" in config else f"{config} --hub_token hf_secret", tmp_path)
    for key, value in (settings or {}).items():
        assert one.settings[f"push_to_hub.{key}"] == value
    assert bool(settings) == ("push_to_hub.repo" in one.settings)
    assert "hf_secret" not in str(one.settings) + "".join(entry.note for entry in one.entries)
    assert settings is not None or "names no owner" in notes(one)["push_to_hub"]


def test_axolotls_batch_size_is_that_of_a_process(tmp_path: Path) -> None:
    config = "base_model: m\nrl: kto\nmicro_batch_size: 2\nbatch_size: 12\n"
    assert made(config, tmp_path, processes=2).settings["train.batch_size"] == 24


def test_a_command_reads_its_file_and_its_flags_win(tmp_path: Path) -> None:
    (tmp_path / "kto.yaml").write_text("model_name_or_path: my/model\nbeta: 0.1\nlearning_rate: 1e-6\n")
    one = made(
        f"trl kto --config {tmp_path / 'kto.yaml'} --beta 0.3 --bf16 --lora_target_modules a b --use_peft", tmp_path
    )
    assert (one.settings["loss.beta"], one.settings["train.learning_rate"]) == (0.3, 1e-6)
    assert one.settings["model.lora.target_modules"] == ["a", "b"]
    assert one.missing == ("data.train",) and one.settings["data.train"] == "feedback.jsonl"


@pytest.mark.parametrize(
    ("command", "settings"),
    [
        ("trl dpo --loss_type robust", {"loss.name": "robust_dpo", "loss.label_smoothing": 0.0}),
        (
            "trl dpo --loss_type sigmoid sft --loss_weights 2 1",
            {"loss.name": "dpo", "loss.sft_weight": 0.5},
        ),
        ("trl dpo --loss_type discopop --discopop_tau 0.1", {"loss.name": "discopop", "loss.tau": 0.1}),
        ("trl sft --packing", {"loss.name": "sft", "train.learning_rate": 2e-5}),
        ("trl reward", {"loss.name": "bradley_terry", "train.learning_rate": 1e-4}),
        ("trl orpo --beta 0.2", {"loss.name": "orpo", "loss.lam": 0.2}),
        ("swift rlhf --rlhf_type cpo", {"loss.name": "cpo", "loss.alpha": 1.0, "train.learning_rate": 1e-4}),
        ("swift rlhf --rlhf_type kto --adapters a/b", {"model.name_or_path": "a/b", "model.adapter": "continue"}),
        ("trl kto --max_steps 100 --max_grad_norm 0", {"train.max_steps": 100, "train.max_grad_norm": float("inf")}),
        ("trl kto --sync_ref_model --ref_model_sync_steps 64", {"reference.sync.every": 64, "reference.sync.mix": 0.6}),
    ],
)
def test_methods_and_their_settings(command: str, settings: dict[str, Any], tmp_path: Path) -> None:
    one = made(command, tmp_path)
    assert settings.items() <= one.settings.items()
    config = load_config(one.recipe())
    check_declared(config.loss.name, config.loss.hyperparameters)


def test_files_by_split_are_those_of_the_split(tmp_path: Path) -> None:
    config = "datasets: [{path: json, data_files: {train: a.jsonl, test: [b.jsonl]}}]\nuse_peft: true\n"
    one = made(f"{config}eval_strategy: steps\n", tmp_path, method="kto")
    assert (one.settings["data.train"], one.settings["data.eval"]) == ("a.jsonl", "b.jsonl")
    assert made(config, tmp_path, method="kto").settings["data.eval"] is None  # nothing is evaluated there


@pytest.mark.parametrize("command", ["accelerate launch --config_file zero3.yaml trl/scripts/kto.py", "trl kto"])
def test_a_launchers_file_and_flags_that_say_no_are_not_unknown(command: str, tmp_path: Path) -> None:
    own = "" if "launch" in command else " --accelerate_config zero3"
    one = made(f"{command}{own} --no_remove_unused_columns --no_gradient_checkpointing", tmp_path)
    assert one.settings["train.gradient_checkpointing"] is False
    told = fates(one)
    assert (told["accelerate_config"], told["remove_unused_columns"]) == ("not here", "needless")
    assert "--processes" in notes(one)["accelerate_config"]


def test_axolotls_nested_beta_and_names_with_dots(tmp_path: Path) -> None:
    config = "base_model: m\nrl: ipo\ntrl: {beta: 0.4, use_vllm: true}\ndatasets: [{path: a/data-v1.5, split: prefs}]\n"
    one = made(config + "bfloat16: true\n", tmp_path)
    assert one.settings["loss.tau"] == 0.4 and one.settings["data.train"] == "a/data-v1.5:prefs"
    assert one.settings["train.precision"] == "bf16" and "use_vllm" in notes(one)["trl"]


def test_llama_factorys_names_are_looked_up(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    info = {"mine": {"file_name": "thumbs.json"}, "hub": {"hf_hub_url": "owner/name", "split": "prefs"}}
    (tmp_path / "data" / "dataset_info.json").write_text(json.dumps(info))
    one = made("model_name_or_path: m\nstage: kto\ndataset: mine,hub\neval_dataset: mine\n", tmp_path)
    assert one.settings["data.train"] == ["data/thumbs.json", "owner/name:prefs"]
    assert one.settings["data.eval"] == "data/thumbs.json"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("trl grpo --beta 0", "grpo samples while it trains"),
        ("trl dpo --loss_type aot", "dpo: loss_type aot: there is no such loss here. Nearest is dpo"),
        ("trl dpo --loss_type sigmoid bco_pair", "loss_type is sigmoid, bco_pair; here a run has one loss"),
        ("llamafactory-cli train --stage pt", "pt: there is no such method here. Nearest is sft"),
        ("trl kto --learning_rate fast", "learning_rate is 'fast'; expected a number"),
        (
            "trl kto --num_train_epochs -1 --per_device_train_batch_size -1",
            "the translated recipe: train.batch_size is -1",
        ),
        ("make coffee", "make coffee: neither a file of .yaml"),
        ("trl kto 'unfinished", "the command cannot be taken apart"),
        ("model_name_or_path: m\nlearning_rate: 1\n", "could be trl or llama-factory. Say whose config it is: --from"),
        ("colour: blue\nshape: round\n", "holds no key of a trainer that is known"),
        ("dataset_name: a/b\nbeta: 0.1\n", "does not say which of TRL's trainers reads it"),
    ],
)
def test_what_cannot_be_translated_says_why(source: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        made(source, tmp_path)
    assert said in str(caught.value)


def test_a_commented_recipe_is_read_as_it_was_written(tmp_path: Path) -> None:
    settings = {
        "output": "a: b",
        "model.name_or_path": "it's # no comment",
        "model.lora.target_modules": ["q", "5"],
        "data.train": ["*.jsonl", "owner/name:train[:5%]"],
        "data.eval": None,
        "data.chat_template": "{% for m in messages %}\n  {{ m }}\n{% endfor %}",
        "data.template_arguments": {"enable_thinking": False, "date": "2026-01-01"},
        "loss.name": "kto",
        "train.learning_rate": 5e-6,
        "train.adam_betas": [0.9, 0.95],
        "train.max_grad_norm": float("inf"),
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(commented(settings, {"loss.name": "one\ntwo", "model": "which"}, ["head", ""]))
    config = load_config(path)
    for key, value in settings.items():
        found: Any = config.as_dict()
        for part in key.split("."):
            found = found[part]
        assert found == value, key
    assert "learning_rate: 5e-6" in path.read_text()


@pytest.mark.slow
def test_the_keys_and_defaults_of_trl_are_those_that_are_installed() -> None:
    from trl import DatasetMixtureConfig, DPOConfig, KTOConfig, ModelConfig, RewardConfig, ScriptArguments, SFTConfig

    classes = (SFTConfig, DPOConfig, KTOConfig, RewardConfig, ModelConfig, ScriptArguments, DatasetMixtureConfig)
    assert sorted({field.name for one in classes for field in dataclasses.fields(one)}) == KEYS["trl"]["keys"]
    for loss, config in (("kto", KTOConfig), ("dpo", DPOConfig), ("sft", SFTConfig), ("bradley_terry", RewardConfig)):
        theirs = {field.name: field.default for one in (config, ModelConfig) for field in dataclasses.fields(one)}
        assumed = TOOLS["trl"].defaults({"use_peft": True}, loss)
        differing = {key for key, value in assumed.items() if key in theirs and theirs[key] != value}
        assert differing == set(), loss
