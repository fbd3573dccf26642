"""Which prompts are held out, and which a round asks."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import write_rows
from prospect.errors import ConfigError, DataError, ProspectError
from prospect.rounds.prompts import Prompts, prompts_of_round, read_prompts
from prospect.rounds.recipe import RoundsRecipe, load_rounds
from rounds_runs import prompts, teacher


def recipe(path: Path, seed: int = 0, **rounds: Any) -> RoundsRecipe:
    settings = {"prompts": str(path), "label": {"judge": "verifier:numeric"}, **rounds}
    return load_rounds({"rounds": settings, "model": {"name_or_path": "m"}, "train": {"seed": seed}})


def keys(questions: Any) -> set[str]:
    return {one.key for one in questions}


@given(
    count=st.integers(10, 60),
    held_out=st.one_of(st.integers(2, 5), st.floats(0.2, 0.5)),
    rounds=st.integers(1, 4),
    seed=st.integers(0, 1000),
)
def test_held_out_prompts_are_in_no_round_and_no_fresh_prompt_in_two(
    count: int, held_out: float, rounds: int, seed: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write_rows(Path(folder) / "p.jsonl", [*prompts(count), *prompts(3)])  # some stand there twice
        whole = read_prompts(recipe(path, seed, count=1, evaluate={"prompts": held_out}))
        each = len(whole.questions) // rounds
        found = recipe(path, seed, count=rounds, prompts_per_round=each, evaluate={"prompts": held_out})
        shares = [keys(prompts_of_round(found, whole.questions, number)) for number in range(1, rounds + 1)]
    assert len(keys(whole.questions) | keys(whole.held_out)) == count == len(whole.questions) + len(whole.held_out)
    assert not keys(whole.questions) & keys(whole.held_out)
    assert all(len(share) == each for share in shares) and len(set().union(*shares)) == each * rounds


def test_the_order_of_the_file_moves_no_prompt(tmp_path: Path) -> None:
    split = []
    for name, rows in (("a", prompts(20)), ("b", prompts(20)[::-1])):
        found = recipe(write_rows(tmp_path / f"{name}.jsonl", rows), count=2, prompts_per_round=5)
        read: Prompts = read_prompts(found)
        split.append([keys(read.held_out), *(keys(prompts_of_round(found, read.questions, n)) for n in (1, 2))])
    assert split[0] == split[1]


def test_more_prompts_than_there_are_are_refused(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "p.jsonl", prompts(20))
    with pytest.raises(DataError, match="16 prompts are there to learn from, and 3 rounds of 6 fresh ones take 18"):
        read_prompts(recipe(path, count=3, prompts_per_round=6))
    assert len(read_prompts(recipe(path, count=2, prompts_per_round=8)).questions) == 16


@pytest.mark.parametrize("wanted", [1, 0, 0.01, 20, -1, 1.5])
def test_too_few_or_too_many_held_out_prompts_are_refused(tmp_path: Path, wanted: float) -> None:
    path = write_rows(tmp_path / "p.jsonl", prompts(20))
    with pytest.raises(ProspectError, match=r"held out|hold out|Hold out"):
        read_prompts(recipe(path, evaluate={"prompts": wanted}))


def test_a_file_of_held_out_prompts_takes_them_out_of_the_others(tmp_path: Path) -> None:
    path, other = write_rows(tmp_path / "p.jsonl", prompts(20)), write_rows(tmp_path / "h.jsonl", prompts(4))
    found = read_prompts(recipe(path, evaluate={"prompts": str(other)}))
    assert (len(found.questions), len(found.held_out)) == (16, 4)
    with pytest.raises(ConfigError, match="a file of 1 prompts; expected at least 2"):
        read_prompts(recipe(path, evaluate={"prompts": str(write_rows(tmp_path / "one.jsonl", prompts(1)))}))
    with pytest.raises(DataError, match="no prompt is left to learn from"):
        read_prompts(recipe(other, evaluate={"prompts": str(path)}))


def test_a_teachers_answers_to_held_out_prompts_are_not_learnt_from(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "p.jsonl", prompts(20))
    answers = write_rows(tmp_path / "t.jsonl", teacher(20))
    found = read_prompts(recipe(path, protocol="orca_math", teacher=str(answers)))
    assert found.teacher.keys() == keys(found.questions) and not found.teacher.keys() & keys(found.held_out)
    few = write_rows(tmp_path / "few.jsonl", teacher(20)[:10])
    spin = recipe(path, protocol="spin", teacher=str(few), label={}, evaluate={"judge": "verifier:numeric"})
    assert keys(read_prompts(spin).questions) == read_prompts(spin).teacher.keys()


def test_targets_come_along(tmp_path: Path) -> None:
    rows = [{**row, "target": i} for i, row in enumerate(prompts(10))]
    found = read_prompts(recipe(write_rows(tmp_path / "p.jsonl", rows)))
    assert sorted(one.target for one in [*found.questions, *found.held_out]) == list(range(10))
    assert json.dumps(found.questions[0].target)
