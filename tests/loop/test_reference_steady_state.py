"""With a cache that other runs have filled the reference is asked only about rows it has never seen."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import prospect
from conftest import pairs, thumbs
from prospect.data.batch import Batch
from prospect.models.policy import Policy
from prospect.models.reference import AdapterOffReference, CachedReference, FrozenReference
from prospect.run_dir import RunDir
from prospect.training.session import Session
from runs import Killed, same

BATCH = 8
MISMATCHED = " × "  # in the names of rows that are there for z0

Run = Callable[..., tuple[RunDir, list[str]]]


@pytest.fixture
def run(recipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Trains with the cache that all runs share; gives the rows that the reference was asked about after step 1."""
    asked: list[str] = []
    moved = [False]
    logps, policy_moved = FrozenReference.logps, CachedReference.policy_moved

    def counting(self: FrozenReference, batch: Batch) -> torch.Tensor:
        if moved[0]:
            asked.extend(row.id for row in batch.rows)
        return logps(self, batch)

    def moving(self: Any) -> None:
        moved[0] = True
        policy_moved(self)

    monkeypatch.setattr(FrozenReference, "logps", counting)
    monkeypatch.setattr(CachedReference, "policy_moved", moving)
    count = 0

    def train(loss: str, rows: list[dict[str, Any]], **settings: Any) -> tuple[RunDir, list[str]]:
        nonlocal count
        count += 1
        asked.clear()
        moved[0] = False
        values = recipe(loss, rows, train=settings, reference={"cache": str(tmp_path / "cache")})
        values["output"] = str(tmp_path / f"run-{count}")
        return prospect.train(values, quiet=True), list(asked)

    return train


def plain(asked: list[str]) -> list[str]:
    return [name for name in asked if MISMATCHED not in name]


def losses(run: RunDir) -> list[float]:
    return [row["loss"] for row in run.metrics() if "loss" in row]


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_the_first_step_asks_the_policy_alone_where_no_dropout_makes_them_differ(
    recipe: Any, monkeypatch: pytest.MonkeyPatch, dropout: float
) -> None:
    asked: list[str] = []
    scored: list[str] = []
    logps, policy_logps = AdapterOffReference.logps, Policy.logps

    def counting(self: AdapterOffReference, batch: Batch) -> torch.Tensor:
        asked.extend(row.id for row in batch.rows)
        return logps(self, batch)

    def scoring(self: Policy, batch: Batch) -> torch.Tensor:
        scored.extend(row.id for row in batch.rows)
        return policy_logps(self, batch)

    monkeypatch.setattr(AdapterOffReference, "logps", counting)
    monkeypatch.setattr(Policy, "logps", scoring)
    rows = thumbs(BATCH)
    run = prospect.train(recipe("kto", rows, train={"max_steps": 1}, model={"lora": {"dropout": dropout}}), quiet=True)
    # The first micro-batch is asked about beforehand, to see whether both models agree.
    beforehand = len(asked) - (BATCH if dropout else 0)
    assert 0 < beforehand < BATCH
    assert len(set(asked)) == (BATCH if dropout else beforehand)
    assert losses(run) == [0.5]  # log-ratios that are 0 to the last bit
    assert plain(scored) == scored  # and so z0 is known


def test_another_learning_rate_asks_nothing(run: Run) -> None:
    """Not even for z0: the pairing is a function of the seed and of the rows of the step."""
    first, asked = run("kto", thumbs(32), epochs=2)
    # The rows of steps 2 to 4, once each, but for a few that a mismatched row of the same tokens has foretold; and
    # the mismatched rows, which are new in every epoch.
    assert 16 < len(plain(asked)) == len(set(plain(asked))) <= 32 - BATCH
    assert len(asked) > 2 * len(plain(asked))
    second, asked = run("kto", thumbs(32), epochs=2, learning_rate=3e-4)
    assert asked == []
    assert losses(second)[0] == losses(first)[0]
    assert losses(second)[2] != losses(first)[2]


def test_a_longer_run_asks_only_for_the_pairings_of_the_new_epochs(run: Run) -> None:
    run("kto", thumbs(32), epochs=1)
    _, asked = run("kto", thumbs(32), epochs=2)
    assert asked and plain(asked) == []


def test_another_seed_or_batch_size_asks_only_for_new_pairings(run: Run) -> None:
    run("kto", thumbs(32))
    for changes in ({"seed": 1}, {"batch_size": 4}):
        _, asked = run("kto", thumbs(32), **changes)
        assert asked and plain(asked) == []
        assert run("kto", thumbs(32), **changes)[1] == []


def test_without_mismatched_rows_only_added_rows_are_asked_about(run: Run) -> None:
    run("dpo", pairs(32))
    for changes in ({"seed": 1}, {"batch_size": 4}, {"epochs": 3}):
        assert run("dpo", pairs(32), **changes)[1] == []
    assert run("dpo", pairs(32)[5:17])[1] == []
    both = pairs(32) + [dict(row, prompt="a new " + row["prompt"]) for row in pairs(8)]
    added = {f"feedback.jsonl:{line}" for line in range(33, 41)}
    _, asked = run("dpo", both)
    seen = {name.split(" ")[0] for name in asked}
    assert seen and seen <= added
    assert run("dpo", both, seed=2)[1] == []


def company_counts(patch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Makes a row's number depend on what is asked together with it, far more than rounding does; gives a restart.

    Before the policy has moved it does not: the check of the first step wants zeros.
    """
    moved = False
    logps, policy_moved = FrozenReference.logps, CachedReference.policy_moved

    def swayed(self: FrozenReference, batch: Batch) -> torch.Tensor:
        return logps(self, batch) + (1e-3 * sum(row.key[0] for row in batch.rows) / 255 if moved else 0.0)

    def moving(self: CachedReference) -> None:
        nonlocal moved
        moved = True
        policy_moved(self)

    def restart() -> None:
        nonlocal moved
        moved = False

    patch.setattr(FrozenReference, "logps", swayed)
    patch.setattr(CachedReference, "policy_moved", moving)
    return restart


def dies_between_flush_and_checkpoint(patch: pytest.MonkeyPatch) -> None:
    """The cache knows more than the checkpoint that the run resumes from."""
    flushes = 0

    def flush(self: CachedReference) -> None:
        nonlocal flushes
        original(self)
        flushes += 1
        if flushes == 2:
            raise Killed

    original = CachedReference.flush
    patch.setattr(CachedReference, "flush", flush)


def dies_in_the_middle_of_a_flush(patch: pytest.MonkeyPatch) -> None:
    """A part of what was learnt since the checkpoint is on disk; to use it would change what is asked together."""
    flushes = 0

    def fsync(handle: int) -> None:
        sync(handle)
        if Path(f"/proc/self/fd/{handle}").resolve().suffix == ".logps":
            nonlocal flushes
            flushes += 1
            if flushes == 2:
                os.ftruncate(handle, os.fstat(handle).st_size - 30)  # two rows of a group
                raise Killed

    sync = os.fsync
    patch.setattr(os, "fsync", fsync)


def dies_before_a_flush(patch: pytest.MonkeyPatch) -> None:
    def count(self: Any, *arguments: Any) -> None:
        original(self, *arguments)
        if self.progress.step == 4:
            raise Killed

    original = Session.count
    patch.setattr(Session, "count", count)


@pytest.mark.parametrize(
    "death", [dies_between_flush_and_checkpoint, dies_in_the_middle_of_a_flush, dies_before_a_flush]
)
@pytest.mark.parametrize("loss", ["kto", "dpo"])
def test_a_killed_run_resumes_to_the_same_bits_with_a_cache_that_knows_some_rows(
    recipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loss: str, death: Callable[..., None]
) -> None:
    """Every third row is known, so that batches are asked about in part, and in company that decides a number."""
    restart = company_counts(monkeypatch)
    rows = thumbs(48) if loss == "kto" else pairs(48)
    settings = {"save_every": 2, "learning_rate": 3e-3, "epochs": 2}
    filling = recipe(loss, rows[::3], reference={"cache": str(tmp_path / "some")})
    prospect.train({**filling, "output": str(tmp_path / "filling")}, quiet=True)
    for name in ("whole", "killed"):
        shutil.copytree(tmp_path / "some", tmp_path / f"cache-{name}")

    def values(name: str) -> dict[str, Any]:
        made = recipe(loss, rows, train=settings, reference={"cache": str(tmp_path / f"cache-{name}")})
        return {**made, "output": str(tmp_path / name)}

    restart()
    whole = prospect.train(values("whole"), quiet=True)
    restart()
    with monkeypatch.context() as patch:
        death(patch)
        with pytest.raises(Killed):
            prospect.train(values("killed"), quiet=True)
    restart()
    assert same(whole, prospect.train(values("killed"), resume=True, quiet=True))
