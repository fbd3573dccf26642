"""The learning rate is a function of the step alone; weight decay is for matrices alone."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from prospect.config import TrainSettings
from prospect.models.value_head import VALUE_HEAD
from prospect.training.optimizer import build_optimizer, learning_rate, set_learning_rate


def rates(total: int, **settings: Any) -> list[float]:
    """Learning rates of every step, in units of the peak."""
    values = TrainSettings(learning_rate=2.0, **settings)
    return [learning_rate(values, step, total) / 2.0 for step in range(1, total + 1)]


@pytest.mark.parametrize(
    ("scheduler", "warmup", "expected"),
    [
        ("constant", 0, [1, 1, 1, 1, 1]),
        ("constant", 2, [0.5, 1, 1, 1, 1]),
        ("constant", 0.4, [0.5, 1, 1, 1, 1]),
        ("linear", 0, [1, 0.8, 0.6, 0.4, 0.2]),
        ("linear", 1, [1, 1, 0.75, 0.5, 0.25]),
        ("linear", 2, [0.5, 1, 1, 2 / 3, 1 / 3]),
        ("cosine", 1, [1, 1, (1 + math.cos(math.pi / 4)) / 2, 0.5, (1 - math.cos(math.pi / 4)) / 2]),
        ("linear", 5, [0.2, 0.4, 0.6, 0.8, 1]),
        ("cosine", 10, [0.1, 0.2, 0.3, 0.4, 0.5]),  # a warm-up longer than the run is used as it is said
    ],
)
def test_learning_rate_by_scheduler_and_warmup(scheduler: str, warmup: float, expected: list[float]) -> None:
    assert rates(5, scheduler=scheduler, warmup=warmup) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("warmup", "total", "steps"),
    [(0.1, 30, 3), (0.1, 25, 3), (0.07, 100, 7), (0.29, 100, 29), (0.5, 3, 2), (0.001, 50, 1), (1, 50, 1), (7, 50, 7)],
)
def test_warmup_below_one_is_a_share_rounded_up_and_from_one_on_a_number_of_steps(
    warmup: float, total: int, steps: int
) -> None:
    """A share never vanishes, however short the run."""
    values = rates(total, scheduler="constant", warmup=warmup)
    assert [value < 1 for value in values] == [True] * (steps - 1) + [False] * (total - steps + 1)
    assert values[0] == pytest.approx(1 / steps)


@pytest.mark.parametrize("scheduler", ["constant", "linear", "cosine"])
@pytest.mark.parametrize("warmup", [0, 0.1, 1, 3])
@pytest.mark.parametrize("total", [1, 2, 3, 10, 77])
def test_no_step_is_wasted_on_a_rate_of_zero_and_none_exceeds_the_peak(
    scheduler: str, warmup: float, total: int
) -> None:
    values = rates(total, scheduler=scheduler, warmup=warmup)
    assert all(0 < value <= 1 for value in values)
    peak = values.index(max(values))
    assert values[: peak + 1] == sorted(values[: peak + 1])
    assert values[peak:] == sorted(values[peak:], reverse=True)


@pytest.mark.parametrize("scheduler", ["linear", "cosine"])
def test_the_rate_would_be_zero_one_step_after_the_last(scheduler: str) -> None:
    settings = TrainSettings(learning_rate=2.0, scheduler=scheduler, warmup=2)  # type: ignore[arg-type]
    assert learning_rate(settings, 11, 10) == pytest.approx(0.0, abs=1e-12)


def test_weight_decay_is_on_matrices_only() -> None:
    parameters = {
        "weight": torch.nn.Parameter(torch.ones(2, 2)),
        "norm": torch.nn.Parameter(torch.ones(2)),
        "scale": torch.nn.Parameter(torch.tensor(1.0)),
    }
    optimizer = build_optimizer(TrainSettings(weight_decay=0.5, adam_betas=(0.8, 0.95)), parameters)
    decayed, plain = optimizer.param_groups
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.5, 0.0)
    assert [p.shape for p in decayed["params"]] == [(2, 2)]
    assert [p.shape for p in plain["params"]] == [(2,), ()]
    assert decayed["betas"] == plain["betas"] == (0.8, 0.95)
    set_learning_rate(optimizer, 0.1)
    for parameter in parameters.values():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    assert torch.equal(parameters["norm"].detach(), torch.ones(2))
    torch.testing.assert_close(parameters["weight"].detach(), torch.full((2, 2), 0.95))


def test_matrices_alone_or_vectors_alone_are_enough() -> None:
    for shape in ((2, 2), (2,)):
        optimizer = build_optimizer(TrainSettings(), {"only": torch.nn.Parameter(torch.ones(shape))})
        assert len(optimizer.param_groups) == 1
        assert optimizer.param_groups[0]["lr"] == 0.0  # no step before a learning rate is set


@pytest.mark.parametrize(("rate", "of_the_head"), [(5e-7, 1e-3), (9e-4, 1e-3), (2e-3, 2e-3)])
def test_a_value_head_learns_at_a_thousandth_or_at_the_rate_of_the_policy_if_that_is_higher(
    rate: float, of_the_head: float
) -> None:
    one, head = (torch.nn.Parameter(torch.ones(2, 2)) for _ in range(2))
    optimizer = build_optimizer(TrainSettings(learning_rate=rate), {"weight": one, f"{VALUE_HEAD}.weight": head})
    set_learning_rate(optimizer, rate / 2)  # half-way up the warm-up
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([rate / 2, of_the_head / 2])
