"""Rows side by side, and which row borrows whose completion."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from prospect.data.batch import Row, collate, flatten, mismatched_partners, mismatched_rows, row_from_ids
from prospect.errors import DataError


def make_row(prompt: list[int], completion: list[int], key: str | None = None, **fields: Any) -> Row:
    values = {"prompt_key": key or str(prompt), "id": f"{prompt}+{completion}", "desirable": True, **fields}
    return Row(np.array(prompt, np.int32), np.array(completion, np.int32), **values)


ROWS = [make_row([5, 6, 7], [8], weight=2.0), make_row([5], [9, 0, 9, 9, 9], desirable=False), make_row([0, 0], [0])]


def test_rows_are_padded_on_the_right_and_only_completions_are_scored() -> None:
    batch = collate(ROWS)
    assert batch.ids.tolist() == [[5, 6, 7, 8, 0, 0], [5, 9, 0, 9, 9, 9], [0, 0, 0, 0, 0, 0]]
    assert batch.attention.tolist() == [[1, 1, 1, 1, 0, 0], [1] * 6, [1, 1, 1, 0, 0, 0]]
    assert batch.completion.tolist() == [[0, 0, 0, 1, 0, 0], [0, 1, 1, 1, 1, 1], [0, 0, 1, 0, 0, 0]]
    assert batch.desirable.tolist() == [True, False, True]
    assert batch.weight.tolist() == [2.0, 1.0, 1.0]
    assert batch.rows == tuple(ROWS)


def test_types_are_those_that_the_batch_declares() -> None:
    batch = collate(ROWS)
    assert batch.ids.dtype == torch.int64
    assert batch.attention.dtype == batch.completion.dtype == batch.desirable.dtype == torch.bool
    assert batch.weight.dtype == torch.float32
    assert batch.to(torch.device("cpu")) is batch
    moved = batch.to(torch.device("meta"))
    assert moved.ids.device.type == moved.weight.device.type == "meta"
    assert moved.rows is batch.rows


def test_a_row_has_the_same_key_in_every_run_and_another_for_other_tokens_or_another_cut() -> None:
    row = make_row([5, 6], [7])
    assert row.key.hex() == make_row([5, 6], [7], key="other", id="x", desirable=False, weight=3.0).key.hex()
    assert row.key == Row(np.array([5, 6], np.int64), np.array([7], np.int64), "p", "x", True).key
    others = [make_row([5], [6, 7]), make_row([5, 6, 7], []), make_row([5, 6], [8]), make_row([6, 5], [7])]
    assert len({row.key, *(other.key for other in others)}) == 5
    assert replace(row, completion_ids=np.array([9], np.int32)).key == make_row([5, 6], [9]).key


def test_flatten_keeps_the_rows_of_a_pair_side_by_side() -> None:
    a, b, c, d = (make_row([i], [i]) for i in range(4))
    assert flatten([(a, b), (c, d)]) == [a, b, c, d]


@pytest.mark.parametrize("rows", [[ROWS[0]], [ROWS[0], replace(ROWS[0], completion_ids=np.array([3], np.int32))], []])
def test_fewer_than_two_prompts_are_refused(rows: list[Row]) -> None:
    prompts = len({row.prompt_key for row in rows})
    with pytest.raises(DataError, match=rf"{len(rows)} row\(s\) of {prompts} prompt\(s\).*train\.batch_size"):
        mismatched_partners(rows, seed=0)


def test_two_rows_of_two_prompts_exchange_their_completions() -> None:
    assert mismatched_partners(ROWS[:2], seed=0) == [1, 0]


def test_mismatched_rows_hold_ones_own_prompt_and_anothers_completion() -> None:
    partners = mismatched_partners(ROWS, seed=0)
    for row, other, j in zip(ROWS, mismatched_rows(ROWS, 0, max_length=64), partners, strict=True):
        assert other.prompt_ids is row.prompt_ids
        assert other.completion_ids.tolist() == ROWS[j].completion_ids.tolist()
        assert other.id == f"{row.id} × {ROWS[j].id}"
        assert other.key != row.key


def test_a_borrowed_completion_is_cut_to_max_length_and_never_to_nothing() -> None:
    rows = [make_row([1, 2, 3], [4]), make_row([1], [5, 6, 7])]
    first, second = mismatched_rows(rows, 0, max_length=4)
    assert first.completion_ids.tolist() == [5]
    assert second.completion_ids.tolist() == [4]


# -- rows of sampled ids --


def sampled(completion: list[int], logps: list[float] | None, prompt: str = "p") -> Row:
    return row_from_ids([1, 2], completion, prompt_key=prompt, id=f"sample of {prompt}", sampled_logps=logps)


def test_a_row_of_ids_is_the_row_that_the_encoder_would_make_of_them() -> None:
    row = row_from_ids((5, 6), (7,), prompt_key="p", id="x", desirable=False, weight=2.0, score=3.0)
    assert (row.prompt_ids.dtype, row.completion_ids.dtype) == (np.int32, np.int32)
    assert row.key == make_row([5, 6], [7]).key and row.sampled_logps is None
    assert (row.prompt_key, row.id, row.desirable, row.weight, row.score) == ("p", "x", False, 2.0, 3.0)


def test_sampled_logps_stand_on_their_tokens_and_0_elsewhere() -> None:
    batch = collate([sampled([7], [-0.5]), sampled([8, 9, 1], [-1.0, -2.0, -3.0])])
    assert batch.sampled_logps is not None and batch.sampled_logps.dtype == torch.float32
    assert batch.sampled_logps.tolist() == [[0, 0, -0.5, 0, 0], [0, 0, -1, -2, -3]]
    assert collate([sampled([7], [-0.5]), sampled([8], None)]).sampled_logps is None


def test_a_borrowed_completion_brings_no_sampled_logps() -> None:
    rows = [sampled([7], [-0.5], "p"), sampled([8, 9], [-1.0, -2.0], "q")]
    assert [row.sampled_logps for row in mismatched_rows(rows, seed=0, max_length=10)] == [None, None]


@pytest.mark.parametrize(
    ("completion", "logps", "message"),
    [([], None, "0 completion tokens; expected at least one"), ([7, 8], [-0.5], "2 completion tokens and 1 sampled")],
)
def test_rows_of_ids_that_cannot_be_scored_are_refused(completion: Any, logps: Any, message: str) -> None:
    with pytest.raises(DataError, match=f"row sample of p has .*{message}"):
        sampled(completion, logps)
