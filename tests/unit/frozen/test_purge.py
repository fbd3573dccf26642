"""A purge takes somebody's rows, leaves all others and a tombstone, and knows which runs had seen them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from conftest import thumbs, write_rows
from prospect.errors import DataError
from prospect.feedback import load_feedback, to_paired, to_unpaired, write_jsonl
from prospect.feedback.frozen.filters import Filters
from prospect.feedback.frozen.freeze import check_frozen, describe_files, freeze
from prospect.feedback.frozen.pseudonym import pseudonym, rater_key
from prospect.feedback.frozen.purge import Purged, purge, runs_that_used
from prospect.feedback.frozen.tombstones import Graveyard, tombstones


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> bytes:
    monkeypatch.setenv("PROSPECT_RATER_KEY", "a key that is long enough")
    return rater_key()


def rated(count: int = 9, **more: Any) -> list[dict[str, Any]]:
    return [{**row, "rater": ("anna", "ben", "cleo")[i % 3], **more} for i, row in enumerate(thumbs(count))]


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines(keepends=True)


def test_the_other_rows_stay_byte_for_byte(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    kept = [
        '{"rater":"ben",  "prompt": "é","completion":"","label":0,"more":[1]}\n',
        "\n",
        '{"prompt": "x", "label": 1}',
    ]
    path.write_text(kept[0] + '{"rater": "anna", "any": "thing"}\n' + kept[1] + '{"rater": "anna"}\n' + kept[2])
    path.chmod(0o600)
    (done,) = purge([path], rater="anna")
    assert done[:4] == (path, 2, 2, 0)
    assert path.read_text() == "".join(kept) and path.stat().st_mode & 0o777 == 0o600


def test_a_rater_is_known_by_name_and_by_pseudonym(tmp_path: Path, key: bytes) -> None:
    for raters, said in (
        (["anna", "ben"], "anna"),
        ([pseudonym("anna", key), "ben"], "anna"),
        (["anna", "ben"], pseudonym("anna", key)),
        ([pseudonym("anna", key), "ben"], pseudonym("anna", key)),
        ([7, "ben"], "7"),
    ):
        path = write_rows(tmp_path / "a.jsonl", [{**row, "rater": r} for row, r in zip(thumbs(2), raters, strict=True)])
        assert purge([path], rater=said)[0].removed == 1, said
        assert '"ben"' in path.read_text()


def test_rows_go_by_id_and_those_made_of_them_are_counted(tmp_path: Path) -> None:
    rows = [{**row, "id": f"chat-{i}"} for i, row in enumerate(thumbs(4, prompts=2))]
    rows[1]["prompt"], rows[3]["label"] = rows[0]["prompt"], True
    path = write_rows(tmp_path / "a.jsonl", rows)
    pairs = to_paired(load_feedback(path))
    write_jsonl(to_unpaired(pairs), tmp_path / "b.jsonl")
    write_jsonl(pairs, tmp_path / "c.jsonl")
    done = purge([path, tmp_path / "b.jsonl", tmp_path / "c.jsonl"], ids=["chat-1"])
    assert [one.removed for one in done] == [1, 0, 0]
    assert [one.derived for one in done] == [0, 4, 2]


def test_a_row_without_an_id_goes_by_its_place(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.jsonl", thumbs(3))
    second = lines(path)[1]
    purge([path], ids=["a.jsonl:2"])
    assert second not in lines(path) and len(lines(path)) == 2


def test_a_tombstone_tells_what_and_when_and_nobodys_name_or_words(tmp_path: Path, key: bytes) -> None:
    rows = [{**row, "id": f"secret-{i}"} for i, row in enumerate(rated())]
    path = write_rows(tmp_path / "a.jsonl", rows)
    freeze(path, tmp_path / "frozen")
    before = check_frozen(tmp_path / "frozen")
    purge([path, tmp_path / "frozen"], rater="anna", reason="asked on the phone")
    sidecar = (tmp_path / "a.jsonl.tombstones.json").read_text()
    manifest = check_frozen(tmp_path / "frozen")
    (beside,), (inside,) = tombstones(path), tombstones(tmp_path / "frozen")
    for stone in (beside, inside):
        assert stone.rows == 3 and len(set(stone.marks)) == 3 and stone.reason == "asked on the phone"
    for text in (sidecar, json.dumps(manifest)):
        for word in ("anna", pseudonym("anna", key), "secret", *(rows[0]["completion"].split())):
            assert word not in text
    assert inside.before == {"sha256": before["file"]["sha256"], "content": before["content"]}
    assert inside.after == {"sha256": manifest["file"]["sha256"], "content": manifest["content"]}
    assert tombstones(tmp_path) == [inside, beside] or tombstones(tmp_path) == [beside, inside]
    assert tombstones(tmp_path / "nothing.jsonl") == []


def test_a_purged_frozen_folder_is_whole_and_counts_anew(tmp_path: Path) -> None:
    folder = tmp_path / "frozen"
    freeze(write_rows(tmp_path / "a.jsonl", rated()), folder)
    (folder / "notes").mkdir()
    (folder / "notes" / "why.txt").write_text("kept")
    before = check_frozen(folder)
    (done,) = purge([folder / "rows.jsonl"], rater="ben")
    manifest = check_frozen(folder)
    assert (done.path, done.removed, done.left) == (folder, 3, 6)
    assert manifest["counts"]["rows"] == 6 and manifest["counts"]["raters"] == 2
    assert manifest["sources"] == before["sources"] and manifest["created"] == before["created"]
    rest = write_rows(tmp_path / "b.jsonl", [row for row in rated() if row["rater"] != "ben"])
    assert freeze(rest, tmp_path / "again").manifest["content"] == manifest["content"] != before["content"]
    assert (folder / "notes" / "why.txt").read_text() == "kept"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jsonl", "again", "b.jsonl", "frozen"]


def test_everybody_may_go(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.jsonl", [row for row in rated() if row["rater"] == "anna"])
    freeze(path, tmp_path / "frozen")
    assert [one.left for one in purge([path, tmp_path / "frozen"], rater="anna")] == [0, 0]
    assert path.read_bytes() == b"" and check_frozen(tmp_path / "frozen")["counts"]["rows"] == 0


def test_a_dry_run_counts_and_changes_nothing(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.jsonl", rated())
    freeze(path, tmp_path / "frozen")
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    assert [one.removed for one in purge([path, tmp_path / "frozen"], rater="anna", dry_run=True)] == [3, 3]
    purge([path, tmp_path / "frozen"], rater="nobody")
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_nothing_is_written_where_one_of_the_datasets_is_broken(tmp_path: Path) -> None:
    good = write_rows(tmp_path / "a.jsonl", rated())
    before = good.read_bytes()
    bad = tmp_path / "b.jsonl"
    bad.write_text('{"rater": "anna"}\n{"rater": ')
    freeze(good, tmp_path / "frozen")
    rows = tmp_path / "frozen" / "rows.jsonl"
    rows.write_text(rows.read_text() + rows.read_text())
    csv = tmp_path / "c.csv"
    csv.write_text("prompt,rater\na,anna\n")
    (tmp_path / "folder").mkdir()
    for path, said in (
        (bad, r"b\.jsonl:2"),
        (tmp_path / "frozen", "was changed since it was frozen"),
        (csv, "Write it as JSON lines"),
        (tmp_path / "folder", "a folder without manifest.json"),
        (tmp_path / "none.jsonl", "no such file"),
    ):
        with pytest.raises(DataError, match=said):
            purge([good, path], rater="anna")
    assert good.read_bytes() == before


def test_a_removed_row_is_known_when_it_comes_back(tmp_path: Path, key: bytes) -> None:
    rows = [*rated(6), {**thumbs(1)[0], "completion": " by nobody"}, {**thumbs(1)[0], "id": "chat-1"}]
    path = write_rows(tmp_path / "a.jsonl", rows)
    purge([path], rater="anna")
    purge([path], ids=["a.jsonl:5", "chat-1"])
    assert len(tombstones(path)) == 2
    graves = Graveyard(tombstones(path), key)
    write_rows(tmp_path / "back.jsonl", [*rows, {**thumbs(9)[8], "rater": pseudonym("anna", key)}])
    back = load_feedback(tmp_path / "back.jsonl")
    assert [graves.covers(row) for row in back] == [True, False, False, True, False, False, True, True, True]
    assert not any(Graveyard(tombstones(path), b"another key of bytes").covers(row) for row in back)
    found = freeze(tmp_path / "back.jsonl", tmp_path / "frozen", filters=Filters(purged=graves)).manifest
    assert found["counts"]["rows"] == 4 and found["filters"]["left_out"] == {"purged": 5}


def a_run(folder: Path, name: str, train: Path | None, held_out: Path | None = None) -> None:
    def described(path: Path) -> dict[str, Any]:
        return {"rows": 1, "files": describe_files(path)}

    data = {"train": described(train) if train else {"rows": 1}, "eval": described(held_out) if held_out else None}
    (folder / name / "checkpoints" / "step-1").mkdir(parents=True)
    (folder / name / "provenance.json").write_text(json.dumps({"data": data}))


def test_runs_that_learned_from_any_version_with_the_rows_are_named(tmp_path: Path) -> None:
    path, other = write_rows(tmp_path / "a.jsonl", rated()), write_rows(tmp_path / "o.jsonl", thumbs(3))
    freeze(path, tmp_path / "frozen")
    runs = tmp_path / "runs"
    a_run(runs, "plain", path)
    a_run(runs, "deep/frozen", tmp_path / "frozen")
    a_run(runs, "eval", other, path)
    a_run(runs, "other", other)
    a_run(runs, "old", None)

    def used(done: list[Purged]) -> dict[str, list[str]]:
        found = runs_that_used({value for one in done for value in one.hashes}, [runs])
        assert found.looked_at == len(list(runs.rglob("provenance.json"))) and found.unknown == [runs / "old"]
        return {str(run.relative_to(runs)): parts for run, parts in found.found.items()}

    everything = {"plain": ["train"], "deep/frozen": ["train"], "eval": ["eval"]}
    both = [path, tmp_path / "frozen"]
    assert used(purge(both, rater="anna", dry_run=True)) == everything
    purge(both, rater="ben")
    a_run(runs, "without-ben", path)
    assert used(purge(both, rater="anna")) == {**everything, "without-ben": ["train"]}
    a_run(runs, "clean", path)
    # Asked again, the tombstones still know; the version without ben's rows is none of ben's.
    assert used(purge(both, rater="anna")) == {**everything, "without-ben": ["train"]}
    assert used(purge(both, rater="ben")) == everything
    assert used(purge(both, rater="dora")) == {}


def test_a_folder_of_runs_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder of runs"):
        runs_that_used((), [tmp_path / "runz"])


def test_a_damaged_list_of_tombstones_is_an_error(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.jsonl", rated())
    for text in ("{", '{"tombstones": [{"rows": 1}]}', "[]"):
        (tmp_path / "a.jsonl.tombstones.json").write_text(text)
        with pytest.raises(DataError, match="from a copy"):
            purge([path], rater="anna")
