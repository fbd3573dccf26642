"""The mean log-ratio of all steps so far, for losses that need one. Letters: M rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch


@dataclass
class RunningMean:
    """A sum and a count, so that the mean is the same however the rows were dealt out.

    Attributes:
        total: nats, over all rows so far.
        count: how many rows.
    """

    total: float = 0.0
    count: float = 0.0

    @property
    def mean(self) -> float:
        """Nats; 0 before the first row, when policy and reference are one model."""
        return self.total / self.count if self.count else 0.0

    def add(self, total: float, count: float) -> None:
        """Take a step's rows in."""
        self.total += total
        self.count += count

    def clear(self) -> None:
        """Start again from nothing."""
        self.total = self.count = 0.0

    def state(self) -> dict[str, torch.Tensor]:
        """Return what a checkpoint keeps."""
        return {"total_and_count": torch.tensor([self.total, self.count], dtype=torch.float64)}

    def load(self, state: Mapping[str, torch.Tensor]) -> None:
        """Put a checkpoint's numbers back."""
        self.total, self.count = state["total_and_count"].tolist()
