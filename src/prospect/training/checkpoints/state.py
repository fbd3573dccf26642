"""What a checkpoint states of itself in `state.json`, typed, and how that is held against its files. No torch here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from prospect.atomic import write_json
from prospect.errors import CheckpointError
from prospect.run_dir import find_checkpoints

STATE = "state.json"
FORMAT: Literal[2] = 2


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Progress(_Record):
    """Where a run stands; every counter resumes.

    Attributes:
        step: optimizer steps done.
        num_tokens: tokens of prompts and completions seen.
        examples_seen: examples seen, repeats included.
        seconds: spent in training, over all resumes.
        pending: whether what follows the step, its evaluation for one, is still to be done.
    """

    step: int = Field(default=0, ge=0)
    num_tokens: int = Field(default=0, ge=0)
    examples_seen: int = Field(default=0, ge=0)
    seconds: float = Field(default=0.0, ge=0)
    pending: bool = False


class Identity(_Record):
    """What a checkpoint belongs to; a resume with another of these is another run.

    Attributes:
        policy: hash of the weights that the run started from, and of the precision that they compute in.
        reference: the same of the reference.
        data: hash of the training examples.
        sources: hashes of the Python files that the recipe names, by their names: that of a loss of one's own.
    """

    policy: str
    reference: str
    data: str
    sources: dict[str, str]


class TensorRecord(_Record):
    """A tensor's type and shape."""

    dtype: str
    shape: list[int]


class FileRecord(_Record):
    """A file's length and hash."""

    bytes: int = Field(ge=0)
    sha256: str


class CheckpointState(_Record):
    """All that `state.json` holds.

    Attributes:
        format: of the checkpoint.
        progress: the counters.
        identity: what it belongs to.
        groups: the tensors by group and name.
        files: its other files, by their path below the checkpoint.
        digest: hash of all the above.
    """

    format: Literal[2] = FORMAT
    progress: Progress
    identity: Identity
    groups: dict[str, dict[str, TensorRecord]]
    files: dict[str, FileRecord]
    digest: str = ""

    def expected_digest(self) -> str:
        """Return the SHA-256 of everything but the digest, as JSON with sorted keys."""
        text = json.dumps(self.model_dump(exclude={"digest"}), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def write_state(folder: Path, state: CheckpointState) -> None:
    """Write the state with its digest."""
    write_json(folder / STATE, {**state.model_dump(), "digest": state.expected_digest()})


def read_state(checkpoint: Path) -> CheckpointState:
    """Read what a checkpoint states, and check it as far as that goes without its files.

    Raises:
        CheckpointError: it is of another format, misses a key, holds a value of another kind, was changed, or is of
            another step than its folder.
    """
    try:
        values = json.loads((checkpoint / STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise damaged(checkpoint, f"{STATE} cannot be read: {error}") from error
    _require_format(checkpoint, values)
    try:
        state = CheckpointState.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise damaged(checkpoint, f"{STATE} is not what was written: {place}: {first['msg']}") from None
    if state.digest != state.expected_digest():
        raise damaged(checkpoint, f"{STATE} was changed after it was written")
    if checkpoint.name != f"step-{state.progress.step}":
        raise damaged(checkpoint, f"its state is that of step {state.progress.step}")
    return state


def _require_format(checkpoint: Path, values: Any) -> None:
    """Refuse another version's checkpoint in one sentence.

    Raises:
        CheckpointError: saying so.
    """
    found = values.get("format", 1) if isinstance(values, dict) else FORMAT
    if type(found) is int and found != FORMAT:
        raise CheckpointError(
            f"{checkpoint}: was written by {'an older' if found < FORMAT else 'a newer'} version of Prospect (format "
            f"{found}, expected {FORMAT}): finish the run with that version, or start a new one with another --output."
        )


def describe_file(path: Path) -> FileRecord:
    """Return a file's length and hash."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return FileRecord(bytes=file.tell(), sha256=digest)


def find_damage(checkpoint: Path, state: CheckpointState, names: Collection[str]) -> str | None:
    """Return what is wrong with files of a checkpoint; None if they are as they were written.

    A hash takes as long as reading does, about a second per GB, and a file that was just hashed is loaded from memory.
    """
    for name in names:
        path = checkpoint / name
        try:
            found = describe_file(path)
        except OSError as error:
            return f"{name} cannot be read ({error.strerror})"
        if found != state.files[name]:
            return f"{name} was changed after it was written"
    strange = {path.relative_to(checkpoint).as_posix() for path in checkpoint.rglob("*.safetensors")} - set(state.files)
    return f"{min(strange)} is none of its files" if strange else None


def damaged(checkpoint: Path, what: str) -> CheckpointError:
    """Return the error for a checkpoint that cannot be relied on, which says how to go on."""
    others = [path for path in find_checkpoints(checkpoint.parent) if path != checkpoint]
    before = f"resume from {others[-1].name}" if others else "begin the run again with --resume"
    return CheckpointError(f"{checkpoint}: the checkpoint is damaged: {what}. Delete it to {before}.")
