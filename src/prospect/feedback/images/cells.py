"""What a cell of an image column holds -> the image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prospect.errors import DataError, ImageError
from prospect.feedback.images.opening import describe_image, read_bytes
from prospect.feedback.records import Image
from prospect.feedback.wording import found


def read_image(cell: Any, column: str, where: str, folder: Path | None) -> Image:
    """Return the image that a cell names or holds.

    A cell is a path, which counts from the folder of its file and stays within it; or, in Parquet and datasets, the
    file's bytes, or an object with `bytes` or `path`.

    Args:
        cell: what is there.
        column: its name.
        where: `file:line`, for messages.
        folder: of the file that the cell is in; None where rows come from no file.

    Raises:
        ImageError: an image that cannot be trained on.
        DataError: another type, or a path that leaves the folder.
    """
    name, content = cell, None
    if isinstance(cell, dict):
        name, content = cell.get("path"), cell.get("bytes")
    elif isinstance(cell, bytes):
        name, content = None, cell
    if isinstance(content, bytes):
        label = name if isinstance(name, str) and name else column
        what = f"{where}: {column} ({label})"
        if not content:
            raise ImageError(f"{what} is empty, of zero bytes; expected a picture. Make it again, or remove the row")
        return describe_image(content, what, path=Path(label), inside=True)
    if not isinstance(name, str) or not name:
        raise DataError(f"{where}: {column} is {found(name)}; expected the path of an image, or its file's bytes")
    path = _inside(name, f"{where}: {column} ({name})", folder)
    what = f"{where}: {column} ({name})"
    return describe_image(read_bytes(path, what), what, path=path)


def _inside(name: str, what: str, folder: Path | None) -> Path:
    """Return the path of an image that lies in the folder, links followed; refuse every other."""
    if folder is None or "://" in name or "\0" in name:
        raise DataError(f"{what} is not a file here; expected a path in the data's folder, or the file's bytes")
    path = folder / name
    try:
        inside = path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError) as error:
        raise DataError(f"{what} cannot be read: {error}. Check the name") from None
    if not inside:
        raise DataError(
            f"{what} leads out of {folder}; expected images in the folder of the file that names them, or below it. "
            "Copy the image there, or move the file"
        )
    return path


def check_one_size(images: Sequence[Image], where: str) -> None:
    """Refuse images of different sizes that are compared with each other: they are to share noise."""
    sizes = dict.fromkeys((image.width, image.height) for image in images)
    if len(sizes) > 1:
        listed = " and ".join(f"{width} x {height}" for width, height in sizes)
        raise DataError(
            f"{where}: the images of the row have different sizes ({listed} pixels); expected one size, for all of "
            "them share their noise. Crop or resize them, or use thumbs on single images"
        )
