"""Feedback on images is split, converted and balanced as text is, and written with paths that can be read again."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pictures import encoded, save_picture, thumbs, write_rows
from prospect.errors import DataError
from prospect.feedback import as_kind, class_counts, load_feedback, split_by_prompt, write_jsonl
from prospect.feedback.convert.split_files import split_files
from prospect.feedback.convert.streaming import Conversion, convert_files


def test_written_rows_name_images_from_their_own_folder(tmp_path):
    rows = load_feedback(thumbs(tmp_path / "data/inner"))
    write_jsonl(rows, tmp_path / "data/all.jsonl")
    again = load_feedback(tmp_path / "data/all.jsonl")
    assert [row.completion.path for row in again] == [row.completion.path for row in rows]
    assert [row.completion for row in again] == [row.completion for row in rows]


def test_rows_are_not_written_where_their_images_cannot_be_named(tmp_path):
    source = thumbs(tmp_path / "data")
    (tmp_path / "out").mkdir()
    with pytest.raises(DataError, match=r"feedback.jsonl:1: the image .* is not in .*/out or below"):
        write_jsonl(load_feedback(source), tmp_path / "out/all.jsonl")
    pq.write_table(pa.Table.from_pylist([{"prompt": "p", "image": encoded(), "label": True}]), tmp_path / "f.parquet")
    with pytest.raises(DataError, match=r"is inside another file.*prospect data freeze"):
        write_jsonl(load_feedback(tmp_path / "f.parquet"), tmp_path / "all.jsonl")
    assert not (tmp_path / "out/all.jsonl").exists() and not (tmp_path / "all.jsonl").exists()


def test_a_split_holds_out_whole_prompts(tmp_path):
    source = thumbs(tmp_path, count=12, prompts=4)
    tally = split_files(source, tmp_path / "train.jsonl", tmp_path / "eval.jsonl", share=1, seed=3)
    train, held_out = load_feedback(tmp_path / "train.jsonl"), load_feedback(tmp_path / "eval.jsonl")
    assert (tally.train, tally.held_out) == (len(train), len(held_out)) == (9, 3)
    assert not {row.prompt for row in train} & {row.prompt for row in held_out}
    expected = split_by_prompt(load_feedback(source), 1, seed=3)
    assert [row.completion for row in held_out] == [row.completion for row in expected[1]]


def test_thumbs_become_pairs_and_pairs_become_thumbs(tmp_path):
    source = thumbs(tmp_path)
    convert_files(source, tmp_path / "pairs.jsonl", Conversion(to="paired"))
    pairs = load_feedback(tmp_path / "pairs.jsonl")
    assert len(pairs) == 3 and all(pair.chosen != pair.rejected for pair in pairs)
    convert_files(tmp_path / "pairs.jsonl", tmp_path / "thumbs.jsonl", Conversion(to="unpaired"))
    again = {(row.prompt, row.completion, row.desirable) for row in load_feedback(tmp_path / "thumbs.jsonl")}
    assert again == {(row.prompt, row.completion, row.desirable) for row in load_feedback(source)}
    assert class_counts(load_feedback(source)) == (3, 3)


def test_groups_with_scores_are_written_and_read_again(tmp_path):
    rows = [{"prompt": "p", "image": f"{i}.png", "score": i} for i in range(3)]
    for i in range(3):
        save_picture(tmp_path / f"{i}.png", seed=i)
    convert_files(write_rows(tmp_path / "f.jsonl", rows), tmp_path / "groups.jsonl", Conversion(to="scored"))
    (group,) = load_feedback(tmp_path / "groups.jsonl")
    assert group.scores == (0, 1, 2) and [image.path.name for image in group.completions] == ["0.png", "1.png", "2.png"]


def test_thumbs_on_images_of_two_sizes_make_no_pair(tmp_path):
    save_picture(tmp_path / "a.png")
    save_picture(tmp_path / "b.png", size=(8, 8))
    rows = [{"prompt": "p", "image": "a.png", "label": True}, {"prompt": "p", "image": "b.png", "label": False}]
    with pytest.raises(DataError, match="different sizes"):
        as_kind(load_feedback(write_rows(tmp_path / "f.jsonl", rows)), "paired")


def test_one_image_a_prompt_is_kept_with_its_path(tmp_path):
    source = thumbs(tmp_path)
    convert_files(source, tmp_path / "one.jsonl", Conversion(to="unpaired", one_per_prompt=True))
    assert {row.prompt for row in load_feedback(tmp_path / "one.jsonl")} == {"prompt 0", "prompt 1", "prompt 2"}
