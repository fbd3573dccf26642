"""Pictures on a page: small copies inside it, a grid of them as one image with words for who cannot see it."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

from prospect.errors import DataError
from prospect.feedback.images.cells import read_image
from prospect.feedback.images.opening import decode_image
from prospect.feedback.images.writing import png_bytes, webp_bytes
from prospect.report.page.parts import SampleSide

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image as Picture

COLUMNS = 4  # of a grid, where there are as many pictures
WIDTH = 396  # pixels of a grid: half as wide as the page
_GAP = 4
_QUALITY = 80  # of WebP: a grid of photographs has some 30 KB
_IMAGE = Markup('<img class="{}" src="data:image/{};base64,{}" alt="{}" width="{}" height="{}">')


def picture_side(title: str, said: str, folder: Path, names: Sequence[str]) -> SampleSide:
    """Return pictures as what one side made; see `picture_grid`."""
    return SampleSide(f"{title}: {said}", picture_grid(folder, names, f"{title.lower()}: {said}"))


def picture_grid(folder: Path, names: Sequence[str], alt: str) -> Markup:
    """Return pictures as one image inside the page, at most COLUMNS in a row; where one cannot be read, why.

    Args:
        folder: where the names count from; none may lead out of it.
        names: of the files, at least one.
        alt: what is said where images are not shown.
    """
    import numpy as np

    columns = min(len(names), COLUMNS)
    side = (WIDTH + _GAP) // columns - _GAP
    try:
        pictures = [decode_image(read_image(name, "picture", str(folder / name), folder), name) for name in names]
    except DataError as error:
        return escape(f"{alt} ({error})")
    sharp = all(2 * max(picture.size) <= side for picture in pictures)
    cells = [_cell(picture, side) for picture in pictures]
    height, width = (max(cell.shape[way] for cell in cells) for way in (0, 1))
    rows = -(-len(cells) // columns)
    # Transparent between pictures, on light pages and dark ones.
    grid = np.zeros((rows * (height + _GAP) - _GAP, columns * (width + _GAP) - _GAP, 4), dtype=np.uint8)
    for number, cell in enumerate(cells):
        top, left = (number // columns) * (height + _GAP), (number % columns) * (width + _GAP)
        grid[top : top + cell.shape[0], left : left + cell.shape[1]] = cell
    look, kind = ("pictures sharp", "png") if sharp else ("pictures", "webp")
    content = png_bytes(grid) if sharp else webp_bytes(grid, _QUALITY)
    return _IMAGE.format(look, kind, base64.b64encode(content).decode(), alt, grid.shape[1], grid.shape[0])


def _cell(picture: Picture, side: int) -> NDArray[Any]:
    """Return a copy, uint8 (H, W, 4): large pictures made smaller, small ones larger by a whole number."""
    import numpy as np

    picture.thumbnail((side, side))
    times = max(1, side // max(picture.size))
    return np.asarray(picture.convert("RGBA")).repeat(times, axis=0).repeat(times, axis=1)
