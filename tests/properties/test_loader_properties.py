"""Whatever the data and settings: every example once an epoch, classes spread, resumable, cut without loss."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prospect.data.batch import Example, Row
from prospect.data.loader import Plan, micro_batches
from prospect.errors import DataError

SEEDS = st.integers(0, 2**63 - 1)
VERDICTS = st.lists(st.booleans(), min_size=1, max_size=60)
SIZES = st.integers(1, 17)


def examples_of(verdicts: list[bool]) -> list[Example]:
    return [
        (Row(np.array([i], np.int32), np.array([7], np.int32), str(i % 7), str(i), verdict),)
        for i, verdict in enumerate(verdicts)
    ]


@settings(deadline=None)
@given(verdicts=VERDICTS, batch_size=SIZES, seed=SEEDS, epoch=st.integers(0, 9))
def test_every_example_comes_once_an_epoch_in_steps_of_one_size(
    verdicts: list[bool], batch_size: int, seed: int, epoch: int
) -> None:
    steps = Plan(examples_of(verdicts), batch_size, seed).epoch(epoch)
    assert sorted(sum(steps, [])) == list(range(len(verdicts)))
    sizes = [len(step) for step in steps]
    assert max(sizes) <= batch_size
    assert max(sizes) - min(sizes) <= 1
    assert min(sizes) >= 1


@settings(deadline=None)
@given(verdicts=VERDICTS, batch_size=SIZES, seed=SEEDS)
def test_each_step_holds_the_classes_in_their_proportion(verdicts: list[bool], batch_size: int, seed: int) -> None:
    share = sum(verdicts) / len(verdicts)
    for step in Plan(examples_of(verdicts), batch_size, seed).epoch(0):
        assert abs(sum(verdicts[i] for i in step) - share * len(step)) < 1 + 1e-9


@settings(deadline=None)
@given(verdicts=VERDICTS, batch_size=SIZES, seed=SEEDS, share=st.floats(0.05, 0.95))
def test_a_desirable_share_holds_in_each_step_and_goes_through_a_class_before_it_repeats(
    verdicts: list[bool], batch_size: int, seed: int, share: float
) -> None:
    verdicts = [*verdicts, True, False]
    plan = Plan(examples_of(verdicts), batch_size, seed, desirable_share=share)
    steps = plan.epoch(0)
    for step in steps:
        assert abs(sum(verdicts[i] for i in step) - share * len(step)) < 1.6
    taken = Counter(sum(steps, []))
    assert taken.total() == len(verdicts)
    for label in (True, False):
        counts = [taken[i] for i, verdict in enumerate(verdicts) if verdict is label]
        assert max(counts) - min(counts) <= 1
    assert plan.epoch(0) == steps


@settings(deadline=None)
@given(verdicts=VERDICTS, batch_size=SIZES, seed=SEEDS, stop=st.integers(1, 40), data=st.data())
def test_steps_from_a_cursor_are_those_of_the_uninterrupted_run(
    verdicts: list[bool], batch_size: int, seed: int, stop: int, data: st.DataObject
) -> None:
    examples = examples_of(verdicts)
    cursor = data.draw(st.integers(0, stop))
    whole = list(Plan(examples, batch_size, seed).steps(0, stop))
    assert [number for number, _ in whole] == list(range(stop))
    assert list(Plan(examples, batch_size, seed).steps(cursor, stop)) == whole[cursor:]


@settings(deadline=None)
@given(verdicts=st.lists(st.booleans(), min_size=24, max_size=40), seed=SEEDS)
def test_another_seed_and_another_epoch_are_another_order(verdicts: list[bool], seed: int) -> None:
    examples = examples_of(verdicts)
    plan = Plan(examples, 8, seed)
    assert plan.epoch(0) == plan.epoch(0)
    assert plan.epoch(0) != plan.epoch(1)
    assert plan.epoch(0) != Plan(examples, 8, seed ^ 1).epoch(0)


@settings(deadline=None)
@given(
    prompts=st.lists(st.integers(0, 4), min_size=4, max_size=40).filter(
        lambda p: max(Counter(p).values()) <= len(p) // 2
    ),
    batch_size=st.integers(3, 9),
    seed=SEEDS,
)
def test_with_a_common_class_every_step_can_be_given_two_prompts(
    prompts: list[int], batch_size: int, seed: int
) -> None:
    """No prompt has over half of the rows, and steps have two or more: there is always an exchange that helps."""
    examples: list[Example] = [
        (Row(np.array([i], np.int32), np.array([7], np.int32), str(p), str(i), True),) for i, p in enumerate(prompts)
    ]
    steps = Plan(examples, batch_size, seed, distinct_prompts=True).epoch(0)
    assert sorted(sum(steps, [])) == list(range(len(prompts)))
    assert all(len({prompts[i] for i in step}) > 1 for step in steps)


@settings(max_examples=300, deadline=None)
@given(
    rows=st.lists(st.tuples(st.sampled_from([0, 0, 0, 1, 2]), st.booleans()), min_size=2, max_size=16),
    verdict_is_the_prompt=st.booleans(),
    batch_size=st.integers(1, 6),
    seed=SEEDS,
)
def test_steps_hold_two_prompts_in_every_epoch_or_in_none(
    rows: list[tuple[int, bool]], verdict_is_the_prompt: bool, batch_size: int, seed: int
) -> None:
    """In every one where each step has two examples, and there are as many that are not of the commonest prompt."""
    prompts = [prompt for prompt, _ in rows]
    examples: list[Example] = [
        (Row(np.array([i], np.int32), np.array([7], np.int32), str(p), str(i), p == 0 if verdict_is_the_prompt else d),)
        for i, (p, d) in enumerate(rows)
    ]
    plan = Plan(examples, batch_size, seed, distinct_prompts=True)
    others = len(prompts) - max(Counter(prompts).values())
    possible = len(prompts) // plan.steps_per_epoch >= 2 and others >= plan.steps_per_epoch
    for epoch in range(12):
        if not possible:
            with pytest.raises(DataError, match="one single prompt"):
                plan.epoch(epoch)
            continue
        steps = plan.epoch(epoch)
        assert sorted(sum(steps, [])) == list(range(len(prompts)))
        assert all(len({prompts[i] for i in step}) > 1 for step in steps)


LENGTHS = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=20)


@settings(max_examples=200, deadline=None)
@given(lengths=LENGTHS, paired=st.booleans(), max_tokens=st.integers(1, 80), draw=st.randoms(use_true_random=False))
def test_micro_batches_are_a_partition_under_the_budget_whatever_the_order(
    lengths: list[tuple[int, int]], paired: bool, max_tokens: int, draw: object
) -> None:
    def row(i: int, prompt: int, completion: int) -> Row:
        return Row(np.full(prompt, i, np.int32), np.full(completion, 7, np.int32), str(i), str(i), True)

    examples: list[Example] = [
        (row(i, p, c), row(i + 1000, p, c + 1)) if paired else (row(i, p, c),) for i, (p, c) in enumerate(lengths)
    ]
    groups = micro_batches(examples, max_tokens)
    assert sorted(e[0].id for group in groups for e in group) == sorted(e[0].id for e in examples)
    for group in groups:
        rows = [row for example in group for row in example]
        assert len(group) == 1 or len(rows) * max(row.length for row in rows) <= max_tokens
    shuffled = list(examples)
    draw.shuffle(shuffled)  # type: ignore[attr-defined]
    assert micro_batches(shuffled, max_tokens) == groups
