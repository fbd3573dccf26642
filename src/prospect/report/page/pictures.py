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
from prospect.feedback.images.writing import png_bytes

if TYPE_CHECKING:
    from numpy.typing import NDArray

CELL = 96  # pixels of a copy's longer side: four of them are half as wide as the page
COLUMNS = 4
_GAP = 4
_IMAGE = Markup('<img class="pictures" src="data:image/png;base64,{}" alt="{}" width="{}" height="{}">')


def picture_grid(folder: Path, names: Sequence[str], alt: str) -> Markup:
    """Return pictures as one image inside the page, COLUMNS in a row; where one cannot be read, why.

    Args:
        folder: where the names count from; none may lead out of it.
        names: of the files, at least one.
        alt: what is said where images are not shown.
    """
    import numpy as np

    try:
        cells = [_cell(folder, name) for name in names]
    except DataError as error:
        return escape(f"{alt} ({error})")
    height, width = (max(cell.shape[side] for cell in cells) for side in (0, 1))
    rows, columns = -(-len(cells) // COLUMNS), min(len(cells), COLUMNS)
    # Transparent between pictures, on light pages and dark ones.
    grid = np.zeros((rows * (height + _GAP) - _GAP, columns * (width + _GAP) - _GAP, 4), dtype=np.uint8)
    for number, cell in enumerate(cells):
        top, left = (number // COLUMNS) * (height + _GAP), (number % COLUMNS) * (width + _GAP)
        grid[top : top + cell.shape[0], left : left + cell.shape[1]] = cell
    return _IMAGE.format(base64.b64encode(png_bytes(grid)).decode(), alt, grid.shape[1], grid.shape[0])


def _cell(folder: Path, name: str) -> NDArray[Any]:
    """Return a copy, uint8 (H, W, 4): large pictures made smaller, small ones larger by a whole number."""
    import numpy as np

    where = str(folder / name)
    picture = decode_image(read_image(name, "picture", where, folder), where)
    picture.thumbnail((CELL, CELL))
    times = max(1, CELL // max(picture.size))
    return np.asarray(picture.convert("RGBA")).repeat(times, axis=0).repeat(times, axis=1)
