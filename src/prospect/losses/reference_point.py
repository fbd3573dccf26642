"""How z0, the reference point of a human-aware loss, is estimated. Letters: M rows."""

from __future__ import annotations

from typing import NamedTuple

import torch


class ReferencePoint(NamedTuple):
    """An estimate of z0.

    Attributes:
        z0: () nats, what the loss sees; >= 0 if there is a reference.
        raw: () nats, before the clamp.
        stderr: () nats, standard error of `raw`; 0 for a single row, whose spread is unknown.
    """

    z0: torch.Tensor
    raw: torch.Tensor
    stderr: torch.Tensor


def estimate_reference_point(log_ratio: torch.Tensor, *, clamp: bool = True) -> ReferencePoint:
    """Estimate z0 from completions of other prompts, or from the policy's own.

    z0 = max(0, mean_i [log pi(y_i|x_i) - log ref(y_i|x_i)]). Where y_i is drawn from pi(.|x_i), the mean is an unbiased
    estimate of KL(pi || ref). Where it is the completion of another prompt, it is one only as far as those are like
    draws from pi.

    Args:
        log_ratio: (M,) nats, over the whole optimizer step.
        clamp: whether z0 is at least 0, as a KL is; false where there is no reference and the mean is of log-probs.

    Returns:
        The estimate, detached. The clamp is on the mean, not on each row.

    Source: arXiv 2402.01306, section 4.1. The sum is taken in float64: z0 must not depend on the order of
    rows.
    """
    rows = log_ratio.detach().to("cpu", torch.float64)
    raw = rows.mean()
    stderr = rows.std() / rows.numel() ** 0.5 if rows.numel() > 1 else torch.zeros_like(raw)
    return ReferencePoint(raw.clamp(min=0) if clamp else raw, raw, stderr)
