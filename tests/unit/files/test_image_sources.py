"""Feedback on images from files, tables and folders: every layout gives the same records."""

import csv
import hashlib
import json

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pictures import encoded, save_picture, thumbs, write_rows
from prospect.errors import DataError
from prospect.feedback import Demonstration, Image, Paired, Scored, Unpaired, load_feedback


def test_thumbs_in_json_lines_name_images_beside_their_file(tmp_path):
    rows = load_feedback(thumbs(tmp_path))
    assert all(isinstance(row, Unpaired) for row in rows)
    assert [row.desirable for row in rows] == [True, False, True, False, True, False]
    image = rows[0].completion
    content = (tmp_path / "pics/0.png").read_bytes()
    assert image == Image(tmp_path / "x", hashlib.sha256(content).hexdigest(), 24, 16, "png")
    assert image.path == tmp_path / "pics/0.png" and image.data is None


def test_pairs_scored_images_and_images_to_imitate(tmp_path):
    for i in range(2):
        save_picture(tmp_path / f"{i}.png", seed=i)
    both = {"chosen_image": "0.png", "rejected_image": "1.png"}
    (pair,) = load_feedback(write_rows(tmp_path / "a.jsonl", [{"prompt": "p", **both}]))
    assert isinstance(pair, Paired) and pair.chosen != pair.rejected
    several = {"prompt": "p", "images": ["0.png", "1.png"], "scores": [1, 2]}
    (scored,) = load_feedback(write_rows(tmp_path / "b.jsonl", [several]))
    assert isinstance(scored, Scored) and scored.completions == (pair.chosen, pair.rejected)
    (shown,) = load_feedback(write_rows(tmp_path / "c.jsonl", [{"prompt": "p", "image": "0.png"}]))
    assert isinstance(shown, Demonstration) and shown.completion == pair.chosen


def test_csv_and_parquet_and_a_saved_dataset_give_the_records_of_json_lines(tmp_path):
    expected = [(row.prompt, row.completion, row.desirable) for row in load_feedback(thumbs(tmp_path))]
    raw = [json.loads(line) for line in (tmp_path / "feedback.jsonl").read_text().splitlines()]
    with (tmp_path / "feedback.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["prompt", "image", "label"])
        writer.writeheader()
        writer.writerows(raw)
    inside = [{**row, "image": {"bytes": (tmp_path / row["image"]).read_bytes(), "path": None}} for row in raw]
    pq.write_table(pa.Table.from_pylist(inside), tmp_path / "feedback.parquet")
    saved = datasets.Dataset.from_list(inside).cast_column("image", datasets.Image())
    saved.save_to_disk(tmp_path / "saved")
    datasets.DatasetDict({"train": saved}).save_to_disk(tmp_path / "splits")
    for name in ("feedback.csv", "feedback.parquet", "saved", "splits"):
        found = load_feedback(tmp_path / name)
        assert [(row.prompt, row.completion, row.desirable) for row in found] == expected, name
    assert found[0].completion.data == (tmp_path / "pics/0.png").read_bytes()


def test_folders_liked_and_disliked_with_captions(tmp_path):
    for place, name in (("liked", "b.png"), ("disliked", "a.jpg"), ("liked/more", "c.webp")):
        save_picture(tmp_path / place / name)
        (tmp_path / place / name).with_suffix(".txt").write_text(f"a picture {name}\n")
    (tmp_path / "liked" / ".DS_Store").write_bytes(b"x")
    rows = load_feedback(tmp_path)
    assert [(row.id, row.prompt, row.desirable) for row in rows] == [
        ("disliked/a.jpg", "a picture a.jpg", False),
        ("liked/b.png", "a picture b.png", True),
        ("liked/more/c.webp", "a picture c.webp", True),
    ]


def test_an_image_folder_with_metadata(tmp_path):
    save_picture(tmp_path / "x.png")
    save_picture(tmp_path / "y.png", seed=1)
    write_rows(tmp_path / "metadata.jsonl", [{"file_name": "x.png", "text": "words", "label": 1}])
    for source in (tmp_path, tmp_path / "metadata.jsonl"):
        (row,) = load_feedback(source)
        assert (row.prompt, row.desirable, row.completion.path.name) == ("words", True, "x.png")
    named = {"prompt": "p", "chosen_image_file_name": "x.png", "rejected_image_file_name": "y.png"}
    write_rows(tmp_path / "metadata.jsonl", [named])
    assert isinstance(load_feedback(tmp_path)[0], Paired)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"image": "x.png", "label": True}, "there is no prompt"),
        ({"prompt": None, "image": "x.png", "label": True}, "there is no prompt"),
        ({"prompt": "p", "image": None, "label": True}, "column image is null"),
        ({"prompt": "p", "chosen_image": "x.png"}, "column rejected_image is missing"),
        ({"prompt": "p", "image": "x.png", "chosen": "words"}, "column rejected is missing"),
        ({"prompt": "p", "image": "x.png", "label": "nice"}, 'label is "nice"'),
        ({"prompt": "p", "image": 3, "label": True}, "image is a number (3); expected the path of an image"),
        ({"prompt": [{"role": "user", "content": "p"}], "image": "x.png", "label": True}, "prompt is a list"),
        ({"prompt": "p", "image": "https://a.b/x.png", "label": True}, "is not a file here"),
        ({"prompt": "p", "image": "x.png", "label": True, "chosen_image": "x.png", "rejected_image": "x.png"}, "both"),
    ],
)
def test_a_row_that_cannot_be_read_says_where_and_why(tmp_path, row, message):
    save_picture(tmp_path / "x.png")
    with pytest.raises(DataError) as refused:
        load_feedback(write_rows(tmp_path / "f.jsonl", [row]))
    assert str(refused.value).startswith(f"{tmp_path}/f.jsonl:1: ") and message in str(refused.value)


def test_an_image_beside_text_is_no_completion(tmp_path):
    row = {"prompt": "p", "completion": "words", "label": True, "image": "missing.png"}
    assert load_feedback(write_rows(tmp_path / "f.jsonl", [row]))[0].completion == "words"


def test_a_file_holds_texts_or_images(tmp_path):
    save_picture(tmp_path / "x.png")
    rows = [{"prompt": "p", "completion": "c", "label": True}, {"prompt": "p", "image": "x.png", "label": True}]
    with pytest.raises(DataError, match=r"f\.jsonl:2.*expected one kind in one file"):
        load_feedback(write_rows(tmp_path / "f.jsonl", rows))


def test_images_of_one_row_have_one_size(tmp_path):
    save_picture(tmp_path / "x.png")
    save_picture(tmp_path / "y.png", size=(16, 24))
    row = {"prompt": "p", "chosen_image": "x.png", "rejected_image": "y.png"}
    with pytest.raises(DataError, match=r"f.jsonl:1: .* \(24 x 16 and 16 x 24 pixels\)"):
        load_feedback(write_rows(tmp_path / "f.jsonl", [row]))


def test_an_image_must_lie_in_the_folder_of_its_file(tmp_path):
    save_picture(tmp_path / "outside.png")
    data = tmp_path / "data"
    data.mkdir()
    (data / "link.png").symlink_to(tmp_path / "outside.png")
    for name in ("../outside.png", "link.png", str(tmp_path / "outside.png")):
        row = {"prompt": "p", "image": name, "label": True}
        with pytest.raises(DataError, match=r"f.jsonl:1: image \(.*\) leads out of"):
            load_feedback(write_rows(data / "f.jsonl", [row]))


def test_folders_refuse_what_they_cannot_place(tmp_path):
    save_picture(tmp_path / "liked/a.png")
    with pytest.raises(DataError, match=r"liked/a.png: there is no prompt.*\.txt file beside the image"):
        load_feedback(tmp_path)
    (tmp_path / "liked/a.txt").write_bytes(b"caf\xe9")
    with pytest.raises(DataError, match=r"liked/a.png: prompt holds half a character"):
        load_feedback(tmp_path)
    (tmp_path / "liked/notes.md").write_text("x")
    with pytest.raises(DataError, match=r"notes.md: is neither an image nor the caption of one"):
        load_feedback(tmp_path)
    (tmp_path / "liked/notes.md").unlink()
    save_picture(tmp_path / "liked/a.jpg")
    with pytest.raises(DataError, match="has the same caption file"):
        load_feedback(tmp_path)


def test_bytes_of_a_table_are_checked_as_a_file_is(tmp_path):
    rows = [{"prompt": "p", "image": encoded()[:40], "label": True}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "f.parquet")
    with pytest.raises(DataError, match=r"f.parquet:row 1: image \(image\) is broken or no picture"):
        load_feedback(tmp_path / "f.parquet")
