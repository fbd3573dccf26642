"""Advantages and online losses give the numbers of the peers' own code, values and gradients.

`PROSPECT_GOLDEN_ROUNDS` names another file of the same shape.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import SHARED
from prospect.losses import get_loss
from prospect.losses.advantages import (
    adapt_coefficient,
    generalized_advantages,
    group_advantages,
    kl_terms,
    leave_one_out_advantages,
    token_rewards,
    whiten,
)
from prospect.losses.online import clipped_surrogate, clipped_value_error, nash_md, reduction_weight, sequence_ratio

FILE = Path(os.environ.get("PROSPECT_GOLDEN_ROUNDS") or SHARED / "golden" / "rounds.json")
GOLDEN: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8")) if FILE.is_file() else {}

pytestmark = pytest.mark.skipif(not GOLDEN, reason=f"{FILE.name} with the peers' numbers is not here")

EXACT = 1e-9
THROUGH_FLOAT32 = 1e-7  # OpenRLHF's KL
COUNT_AND_A_BIT = 1e-8  # verl's means divide by count + 1e-8


def tensor(values: Any) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def close(found: torch.Tensor | float, theirs: Any, tolerance: float = EXACT) -> None:
    found = found.detach() if isinstance(found, torch.Tensor) else tensor(found)
    torch.testing.assert_close(found, tensor(theirs).view_as(found), rtol=0, atol=tolerance)


class Inputs:
    """The completions of all cases; `leaf` and `heads` are what gradients are taken in."""

    def __init__(self) -> None:
        given = {name: tensor(values) for name, values in GOLDEN["inputs"].items()}
        self.completion = given["mask"].bool()
        self.old, self.reference, self.score = given["old_logps"], given["ref_logps"], given["score"]
        self.values, self.logps = given["values"], given["logps"].requires_grad_()
        self.heads = given["vpreds"].requires_grad_()

    @property
    def log_q(self) -> torch.Tensor:
        return self.logps - self.old

    @property
    def length(self) -> int:
        return self.completion.shape[1]

    def advantages(self) -> torch.Tensor:
        verl = GOLDEN["verl_0.9.1"]
        rewards = self.rewards(coefficient=verl["kl_coef"])
        return generalized_advantages(
            rewards, self.values, self.completion, gamma=verl["gamma"], gae_lambda=verl["lambda"]
        )

    def rewards(self, coefficient: float) -> torch.Tensor:
        return token_rewards(self.score, kl_terms(self.old - self.reference), self.completion, coefficient=coefficient)


@pytest.fixture
def inputs() -> Inputs:
    return Inputs()


@pytest.mark.parametrize("estimator", ["k1", "k2", "k3"])
def test_kl_estimates(inputs: Inputs, estimator: Any) -> None:
    terms = kl_terms(inputs.old - inputs.reference, estimator)
    close(torch.where(inputs.completion, terms, 0.0), GOLDEN["verl_0.9.1"][f"kl_{estimator}"])


def test_rewards_advantages_and_returns(inputs: Inputs) -> None:
    verl, advantages = GOLDEN["verl_0.9.1"], inputs.advantages()
    close(inputs.rewards(verl["kl_coef"]), verl["rewards_with_kl"])
    close(advantages, verl["advantages_raw"])
    close((inputs.values + advantages) * inputs.completion, verl["returns"])
    close(whiten(advantages, inputs.completion), verl["advantages_whitened"], COUNT_AND_A_BIT)
    old_trl, openrlhf = GOLDEN["trl_0.11.4_ppo"], GOLDEN["openrlhf_3c3be623"]
    close(whiten(advantages, inputs.completion), old_trl["advantages"])
    close(advantages, openrlhf["advantages_raw"], THROUGH_FLOAT32)
    population = whiten(advantages, inputs.completion, correction=0)
    close(population, openrlhf["advantages_whitened_population"], THROUGH_FLOAT32)


@pytest.mark.parametrize("case", [name for name in GOLDEN.get("trl_1.12_ppo", {}) if "/" in name])
def test_the_score_one_place_beyond_the_end(inputs: Inputs, case: str) -> None:
    """TRL 1.12 puts score and value there; with that place as a token of the completion ours gives its numbers."""
    theirs, verl = GOLDEN["trl_1.12_ppo"], GOLDEN["verl_0.9.1"]
    estimator, whitened = case.split("/")
    longer = inputs.completion | torch.cat([inputs.completion[:, :1], inputs.completion[:, :-1]], 1)
    kl = kl_terms(inputs.old - inputs.reference, estimator)  # type: ignore[arg-type]
    rewards = token_rewards(inputs.score, kl, longer, coefficient=verl["kl_coef"])
    if whitened.endswith("True"):
        rewards = whiten(rewards, longer, keep_mean=True)
    values = tensor(theirs["values_with_one_place_beyond_the_end"])
    raw = generalized_advantages(rewards, values, longer, gamma=verl["gamma"], gae_lambda=verl["lambda"])
    close(rewards, theirs[case]["rewards"])
    close((values + raw) * longer, theirs[case]["returns"])
    close(whiten(raw, inputs.completion), theirs[case]["advantages"])


def test_halos_thumbs_as_rewards(inputs: Inputs) -> None:
    theirs = GOLDEN["halos_4831988_ppo"]
    nothing = torch.zeros_like(inputs.values)
    rewards = token_rewards(tensor(theirs["dummy_reward"]), nothing, inputs.completion, coefficient=0.0)
    raw = generalized_advantages(rewards, inputs.values, inputs.completion, gamma=0.99, gae_lambda=0.95)
    close((inputs.values + raw) * inputs.completion, theirs["returns_gae"])
    close(whiten(raw, inputs.completion, correction=0), theirs["advantages"])
    to_come = generalized_advantages(rewards, nothing, inputs.completion, gamma=0.99, gae_lambda=1.0)
    close(to_come, theirs["discounted_future_rewards_used_as_critic_target"])


def reduce(per_token: torch.Tensor, completion: torch.Tensor, reduction: Any, *, length: int) -> torch.Tensor:
    """The mean that a step takes: sums over tokens with their weights, divided by the step's tokens or completions."""
    counts = completion.sum(1).tolist()
    weights = tensor([reduction_weight(reduction, tokens=count, length=length) for count in counts])
    return ((per_token * completion).sum(1) * weights).sum() / (sum(counts) if reduction == "tokens" else len(counts))


def surrogate(inputs: Inputs, advantages: Any, **settings: Any) -> torch.Tensor:
    settings = {"clip_low": 0.2, "clip_high": 0.2, **settings}
    return clipped_surrogate(inputs.log_q, tensor(advantages), **settings)


def close_with_gradient(
    loss: torch.Tensor, leaf: torch.Tensor, case: Any, key: str = "grad", at: float = EXACT
) -> None:
    loss.backward()
    close(loss, case["loss"], at)
    close(leaf.grad, case[key], at)  # type: ignore[arg-type]


@pytest.mark.parametrize(("mode", "reduction"), [("token-mean", "tokens"), ("seq-mean-token-mean", "rows")])
def test_verls_policy_loss_has_a_dual_clip(inputs: Inputs, mode: str, reduction: Any) -> None:
    verl = GOLDEN["verl_0.9.1"]
    per_token = surrogate(inputs, verl["advantages_whitened"], dual_clip=3.0)
    loss = reduce(per_token, inputs.completion, reduction, length=inputs.length)
    close_with_gradient(loss, inputs.logps, verl["policy_loss"][mode], at=COUNT_AND_A_BIT)


def test_two_clips(inputs: Inputs) -> None:
    verl = GOLDEN["verl_0.9.1"]
    per_token = surrogate(inputs, verl["advantages_whitened"], clip_high=0.28, dual_clip=3.0)
    loss = reduce(per_token, inputs.completion, "tokens", length=inputs.length)
    close_with_gradient(loss, inputs.logps, verl["policy_loss_clip_low_.2_high_.28"])


def test_trls_policy_and_value_loss(inputs: Inputs) -> None:
    verl, theirs = GOLDEN["verl_0.9.1"], GOLDEN["trl_1.12_ppo"]["loss"]
    policy = reduce(surrogate(inputs, verl["advantages_whitened"]), inputs.completion, "tokens", length=inputs.length)
    error = clipped_value_error(inputs.heads, inputs.values, tensor(verl["returns"]), clip=theirs["cliprange_value"])
    value = reduce(error, inputs.completion, "tokens", length=inputs.length)
    (policy + theirs["vf_coef"] * value).backward()
    whole = get_loss("ppo")(
        inputs.log_q,
        inputs.completion,
        tensor(verl["advantages_whitened"]),
        inputs.heads,
        inputs.values,
        tensor(verl["returns"]),
        value_clip=theirs["cliprange_value"],
        value_weight=theirs["vf_coef"],
    )
    close(whole.sum() / inputs.completion.sum(), (policy + theirs["vf_coef"] * value).item())
    close(policy, theirs["policy"])
    close(value, theirs["value"])
    close(inputs.logps.grad, theirs["grad_logps"])
    close(inputs.heads.grad, theirs["grad_vpreds"])
    for name in ("value_loss_clip_.2", "value_clip_.2"):
        for section in ("verl_0.9.1", "openrlhf_3c3be623"):
            if name in GOLDEN[section]:
                close(value, GOLDEN[section][name]["loss"], THROUGH_FLOAT32 if section.startswith("o") else EXACT)


@pytest.mark.parametrize(("by_token", "reduction"), [("True", "tokens"), ("False", "rows")])
def test_openrlhfs_policy_loss(inputs: Inputs, by_token: str, reduction: Any) -> None:
    theirs = GOLDEN["openrlhf_3c3be623"]
    per_token = surrogate(inputs, theirs["advantages_whitened_population"])
    loss = reduce(per_token, inputs.completion, reduction, length=inputs.length)
    close_with_gradient(loss, inputs.logps, theirs[f"policy_token_level={by_token}"])


GROUPS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "verl_grpo": group_advantages,
    "verl_dr_grpo": lambda scores: group_advantages(scores, scale="none"),
    "verl_rloo": leave_one_out_advantages,
    "trl_grpo_scale_group": lambda scores: group_advantages(scores, floor=1e-4),
    "trl_grpo_scale_batch": lambda scores: group_advantages(scores, scale="batch", floor=1e-4),
    "trl_grpo_scale_none": lambda scores: group_advantages(scores, scale="none"),
    "trl_rloo": leave_one_out_advantages,
    "openrlhf_rloo": leave_one_out_advantages,
    "openrlhf_dr_grpo": lambda scores: group_advantages(scores, scale="none"),
    "openrlhf_group_norm": lambda scores: group_advantages(scores, floor=1e-9),
    "halos_grpo": lambda scores: group_advantages(scores, floor=1e-2, correction=0),
}


@pytest.mark.parametrize("name", GROUPS)
def test_advantages_within_groups(name: str) -> None:
    theirs = GOLDEN["group_advantages"]
    scores = tensor(theirs["rewards"]).view(-1, theirs["group"])
    close(GROUPS[name](scores).flatten(), theirs[name])


REDUCTIONS = {"grpo": "rows", "bnpo": "tokens", "dapo": "tokens", "dr_grpo": "length"}


@pytest.mark.parametrize("case", GOLDEN.get("trl_1.16_grpo_loss", {}).get("values", {}))
def test_grpos_reductions_and_ratios(inputs: Inputs, case: str) -> None:
    theirs, (kind, level) = GOLDEN["trl_1.16_grpo_loss"], case.split("/")
    log_q = inputs.log_q if level == "token" else sequence_ratio(inputs.log_q, inputs.completion)
    clip, advantages = theirs["epsilon"], tensor(theirs["advantages"])[:, None]
    per_token = clipped_surrogate(log_q, advantages, clip_low=clip, clip_high=clip)
    per_token = per_token + theirs["beta"] * kl_terms(inputs.logps - inputs.reference, "k3")
    length = theirs["max_completion_length"]
    loss = reduce(per_token, inputs.completion, REDUCTIONS[kind], length=length)
    close_with_gradient(loss, inputs.logps, theirs["values"][case])


@pytest.mark.parametrize("kind", REDUCTIONS if GOLDEN else [])
def test_grpo_as_it_is_registered_has_a_sum_for_each_completion(inputs: Inputs, kind: str) -> None:
    theirs = GOLDEN["trl_1.16_grpo_loss"]
    advantage = tensor(theirs["advantages"])[:, None].expand_as(inputs.completion)
    settings = {"clip_low": theirs["epsilon"], "clip_high": theirs["epsilon"], "beta": theirs["beta"]}
    ratio = inputs.logps - inputs.reference
    sums = get_loss("grpo")(inputs.log_q, inputs.completion, advantage, ratio, **settings)
    first = inputs.completion & (inputs.completion.cumsum(1) == 1)
    loss = reduce(sums[:, None] * first, inputs.completion, REDUCTIONS[kind], length=theirs["max_completion_length"])
    close_with_gradient(loss, inputs.logps, theirs["values"][f"{kind}/token"])


def test_rloo_has_one_ratio_a_completion(inputs: Inputs) -> None:
    theirs = GOLDEN["trl_1.16_rloo_loss"]
    clips = dict.fromkeys(("clip_low", "clip_high"), theirs["epsilon"])
    advantage = tensor(theirs["advantages"])[:, None].expand_as(inputs.completion)
    close_with_gradient(
        get_loss("rloo")(inputs.log_q, inputs.completion, advantage, **clips).mean(), inputs.logps, theirs
    )


def test_the_adaptive_coefficient() -> None:
    theirs = GOLDEN["adaptive_kl"]
    coefficient = theirs["init"]
    for kl, after in theirs["kl_then_coef"]:
        coefficient = adapt_coefficient(
            coefficient, kl, target=theirs["target"], horizon=theirs["horizon"], count=theirs["n_steps"]
        )
        assert coefficient == pytest.approx(after, abs=EXACT)


@pytest.mark.parametrize("kind", ["sigmoid", "ipo"])
def test_xpo_is_dpo_with_a_bonus_for_leaving_the_reference(kind: str) -> None:
    theirs = GOLDEN["trl_1.12_xpo"]
    model, other = (tensor(theirs[f"model_logps_{of}_data"]).requires_grad_() for of in ("model", "ref"))
    model_ratio = model - tensor(theirs["ref_logps_model_data"])
    other_ratio = other - tensor(theirs["ref_logps_ref_data"])
    wins = torch.tensor(theirs["model_wins"])
    chosen, rejected = torch.where(wins, model_ratio, other_ratio), torch.where(wins, other_ratio, model_ratio)
    dpo = (
        get_loss("dpo")(chosen, rejected, beta=theirs["beta"])
        if kind == "sigmoid"
        else get_loss("ipo")(chosen, rejected, tau=theirs["beta"])
    )
    loss = (dpo + theirs["alpha"] * other).mean()
    loss.backward()
    close(dpo, theirs[kind]["dpo"])
    close(loss, theirs[kind]["loss"])
    columns = len(GOLDEN["inputs"]["mask"][0])  # theirs is the sum of the gradients in all columns of token log-probs
    close(columns * model.grad, theirs[kind]["grad_model_data"])  # type: ignore[operator]
    close(columns * other.grad, theirs[kind]["grad_ref_data"])  # type: ignore[operator]


def test_nash_md(inputs: Inputs) -> None:
    theirs = GOLDEN["trl_1.12_nash_md"]
    loss = nash_md(
        inputs.logps,
        inputs.logps - inputs.reference,
        inputs.completion,
        tensor(theirs["win_probability"]),
        beta=theirs["beta"],
    ).mean()
    loss.backward()
    close(loss, theirs["loss"])
    within = inputs.completion  # theirs has a gradient on padding too, where a log-prob is a constant 0
    close(inputs.logps.grad[within], tensor(theirs["grad"])[within].tolist())  # type: ignore[index]
