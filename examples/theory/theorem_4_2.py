"""Preferences do not fix what an answer is worth: two rewards, one policy, other human values.

Theorem 4.2 of arXiv 2402.01306, with 4 prompts and 5 completions each. r_b(x, y) = r_a(x, y) + h(x) adds a number to
all completions of a prompt, and a comparison of two of them cannot see it. KTO's value function can.

python examples/theory/theorem_4_2.py [--figure FILE]

Everything is read off the library's losses, called with reward / beta where a log-ratio stands:
dpo(r/beta, r'/beta) = -log s(r - r'), the Bradley-Terry preference, and 1 - kto(r/beta, desirable, z0) =
s(r - beta z0), the value. z0 is the exact KL(policy || reference), averaged over the prompts.

What makes the difference is that value is asked of the reward. A trained policy has only its log-ratios
r/beta - log Z(x), and as both rewards give one policy, those are equal too.

Letters: X prompts, Y completions.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from figure_option import figure_option

from prospect import get_loss
from prospect.report.charts.figure_file import Curve, write_figure

BETA = 0.5
# (X, Y) and (X,), made up. The size of the last difference depends on them (a logistic
# value moves by at most 2 s(h/2) - 1 = .268 for h = 1.1); that there is one does not.
REWARD = torch.tensor(
    [
        [0.9, -0.3, 0.2, -1.1, 0.4],
        [-0.6, 0.8, 0.1, -0.2, -1.4],
        [0.3, 0.5, -0.9, 1.0, -0.1],
        [-0.8, 0.2, 0.7, -0.4, 0.0],
    ],
    dtype=torch.float64,
)
SHIFT = torch.tensor([-0.8, 0.3, -0.2, 1.1], dtype=torch.float64)
REFERENCE = torch.tensor(
    [
        [0.10, 0.30, 0.20, 0.25, 0.15],
        [0.20, 0.20, 0.20, 0.20, 0.20],
        [0.35, 0.05, 0.25, 0.15, 0.20],
        [0.15, 0.25, 0.10, 0.40, 0.10],
    ],
    dtype=torch.float64,
)


class World(NamedTuple):
    """What a reward leads to: policy (X, Y), preference (X, Y, Y) of the first over the second, value (X, Y)."""

    policy: torch.Tensor
    preference: torch.Tensor
    value: torch.Tensor


def world(reward: torch.Tensor) -> World:
    """Return what `reward` (X, Y) leads to under KL-regularised optimality, Bradley-Terry and KTO's value function."""
    policy = torch.softmax(REFERENCE.log() + reward / BETA, dim=1)
    return World(policy, preferences(reward), values(reward, policy))


def preferences(reward: torch.Tensor) -> torch.Tensor:
    """Return the probability (X, Y, Y) that a human prefers the first completion to the second."""
    shape = (*reward.shape, reward.shape[1])
    first, second = (side.expand(shape).flatten() / BETA for side in (reward[:, :, None], reward[:, None, :]))
    return torch.exp(-get_loss("dpo")(first, second, beta=BETA)).view(shape)


def values(reward: torch.Tensor, policy: torch.Tensor) -> torch.Tensor:
    """Return the human value (X, Y) of each completion, desirable ones of weight 1."""
    z0 = (policy * (policy / REFERENCE).log()).sum(dim=1).mean()
    flat = reward.flatten() / BETA
    loss = get_loss("kto")(flat, torch.ones_like(flat, dtype=torch.bool), z0, beta=BETA)
    return (1 - loss).view(reward.shape)


def both() -> tuple[World, World]:
    """Return what r_a and r_b lead to."""
    return world(REWARD), world(REWARD + SHIFT[:, None])


def differences() -> dict[str, float]:
    """Return by how much the two worlds differ at most, part by part."""
    return {name: float((one - other).abs().max()) for name, one, other in zip(World._fields, *both(), strict=True)}


def mean_value(one: World) -> float:
    """Return the value that the policy gives on average, prompts being equally frequent."""
    return float((one.policy * one.value).sum(dim=1).mean())


def table() -> str:
    """Return the numbers that the command prints."""
    a, b = both()
    rows = [f"{name:32}{_small(value)}" for name, value in differences().items()]
    means = f"{'mean value under the policy':32}{mean_value(a):.4f} and {mean_value(b):.4f}"
    return "\n".join(["largest difference between r_a and r_b", *rows, means])


def _small(difference: float) -> str:
    """Rounding errors differ between machines, so that only their size is said."""
    return "below 1e-15" if difference < 1e-15 else f"{difference:.4f}"


def distribution(one: World) -> tuple[np.ndarray, np.ndarray]:
    """Return the steps of the distribution function of human value under the policy, from 0 to 1."""
    order = one.value.flatten().argsort()
    value = one.value.flatten()[order].numpy()
    share = (one.policy.flatten()[order] / len(one.policy)).cumsum(0).numpy()
    x = np.concatenate([[0.0], np.repeat(value, 2), [1.0]])
    return x, np.concatenate([[0.0, 0.0], np.repeat(share, 2)])


def draw(path: Path) -> None:
    """Write the figure: the distribution of human value under both rewards."""
    a, b = both()
    write_figure(
        path,
        [
            Curve("under r_a", *distribution(a)),
            Curve("under r_b = r_a + h(x)", *distribution(b)),
        ],
        title="Same policy, same preferences, other human values",
        y_label="share of the policy's completions of at most this value",
        x_label="human value",
    )


def main() -> None:
    """Print the table, write the figure."""
    path = figure_option("Theorem 4.2 of arXiv 2402.01306, on a table of 4 x 5.")
    print(table())
    if path is not None:
        draw(path)


if __name__ == "__main__":
    main()
