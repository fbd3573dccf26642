"""The same commands on a GPU: bf16 by itself, rewards that start at zero, a resume, and the CPU's numbers in fp32."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import prospect
from conftest import thumbs

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")]


def losses(run: Any) -> list[float]:
    return [row["loss"] for row in run.metrics() if "loss" in row]


def test_a_gpu_is_used_in_bf16_and_learns(recipe: Any) -> None:
    run = prospect.train(recipe("kto", thumbs(16), train={"max_steps": 20}), quiet=True)
    provenance = run.provenance()
    assert provenance.device.startswith("cuda") and provenance.precision == "bf16"
    assert losses(run)[0] == pytest.approx(0.5, abs=1e-3)
    assert losses(run)[-1] < 0.4


def test_fp32_on_a_gpu_follows_the_cpu(recipe: Any) -> None:
    golden = (Path(__file__).parents[1] / "loop/kto_curve.json").read_text()
    run = prospect.train(recipe("kto", thumbs(32), train={"max_steps": 30, "precision": "fp32"}), quiet=True)
    assert losses(run) == pytest.approx(json.loads(golden), rel=2e-2)


def test_a_run_resumes_on_a_gpu(recipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from prospect.training.session import Session

    values = recipe("kto", thumbs(32), train={"save_every": 2, "precision": "fp32"})
    whole = prospect.train({**values, "output": str(tmp_path / "whole")}, quiet=True)
    finish = Session.finish

    def dying(self: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Session, "finish", dying)
    with pytest.raises(KeyboardInterrupt):
        prospect.train(values, quiet=True)
    monkeypatch.setattr(Session, "finish", finish)
    assert losses(prospect.train(values, resume=True, quiet=True)) == pytest.approx(losses(whole), rel=1e-3)
