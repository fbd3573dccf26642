"""What a loss is tried on. Letters: N examples, T tokens, K completions of one prompt; everything in nats."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from prospect.losses.base import Loss

TOKENS, COMPLETIONS = 7, 3
# Arguments through which the gradient reaches the policy.
_OF_THE_POLICY = {"log_ratio", "token_log_ratio", "chosen", "rejected", "logps", "token_logps", "log_q"}
# Of a width of about 1, such as scores.
_NARROW = {"score", "values", "advantage", "old_values", "returns"}

Arguments = dict[str, torch.Tensor]


class CheckError(Exception):
    """A loss breaks a property of every loss; the message has what was expected, what was found and what to do."""


class NotApplicableError(Exception):
    """A check does not apply to this loss; the message is the reason."""


def of_the_policy(loss: Loss) -> list[str]:
    """Return the arguments through which the gradient reaches the policy."""
    return [name for name in loss.row_arguments if name in _OF_THE_POLICY]


def takes_logps(loss: Loss) -> bool:
    """Whether its log-ratios are log-probs, which are never above 0."""
    return not loss.needs_reference and not loss.reward_model and loss.feedback != "sampled"


def random_arguments(loss: Loss, count: int = 7, *, seed: int = 0, dtype: torch.dtype = torch.float64) -> Arguments:
    """Legal arguments of `count` examples, about 4 nats wide, drawn in float64 for every `dtype`."""
    draw = torch.Generator().manual_seed(seed)
    given = _frame(loss, count)
    for name in loss.row_arguments:
        if given[name].is_floating_point():
            noise = torch.randn(given[name].shape, generator=draw, dtype=torch.float64)
            given[name] = noise if name in _NARROW else _legal(name, loss, 4 * noise)
    given |= {"z0": torch.tensor(-3.0 if takes_logps(loss) else 0.3), "running_mean": torch.tensor(0.2)}
    return with_step(loss, {name: _as(given[name], dtype) for name in given})


def placed(
    loss: Loss, good: float, bad: float, *, count: int = 8, point: float = 0.0, dtype: torch.dtype = torch.float64
) -> Arguments:
    """Desirable, chosen and best-scored completions all at `good` nats, every other one at `bad`; z0 at `point`."""
    given = _frame(loss, count)
    for name in of_the_policy(loss):
        given[name] = torch.where(is_good(loss, name, given), good, bad)
    given |= {"z0": torch.tensor(point), "running_mean": torch.tensor(point)}
    return with_step(loss, {name: _as(given[name], dtype) for name in given})


def is_good(loss: Loss, name: str, given: Arguments) -> torch.Tensor:
    """Return where an argument of the policy belongs to a desirable completion; bool, of its shape."""
    if loss.feedback == "scored":
        return given["score"] == given["score"].amax(1, keepdim=True)
    if loss.feedback == "sampled":
        return given["advantage"] > 0
    if loss.feedback == "unpaired":
        desirable = given["desirable"]
        return desirable if loss.level == "sequence" else desirable[:, None].expand(given[name].shape)
    return torch.full_like(given[name], name != "rejected", dtype=torch.bool)


def with_step(loss: Loss, given: Arguments, hyperparameters: Mapping[str, Any] | None = None) -> Arguments:
    """Return the arguments with those of `over_step`, as if these examples were the whole step."""
    rows = tuple(given[name] for name in loss.row_arguments)
    found = loss.over_whole_step(rows, loss.resolve(hyperparameters or {}))
    return {**given, **dict(zip(loss.over_step, found, strict=True))}


def call(loss: Loss, given: Arguments, **hyperparameters: Any) -> torch.Tensor:
    """Return the loss of each example, (N,)."""
    return loss(*(given[name] for name in loss.argument_names), **hyperparameters)


def gradients(loss: Loss, given: Arguments, **hyperparameters: Any) -> tuple[torch.Tensor, Arguments]:
    """Return the losses (N,), and the gradient of their sum in each argument of the policy and in `values`."""
    names = [*of_the_policy(loss), *(["values"] if loss.needs_values else [])]
    leaves = {name: given[name].detach().clone().requires_grad_() for name in names}
    values = call(loss, {**given, **leaves}, **hyperparameters)
    if not values.requires_grad:
        raise CheckError(
            "expected losses that carry a gradient; found none: nothing would be learnt. Leave out .detach(), .item() "
            "and torch.no_grad()."
        )
    found = torch.autograd.grad(values.sum(), list(leaves.values()), allow_unused=True)
    return values.detach(), {
        name: torch.zeros_like(leaves[name]) if gradient is None else gradient
        for name, gradient in zip(names, found, strict=True)
    }


def rows_of(loss: Loss, given: Arguments, rows: torch.Tensor) -> Arguments:
    """Return some examples; what is known over the whole step stays as it is."""
    return {name: value[rows] if name in loss.row_arguments else value for name, value in given.items()}


def other_value(loss: Loss, name: str) -> float:
    """Return a legal value of a hyperparameter that is not its default."""
    interval, default = loss.interval(name), loss.hyperparameters[name]
    tries = (default * 1.3, default * 0.7, default + 0.37, default - 0.37, (interval.low + interval.high) / 2)
    legal = [float(value) for value in tries if value != default and value in interval]
    if not legal:
        raise NotApplicableError(f"no legal value of {name} besides its default was found")
    return legal[0]


def _frame(loss: Loss, count: int) -> Arguments:
    """All arguments a loss may have but the step's: masks with gaps, zeros, the first completion scored best.

    Both classes have completions of the same lengths; every row starts and ends at its own token, before padding.
    """
    row, token, completion = torch.arange(count), torch.arange(TOKENS), torch.arange(COMPLETIONS)
    start, length = (row // 2 % 2)[:, None], (1 + row // 2 % 4)[:, None]
    sizes = {"N": count, "T": TOKENS, "K": COMPLETIONS}
    filled = {
        "desirable": row % 2 == 0,
        "completion": (token >= start) & (token < start + length),
        "present": completion < 2 + (row % 2)[:, None],
        "score": torch.where(completion == 0, 3.0, 0.0).double().expand(count, -1),
        "advantage": torch.where(row % 2 == 0, 1.0, -1.0).double()[:, None].expand(-1, TOKENS),
    }
    return {
        name: filled[name]
        if name in filled
        else torch.zeros([sizes[letter] for letter in loss.shape_of(name)], dtype=torch.float64)
        for name in loss.row_arguments
    }


def _legal(name: str, loss: Loss, value: torch.Tensor) -> torch.Tensor:
    return -value.abs() - 0.05 if takes_logps(loss) or name == "sampled_logps" else value


def _as(value: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return value.to(dtype) if value.is_floating_point() else value
