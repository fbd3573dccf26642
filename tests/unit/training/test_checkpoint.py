"""A checkpoint is what was written, to the last bit, or it is refused with what to do."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from prospect.errors import CheckpointError, ProspectError
from prospect.training.checkpoints.checkpoint import OPTIMIZER, WEIGHTS, load_checkpoint, save_checkpoint
from prospect.training.checkpoints.state import STATE, CheckpointState, Identity, Progress

IDENTITY = Identity(policy="p", reference="r", data="d", sources={"my.py": "s"})
GROUPS = {
    WEIGHTS: {"a": torch.arange(6.0).view(2, 3), "b": torch.tensor([1.5, -2.0], dtype=torch.bfloat16)},
    OPTIMIZER: {"a|exp_avg": torch.full((2, 3), 0.25), "a|step": torch.tensor(3.0)},
}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    progress = Progress(step=3, num_tokens=120, examples_seen=24, seconds=1.25)
    return save_checkpoint(tmp_path / "checkpoints", GROUPS, progress, IDENTITY, keep=2)


def load(path: Path, identity: Identity = IDENTITY, likes: Any = GROUPS) -> tuple[Progress, Any]:
    return load_checkpoint(path, likes, identity)


def change_state(path: Path, change: Callable[[dict[str, Any]], object], *, digest: bool = True) -> None:
    """Edits state.json; with a digest that fits, as only our own code would write it."""
    values = json.loads((path / STATE).read_text())
    change(values)
    if digest:
        values["digest"] = CheckpointState.model_validate(values).expected_digest()
    (path / STATE).write_text(json.dumps(values))


def test_what_was_written_is_read_back(checkpoint: Path) -> None:
    progress, groups = load(checkpoint)
    assert progress == Progress(step=3, num_tokens=120, examples_seen=24, seconds=1.25)
    for group, tensors in GROUPS.items():
        assert groups[group].keys() == tensors.keys()
        assert all(
            torch.equal(groups[group][name], t) and groups[group][name].dtype == t.dtype for name, t in tensors.items()
        )


def test_it_states_hash_dtype_and_shape(checkpoint: Path) -> None:
    state = json.loads((checkpoint / STATE).read_text())
    assert state["format"] == 2
    assert state["groups"][WEIGHTS]["b"] == {"dtype": "bfloat16", "shape": [2]}
    assert set(state["files"]) == {path.name for path in checkpoint.iterdir()} - {STATE}
    assert all(len(file["sha256"]) == 64 and file["bytes"] > 0 for file in state["files"].values())


def test_any_flipped_byte_is_refused(checkpoint: Path) -> None:
    """Every byte of the weights, the optimizer and the state; of the random state, which is long, one in 50."""
    for path in sorted(checkpoint.iterdir()):
        whole = path.read_bytes()
        for place in range(0, len(whole), 50 if path.name.startswith("random") else 1):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            try:
                load(checkpoint)
            except CheckpointError:
                continue
            # White space between the values of a JSON file may be another.
            assert path.name == STATE and whole[place] in b" \n", (path.name, place)
        path.write_bytes(whole)
    load(checkpoint)


@pytest.mark.parametrize("name", ["weights", "optimizer", "random"])
def test_a_changed_file_is_named_with_the_checkpoint_to_go_on_from(checkpoint: Path, name: str) -> None:
    before = checkpoint.with_name("step-2")
    shutil.copytree(checkpoint, before)
    path = checkpoint / f"{name}.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(
        CheckpointError, match=rf"damaged: {name}\.safetensors was changed .*\. Delete it to resume from step-2\."
    ):
        load(checkpoint)
    shutil.rmtree(before)
    with pytest.raises(CheckpointError, match=r"Delete it to begin the run again with --resume\."):
        load(checkpoint)


def test_a_missing_file_is_refused(checkpoint: Path) -> None:
    (checkpoint / "optimizer.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"optimizer\.safetensors cannot be read \(No such file or directory\)"):
        load(checkpoint)


def test_a_file_of_tensors_that_was_put_there_is_refused(checkpoint: Path) -> None:
    shutil.copy(checkpoint / "weights.safetensors", checkpoint / "more.safetensors")
    with pytest.raises(CheckpointError, match=r"more\.safetensors is none of its files"):
        load(checkpoint)


def test_a_checkpoint_under_another_steps_name_is_refused(checkpoint: Path) -> None:
    moved = checkpoint.rename(checkpoint.with_name("step-30"))
    with pytest.raises(CheckpointError, match=r"step-30: the checkpoint is damaged: its state is that of step 3\."):
        load(moved)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s.pop("progress"), "progress: Field required"),
        (lambda s: s["progress"].pop("step") and s["progress"].update(other=1), "other: Extra inputs"),
        (lambda s: s["progress"].update(step="3"), "progress.step: Input should be a valid integer"),
        (lambda s: s["progress"].update(step=True), "progress.step: Input should be a valid integer"),
        (lambda s: s["progress"].update(step=-1), "progress.step: Input should be greater than or equal to 0"),
        (lambda s: s["progress"].update(seconds=float("nan")), "progress.seconds: Input should be"),
        (lambda s: s["progress"].update(seconds=float("inf")), "progress.seconds: Input should be"),
        (lambda s: s["progress"].update(pending="no"), "progress.pending: Input should be a valid boolean"),
        (lambda s: s["identity"].update(sources=None), "identity.sources: Input should be a valid dict"),
        (lambda s: s["identity"].pop("policy"), "identity.policy: Field required"),
        (lambda s: s.update(groups=[]), "groups: Input should be a valid dictionary"),
        (lambda s: s["groups"]["weights"].update(a=None), "groups.weights.a: Input should be a valid dictionary"),
        (lambda s: s["files"]["weights.safetensors"].update(bytes=-1), "bytes: Input should be greater"),
        (lambda s: s.update(format="2"), "format: Input should be 2"),
    ],
)
def test_an_odd_state_is_refused_with_its_key(checkpoint: Path, change: Any, said: str) -> None:
    change_state(checkpoint, change, digest=False)
    with pytest.raises(CheckpointError) as refused:
        load(checkpoint)
    assert f"damaged: {STATE} is not what was written: " in str(refused.value)
    assert said in str(refused.value) and "Delete it to begin the run again with --resume." in str(refused.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "3", '"text"', "[" * 100_000, "{}"])
def test_a_state_that_is_no_object_of_ours_is_refused(checkpoint: Path, text: str) -> None:
    (checkpoint / STATE).write_text(text)
    with pytest.raises(CheckpointError, match=r"Delete it to begin|older version"):
        load(checkpoint)


def test_a_number_that_was_edited_is_refused(checkpoint: Path) -> None:
    change_state(checkpoint, lambda s: s["progress"].update(num_tokens=121), digest=False)
    with pytest.raises(CheckpointError, match=r"state\.json was changed after it was written"):
        load(checkpoint)


@pytest.mark.parametrize(("found", "version"), [(None, "an older"), (1, "an older"), (3, "a newer")])
def test_another_versions_checkpoint_is_refused_in_one_sentence(
    checkpoint: Path, found: int | None, version: str
) -> None:
    change_state(checkpoint, lambda s: s.update(format=found) if found else s.pop("format"), digest=False)
    with pytest.raises(CheckpointError, match=rf"written by {version} version of Prospect \(format {found or 1}, exp"):
        load(checkpoint)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"policy": "q"}, "started from model p and this one is q"),
        ({"reference": "q"}, "trained against reference r and this run's reference is q"),
        ({"data": "q"}, "training data changed since this checkpoint"),
        ({"sources": {"my.py": "q"}}, r"my\.py was changed since this checkpoint\. Restore it, or start a new run"),
        ({"sources": {}}, r"my\.py was changed since this checkpoint"),
    ],
)
def test_what_a_checkpoint_belongs_to_must_be_the_same(checkpoint: Path, changes: Any, said: str) -> None:
    with pytest.raises(ProspectError, match=said):
        load(checkpoint, IDENTITY.model_copy(update=changes))


@pytest.mark.parametrize("like", [torch.zeros(3, 2), torch.zeros(6), torch.zeros(2, 3, dtype=torch.float16)])
def test_tensors_of_another_shape_or_type_are_refused_before_they_are_read(
    checkpoint: Path, like: torch.Tensor
) -> None:
    with pytest.raises(CheckpointError, match=r"a is float32 \[2, 3\], and this run's is"):
        load(checkpoint, likes={**GROUPS, WEIGHTS: {**GROUPS[WEIGHTS], "a": like}})


def test_a_state_that_is_true_to_other_tensors_than_those_in_the_files_is_refused(checkpoint: Path) -> None:
    """As if a file had been exchanged together with its hash."""
    change_state(checkpoint, lambda s: s["groups"]["weights"].update(c={"dtype": "float32", "shape": [1]}))
    with pytest.raises(CheckpointError, match="cannot be read"):
        load(checkpoint, likes={**GROUPS, WEIGHTS: {**GROUPS[WEIGHTS], "c": torch.zeros(1)}})


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 10):
        save_checkpoint(tmp_path, GROUPS, Progress(step=step), IDENTITY, keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-10", "step-2"]


@pytest.mark.parametrize("failing", ["save_file", "write_state"])
def test_a_full_disk_leaves_no_part_of_a_checkpoint(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(f"prospect.training.checkpoints.checkpoint.{failing}", full)
    with pytest.raises(
        CheckpointError, match=r"No space left on device.*the last good one is step-3\. Free some space"
    ):
        save_checkpoint(checkpoint.parent, GROUPS, Progress(step=4), IDENTITY, keep=2)
    assert [path.name for path in checkpoint.parent.iterdir()] == ["step-3"]
