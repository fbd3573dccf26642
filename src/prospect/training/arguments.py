"""What both models say of rows, laid out as a loss takes it. Letters: N rows or examples, T tokens, K completions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

from prospect.data.batch import Batch, Example
from prospect.losses.base import Loss


class Comparison(NamedTuple):
    """What policy and reference say of a batch.

    Attributes:
        logps: (N,) nats of the policy; a reward model's scores.
        log_ratio: (N,) nats, policy - reference, per token where the loss is length-normalised.
        token_log_ratio: (N, T) nats, where the loss is at token level.
        values: (N, T) of the value head, where the loss needs them.
    """

    logps: torch.Tensor
    log_ratio: torch.Tensor
    token_log_ratio: torch.Tensor | None = None
    values: torch.Tensor | None = None


def arrange(loss: Loss, compared: Comparison, batch: Batch, group: Sequence[Example]) -> tuple[torch.Tensor, ...]:
    """Lay a batch out as `loss.row_arguments`.

    Args:
        loss: says what it takes.
        compared: what the models say of the rows.
        batch: the rows; those of one example are neighbours.
        group: the examples that they belong to.
    """
    kinds: dict[tuple[str, str], Callable[[], tuple[Any, ...]]] = {
        ("unpaired", "sequence"): lambda: (compared.log_ratio, batch.desirable),
        ("unpaired", "token"): lambda: (compared.token_log_ratio, batch.completion, batch.desirable),
        ("paired", "sequence"): lambda: (compared.log_ratio[0::2], compared.log_ratio[1::2]),
        ("demonstration", "sequence"): lambda: (compared.log_ratio,),
        ("demonstration", "token"): lambda: (compared.token_log_ratio, batch.completion),
        ("scored", "sequence"): lambda: _side_by_side(compared.log_ratio, batch.score, group),
    }
    arguments = kinds[loss.feedback, loss.level]()
    return (*arguments, *([compared.values] if loss.needs_values else []))


def first_rows(group: Sequence[Example]) -> list[int]:
    """Where each example's first row stands among the rows of a batch."""
    return [0, *accumulate(len(example) for example in group[:-1])]


def concatenate(pieces: Sequence[tuple[torch.Tensor, ...]]) -> tuple[torch.Tensor, ...]:
    """Join micro-batches' arguments; tokens (or completions of a prompt) that the shorter ones lack are 0 or false."""

    def join(parts: Sequence[torch.Tensor]) -> torch.Tensor:
        if parts[0].dim() == 1:
            return torch.cat(list(parts))
        widest = max(part.shape[1] for part in parts)
        return torch.cat([F.pad(part, (0, widest - part.shape[1])) for part in parts])

    return tuple(join(parts) for parts in zip(*pieces, strict=True))


def _side_by_side(
    log_ratio: torch.Tensor, score: torch.Tensor, group: Sequence[Example]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(rows,) to (N, K) with 0 where a prompt has fewer completions, and which ones are there."""
    sizes = torch.tensor([len(example) for example in group], device=log_ratio.device)
    present = torch.arange(int(sizes.max()), device=log_ratio.device) < sizes[:, None]
    zeros = torch.zeros(present.shape, dtype=log_ratio.dtype, device=log_ratio.device)
    scores = torch.zeros(present.shape, dtype=score.dtype, device=log_ratio.device)
    return zeros.masked_scatter(present, log_ratio), scores.masked_scatter(present, score), present
