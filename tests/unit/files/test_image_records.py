"""An image as a completion: what makes two of them one, and what reads words refuses it."""

from pathlib import Path

import pytest

from prospect.data.dataset import sides
from prospect.errors import DataError
from prospect.feedback import Image, Paired, Unpaired
from prospect.feedback.convert.subsample import row_content
from prospect.feedback.files.write import as_columns
from prospect.feedback.split import completion_digest


def image(content: str = "a", path: str = "x.png") -> Image:
    return Image(path=Path(path), sha256=content * 64, width=8, height=6, format="png")


def test_images_are_equal_by_content_whatever_they_are_called():
    assert image(path="one.png") == image(path="other.png")
    assert image("a") != image("b")


def test_no_text_has_the_digest_of_an_image():
    assert completion_digest(image()) != completion_digest(image("b"))
    assert completion_digest(image()) != completion_digest(f"image {image().sha256}")


def test_rows_are_written_with_image_columns_and_names_by_content():
    thumb = Unpaired(prompt="p", completion=image(), desirable=True, id="1", where="f:1")
    assert as_columns(thumb) == {"prompt": "p", "image": f"images/{'a' * 64}.png", "label": True, "id": "1"}
    pair = Paired(prompt="p", chosen=image(), rejected=image("b"), id="1", where="f:1")
    assert list(as_columns(pair)) == ["prompt", "chosen_image", "rejected_image", "id"]
    assert row_content(pair) != row_content(Paired(prompt="p", chosen=image("b"), rejected=image(), id="1", where=""))


def test_what_reads_words_refuses_an_image_with_its_row():
    thumb = Unpaired(prompt="p", completion=image(), desirable=True, id="1", where="f.jsonl:1")
    with pytest.raises(DataError, match=r"f\.jsonl:1: the completion is an image; expected text"):
        sides(thumb)
