"""A column that looks like a verdict or a second answer is read, or said to be ignored, or the row is refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conftest import write_rows
from prospect.errors import DataError
from prospect.feedback import load_feedback
from prospect.feedback.doctor.inspect import inspect_feedback
from prospect.feedback.files.labels import THUMBS
from prospect.feedback.files.rows import Ignored
from prospect.feedback.files.verdict_columns import looks_like
from prospect.feedback.importers.pipeline import import_feedback
from prospect.feedback.importers.report import ImportReport
from prospect.feedback.importers.shapes.base import Options

Row = dict[str, Any]
SHOWN = {"prompt": "Which port?", "completion": "443."}
JUDGED = {**SHOWN, "label": True}
PAIR = {"prompt": "Which port?", "chosen": "443.", "rejected": "Any."}


@pytest.mark.parametrize(
    "column",
    [
        *("thumb", "thumbs", "Thumbs", "thumbs_up", "rating", "userRating", "feedback", "vote", "liked", "is_good"),
        *("reward", "preference", "winner", "verdict", "label_text", "upvotes", "disliked", "stars", "judgement"),
    ],
)
def test_a_short_value_under_such_a_name_looks_like_a_verdict(column: str) -> None:
    assert {looks_like(column, cell) for cell in (True, 1, 0.5, "up", "")} == {"verdict"}
    assert looks_like(column, None) is None


@pytest.mark.parametrize(
    "column", ["rejected_answer", "rejectedResponse", "negative", "negatives", "loser", "dispreferred", "chosen_text"]
)
def test_a_text_under_such_a_name_looks_like_a_second_answer(column: str) -> None:
    for cell in ("Any port will do, I should say.", [{"role": "assistant", "content": "x"}], {"role": "a"}):
        assert looks_like(column, cell) == "second answer"
    assert looks_like(column, None) is None


@pytest.mark.parametrize(
    "column",
    [
        *("rejected_reason", "reward_model", "rating_time", "feedback_id", "votes_count", "preferred_model"),
        *("score_chosen", "rejected-rating", "source", "sentiment", "language", "thumbnail", "scored", "goodness"),
    ],
)
def test_what_is_only_about_a_verdict_is_none(column: str) -> None:
    assert looks_like(column, 1) is None
    assert looks_like(column, "up") is None


def test_a_comment_under_the_name_of_a_verdict_is_none() -> None:
    assert looks_like("feedback", "I had asked for the port of the proxy, not of the server.") is None


@pytest.mark.parametrize(
    ("row", "ignored"),
    [
        ({**SHOWN, "thumbs": "up"}, {("demonstration", "thumbs", "verdict"): 1}),
        ({**SHOWN, "rating": 1}, {("demonstration", "rating", "verdict"): 1}),
        ({**SHOWN, "rejected_answer": "Any."}, {("demonstration", "rejected_answer", "second answer"): 1}),
        ({**JUDGED, "rating": 4}, {("unpaired", "rating", "verdict"): 1}),
        ({**PAIR, "label": 1}, {("paired", "label", "verdict"): 1}),
        ({**PAIR, "score_chosen": 4, "rejected_model": "m"}, {}),
        ({**SHOWN, "score": 3, "source": "good"}, {}),
        ({**SHOWN, "thumbs": None}, {}),
        ({"messages": [{"role": "assistant", "content": "a"}], "rejected_response": None}, {}),
    ],
)
def test_columns_that_are_ignored_are_counted(tmp_path: Path, row: Row, ignored: Mapping[Ignored, int]) -> None:
    counted: Counter[Ignored] = Counter()
    load_feedback(write_rows(tmp_path / "f.jsonl", [row]), ignored=counted)
    assert counted == ignored


def test_cells_that_say_nothing_are_not_counted(tmp_path: Path) -> None:
    rows = [{**SHOWN, "thumbs": thumbs} for thumbs in ("up", "", None, "up")]
    counted: Counter[Ignored] = Counter()
    load_feedback(write_rows(tmp_path / "f.jsonl", rows), ignored=counted)
    assert counted == {("demonstration", "thumbs", "verdict"): 2}


@pytest.mark.parametrize(
    ("column", "cell"),
    [("thumbs", "down"), ("thumbs", 0), ("thumbs", "-1"), ("liked", False), ("rating", "bad"), ("disliked", True)],
)
def test_a_completion_that_is_called_bad_is_no_demonstration(tmp_path: Path, column: str, cell: Any) -> None:
    path = write_rows(tmp_path / "f.jsonl", [{**SHOWN, column: None}, {**SHOWN, column: cell}])
    with pytest.raises(
        DataError, match=rf"f\.jsonl:2: the row is read as a demonstration .*, and {column} is "
    ) as caught:
        load_feedback(path)
    assert f"prospect data import FILE --map label={column} -o OUT.jsonl" in str(caught.value)


@pytest.mark.parametrize(("column", "cell"), [("rating", 0), ("likes", 0), ("reward", -1), ("disliked", False)])
def test_a_number_that_may_be_a_grade_or_a_count_refuses_nothing(tmp_path: Path, column: str, cell: Any) -> None:
    load_feedback(write_rows(tmp_path / "f.jsonl", [{**SHOWN, column: cell}]))


@pytest.mark.parametrize(
    ("row", "severity", "part"),
    [
        ({**SHOWN, "thumbs": "up"}, "warning", "Column thumbs looks like a verdict and is ignored, in 30 rows"),
        ({**SHOWN, "negative": "Any port will do."}, "warning", "Column negative looks like a second answer"),
        ({**JUDGED, "rating": 4}, "note", "read as unpaired"),
    ],
)
def test_the_doctor_has_a_finding(tmp_path: Path, row: Row, severity: str, part: str) -> None:
    path = write_rows(tmp_path / "f.jsonl", [{**row, "prompt": f"Question {i}?"} for i in range(30)])
    (finding,) = (f for f in inspect_feedback(path).findings if f.code == "ignored_verdict")
    assert (finding.severity, finding.count) == (severity, 30)
    assert part in finding.message
    assert "prospect data import FILE --map" in finding.advice


# Thumbs under other names, and in words


@pytest.fixture
def take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[ImportReport, list[bool]]]:
    monkeypatch.setenv("PROSPECT_RATER_KEY", "a key that is long enough")

    def import_rows(rows: list[Row], **options: Any) -> tuple[ImportReport, list[bool]]:
        report = import_feedback([write_rows(tmp_path / "f.jsonl", rows)], tmp_path / "out.jsonl", **options)
        return report, [row.desirable for row in load_feedback(tmp_path / "out.jsonl")]  # type: ignore[attr-defined]

    return import_rows


def thumbs(column: str, *cells: Any, prompt: str = "prompt", completion: str = "response") -> list[Row]:
    return [{prompt: f"Question {i}?", completion: "443.", column: cell} for i, cell in enumerate(cells)]


@pytest.mark.parametrize(
    ("column", "good", "bad"),
    [
        ("thumbs", "up", "down"),
        ("thumbs", 1, -1),
        ("thumbs", "👍", "👎"),
        ("reaction", "👍🏽", "👎🏿"),
        ("reaction", "+1", "-1"),
        ("reaction", ":thumbsup:", ":thumbsdown:"),
        ("rating", "like", "dislike"),
        ("rating", 1, 0),
        ("feedback", "Good", "Bad"),
        ("vote", "upvote", "downvote"),
        ("is_good", True, False),
        ("liked", "yes", "no"),
        ("thumbs_up", "true", "false"),
    ],
)
def test_verdicts_in_words_are_imported(take: Callable[..., Any], column: str, good: Any, bad: Any) -> None:
    report, desirable = take(thumbs(column, good, bad, None, good))
    assert desirable == [True, False, True]
    assert (report.rows_in, report.dropped) == (4, {"no label": 1})
    assert f"response is taken as completion and {column} is taken as label" in report.why


@pytest.mark.parametrize(
    ("prompt", "completion"), [("question", "answer"), ("instruction", "output"), ("query", "response")]
)
def test_texts_under_other_names_are_imported(take: Callable[..., Any], prompt: str, completion: str) -> None:
    assert take(thumbs("thumbs", "up", "down", prompt=prompt, completion=completion))[1] == [True, False]


def test_a_conversation_with_thumbs_is_imported(take: Callable[..., Any]) -> None:
    turns = [{"from": "human", "value": "Which port?"}, {"from": "gpt", "value": "443."}]
    rows = [{"conversations": turns, "thumbs": thumb} for thumb in ("up", "down")]
    assert take(rows)[1] == [True, False]


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param(thumbs("rating", 1, 2, 5), id="stars"),
        pytest.param(thumbs("rating", 1, 1), id="ones that may be stars"),
        pytest.param(thumbs("likes", 0, 1), id="counts"),
        pytest.param(thumbs("thumbs_down", True, False), id="a column for the bad"),
        pytest.param([{**row, "thumbs_down": 1} for row in thumbs("thumbs_up", 0, 0)], id="one for each"),
        pytest.param([{**row, "liked": True} for row in thumbs("thumbs", "up", "down")], id="two verdicts"),
        pytest.param([{**row, "answer": "80."} for row in thumbs("thumbs", "up", "down")], id="two completions"),
        pytest.param(
            [{**row, "question": "?"} for row in thumbs("thumbs", "up", "down", prompt="query")], id="two prompts"
        ),
        pytest.param(thumbs("thumbs", "up", "sideways"), id="a word that nobody declared"),
        pytest.param(thumbs("reward", 0, 1), id="a reward"),
    ],
)
def test_what_may_mean_two_things_is_refused_until_it_is_said(take: Callable[..., Any], rows: list[Row]) -> None:
    with pytest.raises(DataError, match=r"--map prompt=COLUMN completion=COLUMN label=COLUMN"):
        take(rows)


def test_a_word_that_comes_late_is_an_error_with_its_row(take: Callable[..., Any]) -> None:
    with pytest.raises(DataError, match=r'f\.jsonl:31: the verdict is "meh"'):
        take(thumbs("thumbs", *["up", "down"] * 15, "meh"))


def test_named_columns_win_and_texts_are_still_found(take: Callable[..., Any]) -> None:
    rows = thumbs("rating", 1, 5, 3)
    report, desirable = take(rows, options=Options(label_key="rating"), label_map={1: False, 5: True, 3: None})
    assert (desirable, report.dropped) == ([False, True], {"neutral verdict": 1})


WORDS = st.sampled_from([*THUMBS, "sideways", "", None, 1, 0, 2.5, True])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cells=st.lists(WORDS, min_size=1, max_size=8), column=st.sampled_from(["thumbs", "rating", "liked", "feedback"]))
def test_counts_add_up_or_nothing_is_written(tmp_path: Path, cells: list[Any], column: str) -> None:
    rows = thumbs(column, *cells)
    path, out = write_rows(tmp_path / "f.jsonl", rows), tmp_path / "out.jsonl"
    out.unlink(missing_ok=True)
    try:
        report = import_feedback([path], out)
    except DataError:
        assert not out.exists()
        return
    assert report.rows_in == len(rows) == report.kept + sum(report.dropped.values())
    assert report.kept == report.desirable + report.undesirable == (len(load_feedback(out)) if report.kept else 0)


def test_scored_completions_are_imported_and_the_others_counted(tmp_path: Path) -> None:
    def rated(*scores: Any) -> Row:
        return {"instruction": "Q?", "completions": [{"response": "a", "fine-grained_score": s} for s in scores]}

    path = write_rows(tmp_path / "f.jsonl", [rated(1, 2.5), rated(1), rated(), rated(1, "N/A"), rated(3, 3, 1)])
    report = import_feedback([path], tmp_path / "out.jsonl")
    assert (report.kind, report.kept) == ("scored", 2)
    assert report.dropped == {
        "there are not two or more completions with a score each": 2,
        "a completion has no score": 1,
    }
    first, second = load_feedback(tmp_path / "out.jsonl")
    assert (first.scores, second.scores) == ((1.0, 2.5), (3.0, 3.0, 1.0))  # type: ignore[attr-defined]
    with pytest.raises(DataError, match=r"f\.jsonl:2: the row is scored, but .*f\.jsonl:1 is paired"):
        import_feedback([write_rows(tmp_path / "f.jsonl", [PAIR, rated(1, 2)])], None)
    only = import_feedback([tmp_path / "f.jsonl"], None, kind="scored")
    assert (only.kept, only.dropped) == (1, {"preference, and only rankings were asked for": 1})
