"""Rewards, margins, z0: computed once, for every loss, as sums and counts that add up in any grouping.

Names are TRL's where it has them, so that dashboards carry over; chosen means desirable where feedback is
unpaired.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from prospect.data.batch import AnyRow
from prospect.losses.advantages import kl_terms
from prospect.losses.base import Loss
from prospect.losses.logarithms import ratio
from prospect.losses.reference_point import ReferencePoint
from prospect.training.arguments import Comparison
from prospect.training.medium import AnyBatch


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
        """Add values to a sum; in float64, so that the order does not matter."""
        self.sums[name] = self.sums.get(name, 0.0) + float(values.detach().to("cpu", torch.float64).sum())
        self.counts[name] = self.counts.get(name, 0.0) + (values.numel() if count is None else count)

    def take(self, name: str) -> float:
        """Remove a name and give its mean."""
        return self.sums.pop(name) / self.counts.pop(name)

    @classmethod
    def together(cls, parts: Sequence[Tally]) -> Tally:
        """Return the sums of several tallies, in their order."""
        whole = cls()
        for part in parts:
            for name, total in part.sums.items():
                whole.sums[name] = whole.sums.get(name, 0.0) + total
                whole.counts[name] = whole.counts.get(name, 0.0) + part.counts[name]
            whole.rewards += part.rewards
            whole.desirable += part.desirable
        return whole

    def means(self) -> dict[str, float]:
        """Every mean whose count is not 0."""
        return {name: total / self.counts[name] for name, total in self.sums.items() if self.counts[name]}


def tally_rows(
    tally: Tally,
    loss: Loss,
    beta: float,
    batch: AnyBatch,
    group: Sequence[tuple[AnyRow, ...]],
    compared: Comparison,
    point: float,
) -> None:
    """Add what a micro-batch's rows say beyond their loss.

    rewards/* are beta * log_ratio; a reward model's are its scores. rewards/magnitude is the mean of their size over
    all rows, of losses on the log-ratios of whole completions: how far out on its curve the loss works.
    rewards/accuracies is, for pairs, the share with the chosen side's reward above the rejected one's; for scored
    completions, the share whose best one has the highest reward; for thumbs, the share on the right side of the
    reference point (above beta * z0 if desirable).

    Args:
        tally: what is added to.
        loss: its traits say which metrics there are.
        beta: scale of rewards.
        batch: N rows.
        group: the examples that they belong to.
        compared: what the models say of the rows.
        point: the reference point in nats; 0 where the loss has none.
    """
    chosen = batch.desirable
    log_ratio = compared.log_ratio.detach()
    if loss.needs_running_mean:
        tally.add("log_ratio", log_ratio)
    if not loss.reward_model:
        _by_class(tally, "logps", compared.logps.detach(), chosen)
    anchored = loss.needs_reference or loss.needs_reference_point
    if not anchored and loss.feedback not in ("paired", "scored"):
        return
    reward = beta * log_ratio
    _by_class(tally, "rewards", reward, chosen)
    if loss.needs_reference and not loss.reward_model and not loss.length_normalised:
        tally.add("rewards/magnitude", reward.abs())
    if loss.feedback == "paired":
        lead = reward[0::2] - reward[1::2]
    elif loss.feedback == "scored":
        lead = _leads(reward, chosen, group)
    else:
        lead = (reward - beta * point) * torch.where(chosen, 1.0, -1.0)
    # A tie is half right: before the first step every reward is 0, and nothing has been learnt yet.
    tally.add("rewards/accuracies", (lead.sign() + 1) / 2)
    if anchored or loss.reward_model:  # only rewards that are measured from somewhere can be ranked across prompts
        tally.rewards += reward.tolist()
        tally.desirable += chosen.tolist()


def tally_sampled(tally: Tally, loss: Loss, hyperparameters: Mapping[str, Any], compared: Comparison) -> None:
    """Add what a micro-batch of sampled completions says beyond its loss; means are over tokens.

    policy/kl is Schulman's k3 of the policy that sampled and the policy as it is, nats. policy/clipped is the share of
    tokens whose ratio is beyond the clips, on either side, of losses that clip tokens. value/error is the squared error
    of the value head.
    """
    there = compared.scored
    assert there is not None, "sampled completions are compared by token"
    log_q = compared.log_q.detach()[there]
    tally.add("policy/kl", kl_terms(-log_q, "k3"))
    low, high = (hyperparameters.get(f"clip_{end}") for end in ("low", "high"))
    if loss.over_units and low is not None and high is not None:
        q = ratio(log_q)
        tally.add("policy/clipped", (q < 1 - low) | (q > 1 + high))
    if compared.values is not None:
        tally.add("value/error", (compared.values.detach() - compared.numbers["returns"])[there].square())


def _by_class(tally: Tally, name: str, values: torch.Tensor, chosen: torch.Tensor) -> None:
    tally.add(f"{name}/chosen", values[chosen])
    if bool((~chosen).any()):
        tally.add(f"{name}/rejected", values[~chosen])


def _leads(reward: torch.Tensor, best: torch.Tensor, group: Sequence[tuple[AnyRow, ...]]) -> torch.Tensor:
    """By how much each prompt's best completion leads the others: (rows,) to (N,)."""
    sizes = [len(example) for example in group]
    prompts = zip(reward.split(sizes), best.split(sizes), strict=True)
    return torch.stack([r[b].max() - r[~b].max() if not b.all() else r.new_zeros(()) for r, b in prompts])


def summarise(tally: Tally, point: ReferencePoint | None) -> dict[str, float]:
    """Return the metrics of a step or an evaluation, from its sums."""
    means = tally.means()
    values = {"loss": means.pop("loss")}
    if point is not None:
        values |= {"kl": float(point.z0), "kl_raw": float(point.raw), "kl_stderr": float(point.stderr)}
    values |= {name: means[name] for name in ("rewards/chosen", "rewards/rejected") if name in means}
    if len(values.keys() & {"rewards/chosen", "rewards/rejected"}) == 2:
        values["rewards/margins"] = means["rewards/chosen"] - means["rewards/rejected"]
    means.pop("log_ratio", None)
    return values | {name: value for name, value in means.items() if name not in values}


def compare_errors(metrics: Mapping[str, float], beta: float) -> dict[str, float]:
    """Return, by class, the mean log-ratio in nats and the policy's mean squared error over the reference's.

    They are `log_ratios/chosen` and `errors/chosen`, and the same of rejected. errors is 1 before the first step; where
    that of desirable images rises, the policy forgets how to make them.

    Args:
        metrics: of a step or an evaluation, whose log-probs are minus half a squared error.
        beta: scale of rewards.
    """
    found: dict[str, float] = {}
    for side in ("chosen", "rejected"):
        if {f"rewards/{side}", f"logps/{side}"} <= metrics.keys():
            log_ratio, logps = metrics[f"rewards/{side}"] / beta, metrics[f"logps/{side}"]
            found[f"log_ratios/{side}"] = log_ratio
            if logps != log_ratio:  # a reference without error has nothing to be compared with
                found[f"errors/{side}"] = logps / (logps - log_ratio)
    return found
