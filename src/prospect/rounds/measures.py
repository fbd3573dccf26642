"""What is logged of a rollout. Letters: N completions, T tokens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from prospect.config import OnlineSettings
from prospect.results.run import MetricsRow
from prospect.rounds.rollout import Drawn, Learnt, by_prompt
from prospect.statistics.means import mean_by_prompt

# Nats. The local sampler's difference is rounding, some 1e-6; other trainers' stale weights showed as .2.
SAMPLER_GAP = 0.1


def measure(drawn: Sequence[Drawn], learnt: Learnt, online: OnlineSettings, kl: float) -> MetricsRow:
    """Return what is logged of a rollout, under names that begin with `rollout/`.

    reward is the judge's mean score, with a 95 % interval that knows that prompts repeat; passed is the share of scores
    at the threshold or above it, where that is a number; kl is the mean log-ratio of policy and reference of whole
    completions, nats; sampler_gap is the mean difference of log-probs of the sampler and the policy, nats per token.

    Args:
        drawn: all completions.
        learnt: what is learnt from them.
        online: the recipe's settings.
        kl: the coefficient.
    """
    known = [one for one in drawn if not np.isnan(one.score)]
    groups = by_prompt(known)
    found: MetricsRow = {
        "completions": len(drawn),
        "examples": len(learnt.examples),
        "unread": len(drawn) - len(known),
        "tokens": float(np.mean([len(one.logps) for one in drawn])),
        "finished": float(np.mean([one.finished for one in drawn])),
        "kl": float(np.mean([one.kl for one in drawn])),
        "kl_coefficient": kl,
        "ties": learnt.ties,
        "undecided": learnt.undecided,
    }
    if online.temperature == 1:
        differences = [np.abs(one.logps - one.row.sampled_logps) for one in drawn]
        found["sampler_gap"] = float(np.concatenate(differences).mean())
    if known:
        found |= _scores(known, groups, online)
    if len(known) > 1 and known[0].values is not None:
        found |= _explained(learnt)
    return {f"rollout/{name}": value for name, value in found.items()}


def _scores(known: Sequence[Drawn], groups: Sequence[Sequence[Drawn]], online: OnlineSettings) -> MetricsRow:
    scores, prompts = [one.score for one in known], [one.prompt for one in known]
    found: MetricsRow = {"reward": float(np.mean(scores))}
    if len(groups) > 1:
        interval = mean_by_prompt(scores, prompts)
        found |= {"reward_low": interval.low, "reward_high": interval.high}
    found["equal_groups"] = float(np.mean([len({one.score for one in group}) == 1 for group in groups]))
    if not isinstance(online.threshold, str):
        passed = np.array([score >= online.threshold for score in scores])
        shares = [np.mean([one.score >= online.threshold for one in group]) for group in groups]
        found["passed"] = float(passed.mean())
        found["all_right"] = float(np.mean([share == 1 for share in shares]))
        found["all_wrong"] = float(np.mean([share == 0 for share in shares]))
    return found


def _explained(learnt: Learnt) -> MetricsRow:
    """Return the share of the returns' variance that the values had foreseen, 1 at best."""
    returns, values = (
        np.concatenate([row.numbers[name] for (row,) in learnt.examples]) for name in ("returns", "old_values")
    )
    spread = float(returns.var())
    return {"explained_variance": 1 - float((returns - values).var()) / spread} if spread > 0 else {}
