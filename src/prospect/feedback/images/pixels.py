"""Images as arrays of one size, for training: buckets by aspect, crop and resize."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from prospect.errors import ConfigError
from prospect.feedback.images.opening import decode_image
from prospect.feedback.records import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

STEP = 64
"""Pixels between two sizes of buckets, for Stable Diffusion and its kin: eight of a latent's cells."""
_MOST_ASPECT = 2.0  # of the widest bucket; what is wider loses its sides


@lru_cache(maxsize=64)
def buckets(resolution: int, step: int = STEP) -> tuple[tuple[int, int], ...]:
    """Return the sizes that images are brought to: (width, height), the square first.

    Sides are multiples of `step`. A bucket has at most `resolution`^2 pixels, the height being as large as that allows,
    and no side is more than twice the other.

    Raises:
        ConfigError: the resolution is no positive multiple of the step.
    """
    if step < 1 or resolution < step or resolution % step:
        raise ConfigError(f"resolution is {resolution}; expected a multiple of {step} pixels")
    sizes = [(resolution, resolution)]
    for width in range(step, 2 * resolution + 1, step):
        height = resolution * resolution // width // step * step
        if height and max(width, height) <= _MOST_ASPECT * min(width, height):
            sizes.append((width, height))
    return tuple(dict.fromkeys(sizes))


def bucket_of(image: Image, resolution: int, step: int = STEP) -> tuple[int, int]:
    """Return the bucket, (width, height), whose aspect is nearest to the image's."""
    aspect = math.log(image.width / image.height)
    return min(
        buckets(resolution, step), key=lambda size: (abs(math.log(size[0] / size[1]) - aspect), -size[0] * size[1])
    )


def load_image(image: Image, size: tuple[int, int], where: str) -> NDArray[Any]:
    """Return the pixels of an image in a bucket: uint8 (height, width, 3), RGB, to be written to.

    The image is cropped around its centre to the bucket's aspect, and resized. One that has the size already keeps its
    pixels.

    Args:
        image: of a record.
        size: width and height, of `bucket_of`.
        where: of the record, for messages.

    Raises:
        DataError: the file is broken, missing, or was changed after the record was read.
    """
    import numpy as np

    picture = decode_image(image, f"{where}: image ({image.path})")
    if picture.size == size:
        return np.array(picture)
    from PIL import ImageOps
    from PIL.Image import Resampling

    return np.array(ImageOps.fit(picture, size, method=Resampling.LANCZOS))
