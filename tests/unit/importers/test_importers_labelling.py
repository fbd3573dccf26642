"""Exports of labelling tools and of AnythingLLM: several annotators, drafts, labels with names of the project's own."""

from __future__ import annotations

import pytest
from tool_exports import (
    annotation,
    anythingllm_chat,
    argilla_record,
    choice,
    label_studio_task,
    only,
    outcomes,
    read,
    write,
)

from prospect.errors import DataError, UsageError
from prospect.feedback import load_feedback
from prospect.feedback.importers import detect
from prospect.feedback.importers.pipeline import import_feedback
from prospect.feedback.importers.shapes.base import ANSWER, USER

# Argilla


def argilla(folder, *records, **options):
    return read("argilla", write(folder / "records.jsonl", records), **options)


def test_only_submitted_answers_of_argilla_are_votes_and_each_annotator_has_one(tmp_path):
    record = argilla_record(
        **{
            "thumbs.responses": ["up", "down", "up", "up"],
            "thumbs.responses.users": ["anna", "ben", "carl", "dora"],
            "thumbs.responses.status": ["submitted", "draft", "discarded", None],
        }
    )
    items = argilla(tmp_path, record)
    unknown = "response that is not known to be submitted"
    assert outcomes(items) == ["up", "draft response", "discarded response", unknown]
    assert (items[0].rater, items[0].completion_id) == ("anna", "t1")


def test_an_argilla_record_that_nobody_annotated_is_counted_and_suggestions_are_no_votes(tmp_path):
    empty = {"thumbs.responses": None, "thumbs.responses.users": None, "thumbs.responses.status": None}
    assert outcomes(argilla(tmp_path, argilla_record(), argilla_record(**empty))) == ["up", "no human annotation"]


def test_nested_argilla_records_are_refused_because_they_do_not_tell_drafts(tmp_path):
    nested = {
        "id": "t1",
        "fields": {"prompt": [USER], "response": "hello"},
        "suggestions": {},
        "responses": {"thumbs": [{"value": "up", "user_id": "anna"}]},
    }
    path = write(tmp_path / "records.json", [nested])
    assert detect([path]).name == "argilla"
    with pytest.raises(DataError, match=r"records.json:row 1: .*to_list\(flatten=True\)"):
        read("argilla", path)


def test_of_several_argilla_questions_the_user_says_which_is_the_verdict(tmp_path):
    other = {"tone.responses": ["kind"], "tone.responses.users": ["anna"], "tone.responses.status": ["submitted"]}
    with pytest.raises(DataError, match=r"2 questions: .*--label-key"):
        argilla(tmp_path, argilla_record(**other))
    assert outcomes(argilla(tmp_path, argilla_record(**other), label_key="tone")) == ["kind"]


def test_an_argilla_question_of_text_may_be_the_correction(tmp_path):
    better = {
        "better.responses": ["Today."],
        "better.responses.users": ["anna"],
        "better.responses.status": ["submitted"],
    }
    vote = only(argilla(tmp_path, argilla_record(**better), columns={"correction": "better"}))
    assert (vote.verdict, vote.correction) == ("up", "Today.")


def test_argilla_fields_of_other_names_have_to_be_named(tmp_path):
    record = argilla_record(asked="Where?", said="There.")
    del record["prompt"], record["response"]
    with pytest.raises(DataError, match=r"no field is known to be the completion; found .*--map"):
        argilla(tmp_path, record)
    vote = only(argilla(tmp_path, record, columns={"prompt": "asked", "completion": "said"}))
    assert (vote.prompt, vote.completion) == ("Where?", "There.")
    with pytest.raises(UsageError, match="--map weight"):
        argilla(tmp_path, record, columns={"weight": "x"})


def test_an_argilla_chat_that_ends_with_the_assistant_is_prompt_and_completion(tmp_path):
    record = argilla_record(chat=[USER, ANSWER])
    del record["prompt"], record["response"]
    vote = only(argilla(tmp_path, record))
    assert (vote.prompt, vote.completion) == ([USER], [ANSWER])


def test_argilla_answers_and_annotators_that_do_not_match_are_counted(tmp_path):
    record = argilla_record(**{"thumbs.responses.users": ["anna", "ben"]})
    assert outcomes(argilla(tmp_path, record)) == ["answers and annotators of the record do not match"]


def test_an_argilla_dataset_without_questions_is_refused(tmp_path):
    with pytest.raises(DataError, match="there is no question in it"):
        argilla(tmp_path, {"prompt": "a", "response": "b"})


def test_an_argilla_label_that_nobody_declared_is_refused_and_can_be_mapped(tmp_path):
    path = write(tmp_path / "records.jsonl", [argilla_record(**{"thumbs.responses": [["correct"]]})])
    with pytest.raises(DataError, match='the verdict is "correct"'):
        import_feedback([path], tmp_path / "out.jsonl")
    report = import_feedback([path], tmp_path / "out.jsonl", label_map={"correct": True})
    assert report.desirable == 1


# Label Studio


def label_studio(folder, *tasks, **options):
    return read("label-studio", write(folder / "tasks.json", list(tasks)), **options)


def test_each_annotator_of_a_label_studio_task_has_a_vote(tmp_path):
    task = label_studio_task(
        annotation(choice("up"), by=1),
        annotation(choice("down"), by={"id": 2, "email": "ben@example.org"}, id=8),
        annotation(choice("down"), by=3, was_cancelled=True),
        annotation(by=4),
    )
    items = label_studio(tmp_path, task)
    assert outcomes(items) == ["up", "down", "cancelled annotation", "annotation without a label"]
    assert [item.rater for item in items[:2]] == ["1", "ben@example.org"]
    assert [item.source_id for item in items[:2]] == ["7", "8"]
    assert (items[0].prompt, items[0].completion) == ([USER], [ANSWER])


def test_predictions_of_label_studio_are_no_votes(tmp_path):
    task = label_studio_task(predictions=[{"result": [choice("up")]}])
    assert outcomes(label_studio(tmp_path, task)) == ["no human annotation"]


def test_of_several_label_studio_controls_the_user_says_which_is_the_verdict(tmp_path):
    words = {"from_name": "why", "type": "textarea", "value": {"text": ["too slow"]}}
    both = label_studio_task(annotation(choice("up"), choice("kind", "tone"), words))
    with pytest.raises(DataError, match=r"2 controls: .*--label-key"):
        label_studio(tmp_path, both)
    vote = only(label_studio(tmp_path, both, label_key="thumbs", columns={"reason": "why"}))
    assert (vote.verdict, vote.reason) == ("up", "too slow")
    alone = label_studio_task(annotation(choice("up"), words))
    assert only(label_studio(tmp_path, alone, columns={"correction": "why"})).correction == "too slow"


def test_several_choices_at_once_are_no_verdict(tmp_path):
    several = {**choice("up"), "value": {"choices": ["up", "rude"]}}
    assert outcomes(label_studio(tmp_path, label_studio_task(annotation(several)))) == [
        "several labels in one annotation"
    ]


def test_prompt_and_completion_of_label_studio_may_be_fields_of_their_own(tmp_path):
    data = {"prompt": "Where?", "response": "There.", "model": "small"}
    vote = only(label_studio(tmp_path, label_studio_task(annotation(choice("up")), data=data)))
    assert (vote.prompt, vote.completion, vote.model) == ("Where?", "There.", "small")
    odd = label_studio_task(annotation(choice("up")), data={"q": "Where?", "a": {"text": "There."}})
    assert outcomes(label_studio(tmp_path, odd)) == ["completion cannot be read"]
    vote = only(label_studio(tmp_path, odd, columns={"prompt": "q", "completion": "a.text"}))
    assert (vote.prompt, vote.completion) == ("Where?", "There.")


@pytest.mark.parametrize("name", ["min.json", "tasks.csv"])
def test_flattened_label_studio_tasks_are_read(tmp_path, name):
    about = {"lead_time": 3.5, "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-02T00:00:00Z"}
    row = {
        "id": 1,
        "prompt": "Where?",
        "response": "There.",
        "thumbs": "down",
        "annotator": 4,
        "annotation_id": 9,
        **about,
    }
    path = write(tmp_path / name, [row])
    assert detect([path]).name == "label-studio"
    vote = only(read("label-studio", path))
    assert (vote.verdict, vote.rater, vote.source_id, vote.completion) == ("down", "4", "9", "There.")
    several = write(tmp_path / name, [{**row, "topic": "parcels"}])
    with pytest.raises(DataError, match="--label-key"):
        read("label-studio", several)
    assert outcomes(read("label-studio", several, label_key="thumbs")) == ["down"]


def test_a_file_without_tasks_of_label_studio_is_refused(tmp_path):
    with pytest.raises(DataError, match="there is no task of Label Studio in it"):
        label_studio(tmp_path, {"prompt": "a"})


# AnythingLLM


def anythingllm(folder, *chats):
    return read("anythingllm", write(folder / "chats.json", list(chats)))


def test_good_and_bad_of_anythingllm_are_votes_and_two_dashes_are_none(tmp_path):
    chats = [anythingllm_chat(), anythingllm_chat(rating="BAD"), anythingllm_chat(rating="--")]
    chats.append(anythingllm_chat(attachments=[{"type": "image", "image": "data:"}]))
    items = anythingllm(tmp_path, *chats)
    assert outcomes(items) == ["GOOD", "BAD", "no rating", "chat with attachments, which are no text"]
    assert (items[0].rater, items[0].completion_id, items[0].prompt) == ("anna", "3", [USER])
    assert anythingllm(tmp_path, anythingllm_chat(username="unknown user"))[0].rater is None


def test_anythingllm_votes_become_labels(tmp_path):
    path = write(tmp_path / "chats.csv", [anythingllm_chat(id=1), anythingllm_chat(id=2, rating="BAD")])
    import_feedback([path], tmp_path / "out.jsonl")
    assert [row.desirable for row in load_feedback(tmp_path / "out.jsonl")] == [True, False]


@pytest.mark.parametrize(
    ("row", "what"),
    [
        (
            {"messages": [{"role": "system", "content": [{"type": "text", "text": "Be brief."}]}, USER, ANSWER]},
            "JSON lines",
        ),
        ({"instruction": "Be brief.", "input": "Where?", "output": "There."}, "Alpaca"),
        ({key: value for key, value in anythingllm_chat().items() if key not in ("rating", "username")}, "embedded"),
        ({"prompt": "Where?", "response": "There."}, "has no column rating"),
    ],
)
def test_anythingllm_exports_that_lost_the_ratings_are_refused_with_the_reason(tmp_path, row, what):
    with pytest.raises(DataError, match=rf"{what}.*JSON"):
        anythingllm(tmp_path, row)
