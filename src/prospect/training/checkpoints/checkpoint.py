"""Saving and resuming to the same numbers. Tensors as safetensors, the rest as JSON; no pickle.

A checkpoint holds groups of tensors by name. Usually each group is a file; where weights are sharded, every process
writes its parts (`sharded/`, PyTorch's distributed checkpoint). Either is read by any number of processes.
"""

from __future__ import annotations

import re
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from prospect.atomic import TEMPORARY_PREFIX, atomic_directory
from prospect.errors import CheckpointError, ReferenceMismatchError
from prospect.models.device import random_state, set_random_state
from prospect.run_dir import find_checkpoints
from prospect.training.checkpoints.state import (
    CheckpointState,
    FileRecord,
    Identity,
    Progress,
    TensorRecord,
    damaged,
    describe_file,
    find_damage,
    read_state,
    write_state,
)
from prospect.training.processes.sharding import load_sharded, save_sharded, spread
from prospect.training.processes.world import World

RANDOM, SHARDED = "random.safetensors", "sharded"
WEIGHTS, OPTIMIZER, REFERENCE, RUNNING_MEAN = "weights", "optimizer", "reference", "running_mean"
SAMPLED_POINT = "sampled_point"

Groups = Mapping[str, Mapping[str, torch.Tensor]]
"""What a checkpoint holds: `weights` (what is trained), `optimizer`, and, where a run has them, the `reference` that
followed the policy, the `running_mean` of a loss and the `sampled_point`, the z0 that was sampled last; each a mapping
of names to tensors."""


def save_checkpoint(
    folder: Path, groups: Groups, progress: Progress, identity: Identity, keep: int, world: World | None = None
) -> Path:
    """Write `step-N` whole or not at all, then remove all but the newest `keep`.

    Args:
        folder: where checkpoints lie.
        groups: the tensors; an empty group is left out.
        progress: the counters.
        identity: what the checkpoint belongs to.
        keep: how many stay.
        world: the processes of the run; all of them must call.

    Raises:
        CheckpointError: the disk is full or not writable; earlier checkpoints are untouched.
    """
    world = world or World()
    target = folder / f"step-{progress.step}"
    groups = {name: tensors for name, tensors in groups.items() if tensors}
    random = {f"{name}.{rank}": t for rank, part in enumerate(world.gather(random_state())) for name, t in part.items()}
    try:
        with _shared_directory(target, world) as temporary:
            if world.lockstep:
                flat = {f"{group}|{name}": t for group, tensors in groups.items() for name, t in tensors.items()}
                save_sharded(flat, str(temporary / SHARDED))
            if world.is_main:
                for group, tensors in groups.items() if not world.lockstep else ():
                    # Trained weights that share memory (a tied head) are one parameter and appear once.
                    _save_file(tensors, temporary / f"{group}.safetensors")
                _save_file(random, temporary / RANDOM)
            records = {group: {name: _record(t) for name, t in tensors.items()} for group, tensors in groups.items()}
            files = _describe_files(temporary, world)
            if world.is_main:
                write_state(
                    temporary, CheckpointState(progress=progress, identity=identity, groups=records, files=files)
                )
    except (OSError, RuntimeError, SafetensorError) as error:
        last = latest_checkpoint(folder)
        raise CheckpointError(
            f"{target}: the checkpoint could not be written ({error}). Nothing half-written was left; the "
            f"last good one is {last.name if last else 'none'}. Free some space and continue with --resume."
        ) from error
    if world.is_main:
        for old in find_checkpoints(folder)[:-keep]:
            shutil.rmtree(old, ignore_errors=True)
    return target


@contextmanager
def _shared_directory(target: Path, world: World) -> Iterator[Path]:
    """Give a folder that appears whole or not at all, made by the first process and filled by all."""
    if not world.is_main:
        yield Path(world.gather(None)[0])
        world.barrier()  # all parts are written
        world.barrier()  # and in place
        return
    with atomic_directory(target) as temporary:
        world.gather(str(temporary))
        yield temporary
        world.barrier()
    world.barrier()


def _record(tensor: torch.Tensor) -> TensorRecord:
    return TensorRecord(dtype=str(tensor.dtype).removeprefix("torch."), shape=list(tensor.shape))


def _describe_files(folder: Path, world: World) -> dict[str, FileRecord]:
    """Hash what was written, each process its own part: on a network disk it may not see another's at once."""
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    own = {name: describe_file(folder / name) for name in names if _writer(name) == world.rank}
    return dict(sorted((name, record) for part in world.gather(own) for name, record in part.items()))


def _writer(name: str) -> int:
    """Return the rank that wrote a file: PyTorch numbers the parts from 1, and all the rest is the first one's."""
    part = re.match(rf"{SHARDED}/shard-(\d+)-", name)
    return int(part[1]) - 1 if part else 0


def _save_file(tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    save_file({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, path)


def latest_checkpoint(folder: Path) -> Path | None:
    """Return the checkpoint of the highest step; what a crash left half-written never bears such a name."""
    found = find_checkpoints(folder)
    return found[-1] if found else None


def load_checkpoint(
    path: Path, likes: Groups, identity: Identity, world: World | None = None
) -> tuple[Progress, dict[str, dict[str, torch.Tensor]]]:
    """Read a checkpoint, whoever wrote it, and put the random state back.

    Args:
        path: of the checkpoint.
        likes: for every tensor that may be in it, one that lies as it should: on which device, whole or sharded.
        identity: of this run.
        world: the processes of this run.

    Returns:
        The counters, and the groups of tensors.

    Raises:
        ReferenceMismatchError: the run's reference, model or data is not what the checkpoint was made with.
        CheckpointError: a file of it cannot be read, or it holds other tensors.
    """
    world = world or World()
    state = read_state(path)
    _require_same(state.identity, identity, path)
    groups = _read_groups(path, state, likes, world)
    try:
        random = load_file(path / RANDOM)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise damaged(path, f"it cannot be read ({error})") from error
    _restore_random(random, world)
    return state.progress, groups


def load_group(
    path: Path, group: str, likes: Mapping[str, torch.Tensor], world: World | None = None
) -> dict[str, torch.Tensor]:
    """Read one group of another run's checkpoint: its optimizer, for a run that goes on from there.

    Args:
        path: of the checkpoint.
        group: its name.
        likes: see `load_checkpoint`.
        world: the processes of this run.

    Raises:
        CheckpointError: it has no such group, holds other tensors, or cannot be read.
    """
    state = read_state(path)
    if group not in state.groups:
        raise CheckpointError(f"{path}: holds no {group}. Take a checkpoint of a run that was trained.")
    only = state.model_copy(update={"groups": {group: state.groups[group]}})
    return _read_groups(path, only, {group: likes}, world or World())[group]


def _read_groups(path: Path, state: CheckpointState, likes: Groups, world: World) -> dict[str, dict[str, torch.Tensor]]:
    wanted = {group: _likes(likes.get(group, {}), records, path) for group, records in state.groups.items()}
    _require_whole(path, state, world)
    try:
        return _read_sharded(path, wanted) if (path / SHARDED).exists() else _read_plain(path, wanted)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise damaged(path, f"it cannot be read ({error})") from error


def _require_whole(path: Path, state: CheckpointState, world: World) -> None:
    """Refuse files that are not what was written; the processes share the reading.

    Raises:
        CheckpointError: naming one of them.
    """
    names = sorted(state.files)[world.rank :: world.size]
    found = next((damage for damage in world.gather(find_damage(path, state, names)) if damage), None)
    if found is not None:
        raise damaged(path, found)


def _likes(
    known: Mapping[str, torch.Tensor], records: Mapping[str, TensorRecord], path: Path
) -> dict[str, torch.Tensor]:
    for name, record in records.items():
        if name not in known:
            raise CheckpointError(
                f"{path}: holds {name}, which this run does not have. Was model.lora or reference.sync changed?"
            )
        if _record(known[name]) != record:
            raise CheckpointError(
                f"{path}: {name} is {record.dtype} {record.shape}, and this run's is {_record(known[name]).dtype} "
                f"{list(known[name].shape)}. Was the model or model.lora changed?"
            )
    return {name: known[name] for name in records}


def _read_plain(path: Path, wanted: Groups) -> dict[str, dict[str, torch.Tensor]]:
    groups = {}
    for group, likes in wanted.items():
        tensors = load_file(path / f"{group}.safetensors")
        groups[group] = {name: spread(tensors[name], like) for name, like in likes.items()}
    return groups


def _read_sharded(path: Path, wanted: Groups) -> dict[str, dict[str, torch.Tensor]]:
    groups = {group: {name: torch.empty_like(t) for name, t in likes.items()} for group, likes in wanted.items()}
    flat = {f"{group}|{name}": t for group, tensors in groups.items() for name, t in tensors.items()}
    with warnings.catch_warnings():
        # One process may read what several wrote; PyTorch warns that it is alone.
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        load_sharded(flat, str(path / SHARDED))
    return groups


def clean_leftovers(folder: Path) -> None:
    """Remove what a killed run left half-written."""
    for leftover in folder.glob(f"{TEMPORARY_PREFIX}*"):
        shutil.rmtree(leftover, ignore_errors=True) if leftover.is_dir() else leftover.unlink(missing_ok=True)


_ANOTHER_MODEL = (
    "It is known by its weights and the precision that it computes in, and train.precision: auto is bf16 on a machine "
    "that multiplies it in hardware, else fp32. Restore the model that the run started from, continue on a machine of "
    "the kind that it began on, or start a new run."
)


def _require_same(saved: Identity, current: Identity, path: Path) -> None:
    if saved.reference != current.reference:
        raise ReferenceMismatchError(
            f"{path}: the checkpoint was trained against reference {saved.reference[:12] or 'none'} and this "
            f"run's reference is {current.reference[:12] or 'none'}: rewards would change their meaning half-way. "
            f"{_ANOTHER_MODEL}"
        )
    if saved.policy != current.policy:
        raise ReferenceMismatchError(
            f"{path}: the run started from model {saved.policy[:12]} and this one is {current.policy[:12]}. "
            f"{_ANOTHER_MODEL}"
        )
    files = {**saved.sources, **current.sources}
    changed = [file for file in files if saved.sources.get(file) != current.sources.get(file)]
    if changed:
        raise CheckpointError(
            f"{path}: {changed[0]} was changed since this checkpoint. Restore it, or start a new run with another "
            "--output."
        )
    if saved.data != current.data:
        raise CheckpointError(
            f"{path}: the training data changed since this checkpoint. Restore them, or start a new run."
        )


def _restore_random(random: Mapping[str, torch.Tensor], world: World) -> None:
    """Restore the random state; a process that did not exist when the checkpoint was written keeps its own."""
    own = {name.removesuffix(f".{world.rank}"): state for name, state in random.items()}
    set_random_state({name: state for name, state in own.items() if "." not in name})
