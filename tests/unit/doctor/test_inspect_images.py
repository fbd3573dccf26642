"""The data doctor on images: every finding on files that have it, and none of them on files that are in order."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image as Pillow

from pictures import encoded, picture, save_picture, thumbs, write_rows
from prospect.feedback.doctor.inspect import inspect_feedback
from prospect.feedback.images.alike import ALIKE, alike_groups


def codes(source, **options) -> dict[str, str]:
    return {one.code: one.severity for one in inspect_feedback(source, **options).findings}


def test_it_says_what_is_in_a_file(tmp_path):
    found = inspect_feedback(thumbs(tmp_path, count=240, prompts=30)).as_dict()
    assert (found["kind"], found["rows"], found["prompts"]) == ("unpaired", 240, 30)
    assert (found["desirable"], found["undesirable"]) == (120, 120)
    assert found["pictures"]["sizes"] == {"24 x 16": 240} and found["pictures"]["formats"] == {"png": 240}
    assert "lengths" not in found and found["advice"]["method"] == "kto" and found["advice"]["recipe"] is None
    json.dumps(found, allow_nan=False)


def test_files_in_order_have_no_finding_of_images(tmp_path):
    assert codes(thumbs(tmp_path, count=120, prompts=30)) == {}


@pytest.mark.parametrize(
    ("change", "code", "severity"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-60]), "unreadable_rows", "error"),
        (lambda path: path.unlink(), "unreadable_rows", "error"),
        (lambda path: Pillow.new("RGB", (24, 16), "red").save(path), "flat_images", "warning"),
        (lambda path: save_picture(path, seed=500, size=(90, 16)), "wide_images", "warning"),
        (lambda path: save_picture(path, seed=500, mode="L"), "converted_images", "note"),
        (lambda path: save_picture(path, seed=1, compress_level=0), "near_duplicates", "note"),
        (lambda path: save_picture(path, seed=1), "exact_duplicates", "note"),
    ],
)
def test_one_odd_image_is_found(tmp_path, change, code, severity):
    source = thumbs(tmp_path, count=120, prompts=1)
    rows = [json.loads(line) for line in source.read_text().splitlines()]
    write_rows(source, [{**row, "prompt": f"prompt {i % 20}", "label": i % 3 > 0} for i, row in enumerate(rows)])
    before = codes(source)
    change(tmp_path / "pics/61.png")  # 61 and 1 share their prompt and their verdict
    found = codes(source)
    assert {name: found[name] for name in found.keys() - before.keys()} == {code: severity}


def test_broken_images_are_counted_by_reason_and_the_others_are_looked_at(tmp_path):
    source = thumbs(tmp_path, count=120, prompts=30)
    for i in (3, 4, 5):
        (tmp_path / f"pics/{i}.png").write_bytes(b"")
    (tmp_path / "pics/6.png").unlink()
    inspection = inspect_feedback(source)
    reasons = {one["reason"]: (one["count"], one["rows"]) for one in inspection.summary["unreadable"]["reasons"]}
    assert reasons == {
        "image is empty, of zero bytes": (3, ["feedback.jsonl:4", "feedback.jsonl:5", "feedback.jsonl:6"]),
        "image is missing": (1, ["feedback.jsonl:7"]),
    }
    assert inspection.facts.rows == 116 and inspection.has_errors


def test_a_picture_liked_and_disliked_in_two_files_is_a_warning(tmp_path):
    source = thumbs(tmp_path, count=120, prompts=30)
    picture(0).resize((48, 32)).save(tmp_path / "pics/30.png")  # 0 is desirable, 30 is not
    (found,) = [one for one in inspect_feedback(source).findings if one.code == "near_duplicates"]
    assert found.severity == "warning" and found.count == 2 and "both verdicts" in found.message


def test_hashes_link_a_picture_saved_otherwise_and_part_different_ones(tmp_path):
    import io

    import imagehash

    def likeness(image):
        return int(str(imagehash.phash(image)), 16)

    for seed in range(20):
        image = picture(seed, size=(256, 192))
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=50)
        others = [Pillow.open(buffer), image.resize((128, 96)), image.point(lambda value: value * 0.9)]
        assert alike_groups([likeness(one) for one in (image, *others)]) == [[0, 1, 2, 3]]
    assert alike_groups([likeness(picture(seed, size=(256, 192))) for seed in range(60)]) == []


def test_groups_are_linked_by_few_bits():
    assert alike_groups([0, 2**ALIKE - 1, 2 ** (ALIKE + 1) - 1, 0xFFFF << 40, 0xFFFF << 40]) == [[0, 1, 2], [3, 4]]
    assert alike_groups([]) == alike_groups([5]) == []


def test_prompts_without_both_classes_are_counted(tmp_path):
    rows = []
    for i in range(120):
        save_picture(tmp_path / f"{i}.png", seed=i)
        rows.append({"prompt": f"prompt {i % 40}", "image": f"{i}.png", "label": i % 40 < 20})
    (found,) = [
        one
        for one in inspect_feedback(write_rows(tmp_path / "f.jsonl", rows)).findings
        if one.code == "one_sided_prompts"
    ]
    assert (found.severity, found.count) == ("warning", 40)


def test_one_class_is_an_error_and_fewer_desirable_a_note(tmp_path):
    source = thumbs(tmp_path, count=120, prompts=30)
    rows = [json.loads(line) for line in source.read_text().splitlines()]
    write_rows(source, [{**row, "label": False} for row in rows])
    assert codes(source)["one_class"] == "error"
    write_rows(source, [{**row, "label": i % 3 == 0} for i, row in enumerate(rows)])
    assert codes(source)["fewer_desirable"] == "note"


def test_files_that_give_the_verdict_away_are_a_warning(tmp_path):
    rows = []
    for i in range(120):
        name = f"{i}.{'png' if i % 2 else 'jpg'}"
        save_picture(tmp_path / name, seed=i)
        rows.append({"prompt": f"prompt {i % 20 // 2}", "image": name, "label": bool(i % 2)})
    assert codes(write_rows(tmp_path / "f.jsonl", rows))["files_and_verdict"] == "warning"


def test_a_photograph_that_says_where_it_was_taken_is_a_warning(tmp_path):
    source = thumbs(tmp_path, count=120, prompts=30)
    exif = Pillow.Exif()
    exif.get_ifd(0x8825)[1] = "N"
    exif[0x8825] = exif.get_ifd(0x8825)
    save_picture(tmp_path / "pics/3.png", seed=3, exif=exif)
    assert codes(source)["personal_data"] == "warning"


def test_folders_and_tables_with_bytes_are_inspected(tmp_path):
    for i in range(120):
        place = tmp_path / "sorted" / ("liked" if i % 2 else "disliked") / f"{i:03}.png"
        save_picture(place, seed=i)
        place.with_suffix(".txt").write_text(f"prompt {i % 20 // 2}")
    assert codes(tmp_path / "sorted") == {}
    (tmp_path / "sorted/disliked/000.txt").unlink()
    assert codes(tmp_path / "sorted") == {"unreadable_rows": "error"}
    rows = [{"prompt": f"p {i % 20}", "image": {"bytes": encoded(i)}, "label": i % 40 < 20} for i in range(120)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "f.parquet")
    assert inspect_feedback(tmp_path / "f.parquet").summary["pictures"]["different"] == 120
    assert codes(tmp_path / "f.parquet") == {}


@pytest.mark.parametrize("together", [True, False])
def test_texts_among_images_are_rows_that_cannot_be_read(tmp_path, together):
    source = thumbs(tmp_path, count=120, prompts=30)
    text = {"prompt": "p", "completion": "c", "label": True}
    if together:
        source.write_text(source.read_text() + json.dumps(text) + "\n")
    else:
        source = [source, write_rows(tmp_path / "text.jsonl", [text])]
    inspection = inspect_feedback(source)
    assert inspection.summary["unreadable"]["rows"] == 1 and inspection.facts.rows == 120
    assert "expected texts or images" in inspection.findings[0].message


def test_prompts_on_both_sides_are_leaks(tmp_path):
    (tmp_path / "a").mkdir()
    assert (
        codes(thumbs(tmp_path / "a", 120, 30), eval_files=thumbs(tmp_path / "b", 120, 30))["leaked_prompts"] == "error"
    )


def test_a_few_thumbnails_of_each_verdict_are_kept(tmp_path):
    looks = inspect_feedback(thumbs(tmp_path, count=240, prompts=30)).looks
    assert [look.verdict for look in looks].count(1) == [look.verdict for look in looks].count(0) == 12
    assert all(look.thumbnail.startswith(b"\xff\xd8") for look in looks)


def test_of_many_images_in_one_piece_few_thumbnails_are_held(monkeypatch):
    from prospect.feedback import Image, Unpaired
    from prospect.feedback.doctor.checks import columns

    look = columns.Look(0, 1, "x", 0, 8, 8, "png", (), 0, False, False, b"small")
    monkeypatch.setattr(columns, "look_at", lambda image, row, *rest: look._replace(row=row, key=row * 7919 % 4001))
    held = columns.Columns(0, columns.Settings())
    most = 0
    for i in range(4000):
        image = Image(path="x", sha256=f"{i:064}", width=8, height=8, format="png")
        held.add(Unpaired(prompt="p", completion=image, desirable=True, id="", where=""), i, implicit=False)
        most = max(most, sum(bool(one.thumbnail) for one in held._looks[-600:]))
    assert most <= columns._THUMBNAILS_HELD + columns.THUMBNAILS + 1
    kept = [one.key for one in held.part().looks if one.thumbnail]
    assert sorted(kept) == list(range(12))
