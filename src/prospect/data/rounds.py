"""Plans of steps: the protocol that a run asks, and one whose rows arrive in rounds while training goes on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from prospect.data.batch import Example
from prospect.data.loader import Cost, length, padded
from prospect.errors import DataError


class StepPlan(Protocol):
    """Says which examples make which step; the number of the step is all that a resumed run needs to go on."""

    @property
    def steps_per_epoch(self) -> int:
        """Steps in one pass over the examples, by which steps are told as epochs."""

    def steps(self, start: int, stop: int) -> Iterator[tuple[int, list[Example]]]:
        """Yield `(step number from 0, its examples)` for steps start, ..., stop - 1."""

    def hardest_step(self, cost: Cost = length) -> list[Example]:
        """Return the step with the example that takes most memory."""


class Rounds:
    """A plan whose examples arrive in rounds, while training goes on; each round has its own plan and steps.

    Step numbers go on from round to round.

    Args:
        start: the step before which the first round begins.
        steps_per_epoch: by which steps are told as epochs; by default those of the last round.
    """

    def __init__(self, start: int = 0, steps_per_epoch: int | None = None) -> None:
        self._start, self._per_epoch = start, steps_per_epoch
        self._rounds: list[tuple[int, int, StepPlan]] = []

    def add(self, plan: StepPlan, steps: int | None = None) -> int:
        """Append a round of so many steps, one epoch by default; return the number of steps of all rounds so far."""
        start = self._rounds[-1][1] if self._rounds else self._start
        stop = start + (plan.steps_per_epoch if steps is None else steps)
        self._rounds.append((start, stop, plan))
        return stop

    @property
    def steps_per_epoch(self) -> int:
        """Steps in one pass over the examples of the last round, unless another number was given."""
        last = self._rounds[-1][2].steps_per_epoch if self._rounds else 1
        return self._per_epoch or last

    def steps(self, start: int, stop: int) -> Iterator[tuple[int, list[Example]]]:
        """Yield `(step number from 0, its examples)`; each round's plan counts from 0.

        Raises:
            DataError: steps beyond the last round.
        """
        there = self._rounds[-1][1] if self._rounds else self._start
        if stop > there:
            raise DataError(f"the rounds so far have {there} steps, and step {stop} was asked for. Add a round first.")
        for first, end, plan in self._rounds:
            for step, examples in plan.steps(max(start - first, 0), min(stop, end) - first):
                yield first + step, examples

    def hardest_step(self, cost: Cost = length) -> list[Example]:
        """Return the hardest of all rounds' hardest steps."""
        steps = [plan.hardest_step(cost) for _, _, plan in self._rounds]
        return max(steps, key=lambda step: max(padded([example], cost) for example in step))
