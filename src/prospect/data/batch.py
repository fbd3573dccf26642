"""Rows of completions: what the model scores. Letters: N rows, T tokens."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from prospect.errors import DataError


@dataclass(frozen=True, eq=False)
class Row:
    """One completion of one prompt, in tokens.

    Attributes:
        prompt_ids: int32 (P,), P >= 1.
        completion_ids: int32 (C,), C >= 1; these are scored.
        prompt_key: equal for rows of one prompt, and only for them.
        id: of the feedback record.
        desirable: the verdict; for a pair, true for the chosen side; for a demonstration, true.
        weight: factor on the example's loss.
        score: a number given to the completion by a rater or a model; only losses on scored feedback look at it.
        key: hash of the tokens and of what is scored; the same row has the same key in every run.
    """

    prompt_ids: np.ndarray
    completion_ids: np.ndarray
    prompt_key: str
    id: str
    desirable: bool
    weight: float = 1.0
    score: float = 0.0
    key: bytes = field(init=False)

    def __post_init__(self) -> None:
        digest = hashlib.blake2b(len(self.prompt_ids).to_bytes(8, "little"), digest_size=16)
        digest.update(np.ascontiguousarray(self.prompt_ids, dtype="<i4").tobytes())
        digest.update(np.ascontiguousarray(self.completion_ids, dtype="<i4").tobytes())
        object.__setattr__(self, "key", digest.digest())

    @property
    def length(self) -> int:
        """Tokens of prompt and completion."""
        return len(self.prompt_ids) + len(self.completion_ids)


Example = tuple[Row, ...]
"""What a loss gives one value for: one row, the chosen and the rejected row of a pair, or K scored rows of a prompt."""


def flatten(examples: Sequence[Example]) -> list[Row]:
    """Return the rows of examples, those of one example side by side."""
    return [row for example in examples for row in example]


@dataclass(frozen=True)
class Batch:
    """Rows, padded on the right; those of one example are neighbours.

    Attributes:
        ids: int64 (N, T).
        attention: bool (N, T), true on real tokens.
        completion: bool (N, T), true on tokens that are scored.
        desirable: bool (N,).
        weight: float32 (N,).
        score: float32 (N,).
        rows: the N rows, for names and cache keys.
    """

    ids: torch.Tensor
    attention: torch.Tensor
    completion: torch.Tensor
    desirable: torch.Tensor
    weight: torch.Tensor
    score: torch.Tensor
    rows: tuple[Row, ...]

    def to(self, device: torch.device) -> Batch:
        """Return the same batch on a device; copied while the device works, from memory that it can read by itself."""
        if device.type == self.ids.device.type:
            return self
        names = ("ids", "attention", "completion", "desirable", "weight", "score")
        tensors = {name: getattr(self, name) for name in names}
        if device.type == "cuda":
            tensors = {name: tensor.pin_memory() for name, tensor in tensors.items()}
        moved = {name: tensor.to(device, non_blocking=True) for name, tensor in tensors.items()}
        return replace(self, **moved)


def collate(rows: Sequence[Row]) -> Batch:
    """Lay rows side by side.

    Padding is on the right and holds id 0, which is never attended to by a real token of a causal model and
    never scored: no token id decides what padding is, so `pad = unk` or `pad = eos` cannot hide a real token.
    """
    count, longest = len(rows), max(row.length for row in rows)
    ids = torch.zeros(count, longest, dtype=torch.int64)
    attention = torch.zeros(count, longest, dtype=torch.bool)
    completion = torch.zeros(count, longest, dtype=torch.bool)
    for i, row in enumerate(rows):
        start = len(row.prompt_ids)
        ids[i, :start] = torch.from_numpy(row.prompt_ids)
        ids[i, start : row.length] = torch.from_numpy(row.completion_ids)
        attention[i, : row.length] = True
        completion[i, start : row.length] = True
    return Batch(
        ids=ids,
        attention=attention,
        completion=completion,
        desirable=torch.tensor([row.desirable for row in rows]),
        weight=torch.tensor([row.weight for row in rows], dtype=torch.float32),
        score=torch.tensor([row.score for row in rows], dtype=torch.float32),
        rows=tuple(rows),
    )


def mismatched_partners(rows: Sequence[Row], seed: int) -> list[int]:
    """Say for every row whose completion it borrows for the estimate of z0.

    The rows are put in a circle in an order that depends on their content and the seed, not on their places
    in the batch, prompts together; then each takes the completion m places on, m being the rows of the
    commonest prompt. With one row to a prompt that is x_i with y_{i+1}. Nobody gets its own completion,
    no row gets one of its own prompt unless one prompt has more than half of the rows (and then as few as can
    be), and each completion is borrowed once.

    Raises:
        DataError: fewer than two rows, or one single prompt.
    """
    counts: dict[str, int] = {}
    for row in rows:
        counts[row.prompt_key] = counts.get(row.prompt_key, 0) + 1
    if len(counts) < 2:
        raise DataError(
            f"z0 needs completions of other prompts, and a step has {len(rows)} row(s) of {len(counts)} "
            "prompt(s). Raise train.batch_size, add feedback on other prompts, or choose a loss that needs "
            "no z0 (prospect losses)."
        )
    circle = sorted(range(len(rows)), key=lambda i: (_rank(rows[i].prompt_key, seed), rows[i].key))
    shift = max(counts.values())
    partners = [0] * len(rows)
    for place, i in enumerate(circle):
        partners[i] = circle[(place + shift) % len(rows)]
    return partners


def mismatched_rows(rows: Sequence[Row], seed: int, max_length: int) -> list[Row]:
    """Give each row's prompt with the completion that `mismatched_partners` chose, cut to `max_length`."""
    return [
        replace(
            row,
            completion_ids=rows[j].completion_ids[: max_length - len(row.prompt_ids)],
            id=f"{row.id} × {rows[j].id}",
        )
        for row, j in zip(rows, mismatched_partners(rows, seed), strict=True)
    ]


def _rank(prompt_key: str, seed: int) -> bytes:
    return hashlib.blake2b(prompt_key.encode(), digest_size=16, salt=seed.to_bytes(8, "little")).digest()
