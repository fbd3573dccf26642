"""Image files: what is refused, what is converted, and what training gets of them."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image as Pillow

from pictures import encoded, picture, save_picture
from prospect.errors import ConfigError, DataError
from prospect.feedback import Image
from prospect.feedback.images import opening
from prospect.feedback.images.opening import decode_image, describe_image, open_image
from prospect.feedback.images.pixels import bucket_of, buckets, load_image


def describe(path) -> Image:
    return describe_image(opening.read_bytes(path, "f:1: image (x)"), "f:1: image (x)", path=path)


def _empty(path):
    path.write_bytes(b"")


def _animated(path):
    picture(0).save(path, save_all=True, append_images=[picture(1), picture(2)])


def _sixteen_bits(path):
    Pillow.fromarray(np.full((4, 4), 40_000, dtype=np.uint16)).save(path)


def _text(path):
    path.write_text("no picture")


def _folder(path):
    path.mkdir()


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("x.png", lambda path: None, "is missing"),
        ("x.png", _empty, "is empty, of zero bytes"),
        ("x.png", _text, "is broken or no picture"),
        ("x.png", _folder, "cannot be read: it is a folder"),
        ("x.gif", _animated, "is animated or has pages, 3 of them"),
        ("x.png", _animated, "is animated or has pages, 3 of them"),
        ("x.png", _sixteen_bits, "has more than 8 bits a channel"),
        ("x.eps", lambda path: picture().save(path), "is broken or no picture"),
    ],
)
def test_what_cannot_be_trained_on_is_refused_with_its_row(tmp_path, name, make, message):
    path = tmp_path / name
    make(path)
    with pytest.raises(DataError) as refused:
        describe(path)
    assert str(refused.value).startswith("f:1: image (x) ") and message in str(refused.value)


def test_a_colour_png_of_16_bits_is_refused(tmp_path):
    import struct
    import zlib

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    content = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(13))) + chunk(b"IEND", b"")
    )
    with pytest.raises(DataError, match="more than 8 bits"):
        describe_image(content, "x", path=tmp_path)


@pytest.mark.parametrize("width", [(1 << 13) + 1, 1 << 15])
def test_a_decompression_bomb_is_refused_before_it_is_decoded(tmp_path, width):
    path = tmp_path / "bomb.png"
    Pillow.new("1", (width, width)).save(path)
    assert path.stat().st_size < 1 << 20
    with pytest.raises(DataError, match="is too large"):
        describe(path)


def test_a_file_of_too_many_bytes_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(opening, "MOST_BYTES", 10)
    with pytest.raises(DataError, match="expected at most"):
        describe(save_picture(tmp_path / "x.png"))


def test_a_cut_file_is_found_when_it_is_decoded(tmp_path):
    path = tmp_path / "x.jpg"
    path.write_bytes(encoded(form="JPEG", size=(256, 256))[:-900])
    image = describe(path)
    with pytest.raises(DataError, match="is broken or no picture: image file is truncated"):
        decode_image(image, "x")


def test_a_file_that_changed_after_it_was_read_is_refused(tmp_path):
    image = describe(save_picture(tmp_path / "x.png"))
    save_picture(tmp_path / "x.png", seed=1)
    with pytest.raises(DataError, match="was changed after its row was read"):
        load_image(image, (8, 8), "f:1")


@pytest.mark.parametrize(
    ("name", "mode", "found"),
    [
        ("x.jpg", "CMYK", ["cmyk"]),
        ("x.png", "L", ["grey"]),
        ("x.png", "P", ["palette"]),
        ("x.gif", "P", ["palette"]),
        ("x.png", "RGB", []),
        ("x.webp", "RGB", []),
    ],
)
def test_other_modes_become_rgb(tmp_path, name, mode, found):
    image = describe(save_picture(tmp_path / name, mode=mode))
    assert open_image(image.path.read_bytes(), "x").converted == tuple(found)
    pixels = load_image(image, (24, 16), "f:1")
    assert pixels.shape == (16, 24, 3) and pixels.dtype == np.uint8
    assert np.abs(pixels.astype(int) - np.asarray(picture(mode=mode).convert("RGB")).astype(int)).mean() < 8


def test_transparency_is_laid_on_white(tmp_path):
    Pillow.new("RGBA", (4, 4), (255, 0, 0, 0)).save(tmp_path / "x.png")
    image = describe(tmp_path / "x.png")
    assert open_image(image.path.read_bytes(), "x").converted == ("transparency",)
    assert (load_image(image, (4, 4), "f:1") == 255).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_the_rotation_that_a_camera_noted_is_applied(tmp_path, orientation, form):
    from PIL import ImageOps

    exif = Pillow.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"x.{form.lower()}"
    picture().save(path, form, exif=exif)
    image = describe(path)
    expected = ImageOps.exif_transpose(Pillow.open(path)).convert("RGB")
    assert (image.width, image.height) == expected.size
    assert (load_image(image, expected.size, "f:1") == np.asarray(expected)).all()


def test_an_image_of_its_buckets_size_keeps_its_pixels(tmp_path):
    image = describe(save_picture(tmp_path / "x.png", size=(8, 8)))
    assert bucket_of(image, 8, step=8) == (8, 8)
    assert (load_image(image, (8, 8), "f:1") == np.asarray(picture(size=(8, 8)))).all()


def test_an_image_is_cropped_around_its_centre(tmp_path):
    stripes = np.zeros((8, 24, 3), dtype=np.uint8)
    stripes[:, 8:16] = 255
    Pillow.fromarray(stripes).save(tmp_path / "x.png")
    assert (load_image(describe(tmp_path / "x.png"), (8, 8), "f:1") == 255).all()


def test_buckets_hold_no_more_pixels_than_the_square_and_are_wide_and_tall_alike():
    sizes = buckets(512)
    assert sizes[0] == (512, 512)
    assert all(width * height <= 512 * 512 and width % 64 == height % 64 == 0 for width, height in sizes)
    assert all(1 / 2 <= width / height <= 2 for width, height in sizes)
    assert {(height, width) for width, height in sizes} == set(sizes)


@pytest.mark.parametrize(
    ("size", "bucket"), [((1000, 1000), (512, 512)), ((1600, 900), (640, 384)), ((10, 900), (384, 640))]
)
def test_an_image_goes_to_the_bucket_of_the_nearest_aspect(tmp_path, size, bucket):
    image = Image(tmp_path, "0" * 64, *size, "png")
    assert bucket_of(image, 512) == bucket


def test_a_resolution_that_its_step_does_not_divide_is_refused():
    with pytest.raises(ConfigError, match="expected a multiple of 64"):
        buckets(500)


def test_without_pillow_one_sentence_says_what_to_install(tmp_path, monkeypatch):
    path = save_picture(tmp_path / "x.png")
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(
        DataError, match=r"needs Pillow, which is not installed: pip install 'prospect-align\[diffusion\]'"
    ):
        describe(path)


def test_commands_on_text_import_no_pillow(tmp_path):
    path = tmp_path / "f.jsonl"
    path.write_text('{"prompt": "p", "completion": "c", "label": true}\n')
    read = f"from prospect.feedback import load_feedback; load_feedback({str(path)!r})"
    code = f"import sys; {read}; print('PIL' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
