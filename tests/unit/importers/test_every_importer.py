"""What every registered importer must do, on its own example and on what is made of it."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tool_exports import export, write

from conftest import REPOSITORY
from prospect.errors import DataError, ProspectError
from prospect.feedback import importers, load_feedback
from prospect.feedback.importers import GENERIC, all_importers, detect
from prospect.feedback.importers.pipeline import import_feedback
from prospect.feedback.importers.report import ImportReport
from prospect.feedback.importers.shapes.base import ANSWERED, ASKED, Importer, Options
from prospect.feedback.importers.shapes.reading import sample

EVERY = all_importers()  # before a test registers one of its own
every_importer = pytest.mark.parametrize("tool", [pytest.param(one, id=one.name) for one in EVERY])
JUNK = (
    *(None, True, -1, 0.5, 10**40, float("nan"), "", "\ud800", "1", "up", "[", "{}"),
    *([], {}, [[]], {"a": 1}, [None], {"role": 1}, [{}], {"content": []}),
)
HOSTILE = ("a\x00b", "\u202ea\u2069", "=cmd|' /C calc'!A0", 'say "x",\nthen \\n', "<script>x</script>", "é" * 9000)


@pytest.fixture(autouse=True)
def _rater_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROSPECT_RATER_KEY", "a key that is long enough")


def imported(tool: Importer, paths: list[Path]) -> ImportReport | None:
    """Return the account of an import that is done, after checking it; None of one that is refused with a message."""
    out = paths[0].parent / "out" / "out.jsonl"
    out.parent.mkdir(exist_ok=True)
    out.unlink(missing_ok=True)
    try:
        report = import_feedback(paths, out, format=tool.name, corrections=True, redact=True)
    except ProspectError as error:
        assert str(error)
        return None
    assert report.rows_in == report.kept + sum(report.dropped.values())
    records = load_feedback(out) if out.exists() else []
    assert len(records) == report.rows_out
    assert len({record.id for record in records}) == len(records)
    return report


@every_importer
def test_the_example_is_recognised_and_every_verdict_in_it_counts(tool: Importer, tmp_path: Path) -> None:
    paths = export(tool, tmp_path)
    assert detect(paths) is tool
    claims = {one.name for one in all_importers() if one.recognises([sample(path) for path in paths])}
    assert claims - {GENERIC} == {tool.name} - {GENERIC}
    report = imported(tool, paths)
    assert report is not None
    assert (report.rows_in, report.dropped) == (report.kept, {})
    for record in load_feedback(tmp_path / "out" / "out.jsonl"):
        assert record.source == tool.name
        assert ASKED in str(record.prompt)
        assert ANSWERED in str(getattr(record, "completion", None) or getattr(record, "chosen", None))


@every_importer
def test_no_verdict_is_read_twice(tool: Importer, tmp_path: Path) -> None:
    paths = export(tool, tmp_path)
    items = list(tool.read(paths, Options()))
    assert len({item.where for item in items}) == len(items)
    assert list(tool.read(paths, Options())) == items


@every_importer
def test_polarity_is_explicit(tool: Importer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert {True, False} <= set(tool.polarity.values())
    assert all(key == key.strip().lower() for key in tool.polarity)
    assert tool.options <= {"columns", "label_key"}
    paths = export(tool, tmp_path)
    report = imported(tool, paths)
    if report is not None and report.kind == "unpaired":
        monkeypatch.setitem(importers._REGISTRY, tool.name, replace(tool, polarity={"no such verdict": True}))
        with pytest.raises(DataError, match=r"the verdict is .*--label-map"):
            import_feedback(paths, None, format=tool.name)


@every_importer
@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_is_kept_as_it_is_or_dropped_with_a_reason(tool: Importer, tmp_path: Path, text: str) -> None:
    if any(isinstance(content, str) for content in tool.example.values()):
        pytest.skip("its example is text, in which a value has no place")
    tool = replace(tool, example=replaced(tool.example, ANSWERED, text))
    report = imported(tool, export(tool, tmp_path))
    if report is not None and report.kept:
        (record, *_) = load_feedback(tmp_path / "out" / "out.jsonl")
        (turn, *_) = getattr(record, "completion", None) or record.chosen  # type: ignore[union-attr]
        assert text.strip() in (turn if isinstance(turn, str) else turn.content) or text.startswith(str(turn))


def replaced(value: Any, old: str, new: str) -> Any:
    if isinstance(value, dict):
        return {key: replaced(item, old, new) for key, item in value.items()}
    if isinstance(value, list):
        return [replaced(item, old, new) for item in value]
    return value.replace(old, new) if isinstance(value, str) else value


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the place of every value within nested lists and objects."""
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        yield from places(item, (*path, key))


@every_importer
def test_a_value_of_another_type_anywhere_is_counted_or_refused(tool: Importer, tmp_path: Path) -> None:
    example = dict(tool.example)
    spots = [place for place in places(example) if len(place) > 2 or (len(place) == 2 and place[0].endswith("json"))]
    draw = random.Random(tool.name)
    for place, junk in draw.sample([(place, junk) for place in spots for junk in JUNK], min(80, len(spots))):
        broken = copy.deepcopy(example)
        parent: Any = broken
        for key in place[:-1]:
            parent = parent[key]
        parent[place[-1]] = junk
        imported(tool, export(replace(tool, example=broken), tmp_path))


@every_importer
def test_rows_nested_deeper_than_python_can_follow_are_counted_or_refused(tool: Importer, tmp_path: Path) -> None:
    paths = export(tool, tmp_path)
    for key in ("x", "input", "content"):
        deep: Any = "x"
        for _ in range(900):
            deep = {key: deep}
        rows = [{**row, column: deep} for path in paths for row in sample(path).rows for column in row]
        imported(tool, [*paths, write(tmp_path / "deep.jsonl", rows)])


@every_importer
def test_files_that_are_empty_cut_or_broken_are_counted_or_refused(tool: Importer, tmp_path: Path) -> None:
    draw = random.Random(tool.name)
    pieces = (b"\0", b"\xff", b"null", b"{", b"]", b'"', b"[[[[", b"1e999", b"\\ud800", b"NaN", b",,", b"\n")
    for _ in range(60):
        paths = export(tool, tmp_path)
        path = draw.choice(paths)
        content = bytearray(path.read_bytes())
        for _ in range(draw.randrange(1, 4)):
            at = draw.randrange(len(content) + 1)
            content[at : at + draw.choice((0, 1, 40, len(content)))] = draw.choice((b"", *pieces))
        path.write_bytes(content)
        imported(tool, paths)
    for path in paths:
        path.write_bytes(b"")
        imported(tool, paths)


@every_importer
def test_the_exports_of_others_are_counted_or_refused(tool: Importer, tmp_path: Path) -> None:
    for other in EVERY:
        (tmp_path / other.name).mkdir()
        imported(tool, export(other, tmp_path / other.name))


@every_importer
def test_a_row_of_no_table_is_counted_or_refused(tool: Importer, tmp_path: Path) -> None:
    report = imported(tool, [*export(tool, tmp_path), write(tmp_path / "odd.jsonl", [{"hello": 1}, [2]])])
    assert report is None or report.rows_in > report.kept


@every_importer
def test_every_format_has_its_place_on_a_page(tool: Importer) -> None:
    pages = (REPOSITORY / "docs").glob("importing*.md")
    assert any(tool.name in page.read_text(encoding="utf-8") for page in pages)
    assert json.dumps(dict(tool.example))
