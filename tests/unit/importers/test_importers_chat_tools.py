"""Exports of chat tools that carry votes and texts together: Open WebUI, Gradio, LibreChat, chat-ui, FeeL, FastChat."""

from __future__ import annotations

import copy
import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from prospect.errors import DataError
from prospect.feedback import load_feedback
from prospect.feedback.importers.pipeline import NEUTRAL, RELATIVE, SUPERSEDED, TAKEN_BACK, import_feedback
from prospect.feedback.importers.report import ImportReport


@pytest.fixture(autouse=True)
def _rater_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROSPECT_RATER_KEY", "a key that is long enough")


def as_json(path: Path, value: Any) -> Path:
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def imported(files: Sequence[Path] | Path, **options: Any) -> tuple[ImportReport, list[dict[str, Any]]]:
    files = [files] if isinstance(files, Path) else list(files)
    out = files[0].parent / "out.jsonl"
    out.unlink(missing_ok=True)
    report = import_feedback(files, out, **options)
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()] if out.exists() else []
    if rows:
        load_feedback(out)
    return report, rows


def said(row: dict[str, Any]) -> list[str]:
    """The prompt's turns, in short: `user: Hi`."""
    return [f"{turn['role']}: {turn['content']}" for turn in row["prompt"]]


def answer(row: dict[str, Any]) -> str:
    (turn,) = row["completion"]
    assert turn["role"] == "assistant"
    return str(turn["content"])


# Open WebUI


def tree(*messages: dict[str, Any]) -> dict[str, Any]:
    """A chat as Open WebUI stores it: `history.messages` by id."""
    return {
        "models": ["m"],
        "history": {"currentId": messages[-1]["id"], "messages": {message["id"]: message for message in messages}},
        "messages": list(messages),
    }


def message(name: str, parent: str | None, role: str, content: Any, **fields: Any) -> dict[str, Any]:
    return {"id": name, "parentId": parent, "childrenIds": [], "role": role, "content": content} | fields


def branched() -> dict[str, Any]:
    """Two answers to one question; the chat went on below the first."""
    return tree(
        message("u1", None, "user", "Hi"),
        message("a1", "u1", "assistant", "Hello", model="m"),
        message("a2", "u1", "assistant", "Good day", model="m2"),
        message("u2", "a1", "user", "Where is it?"),
        message("b1", "u2", "assistant", "On its way", model="m"),
    )


def rating(
    message_id: str | None = "b1", value: Any = 1, chat: dict[str, Any] | None = None, **fields: Any
) -> dict[str, Any]:
    snapshot = {"chat": {"id": "c1", "user_id": "u", "title": "t", "chat": chat or branched()}}
    return {
        "id": f"f-{message_id}",
        "user_id": "anna",
        "version": 0,
        "type": "rating",
        "data": {"rating": value, "model_id": "m", "reason": "right", "comment": "thanks", "tags": ["General"]},
        "meta": {"arena": False, "chat_id": "c1", "message_id": message_id, "message_index": 2, "model_id": "m"},
        "snapshot": snapshot,
        "created_at": 1732000000,
        "updated_at": 1732000001,
    } | fields


def chats_export(*chats: dict[str, Any], **fields: Any) -> list[dict[str, Any]]:
    return [{"id": f"c{i}", "user_id": "anna", "title": "t", "chat": chat} | fields for i, chat in enumerate(chats, 1)]


def test_open_webui_rows_keep_what_the_tool_knows(tmp_path: Path) -> None:
    row = rating(value=1)
    row["data"]["details"] = {"rating": 8}
    report, (out,) = imported(as_json(tmp_path / "feedback.json", [row]))
    assert report.format == "open-webui"
    assert said(out) == ["user: Hi", "assistant: Hello", "user: Where is it?"]
    assert answer(out) == "On its way"
    assert (out["label"], out["model"], out["score"]) == (True, "m", 8.0)
    assert (out["source"], out["source_id"], out["id"]) == ("open-webui", "f-b1", "open-webui:f-b1")
    assert (out["time"], out["reason"]) == ("2024-11-19T07:06:41Z", "right; thanks; General")
    assert out["rater"].startswith("r-")


def test_open_webui_prompts_are_the_chain_of_parents_and_not_the_list(tmp_path: Path) -> None:
    _, (out,) = imported(as_json(tmp_path / "feedback.json", [rating("a2", -1)]))
    assert said(out) == ["user: Hi"]
    assert (answer(out), out["label"]) == ("Good day", False)


@pytest.mark.parametrize(("value", "label"), [(1, True), ("1", True), (10, True), ("-1", False), (-1.0, False)])
def test_open_webui_ratings_come_in_several_spellings(tmp_path: Path, value: Any, label: bool) -> None:
    _, (out,) = imported(as_json(tmp_path / "feedback.json", [rating(value=value)]))
    assert out["label"] is label


def test_open_webui_ratings_of_other_kinds_are_refused_or_counted(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"feedback\.json:row 2: the verdict is 5; expected one of Open WebUI"):
        imported(as_json(tmp_path / "feedback.json", [rating(), rating(value=5)]))
    nothing = rating("a1", data={"model_id": "m"})
    report, _ = imported(as_json(tmp_path / "feedback.json", [rating(), rating("a2", None), nothing]))
    assert report.dropped == {TAKEN_BACK: 1, "no rating": 1}


def test_open_webui_arena_votes_are_relative(tmp_path: Path) -> None:
    rows = [rating("a1", 1), rating("a2", -1)]
    for row in rows:
        row["meta"]["arena"] = True
    file = as_json(tmp_path / "feedback.json", [*rows, rating("b1")])
    report, out = imported(file)
    assert [row.get("relative", False) for row in out] == [True, True, False]
    report, out = imported(file, relative="drop")
    assert (report.dropped, len(out)) == ({RELATIVE: 2}, 1)


def test_open_webui_null_snapshots_are_counted_or_joined_from_the_chats(tmp_path: Path) -> None:
    rows = [rating("a2", snapshot=None), rating("b1", snapshot=None), rating("a1")]
    rows[1]["meta"]["chat_id"] = "elsewhere"
    file = as_json(tmp_path / "feedback.json", rows)
    report, out = imported(file)
    assert (report.kept, report.dropped) == (1, {"snapshot is null": 2})
    chats = as_json(tmp_path / "chats.json", chats_export(branched(), branched()))
    report, out = imported([chats, file])
    assert report.format == "open-webui"
    assert report.dropped == {"snapshot is null, and the chats have no such chat": 1}
    assert (said(out[0]), answer(out[0])) == (["user: Hi"], "Good day")


def test_open_webui_rows_that_name_no_message_are_counted(tmp_path: Path) -> None:
    lost = rating(snapshot=None, meta=None)
    report, _ = imported(as_json(tmp_path / "feedback.json", [lost, rating()]))
    assert report.dropped == {"snapshot is null, and no chat and message are named": 1}


def test_open_webui_annotations_of_older_chats_are_votes(tmp_path: Path) -> None:
    chat = branched()
    messages = chat["history"]["messages"]
    messages["a1"]["annotation"] = {"rating": -1, "reason": "wrong", "comment": "no"}
    messages["a2"]["annotation"] = {"reason": "unsaid"}
    report, (out,) = imported(as_json(tmp_path / "chats.json", chats_export(chat)))
    assert (report.format, report.rows_in, report.dropped) == ("open-webui", 2, {"no rating": 1})
    assert (out["label"], out["reason"], answer(out)) == (False, "wrong; no", "Hello")
    assert out["source_id"] == "c1/a1"


def test_open_webui_an_annotation_that_repeats_a_feedback_row_counts_once(tmp_path: Path) -> None:
    chat = branched()
    chat["history"]["messages"]["b1"]["annotation"] = {"rating": 1}
    chats = as_json(tmp_path / "chats.json", chats_export(chat))
    feedback = as_json(tmp_path / "feedback.json", [rating("b1", -1, snapshot=None)])
    for files in ([chats, feedback], [feedback, chats]):
        report, (out,) = imported(files)
        assert (out["label"], report.dropped) == (False, {SUPERSEDED: 1})


def test_open_webui_answers_of_an_api_are_unwrapped(tmp_path: Path) -> None:
    report, out = imported(as_json(tmp_path / "feedback.json", {"items": [rating()], "total": 1}))
    assert (report.format, len(out)) == ("open-webui", 1)


def test_open_webui_snapshots_may_be_a_plain_list_of_messages(tmp_path: Path) -> None:
    plain = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "And?"},
    ]
    rows = [rating(snapshot={"messages": plain[:2], "model": "other"}), rating(snapshot={"messages": plain})]
    rows[0]["meta"] = {"message_index": 1, "message_id": "x", "chat_id": "c"}
    rows[0]["data"] = {"rating": 1}
    report, (out,) = imported(as_json(tmp_path / "feedback.json", rows))
    assert (said(out), answer(out), out["model"]) == (["user: Hi"], "Hello", "other")
    assert report.dropped == {"rated message is not an assistant's": 1}


def test_open_webui_reasoning_is_no_part_of_what_was_said(tmp_path: Path) -> None:
    thought = '<details type="reasoning" done="true" duration="3">\n<summary>Thought</summary>\n> hm\n</details>\n'
    chat = branched()
    messages = chat["history"]["messages"]
    for name in ("a1", "b1"):
        messages[name]["content"] = thought + messages[name]["content"]
    messages["u2"]["content"] = "What is " + thought  # the user may ask about it
    messages["a2"]["content"] = thought.replace("</details>\n", "")  # stopped while it was thinking
    report, (out,) = imported(as_json(tmp_path / "feedback.json", [rating(chat=chat), rating("a2", chat=chat)]))
    assert said(out) == ["user: Hi", "assistant: Hello", f"user: What is {thought}"]
    assert answer(out) == "On its way"
    assert report.dropped == {"completion is only reasoning": 1}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"b1": {"role": "user"}}, "rated message is not an assistant's"),
        ({"a1": None}, "chain of parents is broken"),
        ({"u1": {"parentId": "b1"}}, "chain of parents is broken"),
        ({"u1": {"parentId": ["b1"]}}, "chain of parents is broken"),
        ({"b1": {"parentId": None}}, "prompt is missing"),
        ({"b1": None}, "rated message is not in the snapshot"),
        ({"u2": {"files": [{"type": "image"}]}}, "file or image in the prompt"),
        ({"u2": {"content": [{"type": "image_url", "image_url": {}}]}}, "message of the prompt cannot be read"),
        ({"b1": {"content": None}}, "completion cannot be read"),
        ({"b1": {"error": {"content": "no model"}}}, "completion is an error message"),
        ({"b1": {"content": '<details type="tool_calls" done="true"></details>'}}, "tool calls within a text"),
    ],
)
def test_open_webui_texts_that_cannot_be_rebuilt_are_counted_by_reason(
    tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    chat = copy.deepcopy(branched())
    messages = chat["history"]["messages"]
    for name, fields in change.items():
        if fields is None:
            del messages[name]
        else:
            messages[name] |= fields
    chat["messages"] = [m for m in chat["messages"] if m["id"] in messages]
    report, out = imported(as_json(tmp_path / "feedback.json", [rating(chat=chat), rating("a2")]))
    assert report.dropped == {reason: 1}
    assert len(out) == 1


def test_open_webui_system_prompts_were_given_to_the_model(tmp_path: Path) -> None:
    chat = branched() | {"params": {"system": "Be brief."}}
    _, (out,) = imported(as_json(tmp_path / "feedback.json", [rating("a2", chat=chat)]))
    assert said(out) == ["system: Be brief.", "user: Hi"]


def test_open_webui_a_later_row_of_the_same_rater_and_message_wins(tmp_path: Path) -> None:
    rows = [rating(value=-1, updated_at=1732000005), rating(value=1), rating(value=1, user_id="bob")]
    report, out = imported(as_json(tmp_path / "feedback.json", rows))
    assert sorted(row["label"] for row in out) == [False, True]
    assert report.dropped == {SUPERSEDED: 1}


# Gradio

TALK = [
    {"role": "user", "metadata": None, "content": "Hi", "options": None},
    {"role": "assistant", "metadata": {"title": "Thinking"}, "content": "hm", "options": None},
    {"role": "assistant", "metadata": {"title": None}, "content": [{"type": "text", "text": "Hello"}], "options": None},
    {"role": "user", "metadata": None, "content": "Where is it?", "options": None},
    {"role": "assistant", "metadata": None, "content": "On its way", "options": None},
]
HEADINGS = ["conversation", "index", "value", "flag", "timestamp"]


def gradio_log(path: Path, *rows: Sequence[Any], headings: Sequence[str] = HEADINGS) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(headings)
        writer.writerows([[c if isinstance(c, str) else json.dumps(c) for c in row] for row in rows])
    return path


def test_gradio_writes_four_values_below_five_headings(tmp_path: Path) -> None:
    stamp = "2026-01-02 03:04:05.678901"
    log = gradio_log(tmp_path / "log.csv", [TALK, 4, "Like", stamp], [TALK, 2, "Dislike", stamp])
    report, (first, second) = imported(log)
    assert report.format == "gradio"
    assert said(first) == ["user: Hi", "assistant: Hello", "user: Where is it?"]
    assert (answer(first), first["label"], first["time"]) == ("On its way", True, "2026-01-02T03:04:05.678901Z")
    assert (said(second), answer(second), second["label"]) == (["user: Hi"], "Hello", False)


def test_gradio_rows_with_all_five_values_are_read_by_their_headings(tmp_path: Path) -> None:
    log = gradio_log(tmp_path / "log.csv", [TALK, 4, "On its way", "Dislike", "2026-01-02"])
    _, (out,) = imported(log)
    assert (out["label"], out["time"]) == (False, "2026-01-02T00:00:00Z")


def test_gradio_pairs_of_older_versions_are_read(tmp_path: Path) -> None:
    pairs = [[None, "Welcome"], ["Hi", "Hello"], ["And?", None]]
    log = gradio_log(
        tmp_path / "log.csv", [pairs, [1, 1], "Like", ""], [pairs, 1, "Like", ""], [pairs, [0, 1], "Like", ""]
    )
    report, (out,) = imported(log)
    assert (said(out), answer(out)) == (["assistant: Welcome", "user: Hi"], "Hello")
    assert report.dropped == {SUPERSEDED: 1, "prompt is missing": 1}


def test_gradio_the_last_click_on_an_answer_counts_even_when_the_chat_went_on(tmp_path: Path) -> None:
    log = gradio_log(tmp_path / "log.csv", [TALK[:3], 2, "Like", "2026-01-02"], [TALK, 2, "Dislike", "2026-01-03"])
    report, (out,) = imported(log)
    assert (out["label"], report.dropped) == (False, {SUPERSEDED: 1})


def test_gradio_verdicts_of_ones_own_need_a_map(tmp_path: Path) -> None:
    log = gradio_log(tmp_path / "log.csv", [TALK, 4, "Spam", ""])
    with pytest.raises(DataError, match=r'log\.csv:2: the verdict is "Spam"; expected one of Gradio: like or dislike'):
        imported(log)
    _, (out,) = imported(log, label_map={"spam": False})
    assert out["label"] is False


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ([TALK, 3, "Like", ""], "rated message is not an assistant's"),
        ([TALK, 1, "Like", ""], "rated message is a thought, not an answer"),
        ([TALK, 9, "Like", ""], "index names no message"),
        ([TALK, "", "Like", ""], "index names no message"),
        ([TALK, -1, "Like", ""], "index names no message"),
        (["{", 0, "Like", ""], "conversation cannot be read"),
        ([[{"role": "user", "content": {"path": "a.png"}}, TALK[4]], 1, "Like", ""], "message cannot be read as text"),
        ([[[["a.png"], "nice"]], [0, 1], "Like", ""], "message cannot be read as text"),
        ([TALK, 4, "Like"], "row has another number of cells than Gradio writes"),
        ([TALK, 4, "", ""], TAKEN_BACK),
    ],
)
def test_gradio_rows_that_cannot_be_read_are_counted(tmp_path: Path, cells: list[Any], reason: str) -> None:
    report, out = imported(gradio_log(tmp_path / "log.csv", cells, [TALK, 2, "Like", ""]))
    assert report.dropped == {reason: 1}
    assert len(out) == 1


def test_gradio_refuses_other_tables(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the headings are a, b; expected those of Gradio"):
        imported(gradio_log(tmp_path / "log.csv", headings=["a", "b"]), format="gradio")


# LibreChat

NO_PARENT = "00000000-0000-0000-0000-000000000000"


def libre(name: str, parent: str, text: str | None, *, user: bool = False, **fields: Any) -> dict[str, Any]:
    return {
        "_id": {"$oid": name * 4},
        "messageId": name,
        "parentMessageId": parent,
        "conversationId": "c",
        "user": "anna",
        "isCreatedByUser": user,
        "text": text,
        "model": None if user else "m",
        "updatedAt": {"$date": "2026-01-02T03:04:05.000Z"},
    } | fields


def libre_export() -> list[dict[str, Any]]:
    thinking = [
        {"type": "think", "think": "hm"},
        {"type": "text", "text": {"value": "On its way"}},
    ]
    return [
        libre(
            "b1",
            "u2",
            "",
            content=thinking,
            feedback={"rating": "thumbsUp", "tag": "not_matched", "text": "ok"},
        ),
        libre("u1", NO_PARENT, "Hi", user=True),
        libre("a1", "u1", ":::thinking\nhm\n:::\nHello", feedback={"rating": "thumbsDown", "tag": {"key": "other"}}),
        libre("a2", "u1", "Good day"),
        libre("u2", "a1", "Where is it?", user=True),
    ]


@pytest.mark.parametrize("form", ["jsonl", "array", "conversation", "tree"])
def test_librechat_votes_are_joined_with_their_parents(tmp_path: Path, form: str) -> None:
    rows = libre_export()
    path = tmp_path / ("export.jsonl" if form == "jsonl" else "export.json")
    if form == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif form == "tree":
        b1, u1, a1, a2, u2 = rows
        below = a1 | {"children": [u2 | {"children": [b1]}]}
        as_json(path, {"title": "t", "messages": [u1 | {"children": [a2, below]}]})
    else:
        as_json(path, rows if form == "array" else {"conversationId": "c", "messages": rows})
    report, out = imported(path)
    assert (report.format, report.rows_in) == ("librechat", 2)
    last, first = sorted(out, key=lambda row: row["label"], reverse=True)
    assert said(last) == ["user: Hi", "assistant: Hello", "user: Where is it?"]
    assert (answer(last), last["reason"], last["model"]) == ("On its way", "not_matched; ok", "m")
    assert (last["source_id"], last["time"]) == ("c/b1", "2026-01-02T03:04:05Z")
    assert (answer(first), first["reason"]) == ("Hello", "other")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"u1": {"messageId": "lost"}}, "chain of parents is broken"),
        ({"u1": {"parentMessageId": "b1"}}, "chain of parents is broken"),
        ({"b1": {"parentMessageId": NO_PARENT}}, "prompt is missing"),
        ({"b1": {"isCreatedByUser": True}}, "rated message is the user's"),
        ({"b1": {"error": True}}, "completion is an error message"),
        ({"b1": {"content": [{"type": "tool_call"}]}}, "completion cannot be read as text"),
        ({"u2": {"files": [{"file_id": 1}]}}, "file or image in the prompt"),
        ({"u2": {"text": None}}, "prompt cannot be read as text"),
        ({"b1": {"feedback": {"rating": None}}}, TAKEN_BACK),
        ({"b1": {"feedback": {"tag": "other"}}}, "no rating"),
    ],
)
def test_librechat_what_cannot_be_used_is_counted(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    rows = [row | change.get(row["messageId"], {}) for row in libre_export() if row["messageId"] != "a1"]
    rows += [libre("a1", "u1", "Hello"), libre("z", "y", "Yes", feedback={"rating": "thumbsUp"})]
    rows += [libre("y", NO_PARENT, "Really?", user=True)]
    report, (out,) = imported(as_json(tmp_path / "export.json", rows))
    assert report.dropped == {reason: 1}
    assert answer(out) == "Yes"


# chat-ui


def chat_ui(*scores: int | None, **fields: Any) -> dict[str, Any]:
    turns: list[dict[str, Any]] = []
    for i, score in enumerate(scores):
        turns += [{"from": "user", "content": f"q{i}", "score": None}, {"from": "assistant", "content": f"a{i}"}]
        turns[-1]["score"] = score
    return {"title": "t", "created_at": 1767322000000, "updated_at": 1767323045000, "messages": turns} | fields


def test_chat_ui_parquet_scores_are_votes_and_zero_is_neutral(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    path = tmp_path / "chats.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([chat_ui(1, None, -1, 0), chat_ui(None)]), path)
    report, (first, second) = imported(path)
    assert (report.format, report.rows_in, report.dropped) == ("chat-ui", 3, {NEUTRAL: 1})
    assert (said(first), answer(first), first["label"]) == (["user: q0"], "a0", True)
    assert said(second) == ["user: q0", "assistant: a0", "user: q1", "assistant: a1", "user: q2"]
    assert (second["label"], second["time"]) == (False, "2026-01-02T03:04:05Z")


def test_chat_ui_branches_follow_the_ancestors(tmp_path: Path) -> None:
    turns = [
        {"id": "s", "from": "system", "content": "", "ancestors": []},
        {"id": "u", "from": "user", "content": "Hi", "ancestors": ["s"]},
        {"id": "a", "from": "assistant", "content": "Hello", "ancestors": ["s", "u"], "score": -1},
        {"id": "b", "from": "assistant", "content": "Good day", "ancestors": ["s", "u"], "score": 1},
        {"id": "c", "from": "assistant", "content": "lost", "ancestors": ["gone"], "score": 1},
        {"id": "d", "from": "user", "content": "Hm", "ancestors": ["s", "u", "b"], "score": 1},
        {"id": "e", "from": "user", "content": "Look", "ancestors": ["s", "u", "b"], "files": [{"name": "a.png"}]},
        {"id": "f", "from": "assistant", "content": "A cat", "ancestors": ["s", "u", "b", "e"], "score": 1},
        {"id": "g", "from": "assistant", "content": "Welcome", "ancestors": ["s"], "score": 1},
    ]
    row = {"_id": {"$oid": "1"}, "userId": {"$oid": "9"}, "model": "m", "messages": turns}
    row["updatedAt"] = {"$date": {"$numberLong": "1767323045000"}}
    report, out = imported(as_json(tmp_path / "chats.json", [row]))
    assert report.format == "chat-ui"
    assert [(said(o)[-1], answer(o), o["label"]) for o in out] == [
        ("user: Hi", "Hello", False),
        ("user: Hi", "Good day", True),
    ]
    assert (out[1]["model"], out[1]["source_id"], out[1]["time"]) == ("m", "1/b", "2026-01-02T03:04:05Z")
    assert report.dropped == {
        "chain of parents is broken": 1,
        "file or image in the prompt": 1,
        "prompt is missing": 1,
        "rated message is not an assistant's": 1,
    }


# FeeL and FastChat


def feel(*ratings: int | None, **fields: Any) -> dict[str, Any]:
    turns = []
    for i, value in enumerate(ratings):
        turns.append({"role": "user", "content": f"q{i}", "rating": None})
        turns.append({"role": "assistant", "content": f"a{i}", "rating": value})
    return {"conversation": turns, "session_id": "s", "conversation_id": "c", "timestamp": "2026-01-02"} | fields


def test_feel_a_conversation_that_is_logged_again_counts_once(tmp_path: Path) -> None:
    path = tmp_path / "feel.jsonl"
    rows = [feel(1), feel(-1, 0, 1, timestamp="2026-01-03")]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    report, (first, second) = imported(path)
    assert report.format == "feel"
    assert (answer(first), first["label"], answer(second), second["label"]) == ("a0", False, "a2", True)
    assert report.dropped == {SUPERSEDED: 1, NEUTRAL: 1}


def test_fastchat_thumbs_are_votes_and_addresses_are_hidden(tmp_path: Path) -> None:
    talk = [["Human", "Hi"], ["Bot", "Hello"]]
    kinds = [
        ("chat", talk),
        ("upvote", talk),
        ("downvote", [*talk, ["Human", "And?"], ["Bot", "No."]]),
        ("flag", talk),
        ("upvote", talk[:1]),
        ("upvote", [["Human", ["image"]], ["Bot", "Nice"]]),
        ("upvote", talk[1:]),
    ]
    state = {"model_name": "m", "roles": ["Human", "Bot"], "system_message": "Be brief."}
    lines = [
        {"tstamp": 1767323045.5, "type": kind, "ip": "192.0.2.7"}
        | {"state": state | {"conv_id": f"c{i}", "messages": messages}}
        for i, (kind, messages) in enumerate(kinds)
    ]
    path = tmp_path / "conv.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    report, (first, second) = imported(path)
    assert report.format == "fastchat"
    assert (said(first), answer(first)) == (["system: Be brief.", "user: Hi"], "Hello")
    assert (first["label"], second["label"], first["model"]) == (True, False, "m")
    assert "192.0.2.7" not in json.dumps([first, second])
    assert report.dropped == {
        "conversation cannot be read as text": 1,
        "conversation does not end with the assistant": 1,
        "flag, which is neither up nor down": 1,
        "line of the log without a vote": 1,
        "prompt is missing": 1,
    }
