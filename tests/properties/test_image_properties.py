"""Images of any bytes: a picture of the size it says, or a refusal in our words, never another error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pictures import encoded
from prospect.errors import DataError
from prospect.feedback.images.looks import look_at
from prospect.feedback.images.opening import FORMATS, describe_image
from prospect.feedback.images.pixels import bucket_of, buckets, load_image

WHOLE = {form: encoded(form=form, size=(20, 12)) for form in FORMATS}


def read(content: bytes) -> np.ndarray | None:
    """Return the pixels, or None where they are refused."""
    try:
        image = describe_image(content, "f:1: image (x)", path=Path("x"), inside=True)
        pixels = load_image(image, (image.width, image.height), "f:1")
        look_at(image, 0, None, "f:1: image (x)")
    except DataError as error:
        assert str(error).startswith("f:1: image (x) ")
        return None
    assert pixels.shape == (image.height, image.width, 3) and pixels.dtype == np.uint8
    return pixels


@pytest.mark.parametrize("form", FORMATS)
def test_a_whole_file_of_every_format_is_read(form):
    assert read(WHOLE[form]) is not None


@settings(max_examples=300, deadline=None)
@given(
    form=st.sampled_from(FORMATS),
    places=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=8),
    length=st.integers(0, 4000),
)
def test_mutated_and_cut_files_are_read_or_refused(form, places, length):
    content = bytearray(WHOLE[form][:length])
    for place, value in places:
        if content:
            content[place % len(content)] = value
    read(bytes(content))


@settings(max_examples=100, deadline=None)
@given(
    width=st.integers(1, 5000), height=st.integers(1, 5000), cells=st.integers(1, 16), step=st.sampled_from((1, 8, 64))
)
def test_the_bucket_is_the_nearest_in_aspect(width, height, cells, step):
    from prospect.feedback import Image

    image = Image(Path("x"), "0" * 64, width, height, "png")
    sizes = buckets(cells * step, step)
    chosen = bucket_of(image, cells * step, step)

    def distance(size):
        return abs(np.log(size[0] / size[1]) - np.log(width / height))

    assert distance(chosen) <= min(map(distance, sizes)) + 1e-12
