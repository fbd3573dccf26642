"""Identities of the losses that sample while they train, and of their advantages."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from prospect.losses import get_loss
from prospect.losses.advantages import (
    generalized_advantages,
    group_advantages,
    leave_one_out_advantages,
    token_rewards,
    whiten,
)

N, T = 6, 5
DRAW = torch.Generator().manual_seed(7)


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=DRAW, dtype=torch.float64)


COMPLETION = torch.arange(T) < torch.tensor([5, 1, 3, 4, 2, 5])[:, None]
SCORES = random(3, 4)
NOTHING = torch.zeros(N, T, dtype=torch.float64)


def by_token(advantage: torch.Tensor) -> torch.Tensor:
    return advantage[:, None].expand(N, T)


def test_rloo_is_dr_grpo_but_for_a_factor() -> None:
    torch.testing.assert_close(leave_one_out_advantages(SCORES), 4 / 3 * group_advantages(SCORES, scale="none"))


@pytest.mark.parametrize("scale", ["group", "batch", "none"])
def test_equal_scores_have_advantage_0(scale: Any) -> None:
    scores = torch.tensor([[2.0, 2.0, 2.0], [1.0, 0.0, 1.0]], dtype=torch.float64)
    found = group_advantages(scores, scale=scale)
    assert found[0].abs().max() == 0
    assert found[1].abs().min() > 0


def test_lambda_1_is_the_reward_to_come_minus_the_value() -> None:
    values = random(N, T)
    rewards = token_rewards(random(N), random(N, T), COMPLETION, coefficient=0.3)
    to_come = rewards.flip(1).cumsum(1).flip(1)
    found = generalized_advantages(rewards, values, COMPLETION, gamma=1.0, gae_lambda=1.0)
    torch.testing.assert_close(found, torch.where(COMPLETION, to_come - values, 0.0))


def test_the_score_is_on_the_last_token_of_the_completion_and_not_beyond_it() -> None:
    score = random(N)
    rewards = token_rewards(score, NOTHING, COMPLETION, coefficient=0.3)
    last = COMPLETION.sum(1) - 1
    torch.testing.assert_close(rewards[torch.arange(N), last], score)
    assert rewards.abs().gt(0).sum() == N


@pytest.mark.parametrize("name", ["ppo", "grpo", "rloo", "gspo"])
def test_before_the_first_update_the_gradient_is_that_of_reinforce(name: str) -> None:
    """The ratio is 1 there: minus the advantage, for each token or for the whole completion."""
    loss, advantage = get_loss(name), random(N)
    log_q = NOTHING.clone().requires_grad_()
    given = {
        "log_q": log_q,
        "completion": COMPLETION,
        "advantage": by_token(advantage),
        "token_log_ratio": random(N, T),
        "values": NOTHING,
        "old_values": NOTHING,
        "returns": NOTHING,
    }
    loss(*(given[argument] for argument in loss.argument_names)).sum().backward()
    share = COMPLETION.sum(1, keepdim=True) if name == "gspo" else 1
    torch.testing.assert_close(log_q.grad, torch.where(COMPLETION, -by_token(advantage) / share, 0.0))


def test_ppo_of_one_token_without_values_is_the_clipped_bandit() -> None:
    log_q, score, one = 0.5 * random(8, 1), random(8, 1), torch.ones(8, 1, dtype=torch.bool)
    zero = torch.zeros(8, 1, dtype=torch.float64)
    rewards = token_rewards(score[:, 0], zero, one, coefficient=0.0)
    advantage = generalized_advantages(rewards, zero, one, gamma=1.0, gae_lambda=0.95)
    found = get_loss("ppo")(log_q, one, advantage, zero, zero, advantage, value_weight=0.0)
    q = log_q.exp()
    torch.testing.assert_close(found, torch.maximum(-score * q, -score * q.clamp(0.8, 1.2))[:, 0])


def test_the_dual_clip_is_off_unless_it_is_asked_for() -> None:
    """A token of negative advantage that became e^4 times likelier costs that much; with c = 3 it costs 3."""
    one = torch.ones(1, 1, dtype=torch.bool)
    given = (torch.full((1, 1), 4.0, dtype=torch.float64), one, torch.full((1, 1), -1.0, dtype=torch.float64))
    plain = get_loss("grpo")(*given, torch.zeros(1, 1, dtype=torch.float64))
    assert plain.item() == pytest.approx(torch.tensor(4.0, dtype=torch.float64).exp().item())
    assert get_loss("grpo")(*given, torch.zeros(1, 1, dtype=torch.float64), dual_clip=3.0).item() == 3.0


def test_grpos_kl_has_the_gradient_of_the_current_policy_and_is_never_negative() -> None:
    ratio = random(N, T).requires_grad_()
    loss = get_loss("grpo")(NOTHING, COMPLETION, NOTHING, ratio, beta=0.5)
    assert loss.min() >= 0
    loss.sum().backward()
    torch.testing.assert_close(ratio.grad, torch.where(COMPLETION, 0.5 * (1 - (-ratio.detach()).exp()), 0.0))


def test_one_ratio_a_completion_clips_it_whole() -> None:
    """Of a completion whose product of ratios is beyond the clip no token has a gradient, in rloo."""
    log_q = torch.full((2, T), 0.1, dtype=torch.float64).requires_grad_()
    completion, advantage = torch.ones(2, T, dtype=torch.bool), torch.ones(2, T, dtype=torch.float64)
    get_loss("rloo")(log_q, completion, advantage).sum().backward()
    assert log_q.grad is not None and log_q.grad.abs().max() == 0
    by_each = torch.full((2, T), 0.1, dtype=torch.float64).requires_grad_()
    get_loss("grpo")(by_each, completion, advantage, 0 * advantage).sum().backward()
    assert by_each.grad is not None and by_each.grad.abs().min() > 0


def test_whitened_advantages_have_mean_0_and_variance_1_over_all_tokens() -> None:
    found = whiten(random(N, T), COMPLETION)[COMPLETION]
    assert found.mean().item() == pytest.approx(0, abs=1e-12)
    assert found.var().item() == pytest.approx(1, abs=1e-6)
