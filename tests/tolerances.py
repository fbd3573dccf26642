"""How far apart two float32 computations of one number may lie, whatever the processor: from their size alone.

Another processor, another number of threads or another cut into batches adds the same numbers in another order, and
every addition rounds. A tolerance that one machine happened to meet says nothing about the next, so tests take theirs
from the number of additions and from the size of what is added up. "Bit for bit" is for the same operations in the
same order on the same machine, such as a run that was resumed in the batches of the whole one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch

# Additions one behind another in the tiny models of the tests, in round numbers. To a log-prob: two blocks of some 300
# each (width 32, an MLP of 64, rows of up to 30 tokens), and a softmax over 300. To a gradient: the way there, twice
# as many on the way back, and a sum over the tokens of a step.
FORWARD = 1000
BACKWARD = 3000


def rounding(terms: int, magnitude: float = 1.0) -> float:
    """Bound the difference between two float32 computations that differ in the order of their additions.

    4 sqrt(terms) 2^-23 magnitude. An addition is off by at most 2^-24 of what has been added up so far, up or down as
    it happens, so `terms` of them in a row have a standard error below sqrt(terms / 3) 2^-24 magnitude; the bound is
    ten such errors of a difference of two, for a model makes the errors of its first sums larger on the way. With
    `FORWARD` it is 1.5e-5 of the magnitude: some hundred times what kernels were seen to differ by, and a thirtieth of
    what one number in half precision would cost.

    Args:
        terms: additions one behind another, from what both are given to what is compared.
        magnitude: the largest number that is added up on the way. It is not what is left of it: a difference of two
            log-probs of 40 nats is as inexact as they are.
    """
    return 4 * terms**0.5 * torch.finfo(torch.float32).eps * abs(magnitude)


def assert_near(found: torch.Tensor, expected: torch.Tensor, terms: int, name: str = "") -> None:
    """Hold two float32 tensors against each other; what rounds is as large as the largest entry."""
    largest = float(expected.detach().abs().max()) if expected.numel() else 0.0
    torch.testing.assert_close(
        found, expected, rtol=0, atol=rounding(terms, largest), msg=lambda said: f"{name}: {said}" if name else said
    )


def distance(found: torch.Tensor, expected: torch.Tensor) -> float:
    """The norm of the difference, relative to what was expected."""
    return float((found - expected).norm() / expected.norm())


def near(metrics: Mapping[str, float], terms: int = FORWARD) -> Any:
    """What metrics of one step equal but for rounding: all are made of its log-probs, the largest among them."""
    return pytest.approx(metrics, rel=0, abs=rounding(terms, max(map(abs, metrics.values()))))


def assert_trained_alike(
    found: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor], learning_rate: float
) -> None:
    """Hold the weights of two runs with AdamW against each other, in root mean square.

    AdamW divides a gradient by its own size, so a weight whose gradient is nothing but rounding goes astray by as much
    as the learning rate. Gradients lie evenly around 0: a share of `rounding(BACKWARD)` of them is that small, and the
    root mean square over all weights is the root of that share, 0.5 % of the learning rate. A weight may go as far as
    the learning rate times the number of steps.
    """
    assert found.keys() == expected.keys()
    off = torch.cat([(found[name] - weight).flatten() for name, weight in expected.items()])
    assert float(off.square().mean().sqrt()) <= learning_rate * rounding(BACKWARD) ** 0.5
