"""Exports of tools that keep verdicts and texts apart: Langfuse, LangSmith, Phoenix, Chainlit, Dify."""

from __future__ import annotations

import json

import pytest
from tool_exports import (
    chainlit_steps,
    dify_feedback,
    dify_messages,
    export,
    langfuse_observation,
    langfuse_score,
    langsmith_feedback,
    langsmith_run,
    only,
    outcomes,
    phoenix_annotation,
    phoenix_span,
    read,
    write,
)

from prospect.errors import DataError, UsageError
from prospect.feedback import load_feedback
from prospect.feedback.importers import detect
from prospect.feedback.importers.pipeline import import_feedback
from prospect.feedback.importers.shapes.base import ANSWER, USER

TRACING = ["langfuse", "langsmith", "phoenix", "chainlit", "dify"]


@pytest.mark.parametrize("name", TRACING[:4])
def test_verdicts_without_the_texts_they_judge_are_refused_with_advice(tmp_path, name):
    verdicts = export(name, tmp_path)[0]
    with pytest.raises(DataError, match="Export both, and name all files in one command"):
        read(name, verdicts)


@pytest.mark.parametrize("name", TRACING[:4])
def test_texts_without_verdicts_are_refused_with_advice(tmp_path, name):
    texts = export(name, tmp_path)[1]
    with pytest.raises(DataError, match=r"there is no (score|feedback|span annotation) in it"):
        read(name, texts)


@pytest.mark.parametrize("name", TRACING)
def test_a_row_of_no_table_is_counted(tmp_path, name):
    paths = [*export(name, tmp_path), write(tmp_path / "odd.jsonl", [{"hello": 1}])]
    paths[-1].write_text('{"hello": 1}\nno json\n')
    dropped = outcomes(read(name, *paths))[1:]
    assert dropped[0].startswith("row is neither a ")
    assert dropped[1:] == ["line is not JSON"]


# Langfuse


def langfuse(folder, scores, observations=None, **options):
    paths = [
        write(folder / "scores.json", scores),
        write(folder / "observations.json", observations or [langfuse_observation()]),
    ]
    return read("langfuse", *paths, **options)


def test_a_langfuse_score_keeps_where_it_came_from(tmp_path):
    vote = only(langfuse(tmp_path, [langfuse_score()], [langfuse_observation(userId="anna")]))
    assert (vote.verdict, vote.source_id, vote.completion_id, vote.rater) == (1, "s1", "o1", "anna")
    assert (vote.model, vote.reason, vote.time.isoformat()) == ("small", "quick", "2026-01-02T03:04:05+00:00")


def test_only_the_thumbs_of_an_application_are_those_of_the_user_of_the_trace(tmp_path):
    call = langfuse_observation(userId="anna")
    votes = langfuse(tmp_path, [langfuse_score(), langfuse_score(source="ANNOTATION")], [call])
    assert [(vote.rater, vote.completion_id) for vote in votes] == [("anna", "o1"), (None, None)]
    run = langsmith_run(extra={"metadata": {"user_id": "anna"}})
    feedback = [langsmith_feedback(feedback_source={"type": kind}) for kind in ("api", "app")]
    votes = langsmith(tmp_path, feedback, [run])
    assert [(vote.rater, vote.completion_id) for vote in votes] == [("anna", "r1"), (None, None)]


def test_machine_scores_of_langfuse_are_dropped(tmp_path):
    scores = [langfuse_score(source="EVAL"), langfuse_score(source="ANNOTATION"), langfuse_score(source=None)]
    assert outcomes(langfuse(tmp_path, scores)) == [
        "machine score",
        1,
        "unknown whether a person or a machine judged",
    ]


@pytest.mark.parametrize(
    ("score", "desirable"),
    [
        ({"value": True}, True),
        ({"value": 0.0}, False),
        ({"value": 1, "stringValue": "True"}, True),
        ({"value": 0, "stringValue": "False"}, False),
        ({"dataType": "CATEGORICAL", "value": None, "stringValue": "bad"}, False),
        ({"dataType": "CATEGORICAL", "value": "good"}, True),
        ({"dataType": "NUMERIC", "value": -1}, False),
    ],
)
def test_langfuse_values_of_every_type_are_verdicts(tmp_path, score, desirable):
    langfuse(tmp_path, [langfuse_score(**score)])
    import_feedback([tmp_path / "scores.json", tmp_path / "observations.json"], tmp_path / "out.jsonl")
    assert load_feedback(tmp_path / "out.jsonl")[0].desirable is desirable


def test_a_number_between_good_and_bad_is_refused(tmp_path):
    langfuse(tmp_path, [langfuse_score(dataType="NUMERIC", value=0.7)])
    with pytest.raises(DataError, match=r"scores.json:row 1: the verdict is 0.7"):
        import_feedback([tmp_path / "scores.json", tmp_path / "observations.json"], tmp_path / "out.jsonl")


def test_of_several_langfuse_scores_the_user_says_which_is_the_verdict(tmp_path):
    scores = [langfuse_score(), langfuse_score(name="tone", value=0), langfuse_score(name="judge", source="EVAL")]
    with pytest.raises(DataError, match=r'2 scores: "thumbs" \(1\) and "tone" \(1\).*--label-key'):
        langfuse(tmp_path, scores)
    found = outcomes(langfuse(tmp_path, scores, label_key="tone"))
    assert found == ["another label than the one asked for", 0, "machine score"]
    with pytest.raises(DataError, match='no score is called "mood"; found'):
        langfuse(tmp_path, scores, label_key="mood")


def test_a_langfuse_correction_is_a_vote_without_a_verdict(tmp_path):
    correction = langfuse_score(
        id="s2", name="output", dataType="CORRECTION", value=None, stringValue="It comes today."
    )
    vote = langfuse(tmp_path, [langfuse_score(), correction])[1]
    assert (vote.verdict, vote.correction) == (None, "It comes today.")
    paths = [tmp_path / "scores.json", tmp_path / "observations.json"]
    report = import_feedback(paths, tmp_path / "out.jsonl", corrections=True)
    assert (report.kept, report.corrections) == (1, 1)
    assert [row.desirable for row in load_feedback(tmp_path / "out.jsonl")] == [True, True]


def test_a_langfuse_score_of_a_whole_trace_judges_its_own_output_before_that_of_its_calls(tmp_path):
    score = langfuse_score(observationId=None)
    inner = langfuse_observation(id="o2", parentObservationId="o1", output="inner")
    root = langfuse_observation(type="SPAN", output="outer")
    whole = {"id": "t1", "name": "chat", "userId": "anna", "input": "Hello", "output": "Hello!"}
    assert only(langfuse(tmp_path, [score], [inner, root])).completion == "outer"
    assert only(langfuse(tmp_path, [score], [inner, root, whole])).completion == "Hello!"
    unread = [langfuse_observation(id="a", input=None), langfuse_observation(id="b", input=None)]
    assert outcomes(langfuse(tmp_path, [score], unread)) == ["prompt cannot be read"]


def test_langfuse_scores_without_a_completion_are_counted_by_reason(tmp_path):
    scores = [
        langfuse_score(observationId="gone"),
        langfuse_score(traceId=None, observationId=None, sessionId="s"),
        langfuse_score(value=None),
        langfuse_score(dataType="TEXT", value="long"),
    ]
    assert outcomes(langfuse(tmp_path, scores)) == [
        "no observation for this score",
        "score of a session or an experiment, not of a completion",
        "score without a value",
        "score that is a text",
    ]


def test_the_blob_storage_and_the_newest_api_of_langfuse_are_read_too(tmp_path):
    snake = {
        "id": "s",
        "trace_id": "t1",
        "observation_id": "o1",
        "name": "thumbs",
        "source": "ANNOTATION",
        "data_type": "BOOLEAN",
        "value": 1,
        "string_value": "True",
        "author_user_id": "ben",
    }
    call = {
        "id": "o1",
        "trace_id": "t1",
        "type": "GENERATION",
        "input": '[{"role":"user","content":"Hi"}]',
        "output": "Hello",
    }
    vote = only(langfuse(tmp_path, [snake], [call]))
    assert (vote.verdict, vote.rater, vote.prompt) == ("True", "ben", [{"role": "user", "content": "Hi"}])
    v3 = {"id": "s", "name": "x", "source": "API", "value": False, "subject": {"kind": "observation", "id": "o1"}}
    assert only(langfuse(tmp_path, [v3])).verdict is False


def test_one_file_may_hold_the_scores_and_the_observations_of_a_langfuse_trace(tmp_path):
    path = write(
        tmp_path / "trace.json", {"id": "t1", "observations": [langfuse_observation()], "scores": [langfuse_score()]}
    )
    assert detect([path]).name == "langfuse"
    assert outcomes(read("langfuse", path)) == [1]


def test_an_input_of_several_texts_is_no_prompt_until_the_user_says_which(tmp_path):
    call = langfuse_observation(input={"question": "Where?", "context": "A street."})
    assert outcomes(langfuse(tmp_path, [langfuse_score()], [call])) == ["prompt cannot be read"]
    said = langfuse(tmp_path, [langfuse_score()], [call], columns={"prompt": "input.question"})
    assert only(said).prompt == "Where?"
    with pytest.raises(UsageError, match="--map label"):
        langfuse(tmp_path, [langfuse_score()], [call], columns={"label": "x"})


@pytest.mark.parametrize("output", ['{"city": "Berlin"}', '{"answer": 7}', '["a"]', "[1] is a footnote"])
def test_an_answer_that_is_json_is_kept_as_the_model_wrote_it(tmp_path, output):
    for stored in (output, {"output": output}, {**ANSWER, "content": output}):
        completion = only(langfuse(tmp_path, [langfuse_score()], [langfuse_observation(output=stored)])).completion
        assert completion in (output, [{**ANSWER, "content": output}])


def test_messages_that_are_stored_as_text_are_opened(tmp_path):
    for stored in (json.dumps(ANSWER), json.dumps([ANSWER]), json.dumps({"choices": [{"message": ANSWER}]})):
        call = langfuse_observation(output=stored, input=json.dumps([USER]))
        assert only(langfuse(tmp_path, [langfuse_score()], [call])).completion == [ANSWER]


def test_thoughts_are_no_part_of_an_answer(tmp_path):
    said = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hello"}]}
    output = {"output": [{"type": "reasoning", "summary": []}, said]}
    vote = only(langfuse(tmp_path, [langfuse_score()], [langfuse_observation(output=output)]))
    assert vote.completion == [{"role": "assistant", "content": "Hello"}]


# LangSmith


def langsmith(folder, feedback, runs=None, **options):
    paths = [write(folder / "feedback.jsonl", feedback), write(folder / "runs.jsonl", runs or [langsmith_run()])]
    return read("langsmith", *paths, **options)


def test_a_langsmith_feedback_keeps_where_it_came_from(tmp_path):
    vote = only(langsmith(tmp_path, [langsmith_feedback(comment="quick")]))
    assert (vote.verdict, vote.score, vote.rater, vote.completion_id) == (1.0, 1.0, "anna", "r1")
    assert (vote.source_id, vote.model, vote.reason) == ("f1", "small", "quick")


def test_evaluators_of_langsmith_are_machines(tmp_path):
    kinds = ["model", "auto_eval", "api", "app", None]
    feedback = [langsmith_feedback(feedback_source={"type": kind}) for kind in kinds]
    unknown = "unknown whether a person or a machine judged"
    assert outcomes(langsmith(tmp_path, feedback)) == ["machine score", "machine score", 1.0, 1.0, unknown]


def test_the_score_of_langsmith_goes_before_the_value_beside_it(tmp_path):
    assert outcomes(langsmith(tmp_path, [langsmith_feedback(score=0, value="a remark")])) == [0]


def test_langsmith_keys_scores_and_values(tmp_path):
    feedback = [langsmith_feedback(score=None, value="bad"), langsmith_feedback(score=None, comment="a note")]
    assert outcomes(langsmith(tmp_path, feedback)) == ["bad", "feedback without a score"]
    other = [langsmith_feedback(), langsmith_feedback(key="tone"), langsmith_feedback(run_id="gone")]
    with pytest.raises(DataError, match="2 feedback keys"):
        langsmith(tmp_path, other)
    found = outcomes(langsmith(tmp_path, other, label_key="user_score"))
    assert found == [1.0, "another label than the one asked for", "no run for this feedback"]


@pytest.mark.parametrize("correction", ["Today.", {"output": "Today."}, {"role": "assistant", "content": "Today."}])
def test_a_langsmith_correction_is_a_text_or_an_output(tmp_path, correction):
    alone = langsmith_feedback(score=None, correction=correction, key="correction")
    vote, other = langsmith(tmp_path, [langsmith_feedback(correction=correction), alone])
    assert (vote.correction, vote.verdict) == ("Today.", 1.0)
    assert (other.correction, other.verdict) == ("Today.", None)


LANGCHAIN = {"lc": 1, "type": "constructor", "id": ["langchain", "schema", "HumanMessage"], "kwargs": {"content": "Hi"}}
TYPED = [{"type": "human", "content": "Hi"}, {"type": "ai", "content": "Hello"}]
LANGCHAIN_ANSWER = {**LANGCHAIN, "id": ["langchain", "schema", "AIMessageChunk"], "kwargs": {"content": "Hello"}}


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        ({"messages": [[LANGCHAIN]]}, {"generations": [[{"text": "Hello", "message": LANGCHAIN_ANSWER}]]}),
        ({"input": "Hi"}, {"output": "Hello"}),
        ({"input": "Hi", "chat_history": []}, {"answer": "Hello"}),
        ('{"question": "Hi", "user_id": "7"}', '{"output": {"content": "Hello", "role": "assistant"}}'),
        ({"messages": [TYPED[0]]}, {"messages": TYPED}),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]}, {"text": "Hello"}),
    ],
)
def test_runs_of_many_frameworks_are_read(tmp_path, inputs, outputs):
    vote = only(langsmith(tmp_path, [langsmith_feedback()], [langsmith_run(inputs=inputs, outputs=outputs)]))
    assert vote.prompt in ("Hi", [{"role": "user", "content": "Hi"}])
    assert vote.completion in ("Hello", [{"role": "assistant", "content": "Hello"}])


@pytest.mark.parametrize(
    ("inputs", "outputs", "reason"),
    [
        ({"a": "x", "b": "y"}, {"output": "Hello"}, "prompt cannot be read"),
        ({"input": "x", "documents": "y"}, {"output": "Hello"}, "prompt cannot be read"),
        ({"input": "Hi"}, None, "completion cannot be read"),
        ({"input": "Hi"}, {"output": ""}, "completion cannot be read"),
        ({"input": "Hi"}, {"choices": [{"message": ANSWER}, {"message": ANSWER}]}, "completion cannot be read"),
        ({"input": "Hi"}, {"messages": [USER]}, "completion cannot be read"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            {"output": "x"},
            "prompt cannot be read",
        ),
    ],
)
def test_what_a_run_does_not_plainly_say_is_not_guessed(tmp_path, inputs, outputs, reason):
    run = langsmith_run(inputs=inputs, outputs=outputs)
    assert outcomes(langsmith(tmp_path, [langsmith_feedback()], [run])) == [reason]


def test_system_prompt_and_history_come_before_the_question(tmp_path):
    inputs = {"system": "Be brief.", "chat_history": [USER, ANSWER], "input": "And when?"}
    vote = only(langsmith(tmp_path, [langsmith_feedback()], [langsmith_run(inputs=inputs)]))
    assert [turn["role"] for turn in vote.prompt] == ["system", "user", "assistant", "user"]


# Phoenix


def phoenix(folder, annotations, spans=None, **options):
    paths = [
        write(folder / "annotations.json", {"data": annotations}),
        write(folder / "spans.json", spans or [phoenix_span()]),
    ]
    return read("phoenix", *paths, **options)


def test_a_phoenix_annotation_keeps_where_it_came_from(tmp_path):
    vote = only(phoenix(tmp_path, [phoenix_annotation()]))
    assert (vote.verdict, vote.score, vote.reason, vote.rater) == ("thumbs-up", 1.0, "kind", "anna")
    assert (vote.prompt, vote.completion, vote.model) == ([USER], [ANSWER], "small")


def test_phoenix_annotations_that_are_no_vote_are_counted_by_reason(tmp_path):
    annotations = [
        phoenix_annotation(annotator_kind="LLM"),
        phoenix_annotation(annotator_kind="CODE"),
        phoenix_annotation(annotator_kind=None),
        phoenix_annotation(result={"explanation": "only words"}),
        phoenix_annotation(span_id="gone"),
        phoenix_annotation(result={"score": 0}),
    ]
    assert outcomes(phoenix(tmp_path, annotations)) == [
        "machine score",
        "machine score",
        "unknown whether a person or a machine judged",
        "annotation without a label or score",
        "no span for this annotation",
        0,
    ]


FLAT = {"message.role": "user", "message.content": "Hi"}
PARTS = {
    "message.role": "user",
    "message.contents": [{"message_content.type": "text", "message_content.text": "Hi"}],
}
NESTED = {"message": {"role": "user", "content": "Hi"}}


@pytest.mark.parametrize(
    "span",
    [
        {"attributes": {"llm": {"input_messages": [NESTED]}, "output": {"value": "Hello"}}},
        {"attributes": {"input.value": "Hi", "output.value": "Hello"}},
        {"attributes": {"input.value": '{"messages": [{"role": "user", "content": "Hi"}]}', "output.value": "Hello"}},
        {"attributes.llm.input_messages": [FLAT], "attributes.output.value": "Hello"},
        {"attributes": {"llm.input_messages": [PARTS], "output.value": "Hello"}},
    ],
)
def test_spans_of_every_layout_are_read(tmp_path, span):
    vote = only(phoenix(tmp_path, [phoenix_annotation()], [{"context.span_id": "67f6740bbe1ddc3f", **span}]))
    assert vote.prompt in ("Hi", [{"role": "user", "content": "Hi"}])
    assert vote.completion == "Hello"


def test_the_data_frames_of_phoenix_are_read_as_csv(tmp_path):
    annotations = [
        {
            "span_id": "s",
            "annotation_name": "thumbs",
            "annotator_kind": "HUMAN",
            "result.label": "",
            "result.score": "0.0",
        }
    ]
    messages = [{"message.role": "user", "message.content": "Hi"}]
    spans = [{"context.span_id": "s", "attributes.llm.input_messages": messages, "attributes.output.value": "Hello"}]
    paths = [write(tmp_path / "annotations.csv", annotations), write(tmp_path / "spans.csv", spans)]
    assert detect(paths).name == "phoenix"
    report = import_feedback(paths, tmp_path / "out.jsonl")
    assert (report.kept, report.undesirable) == (1, 1)


# Chainlit


def chainlit(folder, feedbacks, steps=None, threads=None):
    paths = [write(folder / "feedbacks.json", feedbacks), write(folder / "steps.json", steps or chainlit_steps())]
    return read("chainlit", *paths, *([write(folder / "threads.json", threads)] if threads else []))


def test_a_verdict_on_a_run_of_chainlit_judges_what_was_said_within_it(tmp_path):
    for judged in ("m1", "run"):
        vote = only(chainlit(tmp_path, [{"id": "f", "forId": judged, "value": 0, "comment": "slow"}]))
        assert (vote.prompt, vote.completion, vote.verdict, vote.reason) == ([USER], [ANSWER], 0, "slow")


def test_a_message_outside_of_a_run_of_chainlit_is_not_judged_with_it(tmp_path):
    steps = chainlit_steps()
    tool = {**steps[1], "id": "tool", "type": "tool", "parentId": "run", "createdAt": "2026-01-01T00:00:04Z"}
    inner = {**steps[2], "id": "m2", "output": "Today.", "parentId": "tool", "createdAt": "2026-01-01T00:00:05Z"}
    outside = {**steps[2], "id": "m3", "output": "Bye.", "parentId": "u1", "createdAt": "2026-01-01T00:00:06Z"}
    vote = only(chainlit(tmp_path, [{"id": "f", "forId": "run", "value": 1}], [*steps, tool, inner, outside]))
    assert [turn["content"] for turn in vote.completion] == [ANSWER["content"], "Today."]


def test_a_chainlit_prompt_is_what_was_said_before_whatever_the_order_of_the_file(tmp_path):
    later = {
        "id": "u2",
        "type": "user_message",
        "threadId": "t",
        "output": "And when?",
        "createdAt": "2026-01-01T00:00:05Z",
    }
    answer = {**later, "id": "m2", "type": "assistant_message", "output": "Today.", "createdAt": "2026-01-01T00:00:06Z"}
    steps = [answer, later, *chainlit_steps()[::-1]]
    vote = only(chainlit(tmp_path, [{"id": "f", "forId": "m2", "value": 1}], steps))
    assert vote.prompt == [USER, ANSWER, {"role": "user", "content": "And when?"}]
    assert only(chainlit(tmp_path, [{"id": "f", "forId": "m1", "value": 1}], steps)).prompt == [USER]


def test_the_official_tables_of_chainlit_and_the_users_of_threads_are_read(tmp_path):
    threads = [{"id": "t", "userId": "u", "userIdentifier": "anna", "createdAt": "2026-01-01"}]
    vote = only(chainlit(tmp_path, [{"id": "f", "stepId": "m1", "name": "user_feedback", "value": 1.0}], None, threads))
    assert (vote.verdict, vote.rater, vote.completion_id) == (1.0, "anna", "m1")


def test_chainlit_feedback_without_a_completion_is_counted_by_reason(tmp_path):
    steps = [*chainlit_steps(), {"id": "lone", "type": "assistant_message", "threadId": "x", "output": "Hello"}]
    feedbacks = [{"id": "f", "forId": name, "value": 1} for name in ("gone", "u1", "lone")]
    feedbacks.append({"id": "f", "forId": "m1", "value": None})
    assert outcomes(chainlit(tmp_path, feedbacks, steps)) == [
        "no step for this feedback",
        "completion cannot be read",
        "no message of the user before this step",
        "feedback without a value",
    ]


# Dify


def test_the_feedback_export_of_dify_cuts_answers_so_the_messages_are_asked(tmp_path):
    cut = "a" * 500 + "..."
    feedback = write(tmp_path / "feedback.csv", [dify_feedback(ai_response=cut)])
    assert outcomes(read("dify", feedback)) == ["answer cut after 500 characters by the export"]
    messages = write(tmp_path / "messages.json", {"data": dify_messages(), "has_more": False})
    vote = only(read("dify", feedback, messages))
    assert vote.completion == "Tomorrow."
    assert vote.prompt == [USER, ANSWER, {"role": "user", "content": "And when?"}]
    assert (vote.verdict, vote.rater, vote.completion_id) == ("like", "anna", "m2")


def test_messages_of_dify_bring_their_own_feedback(tmp_path):
    messages = dify_messages()
    messages[0]["feedback"] = {"rating": "dislike"}
    messages[1]["feedback"] = {"rating": None}
    path = write(tmp_path / "messages.json", {"data": messages})
    assert detect([path]).name == "dify"
    assert outcomes(read("dify", path)) == ["dislike", "no rating"]


def test_the_branch_of_a_dify_message_is_followed(tmp_path):
    first, second = dify_messages()[1], dify_messages()[0]
    first["parent_message_id"] = "00000000-0000-0000-0000-000000000000"
    second |= {"parent_message_id": "m1", "feedbacks": [{"rating": "like", "from_account_id": "ben"}]}
    other = {**second, "id": "m3", "created_at": 150, "query": "Another branch", "feedbacks": []}
    path = write(tmp_path / "messages.json", [first, other, second])
    _, _, vote = read("dify", path)
    assert vote.prompt == [USER, ANSWER, {"role": "user", "content": "And when?"}]
    assert vote.rater == "ben"
    third = {**second, "id": "m4", "parent_message_id": "m2", "query": "Thanks", "answer": "Welcome."}
    *_, vote = read("dify", write(path, [third, second, first, third]))
    assert [turn["content"] for turn in vote.prompt][::2] == [USER["content"], "And when?", "Thanks"]
    assert outcomes(read("dify", write(path, [second]))) == ["an earlier message of the conversation is missing"]


def test_a_dify_feedback_taken_back_is_a_vote_without_a_verdict(tmp_path):
    path = write(
        tmp_path / "feedback.jsonl",
        [dify_feedback(), dify_feedback(feedback_rating_raw=None, feedback_date="2026-01-03")],
    )
    report = import_feedback([path], tmp_path / "out.jsonl")
    assert report.kept == 0
    assert report.rows_in == 2
