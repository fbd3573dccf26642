"""What is known of an image once it was looked at: sizes, what is converted, a perceptual hash, a thumbnail."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, NamedTuple

from prospect.errors import DataError
from prospect.feedback.images.opening import decode, decode_image, image_bytes, open_image
from prospect.feedback.records import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

PAGE = 768  # pixels of a copy's longer side on a page where people judge: what a screen shows of two side by side
THUMBNAIL = 128  # pixels of its longer side, at most: some 4 KB of JPEG
_LOCATION = 0x8825  # of EXIF: where the picture was taken
_HASHED = 8  # x 8 bits


class Look(NamedTuple):
    """What is kept of an image.

    Attributes:
        row: number of its row, from 0.
        verdict: 1 desirable (chosen), 0 undesirable (rejected), -1 where it is not judged.
        name: of its file.
        key: of its content: the first 64 bits of the SHA-256.
        width: in pixels, upright.
        height: likewise.
        format: png, jpeg, ...
        converted: what is converted before training sees it.
        likeness: perceptual hash, 64 bits; images that look alike differ in few of them.
        is_flat: whether all pixels have one colour.
        has_location: whether the file says where it was taken.
        thumbnail: a small JPEG; empty where none was asked for.
    """

    row: int
    verdict: int
    name: str
    key: int
    width: int
    height: int
    format: str
    converted: tuple[str, ...]
    likeness: int
    is_flat: bool
    has_location: bool
    thumbnail: bytes = b""


def small_copy(image: Image, what: str) -> NDArray[Any]:
    """Return an image with at most `THUMBNAIL` pixels a side: uint8 (height, width, 3).

    Args:
        image: of a record.
        what: whose image it is, for messages.
    """
    import numpy as np

    picture = decode_image(image, what)
    picture.thumbnail((THUMBNAIL, THUMBNAIL))
    return np.asarray(picture)


def page_copy(image: Image, what: str) -> bytes:
    """Return an image as people judge it on a page: a WebP of its pixels, without metadata, which may name its maker.

    A larger image is made smaller, to `PAGE` pixels; a tiny one larger by a whole number, so that its pixels stay
    sharp, and is kept without loss.

    Args:
        image: of a record.
        what: whose image it is, for messages.
    """
    picture = decode(open_image(image_bytes(image, what), what), what)
    picture.thumbnail((PAGE, PAGE))
    tiny = max(picture.size) <= THUMBNAIL
    if tiny:
        times = PAGE // max(picture.size)
        picture = picture.resize((picture.width * times, picture.height * times), resample=0)  # nearest
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=90, lossless=tiny, exif=b"", icc_profile=b"", xmp=b"")
    return buffer.getvalue()


def look_at(image: Image, row: int, verdict: int | None, what: str) -> Look:
    """Decode an image and return what is kept of it.

    Args:
        image: of a record.
        row: number of the record.
        verdict: on the image; None where there is none.
        what: whose image it is, for messages.

    Raises:
        DataError: it is broken, or ImageHash is not installed.
    """
    opened = open_image(image_bytes(image, what), what)
    located = bool(opened.exif(_LOCATION))
    picture = decode(opened, what)
    small = picture.copy()
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=80)
    try:
        import imagehash
    except ImportError:
        raise DataError(
            "near duplicates of images need ImageHash, which is not installed: pip install 'prospect-align[diffusion]'"
        ) from None
    return Look(
        row=row,
        verdict=-1 if verdict is None else verdict,
        name=str(image.path),
        key=int(image.sha256[:16], 16),
        width=image.width,
        height=image.height,
        format=image.format,
        converted=opened.converted,
        likeness=int(str(imagehash.phash(small, hash_size=_HASHED)), 16),
        is_flat=picture.getcolors(maxcolors=1) is not None,
        has_location=located,
        thumbnail=buffer.getvalue(),
    )
