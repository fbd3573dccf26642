"""Folders of images: `liked/` and `disliked/` with captions beside them, and a table of metadata beside its images.

The first is what people have who sort pictures by hand; the second is the layout that Datasets calls an image folder.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from prospect.errors import DataError
from prospect.feedback.images.opening import SUFFIXES

VERDICTS = {"liked": True, "disliked": False}
"""The folders, and the verdict on the images in them."""
METADATA = ("metadata.jsonl", "metadata.csv", "metadata.parquet")
_NAME, _CAPTIONS = "file_name", ("text", "caption")
_CAPTION = ".txt"
_OF_SYSTEMS = ("Thumbs.db", "desktop.ini")  # what Windows leaves in folders of pictures


def image_folder(folder: Path) -> Path | None:
    """Return where the rows of a folder of images are: its metadata, or the folder itself; None where it is none."""
    for name in METADATA:
        if (folder / name).is_file():
            return folder / name
    return folder if any((folder / name).is_dir() for name in VERDICTS) else None


def read_image_folder(folder: Path) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield a row for each image of `liked/` and `disliked/`, with the caption beside it: `a.txt` is that of `a.png`.

    Images are in the order of their names, whichever of the two folders they are in. Hidden files are passed over.

    Raises:
        DataError: a file that is neither an image nor a caption of one, or two images with one caption.
    """
    for path in _images(folder):
        name = path.relative_to(folder).as_posix()
        caption = path.with_suffix(_CAPTION)
        row = {
            "prompt": _caption(caption) if caption.is_file() else None,
            "image": name,
            "label": VERDICTS[name.partition("/")[0]],
        }
        yield str(path), name, row


def folder_files(folder: Path) -> list[Path]:
    """Return the files of `liked/` and `disliked/`, hidden ones passed over, by name."""
    found: list[Path] = []
    for verdict in VERDICTS:
        for place, inner, files in os.walk(folder / verdict):
            inner[:] = [name for name in inner if not name.startswith(".")]
            found += [Path(place) / name for name in files if not name.startswith(".") and name not in _OF_SYSTEMS]
    return sorted(found, key=lambda path: (path.name, str(path)))


def _images(folder: Path) -> list[Path]:
    files = folder_files(folder)
    images = [path for path in files if path.suffix.lower() in SUFFIXES]
    captioned: dict[Path, Path] = {}
    for path in images:
        other = captioned.setdefault(path.with_suffix(""), path)
        if other != path:
            raise DataError(f"{path}: {other.name} has the same caption file; expected one image each. Rename one")
    for path in files:
        if path.suffix.lower() not in SUFFIXES and not (path.suffix == _CAPTION and path.with_suffix("") in captioned):
            raise DataError(
                f"{path}: is neither an image nor the caption of one; expected images ({', '.join(SUFFIXES)}), each "
                f"with its prompt in a {_CAPTION} file of the same name. Remove or rename it"
            )
    return images


def _caption(path: Path) -> str:
    try:
        # A byte that is not UTF-8 becomes half a character, which marks the row that it is in.
        return path.read_bytes().decode(errors="surrogateescape").removeprefix("\ufeff").strip()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}. Check its permissions") from error


def is_metadata(place: Path | str | None) -> bool:
    """Whether a file is the table of metadata of an image folder, by its name."""
    return isinstance(place, Path) and place.name in METADATA


def as_image_rows(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a row of metadata with our columns: `file_name` is image, `chosen_image_file_name` is chosen_image.

    The prompt is in `prompt`, else in `text` or `caption`.
    """
    if not any(column == _NAME or column.endswith(f"_{_NAME}") for column in row):
        return row
    named = {_image_column(column): cell for column, cell in row.items()}
    if named.get("prompt") is None:
        said = next((column for column in _CAPTIONS if named.get(column) is not None), None)
        if said is not None:
            named["prompt"] = named.pop(said)
    return named


def _image_column(column: str) -> str:
    return "image" if column == _NAME else column.removesuffix(f"_{_NAME}")


def folder_of(place: Path | str | None) -> Path | None:
    """Return the folder that the paths of a place's images count from; None for a hub dataset."""
    if not isinstance(place, Path):
        return None
    return place if place.is_dir() else place.parent
