"""Rows made for other trainers (HALOs, LLaMA-Factory, ms-swift), transcripts in one text, and rows that are broken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tool_exports import HUMAN, SHAREGPT, halos_row, only, outcomes, read, write
from tool_exports import export as tool_export

from prospect.errors import DataError
from prospect.feedback import Message, Paired, Unpaired, load_feedback, write_jsonl
from prospect.feedback.exporters.export import export
from prospect.feedback.importers import GENERIC, all_importers, detect
from prospect.feedback.importers.pipeline import import_feedback
from prospect.feedback.importers.shapes.base import ANSWER, USER, Options, Preference, Vote
from prospect.feedback.importers.shapes.reading import sample
from prospect.feedback.importers.tools.transcripts import turns_of_transcript


def items(name, folder, *rows, **options):
    return read(name, write(folder / "rows.jsonl", list(rows)), **options)


# HALOs


def test_halos_labels_are_votes_and_rewards_are_scores(tmp_path):
    found = items("halos", tmp_path, halos_row(), halos_row(label=0, reward=-2), halos_row(label=None))
    assert outcomes(found) == [1, 0, "no label"]
    assert (found[1].score, found[1].source_id, found[1].prompt, found[1].completion) == (-2.0, "5", [USER], [ANSWER])


@pytest.mark.parametrize(("label", "chosen"), [(1, "A"), (0, "B")])
def test_the_label_of_a_halos_pair_is_one_where_output_a_is_better(tmp_path, label, chosen):
    row = {"prompt": [USER], "output_A": "A", "output_B": "B", "label": label, "type": "pairwise_feedback"}
    (pair,) = items("halos", tmp_path, row)
    assert (pair.chosen, pair.rejected) == (chosen, "AB".replace(chosen, ""))
    assert outcomes(items("halos", tmp_path, {**row, "label": 2})) == ["label of a pair is neither 0 nor 1"]


def test_halos_rows_of_text_are_read_and_broken_ones_counted(tmp_path):
    old = {"instruction": "Hi", "output": "", "label": 1, "type": "binary_feedback"}
    broken = [halos_row(prompt=7), halos_row(output=[USER]), halos_row(type="other", output=None, label=None)]
    del broken[2]["output"]
    found = items("halos", tmp_path, old, *broken)
    assert (found[0].prompt, found[0].completion) == ("Hi", "")
    assert outcomes(found)[1:] == [
        "prompt cannot be read",
        "completion cannot be read",
        "row is neither binary nor pairwise feedback",
    ]


# LLaMA-Factory

ALPACA = {"instruction": "Translate.", "input": "Hello", "output": "Hallo", "kto_tag": True}


def test_the_instruction_and_the_input_of_alpaca_rows_are_one_turn(tmp_path):
    row = {**ALPACA, "system": "Be brief.", "history": [["Hi", "Hello!"]], "tools": '[{"name": "f"}]'}
    vote = only(items("llama-factory", tmp_path, row))
    assert [turn["role"] for turn in vote.prompt] == ["system", "user", "assistant", "user"]
    assert vote.prompt[-1]["content"] == "Translate.\nHello"
    assert vote.completion == [{"role": "assistant", "content": "Hallo"}]
    assert (vote.verdict, vote.tools) == (True, [{"name": "f"}])


def test_sharegpt_and_openai_rows_with_a_tag_are_votes(tmp_path):
    rows = [
        {"conversations": SHAREGPT, "kto_tag": False, "system": "Be brief."},
        {"messages": [USER, ANSWER], "label": True},
        {"messages": [USER, ANSWER], "kto_tag": "true"},
    ]
    found = items("llama-factory", tmp_path, *rows)
    assert outcomes(found) == [False, True, "true"]
    assert found[0].prompt == [{"role": "system", "content": "Be brief."}, USER]
    assert found[0].completion == found[1].completion == [ANSWER]


def test_rankings_of_llama_factory_are_preferences(tmp_path):
    sides = {"chosen": {"from": "gpt", "value": "A"}, "rejected": {"from": "gpt", "value": "B"}}
    rows = [
        {"conversations": SHAREGPT[:1], **sides},
        {"instruction": USER["content"], "input": "", "chosen": "A", "rejected": "B"},
        {"instruction": USER["content"], "output": ["A", "B"]},
        {
            "messages": [USER],
            "chosen": {"role": "assistant", "content": "A"},
            "rejected": {"role": "assistant", "content": "B"},
        },
    ]
    for pair in items("llama-factory", tmp_path, *rows):
        assert isinstance(pair, Preference)
        assert (pair.prompt, pair.chosen[0]["content"], pair.rejected[0]["content"]) == ([USER], "A", "B")


def test_tool_calls_of_llama_factory_are_the_assistants(tmp_path):
    call = {"from": "function_call", "value": '{"name": "track", "arguments": {"id": 7}}'}
    talk = [SHAREGPT[0], call, {"from": "observation", "value": "depot"}, SHAREGPT[1]]
    vote = only(items("llama-factory", tmp_path, {"conversations": talk, "kto_tag": True}))
    assert [turn["role"] for turn in vote.prompt] == ["user", "assistant", "tool"]
    assert vote.prompt[1]["tool_calls"][0]["function"]["name"] == "track"
    talk[1] = {**call, "value": "track it"}
    assert outcomes(items("llama-factory", tmp_path, {"conversations": talk, "kto_tag": True})) == [
        "tool call cannot be read"
    ]


def test_tool_calls_of_ms_swift_are_the_assistants(tmp_path):
    call = {"role": "tool_call", "content": '{"name": "track", "arguments": {"id": 7}}'}
    talk = [USER, call, {"role": "tool_response", "content": "depot"}, ANSWER]
    vote = only(items("ms-swift", tmp_path, {"messages": talk, "label": True, "tools": '[{"name": "track"}]'}))
    assert [turn["role"] for turn in vote.prompt] == ["user", "assistant", "tool"]
    assert vote.tools == [{"name": "track"}]


def test_a_pair_keeps_its_tools(tmp_path):
    row = {"messages": [USER, ANSWER], "rejected_response": "No idea.", "tools": '[{"name": "track"}]'}
    found = items("ms-swift", tmp_path, row, {**row, "tools": "[]"})
    assert [pair.tools for pair in found] == [[{"name": "track"}], None]


def test_llama_factory_rows_that_are_no_feedback_are_counted_by_reason(tmp_path):
    rows = [
        {"conversations": SHAREGPT},
        {"conversations": SHAREGPT[:1], "kto_tag": True},
        {"conversations": [], "kto_tag": True},
        {**ALPACA, "images": ["a.png"]},
        {**ALPACA, "history": "all of it"},
        {**ALPACA, "tools": "a hammer"},
        {**ALPACA, "instruction": None, "input": None},
        {**ALPACA, "output": 7},
    ]
    assert outcomes(items("llama-factory", tmp_path, *rows)) == [
        "demonstration without a verdict",
        "conversation does not end with the assistant",
        "conversation cannot be read",
        "row with pictures, sound or video",
        "history cannot be read",
        "tools cannot be read",
        "prompt cannot be read",
        "completion cannot be read",
    ]


def test_a_tag_that_is_neither_true_nor_false_is_an_error_not_desirable(tmp_path):
    path = write(tmp_path / "rows.jsonl", [{**ALPACA, "kto_tag": "maybe"}])
    with pytest.raises(DataError, match=r'rows.jsonl:1: the verdict is "maybe"'):
        import_feedback([path], tmp_path / "out.jsonl")


# ms-swift


def test_ms_swift_rows_are_votes_and_pairs(tmp_path):
    other = [{"role": "assistant", "content": "No idea."}]
    rows = [
        {"messages": [USER, ANSWER], "label": False, "system": "Be brief."},
        {"messages": [USER, ANSWER], "rejected_response": "No idea."},
        {"messages": [USER, ANSWER], "rejected_messages": other},
        {"messages": [USER, ANSWER], "rejected_messages": [USER, *other]},
        {"query": USER["content"], "response": ANSWER["content"], "rejected_response": "No idea."},
    ]
    vote, *pairs = items("ms-swift", tmp_path, *rows)
    assert (vote.verdict, vote.prompt[0]["role"]) == (False, "system")
    for pair in pairs:
        assert (pair.prompt, pair.chosen, pair.rejected) == ([USER], [ANSWER], other)


def test_ms_swift_rows_that_are_no_feedback_are_counted_by_reason(tmp_path):
    rows = [
        {"messages": [USER, ANSWER]},
        {"messages": [USER, ANSWER], "rejected_messages": [ANSWER, ANSWER]},
        {"messages": "text", "label": True},
        {"label": True},
    ]
    assert outcomes(items("ms-swift", tmp_path, *rows)) == [
        "demonstration without a verdict",
        "the two sides of the pair have different prompts",
        "conversation cannot be read",
        "prompt cannot be read",
    ]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "a", "completion": "b", "label": True},
        {"prompt": "a", "chosen": "b", "rejected": "c"},
        {"chosen": [USER, ANSWER], "rejected": [USER, ANSWER]},
        {"messages": [USER, ANSWER]},
        {"instruction": "a", "input": "b", "output": "c"},
        {"id": 1, "input": "a", "output": "b", "label": True},
        {"id": "1", "run_type": "llm", "inputs": {}, "outputs": {}},
        {"question": "a", "answer": "b", "rating": 1, "annotator": "anna"},
        {"prompt": "a", "response": "b", "rating": "GOOD"},
        {},
    ],
)
def test_rows_of_no_tool_are_claimed_by_none(tmp_path, row):
    samples = [sample(write(tmp_path / "rows.jsonl", [row]))]
    assert [one.name for one in all_importers() if one.name != GENERIC and one.recognises(samples)] == []


def test_a_conversation_with_a_label_belongs_to_no_trainer_alone(tmp_path):
    path = write(tmp_path / "rows.jsonl", [{"messages": [USER, ANSWER], "label": True}])
    assert detect([path]).name == GENERIC


# Transcripts


def test_the_shared_turns_of_two_transcripts_are_the_prompt(tmp_path):
    talk = f"{HUMAN} Which one?\n\nHuman: The blue one.\n\nAssistant:"
    (pair,) = items("transcripts", tmp_path, {"chosen": f"{talk} On its way. ", "rejected": f"{talk} No idea."})
    assert [turn["content"] for turn in pair.prompt] == [USER["content"], "Which one?", "The blue one."]
    assert (pair.chosen, pair.rejected) == ([ANSWER], [{"role": "assistant", "content": "No idea."}])


def test_a_prompt_ends_before_the_assistant_even_where_more_is_shared(tmp_path):
    talk = f"{HUMAN} Which one?\n\nHuman: The blue one."
    chosen, rejected = f"{talk}\n\nHuman: Please.\n\nAssistant: A", f"{talk}\n\nAssistant: B"
    (pair,) = items("transcripts", tmp_path, {"chosen": chosen, "rejected": rejected})
    assert [turn["content"] for turn in pair.prompt] == [USER["content"]]
    assert pair.chosen[0] == pair.rejected[0] == {"role": "assistant", "content": "Which one?"}


def test_a_transcript_with_a_label_is_a_vote(tmp_path):
    rows = [
        {"prompt": HUMAN, "completion": " On its way.", "label": True, "rater": "anna"},
        {"prompt": "\n\nHuman: Where is my parcel?", "completion": "On its way.", "label": True},
        {"text": f"{HUMAN} On its way.", "label": True},
        {"text": f"Be brief.{HUMAN} On its way.", "label": True},
    ]
    votes = items("transcripts", tmp_path, *rows)
    assert [vote.prompt[-1] for vote in votes] == [USER] * 4
    assert [vote.completion for vote in votes] == [[ANSWER]] * 4
    assert (votes[0].rater, votes[3].prompt[0]) == ("anna", {"role": "system", "content": "Be brief."})


def test_speakers_within_a_paragraph_are_text(tmp_path):
    text = "\n\nHuman: Write a play.\nHuman: Hi\n\nAssistant: Assistant: Hello\n\nThe end."
    assert turns_of_transcript(text) == [
        {"role": "user", "content": "Write a play.\nHuman: Hi"},
        {"role": "assistant", "content": "Assistant: Hello\n\nThe end."},
    ]


def test_transcripts_without_an_answer_or_a_shared_question_are_counted_by_reason(tmp_path):
    rows = [
        {"text": "Hello", "label": True},
        {"text": "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: Bye", "label": True},
        {"text": f"{HUMAN} On its way.", "label": None},
        {"chosen": f"{HUMAN} A", "rejected": "\n\nHuman: Hi\n\nAssistant: B"},
        {"chosen": f"{HUMAN} A", "rejected": None},
    ]
    assert outcomes(items("transcripts", tmp_path, *rows)) == [
        "text is no transcript",
        "transcript does not end with the assistant",
        "no label",
        "the two transcripts share no turn of the human",
        "text is no transcript",
    ]


# Round trips. No surrogates, which are no text; no white space at the ends, which transcripts do not keep.

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
OPENING = st.lists(TEXT, max_size=2).flatmap(
    lambda texts: st.lists(TEXT, min_size=2 * len(texts), max_size=2 * len(texts))
)


@st.composite
def conversations(draw: Any) -> tuple[Message, ...]:
    """A prompt of turns that alternate from the user to the user, perhaps after a system prompt."""
    texts = [*draw(OPENING), draw(TEXT)]
    turns = tuple(Message("assistant" if i % 2 else "user", text) for i, text in enumerate(texts))
    return (Message("system", draw(TEXT)), *turns) if draw(st.booleans()) else turns


def answer(text: str) -> tuple[Message, ...]:
    return (Message("assistant", text),)


VOTES = st.lists(st.tuples(conversations(), TEXT, st.booleans()), min_size=1, max_size=4)
PAIRS = st.lists(st.tuples(conversations(), TEXT, TEXT).filter(lambda row: row[1] != row[2]), min_size=1, max_size=4)


def round_trip(records: list[Any], layout: str, folder: Path) -> list[Any]:
    suffix = ".json" if layout == "halos" else ".jsonl"
    write_jsonl(records, folder / "ours.jsonl")
    export(folder / "ours.jsonl", layout, folder / f"theirs{suffix}")
    report = import_feedback([folder / f"theirs{suffix}"], folder / "back.jsonl", format=layout)
    assert report.rows_in == report.kept == len(records)
    return load_feedback(folder / "back.jsonl")


@pytest.mark.parametrize("layout", ["halos", "llama-factory", "ms-swift"])
@settings(max_examples=25, deadline=None)
@given(votes=VOTES)
def test_votes_come_back_from_the_layouts_of_trainers(tmp_path_factory, layout, votes):
    records = [
        Unpaired(prompt=prompt, completion=answer(text), desirable=desirable, id=str(i), where="x")
        for i, (prompt, text, desirable) in enumerate(votes)
    ]
    back = round_trip(records, layout, tmp_path_factory.mktemp("votes"))
    assert [(row.prompt, row.completion, row.desirable) for row in back] == [
        (row.prompt, row.completion, row.desirable) for row in records
    ]


@pytest.mark.parametrize("layout", ["halos", "llama-factory", "ms-swift"])
@settings(max_examples=25, deadline=None)
@given(pairs=PAIRS)
def test_pairs_come_back_from_the_layouts_of_trainers(tmp_path_factory, layout, pairs):
    records = [
        Paired(prompt=prompt, chosen=answer(chosen), rejected=answer(rejected), id=str(i), where="x")
        for i, (prompt, chosen, rejected) in enumerate(pairs)
    ]
    back = round_trip(records, layout, tmp_path_factory.mktemp("pairs"))
    assert [(row.prompt, row.chosen, row.rejected) for row in back] == [
        (row.prompt, row.chosen, row.rejected) for row in records
    ]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=12), min_size=2, max_size=5))
def test_a_transcript_is_read_as_it_was_written(texts):
    texts = [" ".join(text.split()) for text in texts]  # as few shapes of white space as a transcript can keep
    turns = [{"role": "assistant" if i % 2 else "user", "content": text} for i, text in enumerate(texts)]
    spoken = {"user": "Human", "assistant": "Assistant"}
    text = "".join(f"\n\n{spoken[turn['role']]}: {turn['content']}" for turn in turns)
    assert turns_of_transcript(text) == turns


@pytest.mark.parametrize("layout", ["llama-factory", "ms-swift"])
def test_an_answer_that_is_json_is_kept_as_the_model_wrote_it(tmp_path, layout):
    json_text = '["a", "b"]'
    row = {"llama-factory": {**ALPACA, "output": json_text}, "ms-swift": {"messages": [USER, ANSWER], "label": True}}[
        layout
    ]
    row |= {"rejected_response": json_text} if layout == "ms-swift" else {}
    (item,) = items(layout, tmp_path, row)
    answer = item.completion if isinstance(item, Vote) else item.rejected
    assert answer == [{"role": "assistant", "content": json_text}]


def test_options_that_a_format_does_not_have_are_refused(tmp_path):
    from prospect.errors import UsageError

    paths = tool_export("halos", tmp_path)
    with pytest.raises(UsageError, match="halos takes no --label-key"):
        import_feedback(paths, tmp_path / "out.jsonl", format="halos", options=Options(label_key="x"))
