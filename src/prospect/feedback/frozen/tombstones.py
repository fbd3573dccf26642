"""What a purge leaves behind: that rows were removed, and how to know them again without keeping anything of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from prospect.errors import DataError
from prospect.feedback.files.manifest import MANIFEST, canonical, frozen_folder, own_id, read_manifest
from prospect.feedback.files.write import IMAGE_COLUMNS, as_columns
from prospect.feedback.records import Feedback

SUFFIX = ".tombstones.json"  # beside a file that has no manifest: feedback.jsonl.tombstones.json
_TEXTS = ("prompt", "completion", "chosen", "rejected", "completions", "messages", "text", *IMAGE_COLUMNS)
_PSEUDONYM = re.compile(r"r-[0-9a-f]{16}")


@dataclass(frozen=True, kw_only=True)
class Tombstone:
    """One purge of one dataset. Names and ids are keyed hashes, which say nothing to who has not the key.

    Attributes:
        time: when, as ISO 8601 text.
        reason: what the user gave as one, if anything.
        rows: how many were removed.
        rater: whose they were, where a rater was purged.
        marks: one for each removed row: of its id, or of its rater and texts where it had none; sorted.
        before: hashes of the dataset that the rows were in: the file's bytes, and the content of a frozen one.
        after: the same of what was left.
    """

    time: str
    reason: str | None
    rows: int
    rater: str | None
    marks: tuple[str, ...]
    before: Mapping[str, str]
    after: Mapping[str, str]

    def as_dict(self) -> dict[str, Any]:
        """As it stands in a manifest."""
        return asdict(self)


class Graveyard:
    """All tombstones of some datasets, to ask of a row whether it was removed there.

    Args:
        stones: of `tombstones`.
        key: of `prospect.feedback.frozen.pseudonym.rater_key`; with another key nothing is recognised.
    """

    def __init__(self, stones: Iterable[Tombstone], key: bytes) -> None:
        stones = list(stones)
        self._key = key
        self._raters = {stone.rater for stone in stones if stone.rater is not None}
        self._marks = {mark for stone in stones for mark in stone.marks}
        self._known: dict[str, bool] = {}

    def covers(self, row: Feedback) -> bool:
        """Whether this row, or all rows of its rater, were removed."""
        if row.rater is not None and self._raters:
            if row.rater not in self._known:
                self._known[row.rater] = rater_mark(row.rater, self._key) in self._raters
            if self._known[row.rater]:
                return True
        # A purge marks a row by its id alone where it has one; a row that comes back may have lost it.
        columns, identity = as_columns(row), own_id(row)
        of_id = identity is not None and row_mark({"id": identity}, self._key) in self._marks
        return of_id or row_mark({**columns, "id": None}, self._key) in self._marks


def tombstones(path: str | Path) -> list[Tombstone]:
    """Return the tombstones of a frozen folder, of a file, or of all datasets that lie in a folder, oldest first.

    None where nothing was ever purged. Refuses a damaged manifest or list of tombstones.
    """
    path = Path(path)
    folder = frozen_folder(path)
    if folder is not None:
        return [_read(stone, folder / MANIFEST) for stone in read_manifest(folder).get("tombstones", [])]
    if path.is_dir():
        inside = [one for one in path.iterdir() if one.is_dir() and frozen_folder(one)]
        beside = [one.with_name(one.name.removesuffix(SUFFIX)) for one in path.glob(f"*{SUFFIX}")]
        return sorted((stone for one in [*inside, *beside] for stone in tombstones(one)), key=lambda stone: stone.time)
    beside_file = sidecar(path)
    if not beside_file.is_file():
        return []
    try:
        stones = json.loads(beside_file.read_text(encoding="utf-8"))["tombstones"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{beside_file}: cannot be read: {error}. Take it from a copy") from None
    return [_read(stone, beside_file) for stone in stones]


def sidecar(path: Path) -> Path:
    """Return where the tombstones of a file lie that belongs to no frozen dataset."""
    return path.with_name(path.name + SUFFIX)


def rater_mark(rater: str, key: bytes) -> str:
    """Return the mark of a rater, the same for the raw name and for the pseudonym that importing made of it."""
    return _mark("rater", pseudonym_of(rater, key), key)


def pseudonym_of(rater: str, key: bytes) -> str:
    """Return the rater's pseudonym; a pseudonym is its own."""
    from prospect.feedback.frozen.pseudonym import pseudonym

    return rater if _PSEUDONYM.fullmatch(rater) else pseudonym(rater, key)


def row_mark(row: Mapping[str, Any], key: bytes) -> str:
    """Return the mark of a row: of its id, or of its rater and texts where it has none."""
    if row.get("id") is not None:
        return _mark("id", str(row["id"]), key)
    rater = row.get("rater")
    texts = {name: row[name] for name in _TEXTS if row.get(name) is not None}
    identity = {"rater": None if rater is None else pseudonym_of(str(rater), key), **texts}
    return _mark("row", canonical(identity, "a removed row").decode(), key)


def _mark(kind: str, text: str, key: bytes) -> str:
    from prospect.feedback.frozen.pseudonym import pseudonym

    return pseudonym(f"{kind}:{text}", key).removeprefix("r-")


def _read(stone: Any, path: Path) -> Tombstone:
    try:
        return Tombstone(
            time=str(stone["time"]),
            reason=stone.get("reason"),
            rows=int(stone["rows"]),
            rater=stone.get("rater"),
            marks=tuple(map(str, stone["marks"])),
            before=dict(stone["before"]),
            after=dict(stone["after"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{path}: a tombstone in it is damaged ({error}). Take the file from a copy") from None
