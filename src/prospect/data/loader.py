"""Which examples make which step, and which rows go through the model together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np

from prospect.data.batch import AnyRow, Example, Row
from prospect.errors import DataError

E = TypeVar("E", bound=tuple[AnyRow, ...])
Cost = Callable[[Any], int]
"""Row to what it takes of a micro-batch's budget; a group costs its number of rows times its dearest row."""
Shape = Callable[[Any], Any]
"""Row to what rows that go through the model together have in common."""


def length(row: Row) -> int:
    """Return the cost of a text: the tokens of prompt and completion."""
    return row.length


def any_shape(row: AnyRow) -> None:
    """Return None, of a text as of any other: padding makes them alike."""


@dataclass(frozen=True)
class Plan:
    """Every step of a run, as a function of seed and examples that are all there at the start.

    Attributes:
        examples: the training examples.
        batch_size: the most examples a step has.
        seed: of the shuffles.
        distinct_prompts: whether every step must hold two prompts at least (losses that cross prompts for z0).
        desirable_share: of desirable examples in a step; None takes every example once an epoch.
    """

    examples: Sequence[Example]
    batch_size: int
    seed: int
    distinct_prompts: bool = False
    desirable_share: float | None = None

    @property
    def steps_per_epoch(self) -> int:
        """Steps in one pass over the examples."""
        return -(-len(self.examples) // self.batch_size)

    def steps(self, start: int, stop: int) -> Iterator[tuple[int, list[Example]]]:
        """Yield `(step number from 0, its examples)` for steps start, ..., stop - 1."""
        step = start
        while step < stop:
            epoch, first = divmod(step, self.steps_per_epoch)
            for indices in self.epoch(epoch)[first : first + stop - step]:
                yield step, [self.examples[i] for i in indices]
                step += 1

    def hardest_step(self, cost: Cost = length) -> list[Example]:
        """Return the first epoch's step with the example that takes most at once, padding included."""
        sizes = [padded([example], cost) for example in self.examples]
        largest = sizes.index(max(sizes))
        return [self.examples[i] for i in next(step for step in self.epoch(0) if largest in step)]

    def epoch(self, epoch: int) -> list[list[int]]:
        """Deal the examples out to one epoch's steps.

        Each class is shuffled and spread evenly over the epoch, so that every step holds both in their
        proportion; and the steps differ in size by one example at most, so that no step is left with a
        remainder of one or two.

        Raises:
            DataError: steps must hold two prompts and cannot; then they cannot in any epoch.
        """
        draw = np.random.default_rng((self.seed, epoch))
        order = _spread_classes(self.examples, draw, self.desirable_share)
        steps = [chunk.tolist() for chunk in np.array_split(order, self.steps_per_epoch)]
        if self.distinct_prompts:
            _separate_prompts(steps, self.examples)
        return steps


def _spread_classes(examples: Sequence[Example], draw: np.random.Generator, share: float | None) -> np.ndarray:
    """Return as many examples as there are, in the order of an epoch."""
    desirable = np.array([example[0].desirable for example in examples])
    counts = {True: int(desirable.sum()), False: int((~desirable).sum())}
    if share is not None:
        asked = round(share * len(examples))
        counts = {True: asked, False: len(examples) - asked}
    order, place = [], []
    for label, count in counts.items():
        members = np.flatnonzero(desirable == label)
        rounds = -(-count // max(len(members), 1))  # a class that is asked for more often is gone through again
        order.append(np.concatenate([draw.permutation(members) for _ in range(max(rounds, 1))])[:count])
        # The i-th of n members is placed at (i + u) / n of the epoch; u is drawn once a class.
        place.append((np.arange(count) + draw.random()) / max(count, 1))
    return np.concatenate(order)[np.argsort(np.concatenate(place), kind="stable")]


def _separate_prompts(steps: list[list[int]], examples: Sequence[Example]) -> None:
    """Swap an example of another prompt into every step of a single one, so that z0 can be estimated.

    The example is of the same class where one exists, so that a step keeps its proportion of classes.

    Whether that succeeds depends on counts alone, so one epoch speaks for all: it does if and only if each of the k
    steps has two examples and k examples at least are not of the commonest prompt. For if no step can swap with one
    that holds prompt p alone, the k - 1 others hold at most one example each that is not of p.

    Raises:
        DataError: a step holds a single prompt whatever is swapped.
    """
    for step in steps:
        if len(_prompts(step, examples)) < 2 and not _mend(step, steps, examples):
            raise DataError(
                f"a step of {len(step)} example(s) would hold one single prompt, and this loss needs "
                "completions of other prompts for z0. Raise train.batch_size, or add feedback on other "
                "prompts."
            )


def _mend(step: list[int], steps: Sequence[list[int]], examples: Sequence[Example]) -> bool:
    """Exchange one example with another step: within its class if that can be, else across."""
    return any(_swap(step, other, examples, across=across) for across in (False, True) for other in steps)


def _swap(step: list[int], other: list[int], examples: Sequence[Example], *, across: bool) -> bool:
    """Exchange one example of a step of a single prompt with another step if both hold two prompts afterwards."""
    prompt = examples[step[0]][0].prompt_key
    strangers = [place for place, i in enumerate(other) if examples[i][0].prompt_key != prompt]
    if len(step) < 2 or len(strangers) < 2:  # one comes, and one must stay
        return False
    for a, mine in enumerate(step):
        for b in strangers:
            if across or examples[mine][0].desirable == examples[other[b]][0].desirable:
                step[a], other[b] = other[b], mine
                return True
    return False


def _prompts(step: Sequence[int], examples: Sequence[Example]) -> set[str]:
    return {examples[i][0].prompt_key for i in step}


# Above this share of padding it pays to cut smaller groups; the budget alone leaves 20 to 60 % of real feedback.
MOST_PADDING = 0.1
# A forward pass has a cost of its own, so another one is not worth saving fewer tokens than this.
LEAST_SAVING = 32


def micro_batches(
    examples: Sequence[E],
    max_tokens: int,
    *,
    two_prompts: bool = False,
    cost: Cost = length,
    shape: Shape = any_shape,
) -> list[list[E]]:
    """Cut a step into groups that go through the model together, longest examples first.

    A group's padded size, rows x longest row, stays within `max_tokens`; an example that is larger by itself
    goes alone. Then groups are cut in two, each time where most padding is saved, until no more than
    `MOST_PADDING` of the whole is padding, that inside examples not counted.

    With `two_prompts` a group of a single prompt is joined to a neighbour, past the budget if need be. A row is as
    long as its `cost`. A group has one `shape`, in whose order keys must be.
    """
    longest_of = {id(example): max(map(cost, example)) for example in examples}
    by_length = sorted(examples, key=lambda e: (-longest_of[id(e)], e[0].key))
    lengths = [longest_of[id(example)] for example in by_length]
    sizes = [len(example) for example in by_length]
    shapes = [shape(example[0]) for example in by_length]
    starts: list[int] = []
    rows = longest = 0
    for place, (size, long) in enumerate(zip(sizes, lengths, strict=True)):
        other = shapes[place] != shapes[place - 1]
        if not starts or other or (rows + size) * max(longest, long) > max_tokens:
            starts.append(place)
            rows = longest = 0
        rows, longest = rows + size, max(longest, long)
    cuts = [_best_cut(sizes, lengths, *ends) for ends in pairwise([*starts, len(by_length)])]
    heapify(cuts)
    least = sum(size * long for size, long in zip(sizes, lengths, strict=True))
    whole = sum(sum(sizes[start:stop]) * lengths[start] for _, start, _, stop in cuts)
    while whole - least > MOST_PADDING * whole and -cuts[0][0] >= LEAST_SAVING:
        change, start, place, stop = heappop(cuts)
        heappush(cuts, _best_cut(sizes, lengths, start, place))
        heappush(cuts, _best_cut(sizes, lengths, place, stop))
        whole += change
    groups = [by_length[start:stop] for start, stop in sorted((start, stop) for _, start, _, stop in cuts)]
    return _joined(groups) if two_prompts else groups


def _joined(groups: list[list[E]]) -> list[list[E]]:
    """Join groups of a single prompt to the one before them, or to the next where they come first."""
    joined: list[list[E]] = []
    for group in groups:
        if joined and not (_has_two_prompts(joined[-1]) and _has_two_prompts(group)):
            joined[-1] = [*joined[-1], *group]
        else:
            joined.append(group)
    return joined


def _has_two_prompts(group: Sequence[tuple[AnyRow, ...]]) -> bool:
    return len({row.prompt_key for example in group for row in example}) > 1


def count_tokens(groups: Sequence[Sequence[tuple[AnyRow, ...]]], cost: Cost = length) -> tuple[int, int]:
    """Tokens of rows, and what goes through the model for them with the padding; the share of padding is 1 - a / b."""
    rows = [[cost(row) for example in group for row in example] for group in groups]
    return sum(map(sum, rows)), sum(len(lengths) * max(lengths) for lengths in rows)


def padded(group: Sequence[tuple[AnyRow, ...]], cost: Cost = length) -> int:
    """Return the tokens of a group, padding included."""
    return count_tokens([group], cost)[1]


def _best_cut(sizes: Sequence[int], lengths: Sequence[int], start: int, stop: int) -> tuple[int, int, int, int]:
    """Where to cut a group: (change of its padded size, at most 0; first example; the cut; end).

    Args:
        sizes: rows of each example, the longest examples first.
        lengths: of the longest row of each example.
        start: the group's first example.
        stop: the end of the group.
    """
    below = sum(sizes[start:stop])
    best = (0, start)
    for place in range(start, stop):
        best = min(best, (-below * (lengths[start] - lengths[place]), place))
        below -= sizes[place]
    return best[0], start, best[1], stop


def share_out(
    groups: Sequence[list[E]],
    rank: int,
    size: int,
    *,
    lockstep: bool = False,
    two_prompts: bool = False,
    cost: Cost = length,
) -> list[tuple[list[E], bool]]:
    """Deal micro-batches out to the processes of a run.

    Each gets equally many where groups can be halved to that end, and about equally many tokens: the largest are dealt
    first, to and fro.

    Args:
        groups: of the whole step.
        rank: whose share is asked for.
        size: how many processes there are.
        lockstep: whether equally many they must be: who has one less gets the smallest group a second time, not to
            be counted.
        two_prompts: whether every group must go on holding two prompts.
        cost: of a row; see `micro_batches`.

    Returns:
        groups, and whether each is to be counted.
    """
    if size == 1:
        return [(group, True) for group in groups]

    def size_of(group: Sequence[E]) -> int:
        return padded(group, cost)

    dealt = sorted(groups, key=size_of, reverse=True)
    while len(dealt) % size and len(dealt[0]) > 1:
        # Longest first and by turns, so that both halves are about as long.
        halves = [dealt[0][0::2], dealt[0][1::2]]
        if two_prompts and not all(map(_has_two_prompts, halves)):
            break
        dealt = sorted([*dealt[1:], *halves], key=size_of, reverse=True)
    turns = [i % size if (i // size) % 2 == 0 else size - 1 - i % size for i in range(len(dealt))]
    mine = [(group, True) for group, turn in zip(dealt, turns, strict=True) if turn == rank]
    most = -(-len(dealt) // size)
    if lockstep and len(mine) < most:
        mine.append((dealt[-1], False))
    return mine
