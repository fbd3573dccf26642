"""Saving and resuming to the same numbers. Tensors as safetensors, the rest as JSON; no pickle."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from prospect.atomic import TEMPORARY_PREFIX, atomic_directory, write_json
from prospect.errors import CheckpointError, ReferenceMismatchError

WEIGHTS, OPTIMIZER, RANDOM, STATE = (
    "weights.safetensors",
    "optimizer.safetensors",
    "random.safetensors",
    "state.json",
)


# What only some runs have beside weights and optimizer: the moved reference, the running mean of a loss.
Extras = Mapping[str, Mapping[str, torch.Tensor]]


def extra_file(name: str) -> str:
    """Where a group of further tensors lies in a checkpoint."""
    return f"{name}.safetensors"


@dataclass
class Progress:
    """Where a run stands; every counter resumes.

    Attributes:
        step: optimizer steps done.
        num_tokens: tokens of prompts and completions seen.
        examples_seen: examples seen, repeats included.
        seconds: spent in training, over all resumes.
    """

    step: int = 0
    num_tokens: int = 0
    examples_seen: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Identity:
    """What a checkpoint belongs to; a resume with another of these is another run.

    Attributes:
        policy: hash of the weights that the run started from.
        reference: hash of the reference.
        data: hash of the training examples.
    """

    policy: str
    reference: str
    data: str


def save_checkpoint(
    folder: Path,
    parameters: dict[str, torch.nn.Parameter],
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    identity: Identity,
    keep: int,
    extras: Extras,
) -> Path:
    """Writes `step-N` whole or not at all, then removes all but the newest `keep`.

    Args:
        folder: where checkpoints lie.
        parameters: what is trained, by name.
        optimizer: its moments are kept.
        progress: the counters.
        identity: what the checkpoint belongs to.
        keep: how many stay.
        extras: further tensors, each group in a file of its name.

    Raises:
        CheckpointError: the disk is full or not writable; earlier checkpoints are untouched.
    """
    target = folder / f"step-{progress.step}"
    try:
        with atomic_directory(target) as temporary:
            # Trained weights that share memory (a tied head) are one parameter and appear once.
            save_file({name: p.detach().cpu().contiguous() for name, p in parameters.items()}, temporary / WEIGHTS)
            save_file(_optimizer_tensors(optimizer, parameters), temporary / OPTIMIZER)
            save_file(_random_state(), temporary / RANDOM)
            for name, tensors in extras.items():
                save_file(
                    {key: t.detach().cpu().contiguous() for key, t in tensors.items()}, temporary / extra_file(name)
                )
            kept = {"progress": asdict(progress), "identity": asdict(identity), "extras": sorted(extras)}
            write_json(temporary / STATE, kept)
    except (OSError, RuntimeError, _safetensors_error()) as error:
        last = latest_checkpoint(folder)
        raise CheckpointError(
            f"{target}: the checkpoint could not be written ({error}). Nothing half-written was left; the "
            f"last good one is {last.name if last else 'none'}. Free some space and continue with --resume."
        ) from error
    for old in _checkpoints(folder)[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def latest_checkpoint(folder: Path) -> Path | None:
    """The checkpoint of the highest step; what a crash left half-written never bears such a name."""
    found = _checkpoints(folder)
    return found[-1] if found else None


def load_checkpoint(
    path: Path,
    parameters: dict[str, torch.nn.Parameter],
    optimizer: torch.optim.Optimizer,
    identity: Identity,
) -> tuple[Progress, Extras]:
    """Puts weights, optimizer and random state back as they were; gives the counters and the further tensors.

    Raises:
        ReferenceMismatchError: the run's reference, model or data is not what the checkpoint was made with.
        CheckpointError: a file of it cannot be read.
    """
    try:
        state = json.loads((path / STATE).read_text(encoding="utf-8"))
        weights = load_file(path / WEIGHTS)
        moments = load_file(path / OPTIMIZER)
        random = load_file(path / RANDOM)
        extras = {name: load_file(path / extra_file(name)) for name in state["extras"]}
    except (OSError, ValueError, _safetensors_error()) as error:
        raise CheckpointError(
            f"{path}: the checkpoint cannot be read ({error}). Delete it to resume from the one before."
        ) from error
    _require_same(Identity(**state["identity"]), identity, path)
    if weights.keys() != parameters.keys():
        raise CheckpointError(f"{path}: holds other weights than this model trains. Was model.lora changed?")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(weights[name])
    _restore_optimizer(optimizer, parameters, moments)
    torch.set_rng_state(random["cpu"])
    if "cuda" in random and torch.cuda.is_available():
        torch.cuda.set_rng_state(random["cuda"])
    return Progress(**state["progress"]), extras


def clean_leftovers(folder: Path) -> None:
    """Removes what a killed run left half-written."""
    for leftover in folder.glob(f"{TEMPORARY_PREFIX}*"):
        shutil.rmtree(leftover, ignore_errors=True) if leftover.is_dir() else leftover.unlink(missing_ok=True)


def _checkpoints(folder: Path) -> list[Path]:
    found = [path for path in folder.glob("step-*") if path.name[5:].isdigit()]
    return sorted(found, key=lambda path: int(path.name[5:]))


def _require_same(saved: Identity, current: Identity, path: Path) -> None:
    if saved.reference != current.reference:
        raise ReferenceMismatchError(
            f"{path}: the checkpoint was trained against reference {saved.reference[:12] or 'none'} and this "
            f"run's reference is {current.reference[:12] or 'none'}. Rewards would change their meaning "
            "half-way: restore the model that the run started from, or start a new run."
        )
    if saved.policy != current.policy:
        raise ReferenceMismatchError(f"{path}: the run started from another model than model.name_or_path holds now.")
    if saved.data != current.data:
        raise CheckpointError(
            f"{path}: the training data changed since this checkpoint. Restore them, or start a new run."
        )


def _optimizer_tensors(
    optimizer: torch.optim.Optimizer, parameters: dict[str, torch.nn.Parameter]
) -> dict[str, torch.Tensor]:
    return {
        f"{name}|{key}": value.detach().cpu().contiguous()
        for name, parameter in parameters.items()
        for key, value in optimizer.state.get(parameter, {}).items()
        if isinstance(value, torch.Tensor)
    }


def _restore_optimizer(
    optimizer: torch.optim.Optimizer,
    parameters: dict[str, torch.nn.Parameter],
    moments: dict[str, torch.Tensor],
) -> None:
    for name, parameter in parameters.items():
        values = {key.rpartition("|")[2]: value for key, value in moments.items() if key.rpartition("|")[0] == name}
        optimizer.state[parameter] = {key: value.to(parameter.device) for key, value in values.items()}


def _random_state() -> dict[str, torch.Tensor]:
    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def _safetensors_error() -> type[Exception]:
    from safetensors import SafetensorError

    return SafetensorError
