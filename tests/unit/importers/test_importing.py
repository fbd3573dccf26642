"""The rules that hold for every import: verdicts, the latest vote, pseudonyms, and a table that adds up."""

from __future__ import annotations

import json
import os
import stat
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prospect.errors import ConfigError, DataError, ProspectError, UsageError
from prospect.feedback import importers, load_feedback, write_jsonl
from prospect.feedback.frozen.pseudonym import RATER_KEY, pseudonym, rater_key
from prospect.feedback.frozen.purge import purge
from prospect.feedback.frozen.tombstones import Graveyard, tombstones
from prospect.feedback.importers import detect, get_importer
from prospect.feedback.importers.pipeline import (
    CORRECTION_ALONE,
    NEUTRAL,
    RELATIVE,
    SUPERSEDED,
    TAKEN_BACK,
    import_feedback,
)
from prospect.feedback.importers.report import ImportReport
from prospect.feedback.importers.shapes.base import Dropped, Importer, Item, Options, Preference, Vote
from prospect.feedback.records import Message, Paired, Unpaired

KEY = "a key that is long enough"


@pytest.fixture(autouse=True)
def _rater_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PROSPECT_RATER_KEY", KEY)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def write(path: Path, rows: Sequence[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def thumb(**cells: Any) -> dict[str, Any]:
    return {"prompt": "Where is it?", "completion": "On its way.", "label": True} | cells


def imported(tmp_path: Path, rows: Sequence[Any], **options: Any) -> tuple[ImportReport, list[dict[str, Any]]]:
    report = import_feedback([write(tmp_path / "export.jsonl", rows)], tmp_path / "out.jsonl", **options)
    return report, written(tmp_path)


def written(tmp_path: Path) -> list[dict[str, Any]]:
    out = tmp_path / "out.jsonl"
    return [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()] if out.exists() else []


@pytest.fixture
def importer_of(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Makes an importer that yields the given items, whatever the file."""

    def make(*items: Item) -> str:
        made = Importer(
            name="made-up",
            title="Made Up",
            recognises=lambda samples: False,
            read=lambda paths, options: iter(items),
            polarity={"1": True, "-1": False, "0": None},
        )
        monkeypatch.setitem(importers._REGISTRY, made.name, made)
        return made.name

    return make


def vote(verdict: Any = 1, **fields: Any) -> Vote:
    values = {"where": "x.jsonl:1", "prompt": "p", "completion": "c", "rater": "anna", "completion_id": "c1"}
    return Vote(verdict=verdict, **(values | fields))


def at(second: int) -> datetime:
    return datetime.fromtimestamp(1_700_000_000 + second, UTC)


# Verdicts


def test_a_row_keeps_where_it_came_from(tmp_path: Path) -> None:
    row = thumb(id=7, rater="anna", time="2026-01-02T03:04:05Z", model="m", reason="kind", score=3, relative=True)
    _, (out,) = imported(tmp_path, [row])
    assert out == {
        "prompt": "Where is it?",
        "completion": "On its way.",
        "label": True,
        "id": "generic:7",
        "score": 3.0,
        "rater": pseudonym("anna", rater_key()),
        "source": "generic",
        "source_id": "7",
        "model": "m",
        "reason": "kind",
        "time": "2026-01-02T03:04:05Z",
        "relative": True,
    }


def test_an_unknown_verdict_is_an_error_with_row_and_value_and_never_false(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r'export\.jsonl:2: the verdict is "meh".*--label-map') as error:
        imported(tmp_path, [thumb(), thumb(label="meh")])
    assert '{"meh": true}' in str(error.value)
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.parametrize("verdict", [0.5, [True], {"value": 1}, "  ", 2, float("inf")])
def test_no_odd_verdict_passes_as_a_label(tmp_path: Path, verdict: Any) -> None:
    with pytest.raises(DataError, match="the verdict is"):
        imported(tmp_path, [thumb(label=verdict)])


def test_a_label_map_adds_overrides_and_makes_neutral(tmp_path: Path) -> None:
    rows = [thumb(label=label) for label in ("Meh", "up", "sure", "yes", "down")]
    label_map = {"meh": None, "up": False, "SURE": True, True: False}  # YAML reads an unquoted yes as True
    report, out = imported(tmp_path, rows, label_map=label_map)
    assert [row["label"] for row in out] == [False, True, False, False]
    assert report.dropped == {NEUTRAL: 1}


@pytest.mark.parametrize("label_map", [{"good": "yes"}, {"good": True, "GOOD": False}, {"good": True, "Good": None}])
def test_a_label_map_that_says_nothing_or_two_things_is_refused(tmp_path: Path, label_map: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="label map: "):
        imported(tmp_path, [thumb()], label_map=label_map)


def test_zero_beside_minus_one_is_refused_until_somebody_says_what_it_means(tmp_path: Path) -> None:
    rows = [thumb(label=1), thumb(label=0), thumb(label=-1)]
    with pytest.raises(DataError, match=r"export\.jsonl:3: the verdict is -1, but .*export\.jsonl:2 has 0"):
        imported(tmp_path, rows)
    report, out = imported(tmp_path, rows, label_map={0: None})
    assert [row["label"] for row in out] == [True, False]
    assert report.dropped == {NEUTRAL: 1}


def test_neutral_and_missing_verdicts_are_dropped_and_counted(tmp_path: Path) -> None:
    rows = [thumb(), thumb(label="neutral"), thumb(label=None), thumb(label=""), {"prompt": "p", "completion": "c"}]
    report, out = imported(tmp_path, rows)
    assert (report.rows_in, report.kept, report.dropped) == (5, 1, {"no label": 3, NEUTRAL: 1})
    assert report.examples == {"no label": f"{tmp_path}/export.jsonl:3", NEUTRAL: f"{tmp_path}/export.jsonl:2"}
    assert len(out) == 1


# The latest vote


@pytest.mark.parametrize(
    ("votes", "label"),
    [
        ([vote(1, time=at(0)), vote(-1, time=at(1))], False),
        ([vote(-1, time=at(1)), vote(1, time=at(0))], False),
        ([vote(1), vote(-1)], False),
        ([vote(1, time=at(5)), vote(-1, time=at(5))], False),
        ([vote(1, time=at(5)), vote(-1)], True),  # one without a time is older than one with
        ([vote(1), vote(0)], None),
        ([vote(1), vote(None)], None),
        ([vote(None), vote(1)], True),
        ([vote(None, time=at(9)), vote(1, time=at(3))], None),
    ],
)
def test_the_latest_vote_of_a_rater_on_a_completion_counts(
    tmp_path: Path, importer_of: Callable[..., str], votes: list[Vote], label: bool | None
) -> None:
    report, out = imported(tmp_path, [{}], format=importer_of(*votes))
    assert [row["label"] for row in out] == ([] if label is None else [label])
    assert report.dropped[SUPERSEDED] == 1
    assert report.rows_in == 2


def test_other_raters_and_other_completions_are_left_alone(tmp_path: Path, importer_of: Callable[..., str]) -> None:
    votes = [
        vote(1),
        vote(-1, rater="bob"),
        vote(-1, completion_id="c2"),
        vote(1, completion_id=None),
        vote(-1, completion_id=None),
    ]
    report, _ = imported(tmp_path, [{}], format=importer_of(*votes))
    assert (report.kept, report.dropped) == (5, {})


def test_a_later_vote_whose_text_is_lost_takes_the_earlier_with_it(
    tmp_path: Path, importer_of: Callable[..., str]
) -> None:
    later = vote(-1, prompt="", completion="", unusable="snapshot is null")
    report, out = imported(tmp_path, [{}], format=importer_of(vote(1), later))
    assert out == []
    assert report.dropped == {SUPERSEDED: 1, "snapshot is null": 1}


def test_the_example_of_a_reason_is_a_row_that_was_dropped_for_it(
    tmp_path: Path, importer_of: Callable[..., str]
) -> None:
    votes = [vote(0, where="x.jsonl:1"), vote(1, where="x.jsonl:2"), vote(0, where="x.jsonl:3", rater="bob")]
    report, _ = imported(tmp_path, [{}], format=importer_of(*votes))
    assert report.dropped == {SUPERSEDED: 1, NEUTRAL: 1}
    assert "x.jsonl:1" not in report.examples.values()


VERDICTS = {1: True, -1: False, 0: None, None: None}
clicks = st.lists(
    st.tuples(
        st.sampled_from(["anna", "bob", None]),
        st.sampled_from(["a", "b", None]),
        st.one_of(st.none(), st.integers(0, 3)),
        st.sampled_from(list(VERDICTS)),
        st.sampled_from(["text", "lost", "broken"]),
    ),
    max_size=12,
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(clicks=clicks)
def test_the_table_adds_up_and_what_is_kept_is_what_an_oracle_keeps(
    clicks: list[tuple[Any, ...]], tmp_path: Path, importer_of: Callable[..., str]
) -> None:
    items: list[Item] = []
    for rater, completion, time, verdict, text in clicks:
        fields: dict[str, Any] = {
            "rater": rater,
            "completion_id": completion,
            "time": None if time is None else at(time),
        }
        fields |= {"source_id": str(len(items)), "completion": 7 if text == "broken" else f"to {completion}"}
        items.append(vote(verdict, **fields, unusable="text is lost" if text == "lost" else None))
    kept: dict[str, bool] = {}
    reasons: Counter[str] = Counter()
    for i, (rater, completion, time, verdict, text) in enumerate(clicks):
        # The oracle looks at all other votes of every vote, where the pipeline looks at each once.
        rank = (-1 if time is None else time, i)
        others = [(-1 if o[2] is None else o[2], j) for j, o in enumerate(clicks) if o[:2] == (rater, completion)]
        if completion is not None and max(others) > rank:
            reasons[SUPERSEDED] += 1
        elif VERDICTS[verdict] is None:
            reasons[TAKEN_BACK if verdict is None else NEUTRAL] += 1
        elif text != "text":
            reasons["text is lost" if text == "lost" else "completion cannot be read as text"] += 1
        else:
            kept[f"made-up:{i}"] = VERDICTS[verdict]
    (tmp_path / "out.jsonl").unlink(missing_ok=True)
    report, out = imported(tmp_path, [{}], format=importer_of(*items), label_map={})
    assert {row["id"]: row["label"] for row in out} == kept
    assert report.dropped == dict(reasons)
    assert report.rows_in == len(clicks) == report.kept + sum(report.dropped.values())
    assert (report.desirable, report.undesirable) == (sum(kept.values()), len(kept) - sum(kept.values()))


# Corrections, relative votes, kinds


def test_a_correction_becomes_a_row_only_when_asked(tmp_path: Path) -> None:
    rows = [thumb(label=False, correction="At the door.", id="a", model="m"), thumb(completion="Yes.")]
    report, out = imported(tmp_path, rows)
    assert (report.rows_out, report.corrections, len(out)) == (2, 0, 2)
    report, out = imported(tmp_path, rows, corrections=True)
    assert (report.kept, report.corrections, report.rows_out, len(out)) == (2, 1, 3, 3)
    correction = next(row for row in out if row["id"] == "generic:a:correction")
    assert (correction["completion"], correction["label"], correction["reason"]) == ("At the door.", True, "correction")
    assert "model" not in correction  # the rater wrote it


def test_a_correction_without_a_verdict_takes_no_vote_back(tmp_path: Path, importer_of: Callable[..., str]) -> None:
    name = importer_of(vote(-1), vote(None, correction="first"), vote(None, correction="second"))
    report, out = imported(tmp_path, [{}], format=name, corrections=True)
    assert [(row["completion"], row["label"]) for row in out] == [("c", False), ("second", True)]
    assert report.dropped == {CORRECTION_ALONE: 1, SUPERSEDED: 1}


def test_corrections_that_are_no_text_are_counted(tmp_path: Path, importer_of: Callable[..., str]) -> None:
    name = importer_of(vote(1, correction="  "), vote(1, correction="half \ud800", completion_id="c2"))
    report, _ = imported(tmp_path, [{}], format=name, corrections=True)
    assert (report.kept, report.corrections, report.unusable_corrections) == (2, 0, 2)
    assert "not added: 2 corrections" in report.table()


def test_relative_votes_are_marked_or_dropped(tmp_path: Path) -> None:
    rows = [thumb(relative=True), thumb(completion="Yes.")]
    report, out = imported(tmp_path, rows)
    assert ([row.get("relative") for row in out], report.relative) == ([True, None], 1)
    report, out = imported(tmp_path, rows, relative="drop")
    assert (len(out), report.dropped) == (1, {RELATIVE: 1})


def test_votes_beside_preferences_are_refused_until_one_kind_is_asked_for(tmp_path: Path) -> None:
    rows = [thumb(), {"prompt": "p", "chosen": "a", "rejected": "b"}]
    with pytest.raises(
        DataError, match=r"export\.jsonl:2: the row is paired, but .*export\.jsonl:1 is unpaired.*--kind"
    ):
        imported(tmp_path, rows)
    report, _ = imported(tmp_path, rows, kind="unpaired")
    assert (report.kept, report.kind, report.dropped) == (
        1,
        "unpaired",
        {"preference, and only votes were asked for": 1},
    )
    report, out = imported(tmp_path, rows, kind="paired")
    assert (report.kept, report.kind, sum(report.dropped.values())) == (1, "paired", 1)
    assert (out[0]["chosen"], out[0]["rejected"]) == ("a", "b")


# Texts


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ({"prompt": None}, "prompt is missing"),
        ({"prompt": []}, "prompt is missing"),
        ({"completion": None}, "completion is missing"),
        ({"prompt": 7}, "prompt is missing"),
        ({"prompt": [{"role": "user"}]}, "prompt cannot be read as text"),
        ({"completion": "half \ud800"}, "completion holds half a character"),
        ({"completion": [{"role": "user", "content": "I"}]}, "completion is not the assistant's"),
        ({"tools": [1]}, "row cannot be read as feedback"),
        ({"tools": [{"least": float("nan")}]}, "row cannot be written as JSON"),
        ({"prompt": [{"role": "user", "content": [{"type": "image_url"}]}]}, "prompt cannot be read as text"),
    ],
)
def test_what_cannot_be_read_is_counted_by_reason(tmp_path: Path, cells: dict[str, Any], reason: str) -> None:
    report, out = imported(tmp_path, [thumb(**cells), thumb()])
    assert report.dropped == {reason: 1}
    assert len(out) == 1


def test_an_empty_prompt_that_is_there_is_kept(tmp_path: Path) -> None:
    report, out = imported(tmp_path, [thumb(prompt="")])
    assert (report.kept, out[0]["prompt"]) == (1, "")


def test_facts_that_cannot_be_written_never_cost_the_row(tmp_path: Path, importer_of: Callable[..., str]) -> None:
    odd = vote(1, model="\ud800", reason=["a"], time=datetime.max.replace(tzinfo=UTC), score=float("nan"), weight="x")
    _, (out,) = imported(tmp_path, [{}], format=importer_of(odd))
    assert (out["model"], out["reason"]) == ("?", "['a']")
    assert "score" not in out
    load_feedback(tmp_path / "out.jsonl")


def test_rows_of_one_name_get_ids_of_their_own(tmp_path: Path) -> None:
    _, out = imported(tmp_path, [thumb(id="a"), thumb(id="a"), thumb(id="a#2"), thumb(id="a")])
    assert [row["id"] for row in out] == ["generic:a", "generic:a#2", "generic:a#2#2", "generic:a#3"]


def test_ids_do_not_depend_on_the_folder(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    write(tmp_path / "deep" / "export.jsonl", [thumb()])
    import_feedback([tmp_path / "deep" / "export.jsonl"], tmp_path / "out.jsonl")
    assert written(tmp_path)[0]["id"] == "export.jsonl:1"


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=9)
turns = st.builds(lambda text: (Message("user", text),), texts)
unpaired = st.builds(
    Unpaired,
    prompt=st.one_of(texts, turns),
    completion=texts,
    desirable=st.booleans(),
    id=names,
    where=st.just(""),
    score=st.one_of(st.none(), st.floats(-9, 9)),
    weight=st.floats(0, 4),
    model=st.one_of(st.none(), names),
    reason=st.one_of(st.none(), names),
    time=st.one_of(st.none(), st.datetimes(datetime(1971, 1, 1), timezones=st.just(UTC))),
    relative=st.booleans(),
    finished=st.booleans(),
)
paired = st.builds(
    Paired, prompt=texts, chosen=texts, rejected=texts, id=names, where=st.just(""), weight=st.floats(0, 4)
)


def facts(row: Any) -> dict[str, Any]:
    """The fields of a record that an import does not give anew."""
    given_anew = ("id", "source", "source_id", "where")
    return {field.name: getattr(row, field.name) for field in fields(row) if field.name not in given_anew}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.one_of(st.lists(unpaired, min_size=1, max_size=5), st.lists(paired, min_size=1, max_size=5)))
def test_what_is_written_here_is_imported_as_it_was(rows: list[Any], tmp_path: Path) -> None:
    write_jsonl(rows, tmp_path / "own.jsonl")
    report = import_feedback([tmp_path / "own.jsonl"], tmp_path / "back.jsonl", format="generic")
    back = load_feedback(tmp_path / "back.jsonl")
    assert report.kept == len(rows)
    for before, after in zip(rows, back, strict=True):
        expected = facts(before)
        if not isinstance(before.prompt, str) and isinstance(before, Unpaired):
            expected["completion"] = (Message("assistant", before.completion),)
        assert facts(after) == expected
        assert after.source_id == before.id


# Columns


def test_columns_may_have_other_names_and_be_nested(tmp_path: Path) -> None:
    row = {"q": "Where?", "reply": {"text": "There."}, "stars": "good", "who.name": "anna"}
    options = Options(columns={"prompt": "q", "completion": "reply.text", "rater": "who.name"}, label_key="stars")
    report, (out,) = imported(tmp_path, [row], options=options)
    assert report.format == "generic"
    assert (out["prompt"], out["completion"], out["label"]) == ("Where?", "There.", True)
    assert out["rater"].startswith("r-")


def test_conversations_with_a_label_are_cut_before_the_last_turn(tmp_path: Path) -> None:
    talk = [{"from": "human", "value": "Where?"}, {"from": "gpt", "value": "There."}]
    report, (out,) = imported(tmp_path, [{"messages": talk, "label": 0}, {"messages": talk[:1], "label": 0}])
    assert out["prompt"] == [{"role": "user", "content": "Where?"}]
    assert out["completion"] == [{"role": "assistant", "content": "There."}]
    assert report.dropped == {"messages do not end with the assistant": 1}


def test_pairs_without_a_prompt_share_it_or_are_dropped(tmp_path: Path) -> None:
    rows = [{"chosen": "The fox ran.", "rejected": "The fox hid."}, {"chosen": "Yes.", "rejected": "No."}]
    report, (out,) = imported(tmp_path, rows)
    assert (out["prompt"], out["chosen"], out["rejected"]) == ("The fox", " ran.", " hid.")
    assert report.dropped == {"prompt is missing": 1}


@pytest.mark.parametrize("suffix", ["csv", "tsv"])
def test_csv_cells_become_what_their_columns_hold(tmp_path: Path, suffix: str) -> None:
    between = "," if suffix == "csv" else "\t"
    talk = '"[{""role"": ""user"", ""content"": ""Hi""}]"'
    lines = [
        ["prompt", "completion", "label", "score", "finished", "relative", "time"],
        [talk, "Hello", "Good", "2.5", "false", "TRUE", "1700000000"],
        ["Hi", "Hello", "bad", "", "", "", ""],
        ["Hi", "Hello", "bad"],
    ]
    path = tmp_path / f"export.{suffix}"
    path.write_text("\n".join(between.join(line) for line in lines), encoding="utf-8")
    report = import_feedback([path], tmp_path / "out.jsonl")
    first, second = written(tmp_path)
    assert first["prompt"] == [{"role": "user", "content": "Hi"}]
    assert (first["label"], first["score"], first["finished"], first["relative"]) == (True, 2.5, False, True)
    assert first["time"] == "2023-11-14T22:13:20Z"
    assert (second["prompt"], second["label"]) == ("Hi", False)
    assert report.dropped == {"row has another number of cells than the headings": 1}


def test_parquet_is_read(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.Table.from_pylist([thumb(rater=1, time=at(0)), thumb(label=None, rater=2, time=at(1))])
    pyarrow.parquet.write_table(table, tmp_path / "export.parquet")
    report = import_feedback([tmp_path / "export.parquet"], tmp_path / "out.jsonl", keep_rater_names=True)
    assert report.dropped == {"no label": 1}
    assert (written(tmp_path)[0]["rater"], written(tmp_path)[0]["time"]) == ("1", "2023-11-14T22:13:20Z")


def test_a_field_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--map answer=\.\.\.: there is no such field"):
        imported(tmp_path, [thumb()], options=Options(columns={"answer": "completion"}))


def test_an_importer_refuses_options_that_it_does_not_know(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the format gradio takes no --label-key"):
        imported(tmp_path, [thumb()], format="gradio", options=Options(label_key="x"))


# Files


def test_an_output_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "out.jsonl").write_text("before")
    with pytest.raises(DataError):
        imported(tmp_path, [thumb()] * 3 + [thumb(label="meh")])
    assert (tmp_path / "out.jsonl").read_text() == "before"
    report = import_feedback([write(tmp_path / "export.jsonl", [thumb(label=None)])], tmp_path / "out.jsonl")
    assert (report.output, report.kept) == (None, 0)
    assert (tmp_path / "out.jsonl").read_text() == "before"
    assert {path.name for path in tmp_path.iterdir()} == {"out.jsonl", "export.jsonl"}


def test_without_an_output_nothing_is_written_and_no_key_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PROSPECT_RATER_KEY")
    report = import_feedback([write(tmp_path / "export.jsonl", [thumb(rater="anna")])], None)
    assert (report.kept, report.raters, report.output) == (1, 1, None)
    assert {path.name for path in tmp_path.iterdir()} == {"export.jsonl"}


@pytest.mark.parametrize(
    ("files", "output", "message"),
    [
        (["export.jsonl"], "export.jsonl", "is one of the files to import"),
        (["export.jsonl"], "out.csv", "JSON lines are written to"),
        (["export.jsonl"], "none/out.jsonl", "there is no folder"),
        (["nowhere.jsonl"], "out.jsonl", "no such file"),
        (["."], "out.jsonl", "is a folder"),
        (["export.jsonl", "notes.txt"], "out.jsonl", r"the name ends in \.txt"),
        ([], "out.jsonl", "there are no files"),
    ],
)
def test_files_that_cannot_be_used_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: list[str], output: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "export.jsonl", [thumb()])
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(ProspectError, match=message):
        import_feedback(files, output)


def test_a_file_that_nobody_knows_is_refused_with_its_columns(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no known export; found the columns a, b.*--map prompt=COLUMN"):
        imported(tmp_path, [{"a": 1, "b": 2}])


def test_a_file_that_two_tools_claim_is_refused_with_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two"):
        greedy = replace(get_importer("halos"), name=name, title=name.upper(), recognises=lambda _: True)
        monkeypatch.setitem(importers._REGISTRY, name, greedy)
    with pytest.raises(DataError, match=r"may be an export of ONE \(one\) or TWO \(two\)"):
        detect([write(tmp_path / "export.jsonl", [thumb()])])


def test_an_unknown_format_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match='Did you mean "open-webui"'):
        get_importer("openwebui")


def test_redaction_replaces_and_counts(tmp_path: Path) -> None:
    row = thumb(
        prompt=[{"role": "user", "content": "I am anna@example.org"}],
        completion="Hello anna@example.org",
        reason="ask bob@example.org",
    )
    report, (out,) = imported(tmp_path, [row, thumb(label=None, prompt="x@example.org")], redact=True)
    assert "@" not in json.dumps(out)
    assert out["prompt"][0]["role"] == "user"
    assert sum(report.redacted.values()) == 3
    assert "redacted: 3 " in report.table()


# Pseudonyms


def test_a_pseudonym_depends_on_rater_and_key_and_on_nothing_else() -> None:
    assert pseudonym("anna", b"key") == pseudonym("anna", b"key")
    assert len({pseudonym("anna", b"key"), pseudonym("bob", b"key"), pseudonym("anna", b"other")}) == 3
    assert pseudonym("anna", b"key").startswith("r-")
    assert pseudonym("\ud800", b"k" * 99)


def test_the_key_file_is_made_once_and_for_the_owner_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROSPECT_RATER_KEY")
    key = rater_key()
    assert rater_key() == key
    assert len(key) == 32
    assert stat.S_IMODE(RATER_KEY.path.stat().st_mode) == 0o600
    assert [path.name for path in RATER_KEY.path.parent.iterdir()] == ["rater_key"]


def test_a_key_that_another_process_made_first_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROSPECT_RATER_KEY")
    link = os.link

    def late(source: Any, target: Path) -> None:
        target.write_text("ab" * 32)
        link(source, target)

    monkeypatch.setattr(os, "link", late)
    assert rater_key() == b"\xab" * 32


@pytest.mark.parametrize("content", ["", "not hexadecimal", "abcd"])
def test_a_key_file_that_holds_no_key_is_refused(monkeypatch: pytest.MonkeyPatch, content: str) -> None:
    monkeypatch.delenv("PROSPECT_RATER_KEY")
    RATER_KEY.path.parent.mkdir(parents=True)
    RATER_KEY.path.write_text(content)
    with pytest.raises(ConfigError, match="is not the key of the raters' pseudonyms"):
        rater_key()


def test_a_short_key_is_refused_and_another_key_gives_other_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROSPECT_RATER_KEY", "short")
    with pytest.raises(ConfigError, match="PROSPECT_RATER_KEY has 5 characters"):
        imported(tmp_path, [thumb(rater="anna")])
    monkeypatch.setenv("PROSPECT_RATER_KEY", KEY)
    _, (first,) = imported(tmp_path, [thumb(rater="anna")])
    monkeypatch.setenv("PROSPECT_RATER_KEY", KEY + "!")
    _, (second,) = imported(tmp_path, [thumb(rater="anna")])
    assert first["rater"] != second["rater"]
    _, (named,) = imported(tmp_path, [thumb(rater="anna")], keep_rater_names=True)
    assert named["rater"] == "anna"


def test_preferences_keep_rater_and_source(tmp_path: Path, importer_of: Callable[..., str]) -> None:
    pair = Preference(where="x:1", prompt="p", chosen="a", rejected="b", rater="anna", source_id="s", time=at(0))
    lost = Dropped(where="x:2", reason="tie")
    report, (out,) = imported(tmp_path, [{}], format=importer_of(pair, lost))
    assert (out["source"], out["source_id"], out["id"]) == ("made-up", "s", "made-up:s")
    assert out["rater"] == pseudonym("anna", rater_key())
    assert (report.kind, report.kept, report.dropped) == ("paired", 1, {"tie": 1})


def test_rows_and_raters_that_were_purged_do_not_come_back(tmp_path: Path) -> None:
    rows = [thumb(rater=name, completion=f" {name} {i}", id=f"{name}{i}") for name in ("ann", "bob") for i in range(3)]
    first, _ = imported(tmp_path, rows)
    purge([tmp_path / "out.jsonl"], rater="ann")
    stones = tombstones(tmp_path / "out.jsonl")
    assert (first.kept, len(stones)) == (6, 1)
    again, kept = imported(tmp_path, rows, purged=Graveyard(stones, rater_key()))
    assert again.dropped == {"purged": 3} and {row["rater"] for row in kept} == {pseudonym("bob", rater_key())}
