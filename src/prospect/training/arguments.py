"""What both models say of rows, laid out as a loss takes it.

Letters: N rows or examples, T tokens (or other units that are scored), K completions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

from prospect.data.batch import AnyRow
from prospect.errors import DataError
from prospect.losses.base import Loss
from prospect.training.medium import AnyBatch, BothLogps


class Comparison(NamedTuple):
    """How policy and reference differ on a batch.

    Attributes:
        logps: (N,) nats of the policy; a reward model's scores.
        log_ratio: (N,) nats, policy - reference, per token where the loss is length-normalised.
        token_log_ratio: (N, T) nats, where the loss is at token level.
        values: (N, T) of the value head, where the loss needs them.
        scored: bool (N, T), true on tokens that are scored, where the loss is at token level.
        sampled_logps: (N, T) nats when the tokens were sampled, where all rows have them.
        token_logps: (N, T) nats of the policy, where the loss is at token level.
        numbers: (N, T) by name, what else all rows have of each token.
    """

    logps: torch.Tensor
    log_ratio: torch.Tensor
    token_log_ratio: torch.Tensor | None = None
    values: torch.Tensor | None = None
    scored: torch.Tensor | None = None
    sampled_logps: torch.Tensor | None = None
    token_logps: torch.Tensor | None = None
    numbers: Mapping[str, torch.Tensor] = {}

    @property
    def log_q(self) -> torch.Tensor:
        """(N, T) nats, policy - the policy that sampled."""
        assert self.token_logps is not None and self.sampled_logps is not None, "of sampled completions by token"
        return self.token_logps - self.sampled_logps


def contrast(both: BothLogps, clip: tuple[float, float] | None) -> Comparison:
    """Take the log-ratios of policy and reference.

    Args:
        both: what the models say.
        clip: lowest and highest log-ratio of a token, nats; None leaves them as they are.
    """
    units = both.units
    if units is None:
        log_ratio, token_log_ratio = both.logps - both.reference_logps, None
    else:
        token_log_ratio = units.logps - units.reference_logps
        token_log_ratio = token_log_ratio if clip is None else token_log_ratio.clamp(*clip)
        log_ratio = token_log_ratio.sum(1)
    by_token = units and (units.values, units.scored, units.sampled_logps, units.logps, units.numbers)
    return Comparison(both.logps, log_ratio, token_log_ratio, *(by_token or ()))


def arrange(
    loss: Loss, compared: Comparison, batch: AnyBatch, group: Sequence[tuple[AnyRow, ...]]
) -> tuple[torch.Tensor, ...]:
    """Lay a batch out as `loss.row_arguments`.

    Args:
        loss: says what it takes.
        compared: what the models say of the rows.
        batch: the rows; those of one example are neighbours.
        group: the examples that they belong to.

    Raises:
        DataError: the loss needs sampled log-probs and a row has none.
    """
    sampled = loss.feedback == "sampled"
    if (loss.needs_sampled_logps or sampled) and compared.sampled_logps is None:
        raise DataError(
            f"loss {loss.name} needs the log-prob that each token had when it was sampled, and a row of a micro-batch "
            f"({', '.join(row.id for row in batch.rows[:5])}) has none. Make rows with row_from_ids(sampled_logps=...)."
        )
    kinds: dict[tuple[str, str], Callable[[], tuple[Any, ...]]] = {
        ("unpaired", "sequence"): lambda: (compared.log_ratio, batch.desirable),
        ("unpaired", "token"): lambda: (compared.token_log_ratio, compared.scored, batch.desirable),
        ("paired", "sequence"): lambda: (compared.log_ratio[0::2], compared.log_ratio[1::2]),
        ("demonstration", "sequence"): lambda: (compared.log_ratio,),
        ("demonstration", "token"): lambda: (compared.token_log_ratio, compared.scored),
        ("scored", "sequence"): lambda: _side_by_side(compared.log_ratio, batch.score, group),
        ("sampled", "token"): lambda: (compared.log_q, compared.scored, compared.numbers["advantage"]),
    }
    more = {
        "token_log_ratio": compared.token_log_ratio,
        "values": compared.values,
        "sampled_logps": compared.sampled_logps,
        **compared.numbers,
    }
    first = kinds[loss.feedback, loss.level]()
    return (*first, *(more[name] for name in loss.row_arguments[len(first) :]))


def first_rows(group: Sequence[tuple[AnyRow, ...]]) -> list[int]:
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
    log_ratio: torch.Tensor, score: torch.Tensor, group: Sequence[tuple[AnyRow, ...]]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(rows,) to (N, K) with 0 where a prompt has fewer completions, and which ones are there."""
    sizes = torch.tensor([len(example) for example in group], device=log_ratio.device)
    present = torch.arange(int(sizes.max()), device=log_ratio.device) < sizes[:, None]
    zeros = torch.zeros(present.shape, dtype=log_ratio.dtype, device=log_ratio.device)
    scores = torch.zeros(present.shape, dtype=score.dtype, device=log_ratio.device)
    return zeros.masked_scatter(present, log_ratio), scores.masked_scatter(present, score), present
