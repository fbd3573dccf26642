"""The learning rate is a function of the step alone; weight decay is for matrices alone."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from prospect.config import TrainSettings, load_config
from prospect.errors import ConfigError
from prospect.models.value_head import VALUE_HEAD
from prospect.training.optimizer import (
    build_optimizer,
    check_optimizer,
    empty_state,
    learning_rate,
    restore_state,
    set_learning_rate,
    state_tensors,
)


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


# -- other optimizers --

OTHERS = ["adafactor", "adamw_8bit"]


def need(name: str) -> None:
    if "8bit" in name:
        pytest.importorskip("bitsandbytes")


def moved(optimizer: torch.optim.Optimizer, parameters: dict[str, torch.nn.Parameter], steps: int, seed: int) -> None:
    torch.manual_seed(seed)
    for _ in range(steps):
        set_learning_rate(optimizer, 1e-2)
        for parameter in parameters.values():
            parameter.grad = torch.randn_like(parameter)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def weights_of(seed: int = 0) -> dict[str, torch.nn.Parameter]:
    torch.manual_seed(seed)
    return {"large": torch.nn.Parameter(torch.randn(64, 80)), "norm": torch.nn.Parameter(torch.randn(7))}


@pytest.mark.parametrize("name", ["adamw", *OTHERS])
def test_an_optimizer_goes_on_to_the_same_bits_from_its_state_as_tensors(name: str) -> None:
    need(name)
    settings = TrainSettings(optimizer=name, weight_decay=0.1)  # type: ignore[arg-type]
    whole = weights_of()
    optimizer = build_optimizer(settings, whole)
    moved(optimizer, whole, 3, seed=1)
    state = {key: value.clone() for key, value in state_tensors(optimizer, whole).items()}
    stopped = {key: torch.nn.Parameter(value.detach().clone()) for key, value in whole.items()}
    moved(optimizer, whole, 3, seed=2)
    again = build_optimizer(settings, stopped)
    before = {key: value.detach().clone() for key, value in stopped.items()}
    likes = empty_state(again, stopped)
    assert all(torch.equal(before[key], stopped[key]) for key in stopped)  # making a state moves nothing
    assert {key: (t.dtype, t.shape) for key, t in likes.items()} == {
        key: (t.dtype, t.shape) for key, t in state.items()
    }
    restore_state(again, stopped, state)
    moved(again, stopped, 3, seed=2)
    assert all(torch.equal(whole[key], stopped[key]) for key in whole)


@pytest.mark.parametrize("name", OTHERS)
def test_learning_rate_and_weight_decay_mean_what_they_mean_to_adamw(name: str) -> None:
    """Along a steady gradient every weight goes by the learning rate a step, and matrices alone decay."""
    need(name)
    parameters = weights_of()
    start = {key: value.detach().clone() for key, value in parameters.items()}
    optimizer = build_optimizer(TrainSettings(optimizer=name), parameters)  # type: ignore[arg-type]
    for _ in range(5):
        set_learning_rate(optimizer, 1e-3)
        for parameter in parameters.values():
            parameter.grad = torch.full_like(parameter, 0.3)
        optimizer.step()
    for key, parameter in parameters.items():
        torch.testing.assert_close(
            start[key] - parameter.detach(), torch.full_like(start[key], 5e-3), rtol=0.02, atol=0
        )
    decaying = build_optimizer(TrainSettings(optimizer=name, weight_decay=0.5), parameters)  # type: ignore[arg-type]
    assert [group["weight_decay"] for group in decaying.param_groups] == [0.5, 0.0]


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ({"optimizer": "adafactor", "adam_betas": [0.8, 0.9]}, r"train\.adam_betas are AdamW's, and .* adafactor"),
        ({"optimizer": "adafactor", "parallel": "fsdp"}, r"not made for weights spread by fsdp\. Set adamw, or ddp"),
        (
            {"optimizer": "adamw_8bit"},
            r"needs the package bitsandbytes\. Install it \(pip install bitsandbytes\), or set",
        ),
    ],
)
def test_an_optimizer_that_cannot_be_had_is_refused(
    monkeypatch: pytest.MonkeyPatch, train: dict[str, Any], message: str
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    values = {"model": "m", "data": {"train": "x"}, "output": "o", "train": train}
    with pytest.raises(ConfigError, match=message):
        check_optimizer(load_config(values))
