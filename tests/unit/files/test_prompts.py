"""Prompts are found in rows of every kind, and prompts that say the same are matched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from conftest import write_rows
from prospect.errors import DataError
from prospect.evaluation.answers.answered import Completions
from prospect.evaluation.contest.sides import gather_sides
from prospect.feedback import Demonstration, Message
from prospect.feedback.files.questions import read_questions
from prospect.feedback.files.sources import load_prompts
from prospect.feedback.records import Text
from prospect.feedback.split import matching_key, prompt_key

USER, ANSWER = {"role": "user", "content": "Which port?"}, {"role": "assistant", "content": "443."}
MORE, SYSTEM = {"role": "user", "content": "And for mail?"}, {"role": "system", "content": "Be brief."}
TURN = (Message("user", "Which port?"),)
BEFORE = (*TURN, Message("assistant", "443."), Message("user", "And for mail?"))


@pytest.mark.parametrize(
    ("row", "prompt"),
    [
        ({"prompt": "Which port?"}, "Which port?"),
        ({"prompt": [USER], "label": "no label at all"}, TURN),
        ({"prompt": "Which port?", "system": "Be brief."}, (Message("system", "Be brief."), *TURN)),
        ({"messages": [USER]}, TURN),
        ({"messages": [USER, ANSWER]}, TURN),
        ({"messages": [USER, ANSWER, MORE]}, BEFORE),
        ({"messages": [USER, ANSWER, MORE, ANSWER], "label": "up"}, BEFORE),
        ({"messages": [SYSTEM, USER, ANSWER]}, (Message("system", "Be brief."), *TURN)),
        ({"conversations": [{"from": "human", "value": "Which port?"}, {"from": "gpt", "value": "443."}]}, TURN),
        ({"conversation": [{"from": "user", "value": "Which port?"}]}, TURN),
        ({"question": "Which port?", "answer": "443."}, "Which port?"),
        ({"instruction": "Which", "input": "port?"}, "Which\nport?"),
        ({"query": "Which port?"}, "Which port?"),
        ({"text": "Which port?"}, "Which port?"),
        ({"chosen": [USER, ANSWER], "rejected": [USER, {**ANSWER, "content": "Any."}]}, TURN),
        ({"input": {"messages": [USER]}, "preferred_output": [ANSWER], "non_preferred_output": [ANSWER]}, TURN),
        ({"instruction": "Which port?", "completions": [{"response": "443.", "overall_score": 3}]}, "Which port?"),
    ],
)
def test_prompts_are_found_in_rows_of_every_kind(tmp_path: Path, row: dict[str, Any], prompt: Text) -> None:
    assert load_prompts(write_rows(tmp_path / "p.jsonl", [row])) == [prompt]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"a": 1}, "there is no prompt, only a; expected prompt, instruction"),
        ({"prompt": None}, "there is no prompt, only prompt; expected"),
        ({"question": "a", "query": "b"}, "question and query may each be the prompt; expected one. Name it prompt"),
        ({"messages": [ANSWER]}, "messages has no turn of the user before the answer"),
        ({"messages": "Which port?"}, "messages is a string"),
        ({"prompt": 7}, "prompt is a number (7)"),
    ],
)
def test_a_row_without_one_prompt_is_refused_with_its_place(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError) as caught:
        load_prompts(write_rows(tmp_path / "p.jsonl", [{"prompt": "a"}, row]))
    assert f"p.jsonl:2: {message}" in str(caught.value)


def test_questions_and_feedback_have_the_same_prompts(tmp_path: Path) -> None:
    rows = [{"messages": [USER, ANSWER], "label": True}, {"messages": [USER]}, {"conversations": [USER, ANSWER]}]
    (question,) = read_questions(write_rows(tmp_path / "p.jsonl", rows))
    assert question.prompt == TURN


ALIKE: list[Text] = ["Which port?", " Which port?\n", "Which\r\n port?", TURN, (Message("user", "Which port? "),)]


@pytest.mark.parametrize("asked", ALIKE)
@pytest.mark.parametrize("written", ALIKE)
def test_prompts_that_say_the_same_match(asked: Text, written: Text) -> None:
    assert matching_key(asked) == matching_key(written)
    completions = Completions([Demonstration(prompt=written, completion="443.", id="1", where="1")])
    assert asked in completions
    assert completions[asked] == ["443."]


@pytest.mark.parametrize(
    "other",
    ["Which ports?", "which port?", (Message("system", "Which port?"),), (*TURN, Message("assistant", "443.")), ""],
)
def test_prompts_that_say_something_else_do_not(other: Text) -> None:
    completions = Completions([Demonstration(prompt="Which port?", completion="443.", id="1", where="1")])
    assert other not in completions


def test_the_very_prompt_goes_before_one_that_says_the_same(tmp_path: Path) -> None:
    rows = [
        Demonstration(prompt=prompt, completion=completion, id=completion, where="1")
        for prompt, completion in (("a b", "one"), ("a  b", "two"))
    ]
    completions = Completions(rows)
    assert (completions["a b"], completions["a  b"]) == (["one"], ["two"])
    assert "a b " not in completions, "it may be either of them"
    assert prompt_key("a b") != prompt_key("a  b"), "rows are split by their very prompt"


def completions_file(path: Path, *rows: tuple[Any, str]) -> Path:
    return write_rows(path, [{"prompt": prompt, "completion": completion} for prompt, completion in rows])


def test_two_files_of_completions_bring_their_own_prompts(tmp_path: Path) -> None:
    ours = completions_file(tmp_path / "a.jsonl", ("Which port?", "443."), ("Which host?", "a."), ("Why?", "So."))
    theirs = completions_file(tmp_path / "b.jsonl", ([USER], "80."), ("Which host?\n", "b."))
    sides = gather_sides(ours, None, theirs)
    assert [(item.prompt, item.first) for item in sides.items] == [("Which port?", "443."), ("Which host?", "a.")]
    assert (sides.left_out, sides.source) == (1, str(ours))
