"""What tests of whole runs share: deaths, what a run has written, a policy that has moved."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from prospect.models.policy import Policy
from prospect.run_dir import RunDir
from prospect.training.session import Session


class Killed(Exception):
    """Stands in for the moment of death."""


@contextmanager
def killed_after(step: int, method: str = "count") -> Iterator[None]:
    """A run in the block dies when this method of its session has ended and more than `step` steps are counted."""
    original = getattr(Session, method)

    def dying(self: Any, *arguments: Any) -> None:
        original(self, *arguments)
        if self.progress.step > step:
            raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Session, method, dying)
        with pytest.raises(Killed):
            yield


def weights(place: RunDir | Path) -> dict[str, torch.Tensor]:
    """Return every tensor of a run's model or of a folder, by `FILE NAME`."""
    files = sorted((place.model_path if isinstance(place, RunDir) else place).glob("*.safetensors"))
    return {f"{file.name} {name}": value for file in files for name, value in load_file(file).items()}


def same_weights(one: RunDir, other: RunDir) -> bool:
    """Whether two runs' models are equal bit for bit."""
    first, second = weights(one), weights(other)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def numbers(run: RunDir) -> list[dict[str, Any]]:
    """Return all metrics but those of time."""
    return [{k: v for k, v in row.items() if k not in ("tokens_per_second", "kl_seconds")} for row in run.metrics()]


def same(one: RunDir, other: RunDir) -> bool:
    """Whether two runs have the same weights and metrics bit for bit."""
    return same_weights(one, other) and numbers(one) == numbers(other)


def move(policy: Policy, seed: int = 1) -> None:
    """Move a policy away from its reference, so that nothing is zero by accident."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in policy.trainable().values():
            parameter.add_(0.05 * torch.randn_like(parameter))
