"""The images of a frozen dataset: copied beside its rows, each once, under a name made of its content."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from prospect.errors import DataError
from prospect.feedback.files.manifest import file_hash
from prospect.feedback.files.write import IMAGE_COLUMNS
from prospect.feedback.images.cells import read_image
from prospect.feedback.images.opening import decode, image_bytes, open_image
from prospect.feedback.records import Feedback, images_of

IMAGES = "images"


class ImageCopies:
    """Copies the images of rows, after each was decoded, so that none is broken.

    Args:
        folder: of the dataset; None: images are only looked at.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._names: set[str] = set()

    def add(self, row: Feedback) -> None:
        """Copy the images of a row that are not there yet; refuse a broken one."""
        for image in images_of(row):
            if image.name in self._names:
                continue
            what = f"{row.where}: image ({image.path})"
            content = image_bytes(image, what)
            decode(open_image(content, what), what)
            self._names.add(image.name)
            if self._folder is not None:
                (self._folder / IMAGES).mkdir(exist_ok=True)
                (self._folder / image.name).write_bytes(content)


def describe_images(folder: Path) -> dict[str, Any]:
    """Return what the manifest of a folder says of its images: nothing of a dataset of texts."""
    sizes = [path.stat().st_size for path in _files(folder)]
    return {IMAGES: {"files": len(sizes), "bytes": sum(sizes)}} if sizes else {}


def copy_images(old: Path, new: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Copy the images that rows name from one folder to another; no other file, whatever rows name."""
    for name in {Path(name).name for row in rows for name in image_names(row)}:
        (new / IMAGES).mkdir(exist_ok=True)
        shutil.copy2(old / IMAGES / name, new / IMAGES / name)


def named_by_content(row: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """Return a row as it stands in a file with its images named by their content, as in a frozen dataset.

    An image that cannot be read keeps its path: a row can be removed all the same.
    """

    def named(cell: Any, column: str) -> Any:
        if isinstance(cell, list):
            return [named(one, column) for one in cell]
        try:
            return read_image(cell, column, str(file), file.parent).name
        except DataError:
            return cell

    return {name: named(cell, name) if name in IMAGE_COLUMNS else cell for name, cell in row.items()}


def image_names(row: Mapping[str, Any]) -> Iterator[str]:
    """Yield the cells of the image columns of a row as it stands in a file."""
    for column in IMAGE_COLUMNS & row.keys():
        cell = row[column]
        yield from (name for name in (cell if isinstance(cell, list) else [cell]) if isinstance(name, str))


def check_images(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Refuse a frozen dataset with images that are missing, added or not what their names say."""
    described = manifest.get(IMAGES)
    if not isinstance(described, Mapping):
        return
    files = _files(folder)
    if len(files) != described.get("files"):
        raise DataError(
            f"{folder / IMAGES}: holds {len(files)} files; {described.get('files')} were frozen. Take the folder "
            "from a copy"
        )
    for path in files:
        if file_hash(path) != path.stem:
            raise DataError(f"{path}: was changed since it was frozen. Take the file from a copy")


def _files(folder: Path) -> list[Path]:
    return sorted((folder / IMAGES).iterdir()) if (folder / IMAGES).is_dir() else []
