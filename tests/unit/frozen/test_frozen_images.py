"""Frozen feedback on images: copies by content, the proof that none changed, and what a purge takes away."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pictures import encoded, save_picture, thumbs, write_rows
from prospect.errors import DataError
from prospect.feedback import load_feedback
from prospect.feedback.files.manifest import file_hash
from prospect.feedback.frozen.diff import diff_feedback
from prospect.feedback.frozen.filters import Filters
from prospect.feedback.frozen.freeze import check_frozen, describe_files, freeze
from prospect.feedback.frozen.pseudonym import rater_key
from prospect.feedback.frozen.purge import purge
from prospect.feedback.frozen.tombstones import Graveyard, tombstones


def test_images_are_copied_once_by_content_and_read_back_equal(tmp_path):
    source = thumbs(tmp_path / "data")
    again = {"prompt": "prompt 0", "image": "pics/0.png", "label": True, "rater": "b"}
    write_rows(source, [json.loads(line) for line in source.read_text().splitlines()] + [again])
    frozen = freeze(source, tmp_path / "frozen")
    rows, before = load_feedback(tmp_path / "frozen"), load_feedback(source)
    assert [row.completion for row in rows] == [row.completion for row in before]
    files = sorted(path.name for path in (tmp_path / "frozen/images").iterdir())
    assert files == sorted({f"{row.completion.sha256}.png" for row in before})
    assert frozen.manifest["images"] == {
        "files": 6,
        "bytes": sum((tmp_path / f"data/pics/{i}.png").stat().st_size for i in range(6)),
    }
    assert check_frozen(tmp_path / "frozen") == frozen.manifest


def test_the_content_does_not_depend_on_where_images_lie(tmp_path):
    one = freeze(thumbs(tmp_path / "data"), tmp_path / "one").manifest
    rows = [json.loads(line) for line in (tmp_path / "data/feedback.jsonl").read_text().splitlines()]
    inside = [{**row, "image": {"bytes": (tmp_path / "data" / row["image"]).read_bytes()}} for row in rows]
    pq.write_table(pa.Table.from_pylist(inside[::-1]), tmp_path / "f.parquet")
    assert freeze(tmp_path / "f.parquet", tmp_path / "two").manifest["content"] == one["content"]
    assert freeze(tmp_path / "one", tmp_path / "three").manifest["content"] == one["content"]
    assert not freeze(tmp_path / "f.parquet", tmp_path / "one").written
    for i, row in enumerate(rows):
        place = save_picture(tmp_path / "sorted" / ("liked" if row["label"] else "disliked") / f"{i}.png", seed=i)
        place.with_suffix(".txt").write_text(row["prompt"])
    assert freeze(tmp_path / "sorted", tmp_path / "four").manifest["content"] == one["content"]
    assert not diff_feedback(tmp_path / "data/feedback.jsonl", tmp_path / "two")


def test_a_broken_image_leaves_nothing_behind(tmp_path):
    source = thumbs(tmp_path / "data")
    (tmp_path / "data/pics/5.png").write_bytes(encoded(5, size=(256, 256))[:-3000])
    with pytest.raises(DataError, match=r"feedback.jsonl:6: image \(.*5.png\) is broken"):
        freeze(source, tmp_path / "frozen")
    assert not (tmp_path / "frozen").exists()


def test_a_frozen_image_that_was_changed_or_lost_is_found(tmp_path):
    freeze(thumbs(tmp_path / "data"), tmp_path / "frozen")
    first = sorted((tmp_path / "frozen/images").iterdir())[0]
    content = first.read_bytes()
    save_picture(first, seed=99)
    with pytest.raises(DataError, match=f"{first.name}: was changed since it was frozen"):
        describe_files(tmp_path / "frozen")
    first.unlink()
    with pytest.raises(DataError, match="holds 5 files; 6 were frozen"):
        check_frozen(tmp_path / "frozen")
    first.write_bytes(content)
    check_frozen(tmp_path / "frozen")


def test_texts_and_images_are_not_frozen_together(tmp_path):
    source = thumbs(tmp_path / "data")
    text = write_rows(tmp_path / "text.jsonl", [{"prompt": "p", "completion": "c", "label": True}])
    with pytest.raises(DataError, match="unpaired, but the rows before are unpaired images"):
        freeze([source, text], tmp_path / "frozen")


@pytest.fixture
def rated(tmp_path):
    source = thumbs(tmp_path / "data")
    rows = [json.loads(line) for line in source.read_text().splitlines()]
    named = [{**row, "rater": "ada" if i < 2 else "bob"} for i, row in enumerate(rows)]
    return write_rows(source, [*named, {**named[0], "rater": "bob"}])


def test_a_purge_removes_the_images_of_its_rows_unless_another_row_has_them(tmp_path, rated):
    freeze(rated, tmp_path / "frozen")
    gone, shared = load_feedback(rated)[1].completion, load_feedback(rated)[0].completion
    (done,) = purge([tmp_path / "frozen"], rater="ada")
    assert (done.removed, done.left) == (2, 5)
    assert not (tmp_path / "frozen" / gone.name).exists() and (tmp_path / "frozen" / shared.name).exists()
    assert check_frozen(tmp_path / "frozen")["images"]["files"] == 5
    assert len(load_feedback(tmp_path / "frozen")) == 5


@pytest.mark.parametrize("frozen", [True, False])
def test_a_purged_image_is_known_again_by_its_content(tmp_path, rated, frozen):
    if frozen:
        freeze(rated, tmp_path / "frozen")
    place = tmp_path / "frozen" if frozen else rated
    again = load_feedback(rated)[3]
    purge([place], ids=["rows.jsonl:4" if frozen else "feedback.jsonl:4"])
    save_picture(tmp_path / "elsewhere/x.png", seed=3)
    back = {"prompt": again.prompt, "image": "x.png", "label": True, "rater": "bob"}
    (row,) = load_feedback(write_rows(tmp_path / "elsewhere/f.jsonl", [back]))
    graveyard = Graveyard(tombstones(place), rater_key())
    assert Filters(purged=graveyard).refusal(row) == "purged"
    save_picture(tmp_path / "elsewhere/x.png", seed=50)
    (other,) = load_feedback(tmp_path / "elsewhere/f.jsonl")
    assert Filters(purged=graveyard).refusal(other) is None


def test_a_folder_is_described_by_its_names_and_contents(tmp_path):
    for verdict in ("liked", "disliked"):
        save_picture(tmp_path / verdict / "a.png", seed=len(verdict))
        (tmp_path / verdict / "a.txt").write_text("words")
    (before,) = describe_files(tmp_path).values()
    (tmp_path / "liked/a.txt").write_text("other words")
    (after,) = describe_files(tmp_path).values()
    assert before["sha256"] != after["sha256"]
    assert freeze(tmp_path, tmp_path.parent / "frozen-folder").manifest["counts"]["classes"] == {
        "desirable": 1,
        "undesirable": 1,
    }


def test_a_difference_names_the_image_column(tmp_path):
    source = thumbs(tmp_path)
    rows = [{**json.loads(line), "id": str(i)} for i, line in enumerate(source.read_text().splitlines())]
    before = write_rows(tmp_path / "a.jsonl", rows)
    after = write_rows(
        tmp_path / "b.jsonl", [{**rows[0], "image": "pics/1.png"}, *rows[1:5], {**rows[5], "label": True}]
    )
    found = diff_feedback(before, after)
    assert (found.changed, found.columns, found.flips) == (2, {"image": 1, "label": 1}, {"to_desirable": 1})


def test_a_purge_copies_only_images_whatever_rows_name(tmp_path, rated):
    freeze(rated, tmp_path / "frozen")
    rows = tmp_path / "frozen/rows.jsonl"
    secret = tmp_path / "secret.png"
    secret.write_bytes(b"x")
    lines = [json.loads(line) for line in rows.read_text().splitlines()]
    write_rows(rows, [*lines, {"prompt": "p", "image": "../../secret.png", "label": True}])
    manifest = json.loads((tmp_path / "frozen/manifest.json").read_text())
    manifest["file"]["sha256"] = file_hash(rows)
    (tmp_path / "frozen/manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError):
        purge([tmp_path / "frozen"], rater="ada")
    assert secret.read_bytes() == b"x" and len(rows.read_text().splitlines()) == 8
