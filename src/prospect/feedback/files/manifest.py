"""What a frozen dataset says of itself: hashes and counts of its rows, and the file that holds them."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

from prospect.errors import DataError
from prospect.feedback.files.write import as_columns
from prospect.feedback.records import Feedback, Paired, Unpaired, images_of
from prospect.feedback.split import prompt_key
from prospect.feedback.times import write_time

MANIFEST, ROWS = "manifest.json", "rows.jsonl"
FORMAT = 1  # of manifest.json and of how a row is written and hashed; a reader refuses what is newer
_DIGEST_BYTES = 32
_BLOCK = 1 << 20  # bytes read at once
_PLAIN = json.JSONEncoder(ensure_ascii=False, allow_nan=False)
_CANONICAL = json.JSONEncoder(ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))


def own_id(row: Feedback) -> str | None:
    """Return the id that the row brought along; None where it only has its place in the file as one."""
    if not row.where.endswith(row.id):  # nearly always, and quickly known
        return row.id
    return None if row.id == row.where or row.where.endswith(f"/{row.id}") else row.id


def columns_of(row: Feedback) -> dict[str, Any]:
    """Return column -> cell as a frozen file holds them: those of `as_columns`, without an id that is only a place.

    So neither the name of the file nor the order of its rows is part of the content.
    """
    columns = as_columns(row)
    if own_id(row) is None:
        del columns["id"]
    return columns


def canonical(value: Any, where: str) -> bytes:
    """Return a row, or a part of it, as JSON in which columns have one order; refuse what JSON cannot say."""
    return as_json(value, where, _CANONICAL)


def as_json(value: Any, where: str, encoder: json.JSONEncoder | None = None) -> bytes:
    """Return the value as JSON in UTF-8; refuse what JSON cannot say: NaN, half characters."""
    try:
        return (encoder or _PLAIN).encode(value).encode()
    except (ValueError, TypeError) as error:
        raise DataError(f"{where}: the row cannot be written as JSON: {error}. Mend or remove it") from error


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, as `sha256sum` prints it."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}. Check its permissions") from error
    return digest.hexdigest()


def row_hash(line: bytes) -> bytes:
    """Return the SHA-256 of a row's canonical text."""
    return hashlib.sha256(line).digest()


def content_hash(row_hashes: bytes | bytearray) -> str:
    """Return the SHA-256 over the sorted hashes of rows: other files, another order, the same content.

    Args:
        row_hashes: those of `row_hash`, one after the other.
    """
    import numpy as np

    words = np.frombuffer(bytes(row_hashes), dtype=">u8").reshape(-1, _DIGEST_BYTES // 8)
    # As big-endian numbers, the first word most important, they sort as their bytes do.
    return hashlib.sha256(words[np.lexsort(words.T[::-1])].tobytes()).hexdigest()


class Summary:
    """Counts and the content's hash of rows of one kind that are seen one at a time.

    It keeps 32 bytes a row and some 100 a prompt, never a text.
    """

    def __init__(self) -> None:
        self.rows = 0
        self.kind: str | None = None
        self._of_images: bool | None = None
        self._digests = bytearray()
        self._prompts: set[bytes] = set()
        self._raters: set[str] = set()
        self._classes: Counter[str] = Counter()
        self._sources: Counter[str] = Counter()
        self._times: list[datetime] = []
        self._timed = 0

    def add(self, row: Feedback, line: bytes) -> None:
        """Count a row; `line` is its canonical text. Refuses a second kind."""
        self.kind = self.kind or row.kind
        of_images = bool(images_of(row))
        self._of_images = of_images if self._of_images is None else self._of_images
        if row.kind != self.kind or of_images != self._of_images:
            raise DataError(
                f"{row.where}: the row is {row.kind}{' images' * of_images}, but the rows before are "
                f"{self.kind}{' images' * self._of_images}; expected one kind in one dataset. Freeze each kind into a "
                "folder of its own"
            )
        self.rows += 1
        self._digests += row_hash(line)
        self._prompts.add(bytes.fromhex(prompt_key(row.prompt)))
        if isinstance(row, Unpaired):
            self._classes["desirable" if row.desirable else "undesirable"] += 1
        elif isinstance(row, Paired):
            self._classes.update(("desirable", "undesirable"))
        if row.rater is not None:
            self._raters.add(row.rater)
        if row.source is not None:
            self._sources[row.source] += 1
        if row.time is not None:
            self._timed += 1
            self._times = [min([row.time, *self._times]), max([row.time, *self._times])]

    def content_hash(self) -> str:
        """Return the hash of the rows seen so far, in whatever order they came."""
        return content_hash(self._digests)

    def counts(self) -> dict[str, Any]:
        """Return what a manifest says of the rows, by name."""
        return {
            "rows": self.rows,
            "prompts": len(self._prompts),
            "kind": self.kind,
            "classes": dict(sorted(self._classes.items())),
            "sources": dict(sorted(self._sources.items())),
            "raters": len(self._raters),
            "time": {"rows": self._timed, "first": write_time(self._times[0]), "last": write_time(self._times[1])}
            if self._times
            else None,
        }


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of a frozen folder; refuse a folder that has none, and one that is damaged or too new."""
    path = folder / MANIFEST
    advice = "Write a frozen dataset with `prospect data freeze FILE... -o FOLDER`"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{folder}: holds no {MANIFEST}, so it is no frozen dataset. {advice}") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}. Check its permissions") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: is not valid JSON ({error}). Take it from a copy, or freeze again") from None
    if not is_manifest(manifest):
        raise DataError(f"{path}: is not the manifest of a frozen dataset: it has no content hash. {advice}")
    if manifest.get("format", FORMAT) > FORMAT:
        raise DataError(f"{path}: has format {manifest['format']}; this version reads up to {FORMAT}. Update Prospect")
    return manifest


def is_manifest(value: Any) -> bool:
    """Whether the value is what `freeze` writes, as far as a reader needs it; many tools write a manifest.json."""
    return (
        isinstance(value, dict)
        and isinstance(value.get("format", FORMAT), int)
        and isinstance(value.get("content"), str)
        and isinstance(value.get("file"), dict)
        and isinstance(value["file"].get("sha256"), str)
        and isinstance(value.get("counts"), dict)
        and isinstance(value.get("tombstones", []), list)
    )


def frozen_folder(path: Path) -> Path | None:
    """Return the frozen folder that a path names, itself or by its rows.jsonl; None where it names none."""
    folder = path if path.is_dir() else path.parent if path.name == ROWS else None
    if folder is None or not (folder / MANIFEST).is_file():
        return None
    try:
        value = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return folder  # whoever reads the manifest says what is wrong with it
    return folder if isinstance(value, dict) and {"content", "file"} <= value.keys() else None
