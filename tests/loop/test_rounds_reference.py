"""What a round is compared with, and what of the optimizer goes on: reference, moments, learning rate, replay."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import prospect
from conftest import thumbs, write_rows
from prospect.config import load_config
from prospect.data.batch import flatten
from prospect.errors import CheckpointError
from prospect.evaluation.answers.subject import find_subject
from prospect.evaluation.held_out.scoring import frozen, score_rows
from prospect.feedback.files.sources import load_feedback
from prospect.models.policy import load_for_scoring
from prospect.results.rounds import Ledger, Round
from prospect.rounds.run import run_rounds
from prospect.run_dir import RunDir
from prospect.training.checkpoints.checkpoint import OPTIMIZER, latest_checkpoint
from prospect.training.prepare import prepare
from prospect.training.session import Session
from rounds_runs import hashes, small

LORA = {"r": 4, "alpha": 8}


@pytest.fixture
def first_steps(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float]]:
    """The model and the largest |log-ratio| of each run's rows before its first step."""
    found: list[tuple[str, float]] = []
    original = Session.start.__func__  # type: ignore[attr-defined]

    def start(cls: Any, prepared: Any, policy: Any, run: Any, *more: Any) -> Session:
        session: Session = original(cls, prepared, policy, run, *more)
        rows = flatten(prepared.train.examples)
        with torch.no_grad():
            ours = score_rows(policy.logps, rows, policy.device, None, "the policy")
            theirs = score_rows(session.reference.logps, rows, policy.device, None, "the reference")
        found.append((str(run.path), float(abs(ours - theirs).max())))
        return session

    monkeypatch.setattr(Session, "start", classmethod(start))
    return found


def adapter_start(tmp_path: Path, model: Path) -> Path:
    """A run whose adapter has moved."""
    data = write_rows(tmp_path / "thumbs.jsonl", thumbs(24))
    recipe = {
        "model": {"name_or_path": str(model), "lora": LORA},
        "data": {"train": str(data), "eval": None},
        "loss": {"name": "kto"},
        "train": {"batch_size": 8, "learning_rate": 1e-2, "samples": 0, "save_every": None},
        "output": str(tmp_path / "adapter"),
    }
    return prospect.train(recipe, quiet=True).path


@pytest.mark.parametrize("reference", ["start", "previous"])
@pytest.mark.parametrize("kind", ["full", "lora", "adapter", "adapter on an adapter", "after sft"])
def test_log_ratios_begin_at_zero_exactly_where_the_round_begins_at_its_reference(
    tmp_path: Path, model_path: Path, first_steps: list[tuple[str, float]], kind: str, reference: Any
) -> None:
    values = small(tmp_path, model_path, reference=reference, teach=kind == "after sft")
    values["train"]["learning_rate"] = 1e-2
    values["train"]["max_steps"] = 2
    if kind == "after sft":
        values["rounds"]["protocol"] = "orca_math"
    if kind.startswith("adapter"):
        values["model"] = {"name_or_path": str(adapter_start(tmp_path, model_path))}
    if kind in ("lora", "adapter on an adapter", "after sft"):
        values["model"]["lora"] = LORA
    first_steps.clear()
    found = run_rounds(values, quiet=True)
    (_, one), (_, two) = [row for row in first_steps if "round-" in row[0]]
    assert one < 1e-5, "round 1 begins at the start, which is its reference"
    assert (two < 1e-5) == (reference == "previous")
    # And the reference is the start itself: the ledger's, which after sft is the model that imitates.
    assert (found.start == str(tmp_path / "rounds" / "start" / "run")) == (kind == "after sft")
    if reference == "start":
        assert two == pytest.approx(largest_ratio(found, values), rel=1e-3)


def largest_ratio(found: Ledger, values: dict[str, Any]) -> float:
    """Of round 1's model against the ledger's start, on the rows of round 2, each loaded anew."""
    config = load_config(RunDir(found.rounds[2].model).config())
    rows = flatten(prepare(config).train.examples)
    policy = load_for_scoring(find_subject(found.rounds[1].model).settings)
    start = frozen(find_subject(found.start).settings, policy.tokenizer, "fp32", found.start)
    ours = score_rows(policy.logps, rows, policy.device, None, "a")
    theirs = score_rows(start.score, rows, policy.device, None, "b")
    return float(abs(ours - theirs).max())


def moments(folder: Path) -> dict[str, torch.Tensor]:
    """The optimizer's tensors in a run's last checkpoint."""
    checkpoint = latest_checkpoint(RunDir(folder).checkpoints_path)
    assert checkpoint is not None
    return load_file(next(checkpoint.glob(f"{OPTIMIZER}*")))


def test_a_carried_optimizer_goes_on_with_its_moments_and_its_steps(
    tmp_path: Path, model_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = small(tmp_path, model_path, optimizer="carried")
    begun: list[dict[str, Any]] = []
    original = Session.carry_optimizer

    def carry(self: Session, run: RunDir) -> None:
        original(self, run)
        begun.append({name: state["step"].item() for name, state in enumerate(self.optimizer.state.values())})

    monkeypatch.setattr(Session, "carry_optimizer", carry)
    found = run_rounds(values, quiet=True)
    steps = found.rounds[1].trained.steps if found.rounds[1].trained else 0
    assert len(begun) == 1 and set(begun[0].values()) == {float(steps)}
    one, two = (RunDir(tmp_path / "rounds" / f"round-{number}" / "run") for number in (1, 2))
    assert one.checkpoints() and two.config()["train"]["scheduler"] == "constant"
    assert two.config()["train"]["warmup"] == 0.0
    fresh = run_rounds({**small(tmp_path, model_path), "output": str(tmp_path / "fresh")}, quiet=True)
    assert hashes(fresh)[2] != hashes(found)[2]


def test_a_carried_optimizer_goes_on_from_the_model_that_is_kept(
    tmp_path: Path, model_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Round 2 is worse: round 3 starts from round 1, model and moments."""
    values = small(tmp_path, model_path, optimizer="carried", count=3)
    carried: list[str] = []
    original = Session.carry_optimizer

    def carry(self: Session, run: RunDir) -> None:
        carried.append(run.path.parent.name)
        original(self, run)

    monkeypatch.setattr(Session, "carry_optimizer", carry)
    run_rounds({**values, "rounds": {**values["rounds"], "count": 1}}, quiet=True)
    monkeypatch.setattr(Round, "is_kept", property(lambda self: self.held_out is not None and self.round != 2))
    found = run_rounds(values, resume=True, quiet=True)
    assert carried == ["round-1", "round-1"]
    run = RunDir(found.rounds[3].model)
    assert run.config()["model"]["name_or_path"] == found.rounds[1].model


def test_a_run_whose_checkpoints_are_gone_carries_nothing_and_says_so(tmp_path: Path, model_path: Path) -> None:
    values = small(tmp_path, model_path, optimizer="carried")
    run_rounds({**values, "rounds": {**values["rounds"], "count": 1}}, quiet=True)
    shutil.rmtree(tmp_path / "rounds" / "round-1" / "run" / "checkpoints")
    with pytest.raises(CheckpointError, match="has no checkpoint whose optimizer could go on"):
        run_rounds(values, resume=True, quiet=True)


def test_the_learning_rate_falls_by_round_and_earlier_rows_come_back(tmp_path: Path, model_path: Path) -> None:
    values = small(tmp_path, model_path, learning_rate_factor=0.3, replay=0.5)
    found = run_rounds(values, quiet=True)
    rates = [one.trained.learning_rate for one in found.rounds if one.trained]
    assert rates == [1e-3, pytest.approx(3e-4)]
    two = list(load_feedback(tmp_path / "rounds" / "round-2" / "rows"))
    sources = [row.source for row in two]
    assert found.rounds[2].rows and found.rounds[2].rows.replayed == sources.count("round 1")
    assert sources.count("round 1") == round(0.5 * sources.count("round 2"))
    assert len({(row.prompt, row.completion) for row in two}) == len(two)  # type: ignore[union-attr]
