"""The random numbers of one pass over a step's rows: by the seed, the step and the row alone."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Draw:
    """Names the random numbers of one pass over a step's rows.

    Noise that is drawn from `generator` depends on the seed, the step and the row alone. So policy, reference and every
    pass of a step see the same noise of a row, and neither micro-batches, nor the number of processes, nor a resumed
    run changes it.

    Attributes:
        seed: of the run.
        step: from 1; 0 in evaluations, which thus always see the same noise.
    """

    seed: int
    step: int

    def generator(self, key: bytes) -> torch.Generator:
        """Return a random number generator on the CPU, for the row with this key."""
        return torch.Generator().manual_seed(self.number(key))

    def share(self, key: bytes) -> float:
        """Return a number in [0, 1) of this pass that is another for every key."""
        return self.number(key) / 2**64 + 0.5

    def number(self, key: bytes) -> int:
        """Return an int64 of this pass that is another for every key."""
        digest = hashlib.blake2b(f"{self.seed}|{self.step}|".encode() + key, digest_size=8).digest()
        return int.from_bytes(digest, "little", signed=True)
