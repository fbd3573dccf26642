"""A row becomes a record, or an error that says what, where, what was found and what to do."""

import json

import pytest

from prospect.errors import ConfigError, DataError
from prospect.feedback import Demonstration, Message, Paired, Scored, Unpaired, load_feedback

ASK = {"role": "user", "content": "Hi?"}
SAY = {"role": "assistant", "content": "Yes."}
NO = {"role": "assistant", "content": "No."}
PARTS = [{"type": "text", "text": "Hi"}, {"type": "text", "text": "?", "image": None}]
Q, A, B = Message("user", "Hi?"), Message("assistant", "Yes."), Message("assistant", "No.")


@pytest.fixture
def load(tmp_path):
    """Return what a file of these rows loads as."""

    def load_rows(*rows, **options):
        path = tmp_path / "feedback.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return load_feedback(path, **options)

    return load_rows


@pytest.fixture
def refusal(load, tmp_path):
    """Return the message with which a file of these rows is refused, without the folder."""

    def refuse_rows(*rows, **options):
        with pytest.raises(DataError) as caught:
            load(*rows, **options)
        return str(caught.value).replace(f"{tmp_path}/", "")

    return refuse_rows


def texts(row):
    sides = (row.chosen, row.rejected) if isinstance(row, Paired) else (row.completion,)
    return (type(row), row.prompt, *sides)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"prompt": "a", "completion": " b", "label": True}, (Unpaired, "a", " b")),
        ({"prompt": "", "completion": "", "label": False}, (Unpaired, "", "")),
        ({"prompt": [ASK], "completion": [SAY], "label": True}, (Unpaired, (Q,), (A,))),
        ({"prompt": [ASK], "completion": "Yes.", "label": True}, (Unpaired, (Q,), (A,))),
        ({"prompt": [ASK], "completion": "", "label": True}, (Unpaired, (Q,), (Message("assistant", ""),))),
        ({"prompt": "Hi?", "completion": [SAY], "label": True}, (Unpaired, (Q,), (A,))),
        ({"prompt": "", "completion": [SAY], "label": True}, (Unpaired, (), (A,))),
        ({"prompt": [], "completion": [SAY], "label": True}, (Unpaired, (), (A,))),
        ({"messages": [ASK, SAY], "label": True}, (Unpaired, (Q,), (A,))),
        ({"prompt": "a", "chosen": " b", "rejected": " c"}, (Paired, "a", " b", " c")),
        ({"prompt": [ASK], "chosen": "Yes.", "rejected": [NO]}, (Paired, (Q,), (A,), (B,))),
        ({"prompt": "Hi?", "chosen": [SAY], "rejected": "No."}, (Paired, (Q,), (A,), (B,))),
        ({"chosen": [ASK, SAY], "rejected": [ASK, NO]}, (Paired, (Q,), (A,), (B,))),
        ({"prompt": "Hi?", "chosen": [ASK, SAY], "rejected": [ASK, NO]}, (Paired, (Q,), (A,), (B,))),
        ({"messages": [{"role": "user", "content": PARTS}, SAY]}, (Demonstration, (Q,), (A,))),
        ({"prompt": None, "chosen": "a b", "rejected": "a c"}, (Paired, "a", " b", " c")),
        ({"prompt": "a", "chosen": "b", "rejected": "c", "messages": [ASK]}, (Paired, "a", "b", "c")),
        ({"prompt": "a", "completion": "b"}, (Demonstration, "a", "b")),
        ({"messages": [ASK, SAY]}, (Demonstration, (Q,), (A,))),
        ({"messages": [SAY]}, (Demonstration, (), (A,))),
        ({"prompt": "Hi?", "messages": [ASK, SAY]}, (Demonstration, (Q,), (A,))),
        ({"text": "a b"}, (Demonstration, "", "a b")),
        ({"text": "a", "prompt": None, "messages": None}, (Demonstration, "", "a")),
        ({"text": "a", "sentiment": 5, "whatever": [float("inf")]}, (Demonstration, "", "a")),
    ],
)
def test_each_layout_becomes_its_record(load, row, expected):
    assert texts(load(row)[0]) == expected


def test_a_completion_may_run_over_tool_calls(load):
    call = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f"}}]}
    tool = {"role": "tool", "content": "3", "name": "f", "tool_call_id": None}
    (row,) = load({"prompt": [ASK], "completion": [call, tool, SAY], "label": True})
    first, second, third = row.completion
    assert first == Message("assistant", "", {"tool_calls": [{"function": {"name": "f"}}]})
    assert second == Message("tool", "3", {"name": "f"}), "null fields are absent ones"
    assert third == A


def test_optional_columns_are_kept(load):
    options = {"weight": 0, "score": -3, "id": 7, "rater": "ann", "tools": '[{"name": "f"}]', "finished": False}
    (row,) = load({"prompt": "a", "chosen": "b", "rejected": "c", **options})
    assert (row.weight, row.score, row.id, row.rater) == (0.0, -3.0, "7", "ann")
    assert (row.tools, row.finished) == (({"name": "f"},), False)


def test_null_optional_columns_are_absent(load):
    nulls = dict.fromkeys(("weight", "score", "id", "rater", "tools", "finished"))
    (row,) = load({"text": "a", **nulls})
    assert row == Demonstration(prompt="", completion="a", id="feedback.jsonl:1", where=row.where)


def test_a_null_cell_is_absent_in_its_row_only(load, refusal):
    full, implicit = load(
        {"prompt": "a b", "chosen": "c d", "rejected": "c e"}, {"prompt": None, "chosen": "c d", "rejected": "c e"}
    )
    assert (full.prompt, implicit.prompt) == ("a b", "c")
    row = {"prompt": "a", "completion": "b", "label": True}
    assert refusal(row, {**row, "completion": None}).startswith("feedback.jsonl:2: column completion is null")


def test_two_rows_may_have_the_same_id(load):
    assert [row.id for row in load({"text": "a", "id": "x"}, {"text": "b", "id": "x"})] == ["x", "x"]


# Labels


@pytest.mark.parametrize(
    ("label", "desirable"),
    [
        *[(label, True) for label in (True, 1, 1.0, "true", "True", "TRUE", "1", "1.0", " true ")],
        *[(label, False) for label in (False, 0, 0.0, -1, -1.0, "false", "False", "0", "-1", "-1.0")],
    ],
)
def test_plain_labels(load, label, desirable):
    assert load({"prompt": "a", "completion": "b", "label": label})[0].desirable is desirable


@pytest.mark.parametrize(
    ("label", "found", "advice"),
    [
        ("good", '"good"', "Map it: data.label_map: {good: true}"),
        ("thumbs-down", '"thumbs-down"', 'Map it: data.label_map: {"thumbs-down": false}'),
        ("yes", '"yes"', 'Map it: data.label_map: {"yes": true}'),
        ("meh", '"meh"', "Map it: data.label_map: {meh: true} or {meh: false}"),
        (5, "5", "Map it: data.label_map: {5: true} or {5: false}"),
        (0.5, "0.5", 'Map it: data.label_map: {"0.5": true} or {"0.5": false}'),
        (None, "null", "Give the row a label or remove it"),
        ("", "empty", "Give the row a label or remove it"),
        (float("nan"), "NaN", "Give the row a label or remove it"),
        ([True], "[true]", "One label is one verdict on the whole completion"),
    ],
)
def test_any_other_label_is_refused_with_the_map_to_write(refusal, label, found, advice):
    row = {"prompt": "a", "completion": "b"}
    message = refusal({**row, "label": True}, {**row, "label": label})
    expected = f"feedback.jsonl:2: label is {found}; expected true/false, 1/0 or 1/-1. {advice}"
    assert message.startswith(expected)


@pytest.mark.parametrize("labels", [(1, 0, -1), (1, -1, 0.0), ("1", "0", "-1"), (0, "-1", 1)])
def test_zero_and_minus_one_in_one_file_are_refused_with_both_rows(refusal, labels):
    message = refusal(*[{"prompt": "a", "completion": "b", "label": label} for label in labels])
    first, second = [n for n, label in enumerate(labels, 1) if float(label) < 1]
    assert message.startswith(f"feedback.jsonl:{second}: label is ")
    assert f"but feedback.jsonl:{first} has " in message
    assert "0 may mean neutral as well as undesirable. Say which: data.label_map: {1: true, 0: false" in message


@pytest.mark.parametrize(
    ("label_map", "labels"),
    [
        ({}, (1, -1)),
        ({}, (True, False)),
        ({1: True, 0: True, -1: False}, (0, -1)),
        ({"good": True, "bad": False}, ("good", "bad")),
        ({5: True, "1": False}, (5.0, 1)),
        ({"5": True, 1: False}, (5, "1")),
        ({1: True, 0: False, -1: False}, (1, 0)),
        ({True: False, False: True}, (False, True)),
        ({True: True, False: False}, ("Yes", "no")),  # PyYAML reads {yes: true, no: false} so
    ],
)
def test_a_label_map_says_what_labels_mean_compared_as_text(load, label_map, labels):
    rows = [{"prompt": "a", "completion": "b", "label": label} for label in labels]
    assert [row.desirable for row in load(*rows, label_map=label_map)] == [True, False]


def test_with_a_label_map_no_other_label_is_legal(refusal):
    row = {"prompt": "a", "completion": "b", "label": True}
    assert refusal(row, label_map={"good": True, "bad": False}).startswith(
        "feedback.jsonl:1: label is true; expected a label of data.label_map: good or bad. Map it: "
    )


@pytest.mark.parametrize(
    ("label_map", "message"),
    [
        ({"good": 1}, 'data.label_map: "good" is 1; expected true or false'),
        ({1: True, "1": False}, "data.label_map: 1 is there twice, once true and once false"),
    ],
)
def test_a_label_map_that_says_nothing_clear_is_refused(load, label_map, message):
    with pytest.raises(ConfigError, match=message):
        load({"prompt": "a", "completion": "b", "label": True}, label_map=label_map)


# Columns


@pytest.mark.parametrize(
    ("row", "parts"),
    [
        (
            {"prompt": "a", "response": "b", "label": True},
            [
                "column completion is missing; found prompt, response and label",
                'Found "response": did you mean "completion"? Rename it.',
                "Or let it be read as it is: prospect data import FILE -o OUT.jsonl.",
            ],
        ),
        ({"promt": "a", "completion": "b"}, ["column prompt is missing", '"promt": did you mean "prompt"?']),
        (
            {"question": "a", "query": "d", "chosen": "b", "rejected": "c"},
            ["column prompt is missing", '"query": did you mean "prompt"?'],
        ),
        ({"prompt": "a", "chosen": "b"}, ["column rejected is missing; found prompt and chosen."]),
        ({"prompt": "a", "Chosen": "b", "Rejected": "c"}, ["columns chosen and rejected are missing"]),
        ({"completion": "b", "label": True}, ["column prompt is missing; found completion and label."]),
        ({"prompt": None, "completion": "b", "label": True}, ["column prompt is null"]),
        ({"prompt": "a", "completion": None, "label": True}, ["column completion is null"]),
        (
            {"text": "a", "label": True},
            ["columns prompt and completion are missing", 'Found "text": did you mean "completion"?'],
        ),
        ({"prompt": "a", "text": "b"}, ["column completion is missing", 'Found "text": did you mean "completion"?']),
        ({"conversations": "Hi? Yes."}, ["column messages is missing", '"conversations": did you mean "messages"?']),
        ({"messages": [ASK, SAY], "chosen": "a"}, ["column rejected is missing; found messages and chosen."]),
        ({"prompt": "a", "completions": ["b", "c"]}, ["column scores is missing; found prompt and completions."]),
        ({"prompt": "a", "completions": ["b", "c"], "scores": None}, ["column scores is null"]),
        ({"completions": ["b", "c"], "scores": [1, 2]}, ["column prompt is missing; found completions and scores."]),
        ({"messages": [ASK, SAY], "completions": ["b", "c"], "scores": [1, 2]}, ["column prompt is missing"]),
        (
            {"prompt": "a", "responses": ["b", "c"], "rewards": [1, 2]},
            ['"responses": did you mean "completions"?', '"rewards": did you mean "scores"?'],
        ),
        ({"foo": 1}, ["is missing; found foo."]),
        ({}, ["is missing; found nothing."]),
    ],
)
def test_a_missing_column_is_named_with_what_was_found_and_meant(refusal, row, parts):
    message = refusal(row)
    assert message.startswith("feedback.jsonl:1: ")
    for part in parts:
        assert part in message
    assert message.endswith(
        "Understood: unpaired (prompt, completion, label), paired (prompt, chosen, rejected), scored (prompt, "
        "completions, scores) and demonstrations (prompt, completion, or messages, or text)"
    )


def test_null_columns_of_another_kind_leave_a_row_scored(load):
    nulls = dict.fromkeys(("completion", "label", "chosen", "rejected"))
    (row,) = load({"prompt": "a", "completions": ["b", "c"], "scores": [1, 2], **nulls})
    assert type(row) is Scored


def test_two_layouts_of_one_kind_in_one_file_are_legal(load):
    assert len(load({"text": "a"}, {"prompt": "a", "completion": "b"}, {"messages": [SAY]})) == 3


THUMB = {"prompt": "a", "completion": "b", "label": True}
SCORED = {"prompt": "a", "completions": ["b", "c"], "scores": [1, 2]}
STEPS = {"prompt": "a", "completions": ["b", "c"], "labels": [True, False]}
STEPWISE = [
    "stepwise supervision, one label per step; expected one label for a whole completion",
    "Join the steps into completion, with label true where every step is right",
]


@pytest.mark.parametrize(
    ("rows", "parts"),
    [
        (
            [{"prompt": "a", "id": "x"}],
            [":1: the row is a prompt only; nobody has answered it", "prospect generate MODEL --prompts FILE"],
        ),
        ([STEPS], STEPWISE),
        ([{**STEPS, "scores": [1, 2]}], STEPWISE),
        (
            [{**THUMB, "chosen": "b", "rejected": "c"}],
            ["the row is both paired (chosen, rejected) and unpaired (completion, label)"],
        ),
        (
            [{**SCORED, "chosen": "b", "rejected": "c"}],
            [
                ":1: the row is both paired (chosen, rejected) and scored (completions, scores); expected one kind. "
                "Write it as two files"
            ],
        ),
        ([SCORED | THUMB], [":1: the row is both unpaired (completion, label) and scored (completions, scores); "]),
        (
            [THUMB, THUMB, {"prompt": "a", "completion": "b"}],
            [
                ":3: the row is a demonstration (prompt, completion), but feedback.jsonl:1 is unpaired (prompt, "
                "completion, label); expected one kind in one file. Split the file by kind, or complete the columns of "
                "the odd rows"
            ],
        ),
        ([{"text": "a"}, {"text": "b"}, {"text": 5}], [":3: text is a number (5)"]),
    ],
)
def test_rows_that_are_no_feedback_of_one_kind_are_refused_with_what_to_do(refusal, rows, parts):
    message = refusal(*rows)
    assert [part for part in parts if part not in message] == []


# Cells


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": 5, "completion": "b"}, "prompt is a number (5); expected a string or a list of"),
        ({"prompt": "a", "completion": True}, "completion is true/false (true); expected a string or a list of"),
        ({"prompt": ASK, "completion": "b"}, "prompt is an object; expected a string or a list of"),
        ({"prompt": ["a"], "completion": "b"}, 'prompt[0] is a string ("a"); expected {"role": ..., "content": ...}'),
        (
            {"prompt": [{"content": "a"}], "completion": "b"},
            "prompt[0] has no role, only content; expected a role such as user",
        ),
        (
            {"prompt": [{"role": 1, "content": "a"}], "completion": "b"},
            "prompt[0] has role 1; expected a role such as user",
        ),
        ({"prompt": [{"role": "", "content": "a"}], "completion": "b"}, "prompt[0] has role empty; expected a role"),
        (
            {"messages": [{"speaker": "human", "value": "a"}]},
            "messages[0] has no role, only speaker and value; expected a role such as user",
        ),
        (
            {"messages": [ASK, {"role": "assistant", "content": None}]},
            "messages[1].content is null; expected a string. Write the text",
        ),
        ({"messages": [ASK, {"role": "assistant"}]}, "messages[1].content is null; expected a string"),
        ({"messages": [ASK, {"role": "assistant", "content": 5}]}, "messages[1].content is a number (5); expected"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image", "image": "x"}]}, SAY]},
            'messages[0].content has a part of type "image"; expected only parts of type text',
        ),
        (
            {"messages": [{"role": "user", "content": ["a"]}, SAY]},
            "messages[0].content has a part of type a string; expected",
        ),
        ({"messages": "a"}, 'messages is a string ("a"); expected a list of {"role": ..., "content": ...}. Plain text'),
        ({"messages": [ASK]}, "messages ends with the user; expected it to end with the assistant"),
        ({"messages": []}, "messages is an empty list; expected it to end with the assistant"),
        ({"text": [ASK, SAY]}, "text is a list; expected a string. A conversation belongs in the column messages"),
        (
            {"prompt": [ASK], "completion": [SAY, ASK]},
            "the turns of completion are assistant and user; expected them to begin and end with",
        ),
        (
            {"prompt": "Bye", "completion": [ASK, SAY]},
            "the turns of completion are user and assistant; expected them to begin and end with the "
            "assistant. Turns before the answer belong in prompt",
        ),
        ({"prompt": [ASK], "completion": []}, "the turns of completion are an empty list; expected"),
        ({"chosen": [ASK, SAY], "rejected": "a"}, "chosen is a conversation and rejected is a string; without a"),
        ({"chosen": [SAY], "rejected": [NO]}, "chosen and rejected share no user turn before the assistant's"),
        ({"chosen": [], "rejected": []}, "chosen and rejected share no user turn before the assistant's"),
        ({"chosen": [ASK], "rejected": [ASK]}, "chosen and rejected share no user turn before the assistant's"),
        ({"chosen": [ASK, SAY, ASK], "rejected": [ASK, NO]}, "the turns of chosen are assistant and user; expected"),
        ({"text": "a\ud800b"}, "text holds half a character, \\ud800, at position 1; expected whole Unicode"),
        (
            {"messages": [ASK, {"role": "assistant", "content": "\udc00"}]},
            "messages[1] holds half a character, \\udc00, at position 0",
        ),
    ],
)
def test_a_text_of_a_wrong_form_is_refused(refusal, row, message):
    assert refusal(row).startswith(f"feedback.jsonl:1: {message}")


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("weight", -1, "weight is a number (-1); expected a finite number, at least 0. Use 1"),
        ("weight", float("nan"), "weight is a number (NaN); expected a finite number, at least 0"),
        ("weight", float("inf"), "weight is a number (Infinity); expected a finite number, at least 0"),
        ("weight", 10**400, "expected a finite number, at least 0"),
        ("weight", "1", 'weight is a string ("1"); expected a finite number, at least 0'),
        ("weight", True, "weight is true/false (true); expected a finite number, at least 0"),
        ("score", float("nan"), "score is a number (NaN); expected a finite number. Leave it out"),
        ("score", "high", 'score is a string ("high"); expected a finite number'),
        ("id", 1.5, "id is a number (1.5); expected a string or a whole number"),
        ("id", True, "id is true/false (true); expected a string or a whole number"),
        ("rater", ["ann"], "rater is a list; expected a string or a whole number"),
        ("finished", 1, "finished is a number (1); expected true or false. It is false where"),
        ("tools", {"name": "f"}, "tools is an object; expected a list of objects, one schema each"),
        ("tools", ["f"], "tools is a list; expected a list of objects, one schema each"),
        ("tools", "{", 'tools is a string ("{"); expected a list of objects, or that list as JSON. Mend'),
        ("tools", "[" * 100_000, "expected a list of objects, or that list as JSON. Mend the JSON"),
        ("tools", "{}", 'tools is a string ("{}"); expected a list of objects, one schema each'),
    ],
)
def test_an_optional_cell_of_a_wrong_type_is_refused(refusal, column, value, message):
    assert refusal({"text": "a"}, {"text": "a", column: value}).startswith("feedback.jsonl:2: ")
    assert message in refusal({"text": "a", column: value})


def test_a_long_value_is_cut_in_the_message(refusal):
    assert len(refusal({"prompt": "a", "completion": "b", "label": "x" * 10_000})) < 30_000
    assert '"' + "x" * 56 + "...; expected" in refusal({"prompt": "a", "completion": "b", "label": "x" * 10_000})


# Scored completions


@pytest.mark.parametrize(
    ("prompt", "completions", "expected"),
    [
        ("a", [" b", ""], ("a", (" b", ""))),
        ("a", '[" b", "c", "c"]', ("a", (" b", "c", "c"))),
        ([ASK], ["Yes.", [SAY]], ((Q,), ((A,), (A,)))),
        ("Hi?", [[SAY], "No."], ((Q,), ((A,), (B,)))),
        ("Hi?", [[ASK, SAY], [ASK, NO]], ((Q,), ((A,), (B,)))),
    ],
)
def test_scored_completions_keep_their_order_and_scores(load, prompt, completions, expected):
    scores = [0.5, -2, 7][: len(expected[1])]
    (row,) = load({"prompt": prompt, "completions": completions, "scores": scores})
    assert (type(row), row.prompt, row.completions, row.scores) == (Scored, *expected, tuple(map(float, scores)))


def test_one_completion_with_a_score_is_still_a_demonstration_or_a_thumb(load):
    (shown,) = load({"prompt": "a", "completion": "b", "score": 3, "scores": [1]})
    (judged,) = load({"prompt": "a", "completion": "b", "score": 3, "label": True})
    assert (type(shown), shown.score, type(judged), judged.score) == (Demonstration, 3.0, Unpaired, 3.0)


def test_scored_rows_have_the_optional_columns_too(load):
    row = {"prompt": "a", "completions": ["b", "c"], "scores": [2, 1], "id": "x", "weight": 0.5, "finished": False}
    (loaded,) = load(row)
    assert (loaded.id, loaded.weight, loaded.finished, loaded.best, loaded.worst) == ("x", 0.5, False, 0, 1)


@pytest.mark.parametrize(
    ("completions", "scores", "message"),
    [
        (
            ["b", "c", "d"],
            [1, 2],
            "completions and scores are lists of 3 and 2; expected one score for each completion. Add the missing",
        ),
        (["b"], [1, 2], "completions and scores are lists of 1 and 2; expected one score for each completion."),
        (["b"], [1], "completions is a list of 1; expected at least two, for one is compared with another. Add"),
        ([], [], "completions is a list of 0; expected at least two"),
        (
            "b",
            [1, 2],
            'completions is a string ("b"); expected a list with one entry for each completion, or that list as '
            "JSON. A single one belongs in the column completion",
        ),
        ('"b"', [1, 2], 'completions is a string ("\\"b\\""); expected a list with one entry for each completion.'),
        ({"b": 1}, [1, 2], "completions is an object; expected a list with one entry for each completion. A single"),
        (["b", "c"], 1, "scores is a number (1); expected a list with one entry for each completion. The score of"),
        (["b", "c"], "1 2", 'scores is a string ("1 2"); expected a list with one entry for each completion, or'),
        (["b", "c"], "[" * 100_000, "expected a list with one entry for each completion, or that list as JSON"),
        (["b", "c"], [1, None], "scores[1] is null; expected a finite number. Score the completion, or remove it"),
        (["b", "c"], ["1", 2], 'scores[0] is a string ("1"); expected a finite number.'),
        (["b", "c"], [True, 2], "scores[0] is true/false (true); expected a finite number."),
        (["b", "c"], [1, float("nan")], "scores[1] is a number (NaN); expected a finite number."),
        (["b", "c"], [1, float("-inf")], "scores[1] is a number (-Infinity); expected a finite number."),
        (["b", "c"], [10**400, 1], "expected a finite number."),
        (["b", 5], [1, 2], "completions[1] is a number (5); expected a string or a list of"),
        (["b", None], [1, 2], "completions[1] is null; expected a string or a list of"),
        (["b", [ASK]], [1, 2], "the turns of completions[1] are user; expected them to begin and end with the"),
        (["b", [{"content": "x"}]], [1, 2], "completions[1][0] has no role, only content; expected a role"),
        (["b", "\ud800"], [1, 2], "completions[1] holds half a character"),
    ],
)
def test_scored_completions_that_cannot_be_compared_are_refused(refusal, completions, scores, message):
    found = refusal({"prompt": "a", "completions": completions, "scores": scores})
    assert found.startswith("feedback.jsonl:1: ")
    assert message in found


# Implicit prompts


@pytest.mark.parametrize(
    ("chosen", "rejected", "prompt"),
    [
        ("Beautiful is better than ugly.", "Beautiful is better than the moon.", "Beautiful is better than"),
        ("It is blue", "It is black", "It is"),
        ("It is\n\n blue", "It is\n\n red", "It is"),
        ("It  is", "It was", "It"),
        ("It is", "It\nis", "It"),
        ("Yes", "No", ""),
        ("Yes", "Yes", ""),
        ("a b", "a b", "a"),
        ("a b", "a b c", "a"),
        ("a b", "a bc", "a"),
        ("a b ", "a b c", "a b"),
        ("", "a", ""),
        ("", "", ""),
        (" a", " b", ""),
        ("你好吗", "你好啊", ""),
    ],
)
def test_the_shared_prompt_of_strings_ends_before_the_space_of_the_first_other_word(load, chosen, rejected, prompt):
    (row,) = load({"chosen": chosen, "rejected": rejected})
    assert row.prompt == prompt
    assert (row.prompt + row.chosen, row.prompt + row.rejected) == (chosen, rejected)


def test_the_shared_prompt_of_conversations_ends_before_an_assistant_turn_on_both_sides(load):
    more, other = {"role": "user", "content": "More"}, {"role": "user", "content": "Other"}
    same = load({"chosen": [ASK, SAY, more, SAY], "rejected": [ASK, SAY, more, NO]})[0]
    assert (len(same.prompt), same.chosen, same.rejected) == (3, (A,), (B,))
    apart = load({"chosen": [ASK, SAY, more, SAY], "rejected": [ASK, SAY, other, NO]})[0]
    assert (apart.prompt, len(apart.chosen), len(apart.rejected)) == ((Q,), 3, 3)
    equal = load({"chosen": [ASK, SAY], "rejected": [ASK, SAY]})[0]
    assert (equal.prompt, equal.chosen, equal.rejected) == ((Q,), (A,), (A,))
