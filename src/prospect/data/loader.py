"""Which examples make which step, and which rows go through the model together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from prospect.data.batch import Example
from prospect.errors import DataError


@dataclass(frozen=True)
class Plan:
    """Every step of a run, as a function of seed and examples: the resume cursor is the number of the step.

    Attributes:
        examples: the training examples.
        batch_size: the most examples a step has.
        seed: of the shuffles.
        distinct_prompts: whether every step must hold two prompts at least (losses that need z0).
    """

    examples: Sequence[Example]
    batch_size: int
    seed: int
    distinct_prompts: bool = False

    @property
    def steps_per_epoch(self) -> int:
        """Steps in one pass over the examples."""
        return -(-len(self.examples) // self.batch_size)

    def steps(self, start: int, stop: int) -> Iterator[tuple[int, list[Example]]]:
        """Yields `(step number from 0, its examples)` for steps start, ..., stop - 1."""
        step = start
        while step < stop:
            epoch, first = divmod(step, self.steps_per_epoch)
            for indices in self.epoch(epoch)[first : first + stop - step]:
                yield step, [self.examples[i] for i in indices]
                step += 1

    def epoch(self, epoch: int) -> list[list[int]]:
        """Deals the examples out to one epoch's steps.

        Each class is shuffled and spread evenly over the epoch, so that every step holds both in their
        proportion; and the steps differ in size by one example at most, so that no step is left with a
        remainder of one or two.
        """
        draw = np.random.default_rng((self.seed, epoch))
        order = _spread_classes(self.examples, draw)
        steps = [chunk.tolist() for chunk in np.array_split(order, self.steps_per_epoch)]
        if self.distinct_prompts:
            _separate_prompts(steps, self.examples)
        return steps


def _spread_classes(examples: Sequence[Example], draw: np.random.Generator) -> np.ndarray:
    desirable = np.array([example[0].desirable for example in examples])
    place = np.empty(len(examples))
    for label in (True, False):
        members = draw.permutation(np.flatnonzero(desirable == label))
        # The i-th of n members stands at (i + u) / n of the epoch; u is drawn once a class.
        place[members] = (np.arange(len(members)) + draw.random()) / max(len(members), 1)
    return np.argsort(place, kind="stable")


def _separate_prompts(steps: list[list[int]], examples: Sequence[Example]) -> None:
    """Swaps an example of the same class into every step of a single prompt, so that z0 can be estimated.

    Raises:
        DataError: a step holds a single prompt whatever is swapped.
    """
    for step in steps:
        if len(_prompts(step, examples)) < 2 and not any(_swap(step, other, examples) for other in steps):
            raise DataError(
                f"a step of {len(step)} example(s) would hold one single prompt, and this loss needs "
                "completions of other prompts for z0. Raise train.batch_size, or add feedback on other "
                "prompts."
            )


def _swap(step: list[int], other: list[int], examples: Sequence[Example]) -> bool:
    """Exchanges one example between two steps if both hold two prompts afterwards."""
    for a, mine in enumerate(step):
        for b, theirs in enumerate(other):
            if examples[mine][0].desirable != examples[theirs][0].desirable:
                continue
            step[a], other[b] = theirs, mine
            if len(_prompts(step, examples)) > 1 and len(_prompts(other, examples)) > 1:
                return True
            step[a], other[b] = mine, theirs
    return False


def _prompts(step: Sequence[int], examples: Sequence[Example]) -> set[str]:
    return {examples[i][0].prompt_key for i in step}


def micro_batches(examples: Sequence[Example], max_tokens: int) -> list[list[Example]]:
    """Cuts a step into groups that go through the model together, longest examples first.

    A group's padded size, rows x longest row, stays within `max_tokens`; an example that is larger by itself
    goes alone.
    """
    by_length = sorted(examples, key=lambda e: (-max(row.length for row in e), e[0].key))
    groups: list[list[Example]] = []
    rows = longest = 0
    for example in by_length:
        length = max(row.length for row in example)
        if not groups or (rows + len(example)) * max(longest, length) > max_tokens:
            groups.append([])
            rows = longest = 0
        groups[-1].append(example)
        rows, longest = rows + len(example), max(longest, length)
    return groups
