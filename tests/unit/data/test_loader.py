"""Which examples make which step, and which rows go through the model together."""

from __future__ import annotations

import numpy as np
import pytest

from prospect.data.batch import Example, Row
from prospect.data.loader import Plan, micro_batches
from prospect.data.rounds import Rounds
from prospect.errors import DataError


def make_row(i: int, prompt: object, desirable: bool = True, length: int = 2) -> Row:
    return Row(np.array([i], np.int32), np.full(length - 1, 7, np.int32), str(prompt), str(i), desirable)


def thumbs(prompts: list[int], verdicts: list[bool]) -> list[Example]:
    return [(make_row(i, p, d),) for i, (p, d) in enumerate(zip(prompts, verdicts, strict=True))]


def names(step: list[Example]) -> list[str]:
    return [example[0].id for example in step]


def test_steps_carry_their_number_and_run_over_the_end_of_an_epoch() -> None:
    plan = Plan(thumbs(list(range(5)), [True] * 5), batch_size=2, seed=0)
    assert plan.steps_per_epoch == 3
    numbers, steps = zip(*plan.steps(0, 8), strict=True)
    assert numbers == tuple(range(8))
    assert list(plan.steps(4, 4)) == []
    assert sorted(sum(map(names, steps[:3]), [])) == sorted(sum(map(names, steps[3:6]), [])) == list("01234")


def test_rounds_go_on_counting_and_each_is_dealt_out_by_its_own_plan() -> None:
    first, second = (Plan(thumbs([i, i + 1, i + 2], [True] * 3), batch_size=2, seed=i) for i in (0, 3))
    rounds = Rounds()
    assert rounds.add(first, 3) == 3 and rounds.add(second) == 5
    expected = [*first.steps(0, 3), *((3 + step, examples) for step, examples in second.steps(0, 2))]
    for start, stop in ((0, 5), (2, 4), (3, 3), (4, 5)):
        assert list(rounds.steps(start, stop)) == expected[start:stop]
    assert rounds.steps_per_epoch == 2
    with pytest.raises(DataError, match="have 5 steps, and step 6 was asked for"):
        list(rounds.steps(0, 6))


def test_the_hardest_step_of_rounds_has_the_longest_row_of_all() -> None:
    rounds = Rounds()
    for longest in (5, 9, 4):
        rounds.add(Plan([(make_row(i, i, length=1 + i),) for i in range(1, longest)], batch_size=2, seed=0))
    assert max(row.length for (row,) in rounds.hardest_step()) == 9


@pytest.mark.parametrize("batch_size", [1, 3, 5, 8, 100])
def test_a_batch_size_is_never_exceeded_and_a_remainder_is_spread_over_the_steps(batch_size: int) -> None:
    plan = Plan(thumbs(list(range(11)), [True, False] * 5 + [True]), batch_size=batch_size, seed=0)
    sizes = [len(step) for step in plan.epoch(0)]
    assert max(sizes) <= batch_size and max(sizes) - min(sizes) <= 1 and sum(sizes) == 11


def test_neighbours_in_the_file_are_not_neighbours_in_a_step() -> None:
    plan = Plan(thumbs(list(range(64)), [True] * 32 + [False] * 32), batch_size=8, seed=0)
    steps = plan.epoch(0)
    assert steps != [sorted(step) for step in steps]
    assert all(max(step) - min(step) > 8 for step in steps)


def test_a_step_of_one_prompt_is_repaired_by_an_exchange() -> None:
    """Two prompts, one of them rare: some seed puts a step together from the common one alone."""
    examples = thumbs([0] * 12 + [1] * 4, [True, False] * 8)
    repaired = 0
    for seed in range(30):
        plain = Plan(examples, 4, seed).epoch(0)
        mended = Plan(examples, 4, seed, distinct_prompts=True).epoch(0)
        single = [step for step in plain if len({examples[i][0].prompt_key for i in step}) == 1]
        repaired += bool(single)
        assert all(len({examples[i][0].prompt_key for i in step}) > 1 for step in mended)
        assert sorted(sum(mended, [])) == list(range(16))
        verdicts = [[sum(examples[i][0].desirable for i in step) for step in steps] for steps in (plain, mended)]
        assert verdicts[0] == verdicts[1]
        if not single:
            assert mended == plain
    assert repaired > 3


def test_a_step_of_one_prompt_is_repaired_across_classes_where_its_own_class_has_no_other_prompt() -> None:
    examples = thumbs([0, 0, 0, 1, 1], [True, True, True, False, False])
    plan = Plan(examples, 4, 0, distinct_prompts=True)
    for epoch in range(200):
        assert all(len({examples[i][0].prompt_key for i in step}) == 2 for step in plan.epoch(epoch))


@pytest.mark.parametrize("place", [0, 17, 39])
def test_the_hardest_step_is_the_one_with_the_longest_example(place: int) -> None:
    examples = [(make_row(i, i % 2, i % 3 == 0, length=90 if i == place else 5 + i % 4),) for i in range(40)]
    for seed in range(10):
        plan = Plan(examples, 2, seed, distinct_prompts=True)
        step = plan.hardest_step()
        assert str(place) in names(step)
        assert step in [step for _, step in plan.steps(0, plan.steps_per_epoch)]
        assert len({example[0].prompt_key for example in step}) == 2


@pytest.mark.parametrize(("prompts", "batch_size"), [([0] * 8, 4), ([0, 1, 2, 3], 1), ([0] * 7 + [1], 2)])
def test_steps_that_cannot_hold_two_prompts_are_refused(prompts: list[int], batch_size: int) -> None:
    examples = thumbs(prompts, [True] * len(prompts))
    with pytest.raises(DataError, match=r"would hold one single prompt.*Raise train\.batch_size"):
        Plan(examples, batch_size, 0, distinct_prompts=True).epoch(0)
    assert Plan(examples, batch_size, 0).epoch(0)


@pytest.mark.parametrize(
    ("lengths", "budget", "groups"),
    [
        ([2, 9, 4, 4, 3, 8], 18, [[9, 8], [4, 4, 3, 2]]),
        ([30, 2, 25], 20, [[30], [25], [2]]),  # an example larger than the budget goes alone
        ([], 100, []),
    ],
)
def test_micro_batches_go_from_long_to_short_under_the_budget(
    lengths: list[int], budget: int, groups: list[list[int]]
) -> None:
    examples = [(make_row(i, i, length=length),) for i, length in enumerate(lengths)]
    assert [[row.length for (row,) in group] for group in micro_batches(examples, budget)] == groups


def test_a_pair_is_never_parted() -> None:
    pair = (make_row(0, 0, length=9), make_row(1, 0, False, length=3))
    assert micro_batches([pair, pair], max_tokens=18) == [[pair], [pair]]
    assert micro_batches([pair, pair], max_tokens=36) == [[pair, pair]]
    assert micro_batches([pair], max_tokens=1) == [[pair]]
