"""Arrays to image files: PNG, which keeps every pixel, named by content."""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prospect.atomic import atomic_file
from prospect.feedback.images.opening import image_bytes
from prospect.feedback.records import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray


def png_bytes(pixels: NDArray[Any]) -> bytes:
    """Return uint8 (H, W, 3) as a PNG file."""
    from PIL.Image import fromarray

    content = io.BytesIO()
    fromarray(pixels).save(content, format="PNG")
    return content.getvalue()


def webp_bytes(pixels: NDArray[Any], quality: int) -> bytes:
    """Return uint8 (H, W, 4) as a WebP file: smaller than PNG, for people to look at."""
    from PIL.Image import fromarray

    content = io.BytesIO()
    fromarray(pixels).save(content, format="WEBP", quality=quality)
    return content.getvalue()


def write_image(pixels: NDArray[Any], folder: Path) -> Image:
    """Write uint8 (H, W, 3) as `images/SHA256.png` below a folder, unless it is there, and return its record."""
    content = png_bytes(pixels)
    height, width = pixels.shape[:2]
    image = Image(Path("drawn"), hashlib.sha256(content).hexdigest(), width, height, "png", content)
    return copy_image(image, folder, image.name)


def copy_image(image: Image, folder: Path, what: str) -> Image:
    """Write an image's file as `images/SHA256.FORMAT` below a folder, unless it is there, and return its record.

    Args:
        image: of a record.
        folder: where it goes.
        what: whose image it is, for messages.

    Raises:
        DataError: the file was changed after the record was read.
    """
    path = folder / image.name
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        content = image_bytes(image, what)
        with atomic_file(path) as file:
            file.write(content)
    return replace(image, path=path, data=None)
