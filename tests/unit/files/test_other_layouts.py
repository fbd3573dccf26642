"""Rows of other trainers and of public datasets are read as what they are, or refused by name; never otherwise."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conftest import write_rows
from prospect.errors import DataError
from prospect.feedback import Demonstration, Feedback, Message, Paired, Scored, Unpaired, load_feedback
from prospect.feedback.doctor.inspect import inspect_feedback
from prospect.feedback.importers.pipeline import import_feedback
from prospect.feedback.records import Text

Row = dict[str, Any]
Q, A, B = "Which port?", "443.", "Any."
USER, GOOD, POOR = ({"role": role, "content": text} for role, text in (("user", Q), ("assistant", A), ("assistant", B)))
HUMAN, GPT, OTHER = ({"from": role, "value": text} for role, text in (("human", Q), ("gpt", A), ("gpt", B)))
SYSTEM = {"role": "system", "content": "Be brief."}
TOOL = {"type": "function", "function": {"name": "scan"}}

TURNS = (Message("user", Q),)
AFTER_SYSTEM = (Message("system", "Be brief."), Message("user", Q))
SAID, SAID_OTHER = (Message("assistant", A),), (Message("assistant", B),)


@pytest.fixture
def load(tmp_path: Path) -> Callable[[Row], Feedback]:
    def load_row(row: Row) -> Feedback:
        (record,) = load_feedback(write_rows(tmp_path / "rows.jsonl", [row]))
        return record

    return load_row


def said(record: Feedback) -> tuple[type, Text, Any]:
    if isinstance(record, Paired):
        return Paired, record.prompt, (record.chosen, record.rejected)
    if isinstance(record, Unpaired):
        return Unpaired, record.prompt, (record.completion, record.desirable)
    if isinstance(record, Scored):
        return Scored, record.prompt, (record.completions, record.scores)
    assert isinstance(record, Demonstration)
    return Demonstration, record.prompt, record.completion


PAIRS: dict[str, tuple[Row, Text, Any]] = {
    "OpenAI": (
        {"input": {"messages": [USER]}, "preferred_output": [GOOD], "non_preferred_output": [POOR]},
        TURNS,
        (SAID, SAID_OTHER),
    ),
    "OpenAI, older names": (
        {"input": {"messages": [USER]}, "preferred_completion": [GOOD], "non_preferred_completion": [POOR]},
        TURNS,
        (SAID, SAID_OTHER),
    ),
    "OpenAI, as text": (
        {
            "input": json.dumps({"messages": [SYSTEM, USER], "parallel_tool_calls": True}),
            "preferred_output": json.dumps([GOOD]),
            "non_preferred_output": json.dumps([POOR]),
        },
        AFTER_SYSTEM,
        (SAID, SAID_OTHER),
    ),
    "two responses": ({"instruction": Q, "chosen_response": A, "rejected_response": B}, Q, (A, B)),
    "two responses, with ratings": (
        {"prompt": Q, "chosen_response": A, "rejected_response": B, "chosen_avg_rating": 4.5, "rejected_avg_rating": 2},
        Q,
        (A, B),
    ),
    "a question": ({"question": Q, "chosen": A, "rejected": B}, Q, (A, B)),
    "an input": ({"input": Q, "chosen": A, "rejected": B}, Q, (A, B)),
    "Orca": ({"system": "Be brief.", "question": Q, "chosen": A, "rejected": B}, AFTER_SYSTEM, (SAID, SAID_OTHER)),
    "Orca, no system": ({"system": "", "question": Q, "chosen": A, "rejected": B}, TURNS, (SAID, SAID_OTHER)),
    "prompt and system": (
        {"system": "Be brief.", "prompt": Q, "chosen": A, "rejected": B},
        AFTER_SYSTEM,
        (SAID, SAID_OTHER),
    ),
    "alpaca": ({"instruction": "Which", "input": "port?", "chosen": A, "rejected": B}, "Which\nport?", (A, B)),
    "alpaca until 2024": ({"instruction": Q, "input": "", "output": [A, B]}, Q, (A, B)),
    "ShareGPT": ({"conversations": [HUMAN], "chosen": GPT, "rejected": OTHER}, TURNS, (SAID, SAID_OTHER)),
    "ShareGPT, lists": ({"conversations": [HUMAN], "chosen": [GPT], "rejected": [OTHER]}, TURNS, (SAID, SAID_OTHER)),
    "ShareGPT, as text": (
        {"conversations": json.dumps([HUMAN]), "chosen": json.dumps(GPT), "rejected": json.dumps(OTHER)},
        TURNS,
        (SAID, SAID_OTHER),
    ),
    "ShareGPT, with its answer": (
        {"conversations": [HUMAN, GPT], "chosen": GPT, "rejected": OTHER},
        TURNS,
        (SAID, SAID_OTHER),
    ),
    "ShareGPT, with a system column": (
        {"system": "Be brief.", "conversations": [HUMAN], "chosen": GPT, "rejected": OTHER},
        AFTER_SYSTEM,
        (SAID, SAID_OTHER),
    ),
    "messages and two answers": ({"messages": [USER], "chosen": A, "rejected": B}, TURNS, (SAID, SAID_OTHER)),
    "messages and two turns": ({"messages": [USER], "chosen": GOOD, "rejected": POOR}, TURNS, (SAID, SAID_OTHER)),
    "whole conversations": ({"chosen": [HUMAN, GPT], "rejected": [HUMAN, OTHER]}, TURNS, (SAID, SAID_OTHER)),
    "ms-swift": ({"messages": [USER, GOOD], "rejected_response": B}, TURNS, (SAID, SAID_OTHER)),
    "ms-swift, messages": ({"messages": [USER, GOOD], "rejected_messages": [USER, POOR]}, TURNS, (SAID, SAID_OTHER)),
    "ms-swift, query": ({"query": Q, "response": A, "rejected_response": B}, Q, (A, B)),
    "ms-swift, history": (
        {"query": Q, "response": A, "rejected_response": B, "history": [["Hi", "Hello"]]},
        (Message("user", "Hi"), Message("assistant", "Hello"), *TURNS),
        (SAID, SAID_OTHER),
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_pairs_of_others_are_pairs(load: Callable[[Row], Feedback], name: str) -> None:
    row, prompt, sides = PAIRS[name]
    assert said(load({**row, "id": "x"})) == (Paired, prompt, sides)


OTHERS: dict[str, tuple[Row, tuple[type, Text, Any]]] = {
    "ShareGPT": ({"conversations": [HUMAN, GPT]}, (Demonstration, TURNS, SAID)),
    "conversation, user and assistant": (
        {"conversation": [{"from": "user", "value": Q}, {"from": "assistant", "value": A}]},
        (Demonstration, TURNS, SAID),
    ),
    "conversations of role and content": ({"conversations": [USER, GOOD]}, (Demonstration, TURNS, SAID)),
    "messages of from and value": ({"messages": [HUMAN, GPT]}, (Demonstration, TURNS, SAID)),
    "roles human and gpt": (
        {"messages": [{"role": "human", "content": Q}, {"role": "gpt", "content": A}]},
        (Demonstration, TURNS, SAID),
    ),
    "messages and system": ({"system": "Be brief.", "messages": [USER, GOOD]}, (Demonstration, AFTER_SYSTEM, SAID)),
    "a system turn wins": (
        {"system": "Be long.", "messages": [SYSTEM, USER, GOOD]},
        (Demonstration, AFTER_SYSTEM, SAID),
    ),
    "KTO of LLaMA-Factory": ({"conversations": [HUMAN, GPT], "kto_tag": False}, (Unpaired, TURNS, (SAID, False))),
    "messages with a tag": ({"messages": [USER, GOOD], "kto_tag": True}, (Unpaired, TURNS, (SAID, True))),
    "a conversation with a label": ({"conversation": [USER, GOOD], "label": 0}, (Unpaired, TURNS, (SAID, False))),
    "alpaca": ({"instruction": "Which", "input": "port?", "output": A}, (Demonstration, "Which\nport?", A)),
    "alpaca with a tag": ({"instruction": Q, "input": "", "output": A, "kto_tag": True}, (Unpaired, Q, (A, True))),
    "alpaca with a label": ({"instruction": Q, "output": A, "label": False}, (Unpaired, Q, (A, False))),
    "query and response": ({"query": Q, "response": A}, (Demonstration, Q, A)),
    "prompt and system": (
        {"system": "Be brief.", "prompt": Q, "completion": A, "label": True},
        (Unpaired, AFTER_SYSTEM, (SAID, True)),
    ),
    "UltraFeedback": (
        {
            "instruction": Q,
            "models": ["m", "n"],
            "completions": [
                {"model": "m", "response": A, "overall_score": 7, "fine-grained_score": 4.75},
                {"model": "n", "response": B, "overall_score": 10, "fine-grained_score": 1},
            ],
            "correct_answers": ["None"],
        },
        (Scored, Q, ((A, B), (4.75, 1.0))),
    ),
    "ratings of aspects": (
        {
            "instruction": Q,
            "completions": [
                {"response": A, "annotations": {"honesty": {"Rating": "5"}, "helpfulness": {"Rating": "4"}}},
                {"response": B, "annotations": {"honesty": {"Rating": "1"}, "helpfulness": {"Rating": "2"}}},
            ],
        },
        (Scored, Q, ((A, B), (4.5, 1.5))),
    ),
    "overall scores alone": (
        {"prompt": Q, "completions": [{"response": A, "overall_score": "8"}, {"response": B, "overall_score": 2}]},
        (Scored, Q, ((A, B), (8.0, 2.0))),
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_rows_are_what_they_say(load: Callable[[Row], Feedback], name: str) -> None:
    row, expected = OTHERS[name]
    assert said(load(row)) == expected


@pytest.mark.parametrize("name", PAIRS)
def test_the_doctor_and_the_import_say_the_same_of_them(tmp_path: Path, name: str) -> None:
    row, _, _ = PAIRS[name]
    path = write_rows(tmp_path / "rows.jsonl", [row])
    inspection = inspect_feedback(path)
    assert inspection.facts.kind == "paired"
    assert "ignored_verdict" not in {finding.code for finding in inspection.findings}
    report = import_feedback([path], tmp_path / "out.jsonl")
    assert (report.kind, report.kept) == ("paired", 1)
    (direct,), (imported,) = load_feedback(path), load_feedback(tmp_path / "out.jsonl")
    assert _words(direct) == _words(imported)


def _words(record: Feedback) -> list[str]:
    """The texts of a pair: the importers of trainers whose rows are always chats make turns of plain text."""
    assert isinstance(record, Paired)
    sides = (record.prompt, record.chosen, record.rejected)
    return [side if isinstance(side, str) else "|".join(turn.content for turn in side) for side in sides]


def test_tools_and_calls_come_along(load: Callable[[Row], Feedback]) -> None:
    call = {"from": "function_call", "value": '{"name": "scan", "arguments": {"host": "a"}}'}
    result = {"from": "observation", "value": "open"}
    record = load({"conversations": [HUMAN, call, result, GPT], "tools": json.dumps([TOOL])})
    assert [turn.role for turn in record.prompt if isinstance(turn, Message)] == ["user", "assistant", "tool"]
    assert isinstance(record.prompt[1], Message)
    assert record.prompt[1].extra["tool_calls"][0]["function"]["arguments"] == {"host": "a"}
    assert record.tools == (TOOL,)
    openai = {
        "input": {"messages": [USER], "tools": [TOOL]},
        "preferred_output": [GOOD],
        "non_preferred_output": [POOR],
    }
    assert load(openai).tools == (TOOL,)


def test_a_row_of_ours_stays_as_it_is(load: Callable[[Row], Feedback]) -> None:
    row = {"prompt": Q, "chosen": A, "rejected": B, "messages": [USER, GOOD], "instruction": "other", "input": "x"}
    assert said(load(row)) == (Paired, Q, (A, B))
    assert said(load({"text": "a", "conversations": [HUMAN, GPT]})) == (Demonstration, "", "a")


def test_the_optional_columns_are_read_beside_them(load: Callable[[Row], Feedback]) -> None:
    record = load({"question": Q, "chosen": A, "rejected": B, "weight": 0.5, "id": 7, "rater": "ann"})
    assert (record.weight, record.id, record.rater) == (0.5, "7", "ann")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"input": "x", "preferred_output": [GOOD], "non_preferred_output": [POOR]}, "input holds no messages"),
        (
            {"input": {"messages": []}, "preferred_output": [GOOD], "non_preferred_output": [POOR]},
            "conversation cannot be read",
        ),
        ({"messages": [USER], "rejected_response": B}, "conversation does not end with the assistant"),
        (
            {"messages": [USER, GOOD], "rejected_messages": [SYSTEM, POOR]},
            "the two sides of the pair have different prompts",
        ),
        ({"conversations": [HUMAN, OTHER], "chosen": GPT, "rejected": OTHER}, "conversation before a pair ends with"),
        ({"conversations": [HUMAN], "chosen": HUMAN, "rejected": OTHER}, "completion cannot be read"),
        ({"conversations": [HUMAN, GPT], "images": ["a.png"]}, "row with pictures, sound or video"),
        ({"instruction": Q, "output": A, "history": "all"}, "history cannot be read"),
        ({"instruction": Q, "output": A, "tools": "a hammer"}, "tools cannot be read"),
        ({"instruction": Q, "completions": [{"response": A}, {"response": B}]}, "a completion has no score"),
    ],
)
def test_a_part_that_cannot_be_read_is_named_with_the_layout(
    load: Callable[[Row], Feedback], row: Row, message: str
) -> None:
    with pytest.raises(DataError, match=r"rows\.jsonl:1: the row is an? .* that cannot be read: ") as caught:
        load(row)
    assert message in str(caught.value)


def test_a_call_that_is_no_json_is_refused_with_its_turn(load: Callable[[Row], Feedback]) -> None:
    with pytest.raises(DataError, match=r"messages\[1\]: the tool call cannot be read; expected the JSON of a call"):
        load({"messages": [HUMAN, {"from": "function_call", "value": "scan it"}, GPT]})


@pytest.mark.parametrize(("field", "value"), [("weight", 0), ("loss", False)])
def test_a_last_turn_that_is_not_to_be_learnt_from_is_refused(
    load: Callable[[Row], Feedback], field: str, value: Any
) -> None:
    with pytest.raises(DataError, match=f"the last turn of messages has {field} "):
        load({"messages": [USER, {**GOOD, field: value}]})
    earlier = [USER, {**POOR, field: value}, USER, {**GOOD, field: True}]
    assert isinstance(load({"messages": earlier}), Demonstration)


@pytest.mark.parametrize(("field", "value"), [("rating", -1), ("score", 1), ("feedback", {"rating": "thumbsUp"})])
def test_rated_turns_are_no_demonstration(load: Callable[[Row], Feedback], field: str, value: Any) -> None:
    for column in ("messages", "conversation"):
        with pytest.raises(DataError, match=rf"a turn has {field} .* prospect data import FILE"):
            load({column: [USER, {**GOOD, field: value}]})
    assert isinstance(load({"messages": [USER, {**GOOD, field: value}], "label": True}), Unpaired)


def test_text_that_is_json_stays_what_was_written(load: Callable[[Row], Feedback]) -> None:
    for text in ('["a", "b"]', '{"value": 3}', '[{"name": "x"}]', "[1]"):
        assert said(load({"question": text, "chosen": text, "rejected": B})) == (Paired, text, (text, B))
        assert said(load({"instruction": text, "output": text})) == (Demonstration, text, text)


RATED = [{"response": A, "overall_score": 1}, {"response": B, "fine-grained_score": 2.5}]
CELLS = st.one_of(
    st.none(),
    st.sampled_from([Q, A, "", USER, GOOD, HUMAN, GPT]),
    st.lists(st.sampled_from([USER, GOOD, HUMAN, GPT, SYSTEM]), max_size=3),
    st.booleans(),
    st.integers(-1, 5),
    st.lists(st.sampled_from(RATED), max_size=2),
)
COLUMNS = st.sampled_from(
    [
        *("prompt", "completion", "label", "chosen", "rejected", "messages", "conversations", "conversation"),
        *("instruction", "question", "query", "input", "output", "response", "system", "history", "tools", "kto_tag"),
        *("completions", "scores", "chosen_response", "rejected_response", "rejected_messages", "preferred_output"),
        *("non_preferred_output", "thumbs", "rating", "text", "id"),
    ]
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.dictionaries(COLUMNS, CELLS, min_size=1, max_size=6), min_size=1, max_size=4))
def test_whatever_the_columns_hold_every_row_is_read_or_counted(tmp_path: Path, rows: list[Row]) -> None:
    """Training refuses or reads, the doctor counts all rows, and the account of an import adds up; nothing breaks."""
    path = write_rows(tmp_path / "rows.jsonl", rows)
    with suppress(DataError):
        assert len(load_feedback(path)) == len(rows)
    try:
        inspection = inspect_feedback(path)
    except DataError:
        pass
    else:
        others = sum(f.count for f in inspection.findings if f.code == "several_kinds")
        assert inspection.facts.rows + others + inspection.summary["unreadable"]["rows"] == len(rows)
    try:
        report = import_feedback([path], None, keep_rater_names=True)
    except DataError:
        return
    assert report.rows_in == len(rows) == report.kept + sum(report.dropped.values())
