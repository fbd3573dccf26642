"""The bytes of an image file -> a picture, within bounds; what cannot be trained on is refused.

Only formats that Pillow decodes by itself are opened. A file is bounded in bytes before it is read, and in pixels
before it is decoded.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from prospect.errors import DataError, ImageError
from prospect.feedback.records import Image
from prospect.file_kinds import regular_file

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif")
MOST_PIXELS = 1 << 26  # 8192 x 8192: 16 times what SDXL is trained on, and 200 MB once it is decoded
MOST_BYTES = 1 << 28  # 256 MiB: more than that many pixels take without compression
_MENDED = "Make the image again, or remove the row"
_ORIENTATION = 0x0112  # of EXIF: how the camera was held
_TURNED = (5, 6, 7, 8)  # orientations that swap width and height


class Opened(NamedTuple):
    """An image whose head was read; its pixels are not decoded.

    Attributes:
        picture: Pillow's image.
        orientation: EXIF's, 1 to 8; 1 is upright.
    """

    picture: Picture
    orientation: int

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels once it is turned upright."""
        width, height = self.picture.size
        return (height, width) if self.orientation in _TURNED else (width, height)

    @property
    def converted(self) -> tuple[str, ...]:
        """What is converted by `decode`: `cmyk`, `grey`, `palette`, `transparency`, `rotation`."""
        mode = self.picture.mode
        found = {
            "cmyk": mode == "CMYK",
            "grey": mode in ("1", "L", "LA"),
            "palette": mode in ("P", "PA"),
            "transparency": self.picture.has_transparency_data,
            "rotation": self.orientation != 1,
        }
        return tuple(name for name, here in found.items() if here)

    def exif(self, tag: int) -> Any:
        """Return a value of the EXIF data that is before the pixels; None where there is none."""
        if self.picture.format == "PNG" and "exif" not in self.picture.info:
            return None  # to look for it behind the pixels decodes them all
        try:
            with _in_our_words(""):
                return self.picture.getexif().get(tag)
        except DataError:  # what a camera wrote may be broken; the picture need not be
            return None


def read_bytes(path: Path, what: str) -> bytes:
    """Return the bytes of an image file; refuse one that is missing, empty or of more than `MOST_BYTES`.

    Args:
        path: of the file.
        what: whose file it is, for messages: `file:line: image (a.png)`.
    """
    try:
        size = regular_file(path).stat().st_size
        if size > MOST_BYTES:
            raise ImageError(f"{what} has {size >> 20} MiB; expected at most {MOST_BYTES >> 20}. {_MENDED}")
        content = path.read_bytes()
    except FileNotFoundError:
        raise ImageError(f"{what} is missing; expected a file. Put it there, or remove the row") from None
    except OSError as error:
        raise ImageError(f"{what} cannot be read: {error.strerror}. Check the name and its permissions") from error
    if not content:
        raise ImageError(f"{what} is empty, of zero bytes; expected a picture. {_MENDED}")
    return content


def open_image(content: bytes, what: str) -> Opened:
    """Return the image with its head read.

    Raises:
        ImageError: it is no picture, too large, animated, or has more than 8 bits a channel.
    """
    with _in_our_words(what):
        picture = _pillow().open(io.BytesIO(content), formats=FORMATS)
    width, height = picture.size
    if width * height > MOST_PIXELS:
        raise ImageError(
            f"{what} is too large, {width} x {height} pixels; expected at most {MOST_PIXELS:,}. Make it smaller"
        )
    with _in_our_words(what):  # an MPO is a camera's JPEG with a preview
        frames = 1 if picture.format == "MPO" else getattr(picture, "n_frames", 1)
    if frames > 1:
        raise ImageError(
            f"{what} is animated or has pages, {frames} of them; expected one still picture. Save the one that counts"
        )
    if picture.mode[0] in "IF" or any(";16" in str(tile[3]) for tile in picture.tile):
        raise ImageError(f"{what} has more than 8 bits a channel; expected 8. Save it with 8")
    orientation = Opened(picture, 1).exif(_ORIENTATION)
    return Opened(picture, orientation if orientation in _UPRIGHT else 1)


def describe_image(content: bytes, what: str, *, path: Path, inside: bool = False) -> Image:
    """Return the record of an image: its hash and its size.

    Args:
        content: the file's bytes.
        what: whose image it is, for messages.
        path: of the file, or its name.
        inside: whether the bytes are part of another file, and kept in the record.
    """
    opened = open_image(content, what)
    width, height = opened.size
    digest, form = hashlib.sha256(content).hexdigest(), str(opened.picture.format).lower()
    return Image(path, digest, width, height, "jpeg" if form == "mpo" else form, content if inside else None)


def image_bytes(image: Image, what: str) -> bytes:
    """Return the bytes of an image's file; refuse a file that is not the one that the record was made of."""
    content = image.data if image.data is not None else read_bytes(image.path, what)
    if hashlib.sha256(content).hexdigest() != image.sha256:
        raise DataError(f"{what} was changed after its row was read. Run this again when nothing writes to it")
    return content


def decode_image(image: Image, what: str) -> Picture:
    """Return the pixels of an image; see `decode` and `image_bytes`."""
    return decode(open_image(image_bytes(image, what), what), what)


def decode(opened: Opened, what: str) -> Picture:
    """Return the pixels of an image as 8-bit RGB, upright.

    CMYK, grey and palettes are converted, transparency is laid on white, and the rotation that a camera noted is
    applied.

    Raises:
        ImageError: the pixels are broken.
    """
    pillow = _pillow()
    picture, orientation = opened
    with _in_our_words(what):
        picture.load()
        if picture.has_transparency_data:
            layer = picture.convert("RGBA")
            picture = pillow.alpha_composite(pillow.new("RGBA", layer.size, "white"), layer)
        picture = picture.convert("RGB")
    upright = _UPRIGHT.get(orientation)
    return picture if upright is None else picture.transpose(pillow.Transpose[upright])


_UPRIGHT = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}


@contextmanager
def _in_our_words(what: str) -> Iterator[None]:
    """Make one refusal of whatever Pillow raises at broken bytes, and keep its warnings off the terminal."""
    pillow = _pillow()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except pillow.DecompressionBombError as error:
        raise ImageError(f"{what} is too large: {error}. Make it smaller") from None
    except Exception as error:
        said = " ".join(str(error).split()) or type(error).__name__
        if type(error).__name__ == "UnidentifiedImageError":
            said = f"none of {', '.join(FORMATS)}"
        raise ImageError(
            f"{what} is broken or no picture: {said[:200]}; expected a whole image file. {_MENDED}"
        ) from None


def _pillow() -> Any:
    try:
        import PIL.Image
    except ImportError:
        raise DataError(
            "feedback on images needs Pillow, which is not installed: pip install 'prospect-align[diffusion]'"
        ) from None
    return PIL.Image
