"""Mismatched rows: whatever the rows, nobody meets its own completion, and their order in the batch is nothing."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from prospect.data.batch import Row, collate, mismatched_partners

SEEDS = st.integers(0, 2**63 - 1)


def rows_of(prompts: list[int]) -> list[Row]:
    """Row i answers prompt `prompts[i]` with a completion of its own."""
    return [
        Row(np.array([p], np.int32), np.array([100 + i], np.int32), f"prompt {p}", str(i), i % 2 == 0)
        for i, p in enumerate(prompts)
    ]


ROWS = st.lists(st.integers(0, 5), min_size=2, max_size=24).filter(lambda prompts: len(set(prompts)) > 1).map(rows_of)


@settings(deadline=None)
@given(rows=ROWS, seed=SEEDS)
def test_each_completion_is_borrowed_once_and_nobody_gets_its_own(rows: list[Row], seed: int) -> None:
    partners = mismatched_partners(rows, seed)
    assert sorted(partners) == list(range(len(rows)))
    assert all(i != j for i, j in enumerate(partners))


@settings(deadline=None)
@given(rows=ROWS, seed=SEEDS)
def test_nobody_gets_one_of_its_own_prompt_unless_that_prompt_has_over_half_of_the_rows(
    rows: list[Row], seed: int
) -> None:
    partners = mismatched_partners(rows, seed)
    met = sum(rows[i].prompt_key == rows[j].prompt_key for i, j in enumerate(partners))
    commonest = max(Counter(row.prompt_key for row in rows).values())
    # The others' completions go to the commonest prompt first; what is left of it must stay among itself.
    assert met == max(0, commonest - (len(rows) - commonest))


@settings(deadline=None)
@given(rows=ROWS, seed=SEEDS, draw=st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_change_who_borrows_from_whom(rows: list[Row], seed: int, draw: object) -> None:
    def mapping(these: list[Row]) -> dict[str, str]:
        return {these[i].id: these[j].id for i, j in enumerate(mismatched_partners(these, seed))}

    shuffled = list(rows)
    draw.shuffle(shuffled)  # type: ignore[attr-defined]
    assert mapping(shuffled) == mapping(rows)


@settings(deadline=None)
@given(count=st.integers(2, 20), seed=SEEDS)
def test_with_a_row_to_a_prompt_it_is_one_circle_of_the_next(count: int, seed: int) -> None:
    """x_i with y_{i+1}, cyclic: following the partners visits every row before it returns."""
    partners = mismatched_partners(rows_of(list(range(count))), seed)
    visited, place = set(), 0
    while place not in visited:
        visited.add(place)
        place = partners[place]
    assert len(visited) == count
    assert place == 0


@settings(deadline=None)
@given(seed=SEEDS)
def test_the_circle_goes_by_prompt_so_that_pairs_of_a_prompt_stay_apart(seed: int) -> None:
    """Two rows to a prompt, side by side as a pair is: each takes from the prompt after, none from its own."""
    rows = rows_of([0, 0, 1, 1, 2, 2, 3, 3])
    partners = mismatched_partners(rows, seed)
    for first, second in zip(partners[0::2], partners[1::2], strict=True):
        assert rows[first].prompt_key == rows[second].prompt_key
    assert all(rows[i].prompt_key != rows[j].prompt_key for i, j in enumerate(partners))


def test_another_seed_pairs_otherwise() -> None:
    rows = rows_of(list(range(12)))
    pairings = {tuple(mismatched_partners(rows, seed)) for seed in range(20)}
    assert len(pairings) == 20
    assert mismatched_partners(rows, 3) == mismatched_partners(rows, 3)


LENGTHS = st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), min_size=1, max_size=6)


@settings(deadline=None)
@given(lengths=LENGTHS)
def test_a_batch_holds_every_token_of_every_row_and_nothing_else(lengths: list[tuple[int, int]]) -> None:
    rows = [
        Row(np.arange(1, p + 1, dtype=np.int32), np.arange(50, 50 + c, dtype=np.int32), "p", str(i), True)
        for i, (p, c) in enumerate(lengths)
    ]
    batch = collate(rows)
    assert batch.ids.shape == (len(rows), max(p + c for p, c in lengths))
    for i, row in enumerate(rows):
        assert batch.ids[i][batch.completion[i]].tolist() == row.completion_ids.tolist()
        assert batch.ids[i][batch.attention[i] & ~batch.completion[i]].tolist() == row.prompt_ids.tolist()
    assert not (batch.completion & ~batch.attention).any()


@settings(deadline=None)
@given(prompts=st.lists(st.integers(0, 3), min_size=3, max_size=12), seed=SEEDS)
def test_rows_that_are_the_same_twice_still_do_not_meet(prompts: list[int], seed: int) -> None:
    """A log may hold one answer twice; equal rows are told apart by their place alone."""
    assume(len(set(prompts)) > 1)
    rows = [Row(np.array([p], np.int32), np.array([9], np.int32), f"prompt {p}", str(p), True) for p in prompts]
    partners = mismatched_partners(rows, seed)
    assert sorted(partners) == list(range(len(rows)))
    assert all(i != j for i, j in enumerate(partners))
