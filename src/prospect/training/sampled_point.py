"""z0 from completions that the policy draws itself: which prompts it answers, and how long an estimate is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from prospect.data.batch import AnyRow
from prospect.data.draw import Draw
from prospect.losses.reference_point import ReferencePoint

_STATE = "z0_raw_stderr"


@dataclass
class SampledPoint:
    """How z0 is sampled, and the estimate that steps in between keep.

    Attributes:
        every: steps from one estimate to the next.
        completions: how many are drawn for one.
        max_new_tokens: where a completion is cut, in units that are scored.
        point: the last estimate; None before the first, and when the reference has moved since.
    """

    every: int
    completions: int
    max_new_tokens: int
    point: ReferencePoint | None = None

    def kept(self, step: int) -> ReferencePoint | None:
        """Return the estimate that a step, counted from 1, takes over; None where it makes one of its own."""
        return None if (step - 1) % self.every == 0 else self.point

    def clear(self) -> None:
        """Forget the estimate, so that the next step makes one."""
        self.point = None

    @staticmethod
    def layout() -> dict[str, torch.Tensor]:
        """Return tensors like those of `state`."""
        return {_STATE: torch.zeros(3, dtype=torch.float64)}

    def state(self) -> dict[str, torch.Tensor]:
        """Return what a checkpoint keeps."""
        return {} if self.point is None else {_STATE: torch.stack(self.point)}

    def load(self, state: Mapping[str, torch.Tensor]) -> None:
        """Put a checkpoint's numbers back."""
        self.point = ReferencePoint(*state[_STATE].unbind())


def choose_prompts(rows: Sequence[AnyRow], count: int, draw: Draw) -> list[tuple[AnyRow, int]]:
    """Deal completions out over the prompts of a step, by turns, in an order that is another in every step.

    Args:
        rows: of the step; their order and how often a prompt is among them do not matter.
        count: completions.
        draw: names the random numbers.

    Returns:
        `count` times a row with the prompt to answer, and the number of the completion among those of this prompt.
    """
    by_prompt: dict[str, AnyRow] = {}
    for row in sorted(rows, key=lambda row: row.key):
        by_prompt.setdefault(row.prompt_key, row)
    order = sorted(by_prompt.values(), key=lambda row: (draw.number(row.prompt_key.encode()), row.key))
    return [(order[i % len(order)], i // len(order)) for i in range(count)]
