"""A frozen dataset is its rows and a manifest that knows them."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from conftest import pairs, thumbs, write_rows
from prospect.errors import DataError
from prospect.feedback import load_feedback
from prospect.feedback.frozen.filters import Filters
from prospect.feedback.frozen.freeze import check_frozen, describe_files, freeze, iter_rows


def manifest(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))


def content(rows: list[dict[str, Any]], folder: Path, name: str = "rows") -> str:
    return freeze(write_rows(folder / f"{name}.jsonl", rows), folder / f"frozen-{name}").manifest["content"]


def test_the_rows_come_back_as_they_were(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "thumbs.jsonl", thumbs(9))
    freeze(source, tmp_path / "frozen")
    frozen = load_feedback(tmp_path / "frozen" / "rows.jsonl")
    assert [(r.prompt, r.completion, r.desirable) for r in frozen] == [
        (r.prompt, r.completion, r.desirable) for r in load_feedback(source)
    ]


def test_the_manifest_counts_what_is_there(tmp_path: Path) -> None:
    rows = [
        {**row, "rater": f"r{i % 3}", "source": "web" if i < 4 else "app", "time": f"2026-03-{i + 1:02}T00:00:00Z"}
        for i, row in enumerate(thumbs(7, prompts=4))
    ]
    source = write_rows(tmp_path / "thumbs.jsonl", rows)
    found = freeze(source, tmp_path / "frozen").manifest
    assert found == manifest(tmp_path / "frozen")
    assert found["counts"] == {
        "rows": 7,
        "prompts": 4,
        "kind": "unpaired",
        "classes": {"desirable": 4, "undesirable": 3},
        "sources": {"app": 3, "web": 4},
        "raters": 3,
        "time": {"rows": 7, "first": "2026-03-01T00:00:00Z", "last": "2026-03-07T00:00:00Z"},
    }
    data = (tmp_path / "frozen" / "rows.jsonl").read_bytes()
    assert found["file"] == {"name": "rows.jsonl", "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    before = source.read_bytes()
    assert found["sources"] == [
        {"path": str(source), "rows": 7, "bytes": len(before), "sha256": hashlib.sha256(before).hexdigest()}
    ]


def test_the_content_hash_depends_neither_on_order_nor_on_files(tmp_path: Path) -> None:
    rows = thumbs(12)
    one = content(rows, tmp_path, "one")
    assert content(rows[::-1], tmp_path, "two") == one
    halves = [write_rows(tmp_path / "a.jsonl", rows[6:]), write_rows(tmp_path / "b.jsonl", rows[:6])]
    assert freeze(halves, tmp_path / "three").manifest["content"] == one
    assert content([dict(reversed(row.items())) for row in rows], tmp_path, "four") == one


@pytest.mark.parametrize(
    "change", [{"label": False}, {"weight": 2}, {"completion": " other"}, {"id": "own"}, {"rater": "someone"}]
)
def test_the_content_hash_depends_on_every_column(tmp_path: Path, change: dict[str, Any]) -> None:
    rows = thumbs(4)
    assert content([{**rows[0], **change}, *rows[1:]], tmp_path, "b") != content(rows, tmp_path, "a")


def test_the_content_hash_counts_equal_rows(tmp_path: Path) -> None:
    rows = thumbs(3)
    hashes = {content(r, tmp_path, n) for r, n in ((rows, "a"), (rows + rows[:1], "b"), (rows + rows[:1] * 2, "c"))}
    assert len(hashes) == 3


def test_freezing_again_needs_equal_content(tmp_path: Path) -> None:
    rows = thumbs(6)
    first = freeze(write_rows(tmp_path / "a.jsonl", rows), tmp_path / "frozen")
    before = (tmp_path / "frozen" / "rows.jsonl").read_bytes()
    again = freeze(write_rows(tmp_path / "b.jsonl", rows[::-1]), tmp_path / "frozen")
    assert (first.written, again.written) == (True, False) and again.manifest == first.manifest
    with pytest.raises(DataError, match="holds another frozen dataset, with 6 rows; these are 5 rows"):
        freeze(write_rows(tmp_path / "c.jsonl", rows[1:]), tmp_path / "frozen")
    assert (tmp_path / "frozen" / "rows.jsonl").read_bytes() == before


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.jsonl", thumbs(2))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "manifest.json").write_text('{"name": "a web page"}')
    with pytest.raises(DataError, match="holds something else"):
        freeze(source, tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["manifest.json"]
    with pytest.raises(DataError, match="is a file"):
        freeze(source, source)
    (tmp_path / "empty").mkdir()
    assert freeze(source, tmp_path / "empty").written


def test_nothing_appears_where_freezing_fails(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.jsonl", [*thumbs(3), {"prompt": "no answer"}])
    with pytest.raises(DataError, match=r"a\.jsonl:4"):
        freeze(source, tmp_path / "frozen")
    mixed = [write_rows(tmp_path / "b.jsonl", thumbs(3)), write_rows(tmp_path / "c.jsonl", pairs(2))]
    with pytest.raises(DataError, match="one kind in one dataset"):
        freeze(mixed, tmp_path / "frozen")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jsonl", "b.jsonl", "c.jsonl"]


def test_filters_leave_out_and_count(tmp_path: Path) -> None:
    rows = thumbs(6)
    for row, more in zip(
        rows,
        [
            {"time": "2026-01-01", "source": "web"},
            {"time": "2026-02-01", "source": "web"},
            {"time": "2026-03-01", "source": "web"},
            {"source": "web"},
            {"time": "2026-02-01", "source": "app"},
            {"time": "2026-02-01", "source": "web", "relative": True},
        ],
        strict=True,
    ):
        row.update(more)
    filters = Filters(
        since=datetime(2026, 2, 1, tzinfo=UTC), until=datetime(2026, 3, 1, tzinfo=UTC), sources=("web",), relative=False
    )
    found = freeze(write_rows(tmp_path / "a.jsonl", rows), tmp_path / "frozen", filters=filters).manifest
    assert found["counts"]["rows"] == 1 and found["sources"][0]["rows"] == 6
    assert found["filters"] == {
        "since": "2026-02-01T00:00:00Z",
        "until": "2026-03-01T00:00:00Z",
        "sources": ["web"],
        "relative": False,
        "left_out": {"too early": 1, "too late": 1, "no time": 1, "other source": 1, "relative verdict": 1},
    }
    with pytest.raises(DataError, match="no row is left to freeze; left out: 6 other source"):
        freeze(tmp_path / "a.jsonl", tmp_path / "other", filters=Filters(sources=("nowhere",)))


def test_a_changed_dataset_is_told_from_a_whole_one(tmp_path: Path) -> None:
    folder = tmp_path / "frozen"
    freeze(write_rows(tmp_path / "a.jsonl", thumbs(5)), folder)
    assert check_frozen(folder)["counts"]["rows"] == 5
    lines = (folder / "rows.jsonl").read_text().splitlines(keepends=True)
    for changed, said in (
        (lines[:-1], "it holds 4 rows and its manifest says 5"),
        (lines[::-1], "the same rows in another order or written otherwise"),
        ([lines[0].replace("true", "false"), *lines[1:]], "some rows are others"),
        ([*lines[:-1], lines[-1][:9]], "it cannot even be read"),
    ):
        (folder / "rows.jsonl").write_text("".join(changed))
        with pytest.raises(DataError, match=said) as error:
            check_frozen(folder)
        assert "take the file from a copy" in str(error.value)
    (folder / "rows.jsonl").unlink()
    with pytest.raises(DataError, match="is missing"):
        check_frozen(folder)


def test_a_folder_without_a_usable_manifest_is_named(tmp_path: Path) -> None:
    newer = '{"format": 99, "content": "a", "file": {"sha256": "b"}, "counts": {}}'
    for text, said in (
        (None, "holds no manifest"),
        ("{", "not valid JSON"),
        ("[]", "is not the manifest"),
        (newer, "has format 99"),
    ):
        if text is not None:
            (tmp_path / "manifest.json").write_text(text)
        with pytest.raises(DataError, match=said):
            check_frozen(tmp_path)


def test_a_frozen_folder_is_a_source(tmp_path: Path) -> None:
    first = freeze(write_rows(tmp_path / "a.jsonl", thumbs(5)), tmp_path / "first").manifest
    more = write_rows(tmp_path / "b.jsonl", [{**row, "label": "yes"} for row in thumbs(3)])
    both = [tmp_path / "first", more]
    second = freeze(both, tmp_path / "second", label_map={"yes": True, "no": False}).manifest
    assert second["counts"]["rows"] == 8
    assert second["sources"][0]["manifest"]["content"] == first["content"]
    assert second["filters"]["label_map"] == {"yes": True, "no": False}
    assert len(list(iter_rows(both, label_map={"yes": True, "no": False}))) == 8


def test_files_are_described_with_the_manifest_they_belong_to(tmp_path: Path) -> None:
    plain = write_rows(tmp_path / "a.jsonl", thumbs(5))
    freeze(plain, tmp_path / "frozen")
    rows = tmp_path / "frozen" / "rows.jsonl"
    described = describe_files([str(plain), str(rows)])
    assert described[str(plain)] == {
        "bytes": plain.stat().st_size,
        "sha256": hashlib.sha256(plain.read_bytes()).hexdigest(),
    }
    path = tmp_path / "frozen" / "manifest.json"
    assert described[str(rows)]["manifest"] == {
        "path": str(path),
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "content": manifest(tmp_path / "frozen")["content"],
    }
    assert describe_files(tmp_path / "frozen") == {str(rows): described[str(rows)]}
    rows.write_text(rows.read_text().replace("true", "false"))
    with pytest.raises(DataError, match="was changed since it was frozen"):
        describe_files(str(rows))


def test_a_neighbour_of_somebody_elses_manifest_is_an_ordinary_file(tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "rows.jsonl", thumbs(3))
    (tmp_path / "manifest.json").write_text('{"files": ["rows.jsonl"]}')
    assert "manifest" not in describe_files(str(rows))[str(rows)]


def test_a_run_records_the_manifest_that_it_learned_from(tmp_path: Path, recipe: Any) -> None:
    from prospect.config import load_config
    from prospect.training.prepare import prepare

    freeze(write_rows(tmp_path / "a.jsonl", thumbs(12)), tmp_path / "frozen")
    held_out = write_rows(tmp_path / "b.jsonl", thumbs(6))
    frozen = tmp_path / "frozen" / "rows.jsonl"

    def described(evaluation: Any) -> dict[str, Any]:
        return prepare(load_config(recipe(data={"train": str(frozen.parent), "eval": evaluation}))).files

    (train,) = described(0.5)["train"].values()
    assert train["manifest"]["content"] == manifest(tmp_path / "frozen")["content"]
    assert "eval" not in described(0.5)
    assert list(described(str(held_out))["eval"]) == [str(held_out)]
    frozen.write_text(frozen.read_text().replace("true", "false", 1))
    with pytest.raises(DataError, match=r"frozen"):
        described(None)
