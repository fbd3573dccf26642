"""Little of what goes through the model is padding, and no more groups are cut than that takes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prospect.data.batch import Example, Row, collate, flatten
from prospect.data.loader import LEAST_SAVING, MOST_PADDING, count_tokens, micro_batches

SEEDS = st.integers(0, 2**32 - 1)


def row_of(i: int, prompt: int, completion: int) -> Row:
    return Row(np.full(prompt, i, np.int32), np.full(completion, 7, np.int32), str(i), str(i), True)


def feedback(seed: int, sigma: float, count: int = 32, longest: int = 1024) -> list[Example]:
    """Log-normal lengths: prompts of 131 tokens and completions of 77 in the mean."""
    draw = np.random.default_rng(seed)
    lengths = [np.maximum(1, draw.lognormal(np.log(mean) - sigma**2 / 2, sigma, count)) for mean in (131, 77)]
    prompts, completions = (np.minimum(values, longest // 2).astype(int).tolist() for values in lengths)
    return [(row_of(i, p, c),) for i, (p, c) in enumerate(zip(prompts, completions, strict=True))]


@settings(max_examples=100, deadline=None)
@given(seed=SEEDS, sigma=st.floats(0.3, 1.2), budget=st.sampled_from([1024, 2048, 4096, 16384]))
def test_under_a_tenth_of_a_step_is_padding(seed: int, sigma: float, budget: int) -> None:
    real, padded = count_tokens(micro_batches(feedback(seed, sigma), budget))
    assert 1 - real / padded <= MOST_PADDING == 0.1


@settings(max_examples=100, deadline=None)
@given(
    lengths=st.lists(st.integers(2, 60), min_size=1, max_size=24), width=st.integers(1, 3), budget=st.integers(1, 400)
)
def test_more_padding_is_left_only_where_no_cut_would_save_much(lengths: list[int], width: int, budget: int) -> None:
    """Short rows, and examples of several rows, whose own difference in length no cut can remove."""
    examples = [tuple(row_of(3 * i + k, n, 1 + 3 * k) for k in range(width)) for i, n in enumerate(lengths)]
    groups = micro_batches(examples, budget)
    padded, least = (count_tokens(cut)[1] for cut in (groups, [[example] for example in examples]))
    if padded - least <= MOST_PADDING * padded:
        return
    for i, group in enumerate(groups):
        for place in range(1, len(group)):
            cut: list[Sequence[Example]] = [*groups[:i], group[:place], group[place:], *groups[i + 1 :]]
            assert padded - count_tokens(cut)[1] < LEAST_SAVING


def test_what_is_counted_is_what_the_model_gets() -> None:
    groups = micro_batches([*feedback(3, 0.8), (row_of(50, 4, 9), row_of(51, 4, 2))], 2048)
    batches = [collate(flatten(group)) for group in groups]
    assert count_tokens(groups) == (
        sum(int(batch.attention.sum()) for batch in batches),
        sum(batch.ids.numel() for batch in batches),
    )
    assert count_tokens([]) == (0, 0)


def test_padding_inside_pairs_does_not_make_groups_smaller() -> None:
    """No cut removes it."""
    examples: list[Example] = [(row_of(2 * i, 20, 60), row_of(2 * i + 1, 20, 10)) for i in range(16)]
    groups = micro_batches(examples, 80 * 8)
    assert [len(group) for group in groups] == [4, 4, 4, 4]


@pytest.mark.parametrize("budget", [1024, 4096])
def test_rows_of_one_length_are_cut_by_the_budget_alone(budget: int) -> None:
    examples: list[Example] = [(row_of(i, 100, 28),) for i in range(32)]
    assert len(micro_batches(examples, budget)) == 32 * 128 // budget
