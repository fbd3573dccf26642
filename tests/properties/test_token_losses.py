"""Losses that see every token, against slow and plain ones, and logarithms that do not cancel.

Letters: N examples, T tokens; everything in nats.
"""

from __future__ import annotations

import itertools
import math
from decimal import Decimal, localcontext
from typing import Any

import pytest
import torch

from prospect.losses import Loss, get_loss
from prospect.losses.checks.arguments import Arguments, call, gradients, placed, random_arguments, with_step
from prospect.losses.checks.check import check_loss
from prospect.losses.logarithms import log1mexp


def numbers(*entries: Any) -> torch.Tensor:
    return torch.tensor(entries, dtype=torch.float64)


def assert_same(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


# -- tokens --


def test_unlikelihood_is_the_plain_formula() -> None:
    given = random_arguments(get_loss("unlikelihood"), 8)
    for row, found in enumerate(call(get_loss("unlikelihood"), given).tolist()):
        tokens = given["token_log_ratio"][row][given["completion"][row]].tolist()
        liked = bool(given["desirable"][row])
        assert found == pytest.approx(-sum(x if liked else math.log(1 - math.exp(x)) for x in tokens), rel=1e-12)


@pytest.mark.parametrize("name", ["unlikelihood", "orpo"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_a_certain_token_gives_no_nan(name: str, dtype: torch.dtype) -> None:
    loss = get_loss(name)
    for certain in (0.0, -1e-9, -1e-45):
        found, slopes = gradients(loss, placed(loss, certain, certain, dtype=dtype))
        assert found.isfinite().all()
        assert all(slope.isfinite().all() for slope in slopes.values())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_log1mexp_is_exact_wherever_the_textbook_form_cancels(dtype: torch.dtype) -> None:
    for at in (-1e-6, -1e-4, -0.01, -0.5, -0.693, -0.694, -1.0, -5.0, -20.0, -60.0):
        logp = torch.tensor(at, dtype=dtype).requires_grad_()
        found = log1mexp(logp)
        found.backward()
        assert logp.grad is not None
        with localcontext() as context:
            context.prec = 60
            p = Decimal(logp.item()).exp()
            exact, slope = float((1 - p).ln()), float(-p / (1 - p))
        close = {"rel": 4 * torch.finfo(dtype).eps, "abs": 0.0}
        assert found.item() == pytest.approx(exact, **close)
        assert logp.grad.item() == pytest.approx(slope, **close)


def test_log1mexp_stays_where_it_is_for_certain_tokens() -> None:
    logp = numbers(0.0, -1e-8, 3.0).requires_grad_()
    log1mexp(logp).sum().backward()
    assert_same(log1mexp(logp).detach(), torch.full((3,), math.log(-math.expm1(-1e-7)), dtype=torch.float64))
    assert logp.grad is not None
    assert not logp.grad.any()


# -- offline PPO against a slow and plain one --


def plain_offline_ppo(given: Arguments, **changed: float) -> tuple[list[float], list[list[float]]]:
    """The losses, and the raw advantage of each completion token of each row, by loops over Python numbers."""
    h = {"gamma": 0.99, "gae_lambda": 0.95, "low": 0.25, "high": 4.0, "kl": 0.1, "value": 0.01} | changed
    ratios, expected = given["token_log_ratio"].tolist(), given["values"].tolist()
    advantages, kept = [], []
    for row, mask in enumerate(given["completion"].tolist()):
        tokens = [t for t, inside in enumerate(mask) if inside]
        v = [expected[row][t] for t in tokens] + [0.0]
        reward = [0.0] * (len(tokens) - 1) + [1.0 if given["desirable"][row] else -1.0]
        delta = [reward[t] + h["gamma"] * v[t + 1] - v[t] for t in range(len(tokens))]
        factor = h["gamma"] * h["gae_lambda"]
        advantages.append([sum(factor ** (u - t) * delta[u] for u in range(t, len(delta))) for t in range(len(delta))])
        kept.append(tokens)
    every = list(itertools.chain(*advantages))
    mean = sum(every) / len(every)
    std = math.sqrt(sum((a - mean) ** 2 for a in every) / len(every))
    losses = []
    for row, tokens in enumerate(kept):
        total = 0.0
        for t, raw in zip(tokens, advantages[row], strict=True):
            q, a = math.exp(ratios[row][t]), (raw - mean) / std
            total += max(-a * q, -a * min(max(q, h["low"]), h["high"]))
            total += -h["kl"] * ratios[row][t] + h["value"] * raw**2  # V - R = -raw advantage
        losses.append(total)
    return losses, advantages


PPO = get_loss("offline_ppo")


@pytest.mark.parametrize(
    ("plain", "ours"),
    [
        ({}, {}),
        ({"gamma": 0.7, "gae_lambda": 0.5}, {"gamma": 0.7, "gae_lambda": 0.5}),
        ({"gae_lambda": 0.0}, {"gae_lambda": 0.0}),
        ({"low": 0.5, "high": 1.5}, {"clip_low": 0.5, "clip_high": 1.5}),
        ({"kl": 0.0, "value": 1.0}, {"kl_penalty": 0.0, "value_weight": 1.0}),
    ],
)
def test_offline_ppo_is_the_plain_one(plain: dict[str, float], ours: dict[str, float]) -> None:
    given = random_arguments(PPO, 12, seed=5)
    given["token_log_ratio"] /= 3  # below e^10, where the ratio is not continued
    given = with_step(PPO, given, ours)
    losses, advantages = plain_offline_ppo(given, **plain)
    assert_same(call(PPO, given, **ours), numbers(*losses))
    every = numbers(*itertools.chain(*advantages))
    assert_same(given["advantage_moments"], torch.stack([every.mean(), every.std(correction=0)]))


def one_token(log_q: float, desirable: bool) -> Arguments:
    """One completion of one token: whitened advantage +1 or -1."""
    return {
        "token_log_ratio": numbers([log_q]),
        "completion": torch.tensor([[True]]),
        "desirable": torch.tensor([desirable]),
        "values": numbers([0.0]),
        "advantage_moments": numbers(0.0, 1.0),
    }


@pytest.mark.parametrize(
    ("q", "desirable", "loss", "slope"),
    [
        (2.0, True, -2.0, -2.0),
        (5.0, True, -4.0, 0.0),  # good enough: clipped
        (0.1, True, -0.1, -0.1),  # still to be raised: not clipped
        (5.0, False, 5.0, 5.0),  # still to be lowered: not clipped
        (0.1, False, 0.25, 0.0),  # low enough: clipped
    ],
)
def test_offline_ppo_clips_where_nothing_is_left_to_gain(q: float, desirable: bool, loss: float, slope: float) -> None:
    found, slopes = gradients(PPO, one_token(math.log(q), desirable), kl_penalty=0.0, value_weight=0.0)
    assert found.item() == pytest.approx(loss)
    assert slopes["token_log_ratio"].item() == pytest.approx(slope)


def test_offline_ppo_pays_for_each_nat_below_the_reference() -> None:
    with_penalty, without = (call(PPO, one_token(-3.0, True), kl_penalty=k) for k in (0.2, 0.0))
    assert_same(with_penalty - without, numbers(0.6))


def test_offline_ppo_teaches_the_value_head_its_return_and_nothing_else() -> None:
    """The gradient in V is 2 w (V - R), R = V + advantage held fixed; the policy's term carries none."""
    given = random_arguments(PPO, 6, seed=8)
    advantages = plain_offline_ppo(given)[1]
    found = gradients(PPO, given, value_weight=0.3)[1]["values"]
    expected = torch.zeros_like(found)
    expected[given["completion"]] = -2 * 0.3 * numbers(*itertools.chain(*advantages))
    assert_same(found, expected)


def test_offline_ppo_whitens_over_the_step_and_not_over_the_micro_batch() -> None:
    given = random_arguments(PPO, 8, seed=9)
    part = {name: value[:3] if name in PPO.row_arguments else value for name, value in given.items()}
    assert_same(call(PPO, part), call(PPO, given)[:3])
    assert (call(PPO, with_step(PPO, part)) - call(PPO, part)).abs().max() > 0.01


def test_offline_ppo_continues_the_ratio_along_its_tangent_above_e_to_the_10() -> None:
    """Value and slope meet there, and neither overflows beyond."""
    below, at, above = (gradients(PPO, one_token(x, False), kl_penalty=0.0) for x in (10 - 1e-7, 10.0, 12.0))
    assert below[0].item() == pytest.approx(at[0].item(), rel=1e-6)
    assert above[0].item() - at[0].item() == pytest.approx(2 * math.exp(10), rel=1e-9)
    for _, slopes in (below, at, above):
        assert slopes["token_log_ratio"].item() == pytest.approx(math.exp(10), rel=1e-6)


# -- log-probs of when the tokens were sampled --


def importance_weighted(
    token_log_ratio: torch.Tensor,
    completion: torch.Tensor,
    desirable: torch.Tensor,
    sampled_logps: torch.Tensor,
    *,
    cap: float = 2.0,
) -> torch.Tensor:
    """-sum_t a q_t, q_t = policy / sampling probability, a = +1 or -1; a straight line where log q_t > cap."""
    log_q = token_log_ratio - sampled_logps
    q = torch.exp(log_q.clamp(max=cap)) + math.exp(cap) * (log_q - cap).clamp(min=0)
    sign = torch.where(desirable, 1.0, -1.0)[:, None].to(q)
    return -(sign * q * completion).sum(1)


def test_a_loss_on_sampled_logps_passes_the_suite() -> None:
    loss = Loss(importance_weighted, "sampled", "unpaired", "token", needs_reference=False, needs_sampled_logps=True)
    assert loss.argument_names == ("token_log_ratio", "completion", "desirable", "sampled_logps")
    given = random_arguments(loss)
    assert (given["sampled_logps"] < 0).all() and "sampled_logps" not in gradients(loss, given)[1]
    assert [result for result in check_loss(loss) if result.passed is False] == []


def test_the_suite_finds_sampled_logps_that_are_read_in_the_padding() -> None:
    def unmasked(token_log_ratio, completion, desirable, sampled_logps, *, cap=2.0):
        return importance_weighted(token_log_ratio, completion, desirable, sampled_logps, cap=cap) + sampled_logps.sum(
            1
        )

    loss = Loss(unmasked, "sampled", "unpaired", "token", needs_reference=False, needs_sampled_logps=True)
    assert "only_what_is_there_counts" in [result.name for result in check_loss(loss) if result.passed is False]
