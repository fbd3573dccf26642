"""An allocation that fails names the setting to lower; every other error goes through as it is."""

from __future__ import annotations

import re
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import pairs, thumbs
from prospect.config import load_config
from prospect.data.batch import flatten
from prospect.data.loader import micro_batches
from prospect.errors import CheckpointError, TrainingError
from prospect.run_dir import RunDir
from prospect.training.checkpoints.resume import require_same_recipe
from prospect.training.memory.out_of_memory import _MEMORY, is_out_of_memory, name_the_setting
from prospect.training.prepare import prepare

CPU = (
    "[enforce fail at alloc_cpu.cpp:113] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 9"
)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError(CPU),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 123 bytes."),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB."),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"),
        RuntimeError("std::bad_alloc"),
        MemoryError(),
    ],
)
def test_what_allocators_say_is_understood(error: Exception) -> None:
    assert is_out_of_memory(error)


@pytest.mark.parametrize("error", [RuntimeError("shapes do not match"), ValueError("out of memory"), KeyError("x")])
def test_other_errors_are_not_taken_for_it(recipe: Any, tmp_path: Path, error: Exception) -> None:
    prepared = prepare(load_config(recipe("dpo", pairs(8))))
    with pytest.raises(type(error)) as caught, name_the_setting("at step 1", prepared, RunDir(tmp_path)):
        raise error
    assert caught.value is error


def message(prepared: Any, run: RunDir, **options: Any) -> str:
    with pytest.raises(TrainingError) as caught, name_the_setting("at step 3", prepared, run, **options):
        raise RuntimeError(CPU)
    return str(caught.value)


def test_the_message_names_the_micro_batch_and_the_settings_in_order(recipe: Any, tmp_path: Path) -> None:
    prepared = prepare(load_config(recipe("dpo", pairs(8), data={"max_length": 64})))
    text = message(prepared, RunDir(tmp_path / "run"), examples=prepared.train.examples)
    groups = [flatten(group) for group in micro_batches(prepared.train.examples, prepared.max_tokens)]
    rows, longest = max(((len(g), max(r.length for r in g)) for g in groups), key=lambda size: size[0] * size[1])
    assert f"out of memory at step 3, with micro-batches of up to {rows} rows x {longest} tokens = " in text
    assert f"= {rows * longest} (the longest row there is " in text
    settings = ("train.max_tokens_per_micro_batch (now 1024", "train.gradient_checkpointing", "data.max_length", "lora")
    places = [text.index(setting) for setting in settings]
    assert places == sorted(places)
    assert "There is no checkpoint yet" in text and "can't allocate memory" in text


def test_what_is_already_lowered_is_not_named_and_a_checkpoint_is(recipe: Any, tmp_path: Path) -> None:
    rows = pairs(8)
    plain = prepare(load_config(recipe("dpo", rows)))
    least = max(max(row.length for row in example) * 2 for example in plain.train.examples)
    train = {"max_tokens_per_micro_batch": least, "gradient_checkpointing": True}
    prepared = prepare(load_config(recipe("dpo", rows, train=train, model={"lora": {"r": 2}})))
    run = RunDir(tmp_path / "run")
    (run.checkpoints_path / "step-200").mkdir(parents=True)
    text = message(prepared, run)
    change = text[text.index("Change, in this order") : text.index("Checkpoint")]
    assert "max_tokens" not in change and "checkpointing" not in change and "lora" not in change
    assert "model.dtype: bfloat16" in change
    assert "Checkpoint step-200 is intact: --resume continues from it" in text
    assert named_as_free(text) == list(_MEMORY)


def named_as_free(text: str) -> list[str]:
    """The settings that the message allows to differ on resume."""
    return re.findall(r"train\.[a-z_]+", text[text.index("--resume continues from it") : text.index("may differ then")])


def test_only_what_a_resume_accepts_is_said_to_be_free(recipe: Any, tmp_path: Path) -> None:
    prepared = prepare(load_config(recipe("kto", thumbs(16), reference_point="micro_batch")))
    run = RunDir(tmp_path / "run")
    (run.checkpoints_path / "step-2").mkdir(parents=True)
    free = named_as_free(message(prepared, run))
    assert free == [name for name in _MEMORY if name != "train.max_tokens_per_micro_batch"]
    saved = prepared.config.as_dict()
    for name in _MEMORY:
        changed = {**saved, "train": {**saved["train"], name.removeprefix("train."): 7}}
        refused = nullcontext() if name in free else pytest.raises(CheckpointError, match=name)
        with refused:
            require_same_recipe(saved, changed, run)


@pytest.mark.parametrize(("part", "setting"), [("samples", "train.samples"), ("loading", "model.lora")])
def test_other_parts_name_other_settings(recipe: Any, tmp_path: Path, part: Any, setting: str) -> None:
    prepared = prepare(load_config(recipe("dpo", pairs(8))))
    text = message(prepared, RunDir(tmp_path), part=part)
    assert setting in text and "max_tokens_per_micro_batch (now" not in text
