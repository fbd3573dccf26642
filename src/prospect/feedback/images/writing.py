"""Arrays to image files: PNG, which keeps every pixel, named by content."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prospect.atomic import atomic_file
from prospect.feedback.records import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray


def png_bytes(pixels: NDArray[Any]) -> bytes:
    """Return uint8 (H, W, 3) as a PNG file."""
    from PIL.Image import fromarray

    content = io.BytesIO()
    fromarray(pixels).save(content, format="PNG")
    return content.getvalue()


def write_image(pixels: NDArray[Any], folder: Path) -> Image:
    """Write uint8 (H, W, 3) as `images/SHA256.png` below a folder, unless it is there, and return its record."""
    content = png_bytes(pixels)
    height, width = pixels.shape[:2]
    digest = hashlib.sha256(content).hexdigest()
    image = Image(folder / "images" / f"{digest}.png", digest, width, height, "png")
    image.path.parent.mkdir(parents=True, exist_ok=True)
    if not image.path.exists():
        with atomic_file(image.path) as file:
            file.write(content)
    return image
