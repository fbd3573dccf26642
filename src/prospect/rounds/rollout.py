"""One rollout: completions that the policy drew and a judge scored, and what is learnt from them.

Letters: G prompts, K completions of each, N = G K completions, T tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from prospect.config import OnlineSettings
from prospect.data.batch import Example, Row
from prospect.losses import Loss
from prospect.losses.advantages import (
    generalized_advantages,
    group_advantages,
    kl_terms,
    leave_one_out_advantages,
    token_rewards,
    whiten,
)
from prospect.losses.online import reduction_weight
from prospect.rounds.labels import Threshold, to_thumbs


@dataclass(frozen=True)
class Drawn:
    """One completion, as it was drawn, scored and found by the models.

    Attributes:
        prompt: the number of its prompt, among those of the run.
        row: its tokens, and the log-probs that they were drawn with.
        finished: whether it ended with an end token.
        score: what the judge gave; NaN where it gave nothing.
        logps: float32 (C,) nats, the policy's, of the steps to come.
        reference_logps: float32 (C,) nats.
        values: float32 (C,) of the value head; None without one.
    """

    prompt: int
    row: Row
    finished: bool
    score: float
    logps: np.ndarray
    reference_logps: np.ndarray
    values: np.ndarray | None = None

    @property
    def kl(self) -> float:
        """Log-ratio of policy and reference, nats: over completions its mean is the KL."""
        return float((self.logps.astype(np.float64) - self.reference_logps).sum())


class Learnt(NamedTuple):
    """What steps are made on.

    Attributes:
        examples: as the loss takes them.
        returns: of completions with values, float32 (C,) each: what came, in the order of the examples.
        ties: prompts whose completions a loss on pairs cannot tell apart.
        undecided: completions that got no thumb.
    """

    examples: list[Example]
    ties: int = 0
    undecided: int = 0


def learn_from(drawn: Sequence[Drawn], loss: Loss, online: OnlineSettings, kl: float) -> Learnt:
    """Turn scored completions into examples of a loss.

    A completion without a score is no example of a verdict; where the loss takes advantages its own is 0, and it has no
    part in the others' baseline. One that was cut is left out or has its score lowered, as the recipe says.

    Args:
        drawn: the completions, those of a prompt side by side.
        loss: says what it takes.
        online: the recipe's settings.
        kl: what a nat of KL to the reference takes from a score.
    """
    kept = [one for one in drawn if one.finished or online.missing_end == "penalty"]
    kept = [one if one.finished else replace(one, score=one.score - online.penalty) for one in kept]
    if loss.feedback == "sampled":
        return Learnt([(row,) for row in _with_advantages(kept, loss, online, kl)] if kept else [])
    known = [one for one in kept if not np.isnan(one.score)]
    if loss.feedback == "unpaired":
        return _thumbs(known, online.threshold)
    groups = by_prompt(known)
    differ = [group for group in groups if len({one.score for one in group}) > 1]
    ties = len(groups) - len(differ)
    if loss.feedback == "scored":
        return Learnt([tuple(_verdict(one, one.score == _best(group)) for one in group) for group in differ], ties)
    return Learnt([_pair(group) for group in differ], ties)


def by_prompt(drawn: Sequence[Drawn]) -> list[list[Drawn]]:
    """Return completions prompt by prompt."""
    groups: dict[int, list[Drawn]] = {}
    for one in drawn:
        groups.setdefault(one.prompt, []).append(one)
    return list(groups.values())


def _best(group: Sequence[Drawn]) -> float:
    return max(one.score for one in group)


def _verdict(one: Drawn, desirable: bool) -> Row:
    return replace(one.row, desirable=desirable, score=one.score)


def _pair(group: Sequence[Drawn]) -> Example:
    """Return the best and the worst completion of a prompt, the first of several."""
    scores = [one.score for one in group]
    best, worst = group[scores.index(max(scores))], group[scores.index(min(scores))]
    return _verdict(best, True), _verdict(worst, False)


def _thumbs(known: Sequence[Drawn], threshold: float | str) -> Learnt:
    """Give each completion a thumb, where the threshold decides."""
    prompts = [one.row.prompt_key for one in known]
    thumbs = to_thumbs([one.score for one in known], prompts, Threshold.parse(str(threshold)))
    examples: list[Example] = [(_verdict(one, up),) for one, up in zip(known, thumbs, strict=True) if up is not None]
    return Learnt(examples, undecided=len(known) - len(examples))


def _with_advantages(drawn: Sequence[Drawn], loss: Loss, online: OnlineSettings, kl: float) -> list[Row]:
    """Give each token of each completion its advantage, and where there are values, its return."""
    completion = _padded([np.ones(len(one.logps), dtype=np.float32) for one in drawn]).bool()
    # The KL is of the policy that drew: by its own log-probs.
    ratio = _padded([one.row.sampled_logps - one.reference_logps for one in drawn])
    score = torch.tensor([one.score for one in drawn], dtype=torch.float64)
    known = ~score.isnan()
    numbers: dict[str, torch.Tensor] = {}
    if loss.advantages == "gae":
        values = _padded([one.values for one in drawn if one.values is not None])
        rewards = token_rewards(score.nan_to_num(0.0), kl_terms(ratio), completion, coefficient=kl)
        advantage = generalized_advantages(
            rewards, values, completion, gamma=online.gamma, gae_lambda=online.gae_lambda
        )
        advantage = torch.where(known[:, None], advantage, 0.0)
        numbers = {"old_values": values, "returns": values + advantage}
        there = completion & known[:, None]
        advantage = whiten(advantage, there) if online.whiten and int(there.sum()) > 1 else advantage
    else:
        grid, places = _grid(drawn, score - kl * (ratio * completion).sum(1))
        found = (
            leave_one_out_advantages(grid)
            if loss.advantages == "leave_one_out"
            else group_advantages(grid, scale=online.scale)
        )
        advantage = found.flatten()[places][:, None].expand(completion.shape)
    numbers["advantage"] = advantage
    reduction = online.reduction or ("tokens" if loss.over_units else None)
    rows = []
    for i, one in enumerate(drawn):
        own = {name: of_all[i][completion[i]].float().numpy() for name, of_all in numbers.items()}
        weight = 1.0
        if reduction is not None:
            weight = reduction_weight(reduction, tokens=len(one.logps), length=online.max_new_tokens)
        rows.append(replace(one.row, weight=weight, numbers=own))
    return rows


def _grid(drawn: Sequence[Drawn], scores: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Lay scores out as (G, K), NaN where there is none, and tell where in it, flattened, each one is."""
    sizes = [len(group) for group in by_prompt(drawn)]
    grid = pad_sequence(list(scores.split(sizes)), batch_first=True, padding_value=float("nan"))
    places = [row * grid.shape[1] + i for row, size in enumerate(sizes) for i in range(size)]
    return grid, torch.tensor(places)


def _padded(rows: Sequence[np.ndarray]) -> torch.Tensor:
    """(N, T) in float64, 0 beyond a row's end."""
    return pad_sequence([torch.from_numpy(np.asarray(row, dtype=np.float64)) for row in rows], batch_first=True)
