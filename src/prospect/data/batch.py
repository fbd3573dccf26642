"""Rows of completions: what the model scores. Letters: N rows, T tokens."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

import numpy as np
import torch

from prospect.errors import DataError


class AnyRow(Protocol):
    """What the rows of every medium have."""

    @property
    def prompt_key(self) -> str:
        """Equal for rows of one prompt, and only for them."""

    @property
    def id(self) -> str:
        """Names the feedback record in messages."""

    @property
    def desirable(self) -> bool:
        """The verdict; for a pair, true for the chosen side; for a demonstration, true."""

    @property
    def weight(self) -> float:
        """Factor on the example's loss."""

    @property
    def score(self) -> float:
        """The number that somebody gave the completion; only losses on scored feedback look at it."""

    @property
    def key(self) -> bytes:
        """Hash of the content; the same row has the same key in every run."""


@dataclass(frozen=True, eq=False)
class Row:
    """One completion of one prompt, in tokens.

    Attributes:
        prompt_ids: int32 (P,), P >= 1.
        completion_ids: int32 (C,), C >= 1; these are scored.
        prompt_key: see `AnyRow`, as for `id`, `desirable`, `weight` and `score`.
        sampled_logps: float32 (C,) nats, each completion token's log-prob when it was sampled; None if unknown.
        numbers: more of each completion token, float32 (C,) by name, such as its advantage.
        key: hash of the tokens and of what is scored; the same row has the same key in every run.
    """

    prompt_ids: np.ndarray
    completion_ids: np.ndarray
    prompt_key: str
    id: str
    desirable: bool
    weight: float = 1.0
    score: float = 0.0
    sampled_logps: np.ndarray | None = None
    numbers: Mapping[str, np.ndarray] = field(default_factory=dict)
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

R = TypeVar("R", bound=AnyRow)


def row_from_ids(
    prompt_ids: Sequence[int],
    completion_ids: Sequence[int],
    *,
    prompt_key: str,
    id: str,
    desirable: bool = True,
    weight: float = 1.0,
    score: float = 0.0,
    sampled_logps: Sequence[float] | None = None,
) -> Row:
    """Make a row of token ids as they are, without tokenising any text.

    Sampled completions are best kept as ids: their text, tokenised again, may give other tokens.

    Args:
        prompt_ids: P ids, P >= 1.
        completion_ids: C ids, C >= 1, the end token with them if there is one.
        prompt_key: see `AnyRow`.
        id: see `AnyRow`.
        desirable: see `AnyRow`.
        weight: see `AnyRow`.
        score: see `AnyRow`.
        sampled_logps: C nats; see `Row`.

    Raises:
        DataError: an empty prompt or completion, or log-probs of another number of tokens.
    """
    if not len(prompt_ids) or not len(completion_ids):
        raise DataError(
            f"row {id} has {len(prompt_ids)} prompt tokens and {len(completion_ids)} completion tokens; expected at "
            "least one of each. Leave the row out."
        )
    if sampled_logps is not None and len(sampled_logps) != len(completion_ids):
        raise DataError(
            f"row {id} has {len(completion_ids)} completion tokens and {len(sampled_logps)} sampled_logps; expected "
            "one for each token, the end token counted."
        )
    return Row(
        prompt_ids=np.array(prompt_ids, dtype=np.int32),
        completion_ids=np.array(completion_ids, dtype=np.int32),
        prompt_key=prompt_key,
        id=id,
        desirable=desirable,
        weight=weight,
        score=score,
        sampled_logps=None if sampled_logps is None else np.array(sampled_logps, dtype=np.float32),
    )


def flatten(examples: Sequence[tuple[R, ...]]) -> list[R]:
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
        sampled_logps: float32 (N, T) nats, 0 where nothing is scored; None unless every row has them.
        numbers: float32 (N, T) by name, likewise: those that every row has.
    """

    ids: torch.Tensor
    attention: torch.Tensor
    completion: torch.Tensor
    desirable: torch.Tensor
    weight: torch.Tensor
    score: torch.Tensor
    rows: tuple[Row, ...]
    sampled_logps: torch.Tensor | None = None
    numbers: Mapping[str, torch.Tensor] = field(default_factory=dict)

    def to(self, device: torch.device) -> Batch:
        """Return the same batch on a device; copied while the device works, from memory that it can read by itself."""
        if device.type == self.ids.device.type:
            return self

        def move(tensor: torch.Tensor) -> torch.Tensor:
            if device.type != "cuda":  # Apple's GPU would read memory that is not pinned before it is written
                return tensor.to(device)
            return tensor.pin_memory().to(device, non_blocking=True)

        moved: dict[str, Any] = {name: move(value) for name, value in vars(self).items() if torch.is_tensor(value)}
        return replace(self, **moved, numbers={name: move(value) for name, value in self.numbers.items()})


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
        sampled_logps=_by_token([row.sampled_logps for row in rows], completion),
        numbers={
            name: laid_out
            for name in rows[0].numbers
            if (laid_out := _by_token([row.numbers.get(name) for row in rows], completion)) is not None
        },
    )


def _by_token(values: Sequence[np.ndarray | None], completion: torch.Tensor) -> torch.Tensor | None:
    """Lay the rows' numbers out over (N, T), where all rows have them."""
    known = [row for row in values if row is not None]
    if len(known) < len(values):
        return None
    return torch.zeros(completion.shape).masked_scatter(completion, torch.from_numpy(np.concatenate(known)))


def mismatched_partners(rows: Sequence[AnyRow], seed: int) -> list[int]:
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
            sampled_logps=None,
            numbers={},
            id=f"{row.id} × {rows[j].id}",
        )
        for row, j in zip(rows, mismatched_partners(rows, seed), strict=True)
    ]


def _rank(prompt_key: str, seed: int) -> bytes:
    return hashlib.blake2b(prompt_key.encode(), digest_size=16, salt=seed.to_bytes(8, "little")).digest()
