"""Rewards, margins, z0: computed once, for every loss, as sums and counts that add up in any grouping.

Names are TRL's where it has them, so that dashboards carry over; chosen means desirable where feedback is
unpaired.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from prospect.data.batch import Batch
from prospect.losses.base import Loss
from prospect.losses.reference_point import ReferencePoint


@dataclass
class Tally:
    """Sums and counts of per-example values; a mean is taken only when somebody asks.

    Attributes:
        sums: name to sum.
        counts: name to how many values are in it.
        rewards: every row's implied reward, for the ranking metrics of an evaluation.
        desirable: the verdicts that belong to them.
    """

    sums: dict[str, float] = field(default_factory=dict)
    counts: dict[str, float] = field(default_factory=dict)
    rewards: list[float] = field(default_factory=list)
    desirable: list[bool] = field(default_factory=list)

    def add(self, name: str, values: torch.Tensor, count: float | None = None) -> None:
        """Adds values to a sum; in float64, so that the order does not matter."""
        self.sums[name] = self.sums.get(name, 0.0) + float(values.detach().double().sum())
        self.counts[name] = self.counts.get(name, 0.0) + (values.numel() if count is None else count)

    def means(self) -> dict[str, float]:
        """Every mean whose count is not 0."""
        return {name: total / self.counts[name] for name, total in self.sums.items() if self.counts[name]}


def tally_rows(
    tally: Tally,
    loss: Loss,
    beta: float,
    batch: Batch,
    logps: torch.Tensor,
    log_ratio: torch.Tensor,
    z0: float,
) -> None:
    """Adds what a micro-batch's rows say beyond their loss.

    rewards/* are beta * log_ratio. rewards/accuracies is, for pairs, the share with the chosen side's reward
    above the rejected one's; for thumbs, the share on the right side of the reference point (above beta * z0
    if desirable).

    Args:
        tally: what is added to.
        loss: its traits say which metrics there are.
        beta: scale of rewards.
        batch: N rows.
        logps: (N,) nats of the policy.
        log_ratio: (N,) nats against the reference.
        z0: the reference point in nats; 0 where the loss has none.
    """
    chosen = batch.desirable.to(logps.device)
    tally.add("logps/chosen", logps[chosen])
    if bool((~chosen).any()):
        tally.add("logps/rejected", logps[~chosen])
    if not loss.needs_reference:
        return
    reward = beta * log_ratio.detach()
    tally.add("rewards/chosen", reward[chosen])
    tally.add("rewards/rejected", reward[~chosen])
    if loss.feedback == "paired":
        lead = reward[0::2] - reward[1::2]
    else:
        lead = (reward - beta * z0) * torch.where(chosen, 1.0, -1.0)
    # A tie is half right: before the first step every reward is 0, and nothing has been learnt yet.
    tally.add("rewards/accuracies", (lead.sign() + 1) / 2)
    tally.rewards += reward.tolist()
    tally.desirable += chosen.tolist()


def summarise(tally: Tally, point: ReferencePoint | None) -> dict[str, float]:
    """The metrics of a step or an evaluation, from its sums."""
    means = tally.means()
    values = {"loss": means.pop("loss")}
    if point is not None:
        values |= {"kl": float(point.z0), "kl_raw": float(point.raw), "kl_stderr": float(point.stderr)}
    values |= {name: means[name] for name in ("rewards/chosen", "rewards/rejected") if name in means}
    if len(values.keys() & {"rewards/chosen", "rewards/rejected"}) == 2:
        values["rewards/margins"] = means["rewards/chosen"] - means["rewards/rejected"]
    return values | {name: value for name, value in means.items() if name not in values}


def auroc(scores: Sequence[float], positive: Sequence[bool]) -> float | None:
    """Probability that a random positive scores above a random negative, ties counting half.

    AUROC = (R - P (P + 1) / 2) / (P Q), R the sum of the positives' mid-ranks, P positives, Q negatives.

    Returns:
        None where one class is absent.
    """
    values = torch.tensor(scores, dtype=torch.float64)
    mask = torch.tensor(positive, dtype=torch.bool)
    positives, negatives = int(mask.sum()), int((~mask).sum())
    if not positives or not negatives:
        return None
    _, index, counts = values.unique(return_inverse=True, return_counts=True)
    last = counts.cumsum(0).double()
    midrank = last - (counts.double() - 1) / 2
    rank_sum = float(midrank[index][mask].sum())
    return (rank_sum - positives * (positives + 1) / 2) / (positives * negatives)
