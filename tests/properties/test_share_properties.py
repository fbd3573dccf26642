"""Micro-batches are dealt out to processes so that nothing is lost, nothing is counted twice, and the load is even."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prospect.data.batch import Row
from prospect.data.loader import micro_batches, share_out


def make_row(i: int, length: int) -> Row:
    ids = np.arange(length, dtype=np.int32)
    return Row(prompt_ids=ids[:1] + i, completion_ids=ids, prompt_key=str(i), id=str(i), desirable=True)


LENGTHS = st.lists(st.integers(1, 200), min_size=1, max_size=40)


@settings(deadline=None)
@given(lengths=LENGTHS, size=st.integers(1, 5), lockstep=st.booleans(), budget=st.integers(50, 1000))
def test_every_example_is_counted_once(lengths: list[int], size: int, lockstep: bool, budget: int) -> None:
    examples = [(make_row(i, length),) for i, length in enumerate(lengths)]
    groups = micro_batches(examples, budget)
    shares = [share_out(groups, rank, size, lockstep=lockstep) for rank in range(size)]
    counted = sorted(int(row.id) for share in shares for group, counts in share if counts for (row,) in group)
    assert counted == list(range(len(lengths)))
    forwards = [len(share) for share in shares]
    assert max(forwards) - min(forwards) <= (0 if lockstep else 1)
    for share in shares:
        for group, _ in share:
            assert len(group) == 1 or len(group) * max(row.length for (row,) in group) <= budget


@settings(deadline=None)
@given(lengths=LENGTHS, size=st.integers(1, 4), lockstep=st.booleans(), budget=st.integers(1, 1000), prompts=st.data())
def test_every_group_holds_two_prompts_where_each_has_its_own_z0(
    lengths: list[int], size: int, lockstep: bool, budget: int, prompts: st.DataObject
) -> None:
    keys = [prompts.draw(st.sampled_from("abc")) for _ in lengths]
    examples = [
        (replace(make_row(i, length), prompt_key=key),)
        for i, (length, key) in enumerate(zip(lengths, keys, strict=True))
    ]
    groups = micro_batches(examples, budget, two_prompts=True)
    assert sorted(int(row.id) for group in groups for (row,) in group) == list(range(len(lengths)))
    shares = [share_out(groups, rank, size, lockstep=lockstep, two_prompts=True) for rank in range(size)]
    for group, _ in sum(shares, []):
        assert len({row.prompt_key for (row,) in group}) > 1 or len(set(keys)) == 1


def test_the_load_is_even() -> None:
    draw = np.random.default_rng(0)
    lengths = draw.lognormal(5, 0.6, 256).astype(int) + 1
    groups = micro_batches([(make_row(i, int(n)),) for i, n in enumerate(lengths)], 1024)
    tokens = [sum(len(g) * max(row.length for (row,) in g) for g, _ in share_out(groups, rank, 4)) for rank in range(4)]
    assert max(tokens) < 1.03 * min(tokens)


@pytest.mark.parametrize("size", [2, 3])
def test_one_group_is_halved_rather_than_leave_a_process_idle(size: int) -> None:
    groups = micro_batches([(make_row(i, 10),) for i in range(6)], 1000)
    assert len(groups) == 1
    shares = [share_out(groups, rank, size) for rank in range(size)]
    assert [sum(len(group) for group, _ in share) for share in shares] != [6] + [0] * (size - 1)
    assert all(share for share in shares)


def test_one_process_takes_the_groups_as_they_are() -> None:
    groups = micro_batches([(make_row(i, 5 + i),) for i in range(9)], 40)
    assert share_out(groups, 0, 1) == [(group, True) for group in groups]
