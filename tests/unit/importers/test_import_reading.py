"""The files of an export as rows, their samples, and the shapes of texts and turns that importers share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from prospect.errors import DataError
from prospect.feedback.files.others.turns import decoded, messages_of, text_of
from prospect.feedback.importers.shapes.base import Dropped, Vote
from prospect.feedback.importers.shapes.reading import Row, dig, each_row, rows, sample


def contents(path: Path, **options: Any) -> list[Any]:
    """What the rows hold, and the reason in place of those dropped."""
    return [row.cells if isinstance(row, Row) else row.reason for row in rows(path, **options)]


def test_lines_that_are_no_rows_are_counted_and_the_others_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n\n[2]\nnull\n{"a": \n{"a": "\xff"}\n{"a": 3}')
    assert contents(path) == [
        {"a": 1},
        "row is not an object",
        "row is not an object",
        "line is not JSON",
        "line is not UTF-8",
        {"a": 3},
    ]
    assert [row.where for row in rows(path)][-1] == f"{path}:7"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([{"a": 1}, 2], [{"a": 1}, "row is not an object"]),
        ({"items": [{"a": 1}], "total": 1}, [{"a": 1}]),
        ({"data": [{"a": 1}], "runs": [{"b": 2}]}, [{"a": 1}, {"b": 2}]),
        ({"items": [{"a": 1}, 2]}, [{"items": [{"a": 1}, 2]}]),  # a list of something else is a cell
        ({"messages": [{"role": "user", "content": "Hi"}]}, [{"messages": [{"role": "user", "content": "Hi"}]}]),
        (
            {"conversations": [{"from": "human", "value": "Hi"}]},
            [{"conversations": [{"from": "human", "value": "Hi"}]}],
        ),
        ({"messages": [{"messageId": 1}]}, [{"messageId": 1}]),
        ({"a": 1}, [{"a": 1}]),
        (7, ["row is not an object"]),
    ],
)
def test_json_holds_rows_in_a_list_or_under_a_key(tmp_path: Path, value: Any, expected: list[Any]) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(value))
    assert contents(path) == expected
    assert list(sample(path).rows) == [row for row in expected if isinstance(row, dict)]


def test_json_may_be_wrapped_under_a_key_of_the_importers(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"answers": [{"a": 1}], "items": [{"b": 2}]}')
    assert contents(path, under=["answers"]) == [{"a": 1}]


def test_json_may_be_one_object_per_line(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"a": 1}\n{"a": 2}\n')
    assert contents(path) == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize("text", ['[{"a": 1', "[" * 100_000, "\0", '{"a": 1} x', "[1" + "0" * 5000 + "]"])
def test_broken_json_is_refused_or_counted_with_its_place(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    assert sample(path).rows == [] or text.startswith("{")
    try:
        assert contents(path) == ["line is not JSON"]
    except DataError as error:
        assert str(error).startswith(f"{path}:1: broken JSON")


def test_each_row_passes_on_what_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1}\n7\n')
    items = list(
        each_row([path], lambda where, row: [Vote(where=where, prompt="", completion="", verdict=row["a"])] * 2)
    )
    assert [type(item) for item in items] == [Vote, Vote, Dropped]


def test_a_sample_of_a_long_file_reads_only_its_beginning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from prospect.feedback.importers.shapes import reading

    monkeypatch.setattr(reading, "_SAMPLE_BYTES", 100)
    values = [{"a": "x" * 30, "i": i} for i in range(50)]
    (tmp_path / "a.json").write_text(json.dumps(values, indent=1))
    assert sample(tmp_path / "a.json").rows == values[:1]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(value) + "\n" for value in values) + "broken")
    assert sample(tmp_path / "a.jsonl").rows == values[:3]
    (tmp_path / "b.json").write_text(json.dumps({"items": values}))
    assert len(sample(tmp_path / "b.json").rows) == 20


def test_a_sample_never_raises(tmp_path: Path) -> None:
    for name in ("a.json", "a.jsonl", "a.csv", "a.parquet", "a.txt", "a"):
        (tmp_path / name).write_bytes(b'\xff\0{"')
        assert sample(tmp_path / name).columns == frozenset() or name == "a.csv"
    assert sample(tmp_path / "missing.json").rows == []
    assert sample(tmp_path).rows == []


@pytest.mark.parametrize("name", ["a.csv", "a.parquet", "a.txt"])
def test_what_is_no_such_file_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"a;b\n1;2\n")
    with pytest.raises(DataError, match=rf"{name}"):
        contents(tmp_path / name)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "plain"),
        (["a", {"type": "text", "text": "b"}, {"type": "output_text", "text": {"value": "c"}}], "abc"),
        ([{"type": "thinking", "thinking": "hm"}, {"text": "b"}], "b"),
        ({"content": "inner"}, "inner"),
        ({"type": "text", "text": "one part"}, "one part"),
        ([{"type": "image_url", "image_url": {}}, "b"], None),
        ([{"type": [], "text": "b"}], "b"),
        ({"text": "with", "files": ["a.png"]}, None),
        ({"content": {"content": "x"}}, None),
        ([], None),
        (None, None),
        (7, None),
    ],
)
def test_text_is_read_from_strings_and_parts_or_not_at_all(value: Any, text: str | None) -> None:
    assert text_of(value) == text


@pytest.mark.parametrize(
    "turns",
    [
        [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes"}],
        [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Yes"}],
        [{"type": "human", "content": "Hi"}, {"type": "ai", "content": [{"type": "text", "text": "Yes"}]}],
        [{"sender": "User", "text": "Hi"}, {"message": {"role": "Bot", "content": "Yes"}}],
    ],
)
def test_turns_of_any_tool_become_roles_and_contents(turns: list[Any]) -> None:
    assert messages_of(turns) == [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes"}]


def test_turns_keep_tool_calls_and_unknown_roles() -> None:
    call = {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}], "name": None}
    assert messages_of([call]) == [{"role": "assistant", "content": "", "tool_calls": [{"id": "1"}]}]
    assert messages_of([{"role": "Critic", "content": "Hm"}]) == [{"role": "Critic", "content": "Hm"}]


@pytest.mark.parametrize(
    "turns", [None, [], "text", [7], [{"role": "user"}], [{"content": "x"}], [{"role": 1, "content": "x"}]]
)
def test_turns_that_cannot_be_rebuilt_are_none(turns: Any) -> None:
    assert messages_of(turns) is None


def test_nested_keys_are_found_through_lists_and_json_text() -> None:
    row = {"a.b": 1, "a": {"b": 2, "c": [{"d": 3}]}, "text": '{"x": {"y": 4}}', "n": None}
    found = [dig(row, path) for path in ("a.b", "a.c.0.d", "text.x.y", "n", "n.m", "a.c.9.d", "a.c.x", "zzz")]
    assert found == [1, 3, 4, None, None, None, None, None]
    assert dig(None, "a") is None


def test_only_json_lists_and_objects_are_decoded() -> None:
    values = ["[1]", ' {"a": 1}', "7", "true", "[broken", None, 3]
    assert [decoded(value) for value in values] == [[1], {"a": 1}, "7", "true", "[broken", None, 3]
