"""What to lower when memory runs out: an allocator's error becomes one that names the setting."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import torch

from prospect.data.batch import Example, flatten
from prospect.data.dataset import longest_example
from prospect.data.loader import padded
from prospect.errors import TrainingError
from prospect.models.loading import first_line
from prospect.run_dir import RunDir
from prospect.training.checkpoints.checkpoint import latest_checkpoint
from prospect.training.checkpoints.resume import may_differ
from prospect.training.prepare import Prepared

Part = Literal["step", "samples", "loading"]

# What is named below and may differ on resume, but for recipes that say otherwise.
_MEMORY = (
    "train.max_tokens_per_micro_batch",
    "train.images_per_micro_batch",
    "train.gradient_checkpointing",
    "train.samples",
    "train.sample_tokens",
)

# What PyTorch's CPU allocator, the C++ library, cuBLAS and MKL say; none of them has an exception of its own.
_SAID = (
    "can't allocate memory",
    "not enough memory",
    "out of memory",
    "bad_alloc",
    "bad allocation",
    "alloc_failed",
    "could not create a memory object",
)


@contextmanager
def name_the_setting(
    doing: str, prepared: Prepared, run: RunDir, examples: Sequence[Example] = (), *, part: Part = "step"
) -> Iterator[None]:
    """Turn a failed allocation within into a message that says which setting to lower.

    Args:
        doing: what went on, such as "at step 12".
        prepared: the run; its settings are looked through.
        run: where its checkpoints lie.
        examples: what was in memory, if the policy was scoring.
        part: which settings decide its memory.

    Raises:
        TrainingError: in place of the allocator's error; every other error goes through as it is.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        said = first_line(error).rstrip(".")
        raise TrainingError(
            f"out of memory {doing}{_at_once(prepared, examples)}. Change, in this order: "
            f"{'; '.join(_settings(prepared, part))}. {_what_is_left(prepared, run)} (The allocator said: {said})"
        ) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory could not be had; other errors of PyTorch are `RuntimeError` too."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _SAID)


def _at_once(prepared: Prepared, examples: Sequence[Example]) -> str:
    """How much went through the model at once, at most."""
    if not examples:
        return ""
    if prepared.pipeline is not None:
        return f", with micro-batches of up to {prepared.max_tokens} images of {prepared.config.data.resolution} pixels"
    rows = flatten(max(prepared.groups(examples), key=padded))
    longest = max(rows, key=lambda row: row.length)
    return (
        f", with micro-batches of up to {len(rows)} rows x {longest.length} tokens = {len(rows) * longest.length} (the "
        f"longest row there is {longest.id})"
    )


def _settings(prepared: Prepared, part: Part) -> list[str]:
    """Return the settings that would help and are not yet at their end; those that change no number first."""
    if part == "samples":
        return ["train.samples (0 for none)", *["train.sample_tokens"] * (prepared.pipeline is None)]
    settings = prepared.config
    adapter = (
        ["model.lora: {r: 16}, which trains an adapter and needs no second model"]
        if not settings.model.trains_adapter
        else ["model.dtype: bfloat16, for the frozen weights"] * (settings.model.dtype == "float32")
    )
    if part == "loading":
        return [*adapter, "model.name_or_path: a smaller model"]
    budget = prepared.max_tokens
    if prepared.pipeline is not None:
        return [
            *[f"train.images_per_micro_batch: 1 (now {budget})"] * (budget > 1),
            *["train.gradient_checkpointing: true"] * (not settings.train.gradient_checkpointing),
            f"data.resolution (now {settings.data.resolution})",
            *adapter,
        ]
    needed = longest_example(prepared.train)[0]
    return [
        *[f"train.max_tokens_per_micro_batch (now {budget}; the longest example needs {needed})"] * (budget > needed),
        *["train.gradient_checkpointing: true"] * (not settings.train.gradient_checkpointing),
        f"data.max_length (now {prepared.max_length})",
        *adapter,
    ]


def _what_is_left(prepared: Prepared, run: RunDir) -> str:
    last = latest_checkpoint(run.checkpoints_path)
    if last is None:
        return "There is no checkpoint yet: remove the run directory and start again."
    *some, free = [setting for setting in _MEMORY if may_differ(setting, prepared.config.as_dict())]
    return (
        f"Checkpoint {last.name} is intact: --resume continues from it, and {', '.join(some)} and {free} may differ "
        "then; for the others start a new run."
    )
