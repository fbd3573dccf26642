"""Feedback that stays as it is: rows and a manifest in one folder, and the proof that nothing was changed since."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from prospect.atomic import atomic_directory, write_json
from prospect.errors import DataError
from prospect.feedback.files.manifest import (
    FORMAT,
    MANIFEST,
    ROWS,
    Summary,
    as_json,
    canonical,
    columns_of,
    content_hash,
    file_hash,
    frozen_folder,
    read_manifest,
    row_hash,
)
from prospect.feedback.files.readers import read_jsonl
from prospect.feedback.files.sources import Source, find_places, folder_contents, iter_feedback
from prospect.feedback.frozen.filters import Filters, counted
from prospect.feedback.frozen.images import ImageCopies, check_images, describe_images
from prospect.feedback.records import Feedback
from prospect.feedback.times import write_time


class Frozen(NamedTuple):
    """A frozen dataset: its manifest, and whether it was written now or was there already, with equal content."""

    manifest: dict[str, Any]
    written: bool


def freeze(
    source: Source,
    folder: str | Path,
    *,
    label_map: Mapping[Any, bool] | None = None,
    filters: Filters | None = None,
) -> Frozen:
    """Write rows of one kind to `folder/rows.jsonl`, with `folder/manifest.json` beside them.

    The manifest's `content` is a hash of the rows alone: it depends neither on their order nor on the files that they
    came from. `file.sha256` is that of rows.jsonl, byte for byte. Images are copied to `folder/images`, each once,
    by its SHA-256. The folder appears whole or not at all.

    Args:
        source: as `load_feedback` takes it; a frozen folder is its rows.jsonl.
        folder: where to; it must be new or empty, or hold the same content, which is then left as it is.
        label_map: label -> desirable.
        filters: which rows to take; all where it is None.

    Refuses what `load_feedback` refuses, two kinds, no rows, a frozen source that was changed, a file that changes
    while it is read, and a folder that holds something else.
    """
    folder, reading = Path(folder), _Reading(source, label_map, filters or Filters())
    there = _what_is_there(folder)
    if there is not None:
        for _ in reading.lines(ImageCopies(None)):
            pass
        if reading.summary.content_hash() != there["content"]:
            raise DataError(
                f"{folder}: holds another frozen dataset, with {there['counts'].get('rows')} rows; these are "
                f"{reading.summary.rows} rows with other content. A frozen dataset is not written over: freeze into "
                "another folder, and compare the two with `prospect data diff`"
            )
        return Frozen(there, written=False)
    try:
        with atomic_directory(folder) as new:
            with (new / ROWS).open("wb") as file:
                file.writelines(reading.lines(ImageCopies(new)))
            manifest = manifest_of(reading.summary, new / ROWS, sources=reading.sources, filters=reading.filters())
            write_json(new / MANIFEST, manifest)
    except OSError as error:
        raise DataError(f"{folder}: cannot be written: {error.strerror}. Check the folder") from error
    return Frozen(manifest, written=True)


def check_frozen(folder: str | Path) -> dict[str, Any]:
    """Return the manifest of a frozen folder whose rows and images are, byte for byte, those that it was written with.

    Refuses every other folder, and says what is different and how to go on.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    rows = folder / ROWS
    if not rows.is_file():
        raise DataError(f"{folder}: {ROWS} is missing, {MANIFEST} alone is no dataset. Take it from a copy")
    if file_hash(rows) != manifest["file"]["sha256"]:
        raise DataError(f"{rows}: was changed since it was frozen: {_what_changed(rows, manifest)}. {_HOW_TO_GO_ON}")
    check_images(folder, manifest)
    return manifest


def describe_files(source: Source) -> dict[str, dict[str, Any]]:
    """Return what identifies each file of a source, by its path: `bytes`, `sha256`; nothing of a hub dataset.

    A file that belongs to a frozen dataset has `manifest` too: the `path` of its manifest, the manifest file's `sha256`
    and the dataset's `content` hash.

    Refuses a frozen dataset whose rows were changed since.
    """
    return {str(place): _describe(place) for place in find_places(source)}


def iter_rows(source: Source, *, label_map: Mapping[Any, bool] | None = None) -> Iterator[Feedback]:
    """Return an iterator over the records of a source in which frozen folders may be named.

    A frozen dataset's labels are true and false, whatever the label map of the other files is.
    """
    places = find_places(source)
    return (row for place in places for row in iter_feedback(place, label_map=_map_for(place, label_map)))


def manifest_of(
    summary: Summary,
    rows: Path,
    *,
    sources: list[dict[str, Any]],
    filters: dict[str, Any],
) -> dict[str, Any]:
    """Return the manifest of a rows file that is complete, with its images beside it."""
    from prospect import __version__

    return {
        "format": FORMAT,
        "prospect": __version__,
        "created": write_time(datetime.now(UTC).replace(microsecond=0)),
        "content": summary.content_hash(),
        "file": {"name": ROWS, "sha256": file_hash(rows), "bytes": rows.stat().st_size},
        "counts": summary.counts(),
        **describe_images(rows.parent),
        "filters": filters,
        "sources": sources,
        "tombstones": [],
    }


class _Reading:
    """Reads a source once: lines to write, and on the way what the manifest says of them."""

    def __init__(self, source: Source, label_map: Mapping[Any, bool] | None, filters: Filters) -> None:
        self.places = find_places(source)
        self.label_map, self.taken = label_map, filters
        self.summary = Summary()
        self.left_out: Counter[str] = Counter()
        self.sources: list[dict[str, Any]] = []

    def lines(self, images: ImageCopies) -> Iterator[bytes]:
        for place in self.places:
            described, before = _describe(place), _stamp(place)
            rows = 0
            for row in iter_feedback(place, label_map=_map_for(place, self.label_map)):
                rows += 1
                reason = self.taken.refusal(row)
                if reason:
                    self.left_out[reason] += 1
                    continue
                images.add(row)
                columns = columns_of(row)
                self.summary.add(row, canonical(columns, row.where))
                yield as_json(columns, row.where) + b"\n"
            if _stamp(place) != before:
                raise DataError(f"{place}: was written to while it was read. Freeze again when it is complete")
            self.sources.append({"path": str(place), "rows": rows, **described})
        if not self.summary.rows:
            raise DataError(f"no row is left to freeze; left out: {counted(self.left_out)}. Set other filters, or none")

    def filters(self) -> dict[str, Any]:
        """Return what was set, and how many rows it left out for which reason."""
        label_map = {str(label): value for label, value in (self.label_map or {}).items()}
        named = {**({"label_map": label_map} if label_map else {}), **self.taken.as_dict()}
        return {**named, "left_out": dict(self.left_out)} if named else {}


_HOW_TO_GO_ON = (
    "A frozen dataset does not change: take the file from a copy; or freeze what is there now under a name of its own, "
    f"from a copy of {ROWS} in another folder"
)


def _what_is_there(folder: Path) -> dict[str, Any] | None:
    """Return the manifest of a frozen dataset under this name; None where the name is free."""
    if folder.is_dir() and frozen_folder(folder):
        return check_frozen(folder)
    if folder.is_dir() and any(folder.iterdir()):
        raise DataError(f"{folder}: is a folder that holds something else. Name a new one, or an empty one")
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder}: is a file; expected the name of a folder to write. Choose another name")
    return None


def _what_changed(rows: Path, manifest: dict[str, Any]) -> str:
    hashes = bytearray()
    try:
        for where, _, row in read_jsonl(rows):
            hashes += row_hash(canonical(row, where))
    except DataError as error:
        return f"it cannot even be read ({error})"
    if content_hash(hashes) == manifest["content"]:
        return "it holds the same rows in another order or written otherwise"
    found, expected = len(hashes) // len(row_hash(b"")), manifest["counts"].get("rows")
    return f"it holds {found} rows and its manifest says {expected}" if found != expected else "some rows are others"


def _describe(place: Path | str) -> dict[str, Any]:
    if isinstance(place, str):
        return {}
    if place.is_dir():
        return _describe_folder(place)
    described: dict[str, Any] = {"bytes": place.stat().st_size, "sha256": file_hash(place)}
    folder = frozen_folder(place)
    if folder is not None:
        manifest = check_frozen(folder)
        path = folder / MANIFEST
        described["manifest"] = {"path": str(path), "sha256": file_hash(path), "content": manifest["content"]}
    return described


def _describe_folder(folder: Path) -> dict[str, Any]:
    """Return the bytes of the files that are read, and the SHA-256 of their hashes and names, a line each."""
    files = folder_contents(folder)
    listed = "".join(f"{file_hash(path)}  {path.relative_to(folder).as_posix()}\n" for path in files)
    return {"bytes": sum(path.stat().st_size for path in files), "sha256": hashlib.sha256(listed.encode()).hexdigest()}


def _map_for(place: Path | str, label_map: Mapping[Any, bool] | None) -> Mapping[Any, bool] | None:
    return None if isinstance(place, Path) and frozen_folder(place) else label_map


def _stamp(place: Path | str) -> tuple[int, int] | None:
    if isinstance(place, str):
        return None
    stats = [path.stat() for path in (folder_contents(place) if place.is_dir() else [place])]
    return sum(stat.st_size for stat in stats), max((stat.st_mtime_ns for stat in stats), default=0)
