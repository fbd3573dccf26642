"""`prospect data ...` on images: from a folder to a frozen dataset, and what is refused leaves nothing behind."""

import json

import pytest

from pictures import save_picture, thumbs
from prospect.cli.main import main
from prospect.feedback import load_feedback
from prospect.feedback.files.manifest import file_hash


@pytest.fixture
def sorted_pictures(tmp_path):
    for i in range(12):
        path = save_picture(tmp_path / "pictures" / ("liked" if i % 2 else "disliked") / f"{i}.png", seed=i)
        path.with_suffix(".txt").write_text(f"prompt {i // 2 % 3}")
    return tmp_path / "pictures"


def test_a_folder_is_inspected_with_a_page_of_thumbnails(sorted_pictures, tmp_path, capsys):
    page = tmp_path / "pictures.html"
    assert main(["data", "inspect", str(sorted_pictures), "--html", str(page)]) == 0
    shown = capsys.readouterr().out
    assert "12 unpaired rows on 3 prompts" in shown and "24 x 16" in shown
    html = page.read_text()
    assert html.count("<img src=") == html.count("data:image/jpeg;base64,") == 12
    assert "http" not in html.split("<main>")[1]


def test_a_folder_becomes_a_frozen_dataset_that_is_split_checked_and_purged(sorted_pictures, tmp_path, capsys):
    frozen = tmp_path / "frozen"
    assert main(["data", "freeze", str(sorted_pictures), "-o", str(frozen)]) == 0
    assert main(["data", "freeze", "--check", str(frozen)]) == 0
    sides = [str(frozen / "train.jsonl"), str(frozen / "eval.jsonl")]
    assert main(["data", "split", str(frozen), "-o", *sides, "--eval", "1"]) == 0
    assert (len(load_feedback(sides[0])), len(load_feedback(sides[1]))) == (8, 4)
    assert main(["data", "purge", str(frozen), "--id", "rows.jsonl:1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["files"][0]["removed"] == 1
    assert len(list((frozen / "images").iterdir())) == 11
    assert main(["data", "diff", str(sorted_pictures), str(frozen), "--exit-code"]) == 1


def test_purging_names_the_images_that_stay_and_the_runs_that_keep_copies(tmp_path, capsys):
    feedback = thumbs(tmp_path)
    run = tmp_path / "runs" / "pictures"
    (run / "encodings").mkdir(parents=True)
    files = {"rows": 1, "files": {str(feedback): {"sha256": file_hash(feedback)}}}
    (run / "provenance.json").write_text(json.dumps({"data": {"train": files, "eval": None}}))
    call = ["data", "purge", str(feedback), "--id", "feedback.jsonl:2", "--runs", str(tmp_path / "runs"), "--json"]
    assert main(call) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["files"][0]["images"] == ["pics/1.png"]
    assert "1 images of no other row stay, for they are your own: pics/1.png" in " ".join(said.err.split())
    assert "pictures: has used them (train); keeps images and prompts in encodings/, report" in " ".join(
        said.err.split()
    )


def test_pairs_are_made_and_exporting_images_says_that_it_cannot(tmp_path, capsys):
    source = str(thumbs(tmp_path))
    assert main(["data", "convert", source, "--to", "paired", "-o", str(tmp_path / "pairs.jsonl")]) == 0
    assert main(["data", "export", source, "--to", "trl", "-o", str(tmp_path / "trl.jsonl")]) == 1
    assert "an image" in capsys.readouterr().err and not (tmp_path / "trl.jsonl").exists()


def test_a_broken_image_is_named_and_nothing_is_written(sorted_pictures, tmp_path, capsys):
    (sorted_pictures / "liked/3.png").write_bytes(b"")
    for command in (
        ["freeze", str(sorted_pictures), "-o", str(tmp_path / "out")],
        ["inspect", "--strict", str(sorted_pictures)],
    ):
        assert main(["data", *command]) == 1
        assert "is empty, of zero bytes" in "".join(capsys.readouterr())
    assert not (tmp_path / "out").exists()


def test_a_method_for_text_refuses_images_with_the_row(tmp_path, model_path, capsys):
    words = [
        "train",
        "kto",
        "--model",
        str(model_path),
        "--data",
        str(thumbs(tmp_path)),
        "--output",
        str(tmp_path / "run"),
    ]
    assert main([*words, "--set", "train.max_steps=1"]) == 1
    assert "feedback.jsonl:1: the completion is an image; expected text" in capsys.readouterr().err
