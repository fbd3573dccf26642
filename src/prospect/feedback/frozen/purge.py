"""Removing somebody's rows from datasets, and finding the runs that have learned from them.

A frozen dataset loses the images of its removed rows too; beside any other file they are the user's own and stay.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from prospect.atomic import atomic_directory, atomic_file, write_json
from prospect.errors import DataError
from prospect.feedback.files.manifest import (
    MANIFEST,
    ROWS,
    Summary,
    canonical,
    columns_of,
    file_hash,
    frozen_folder,
)
from prospect.feedback.files.readers import read_jsonl, read_lines
from prospect.feedback.files.sources import iter_feedback
from prospect.feedback.frozen.freeze import check_frozen, manifest_of
from prospect.feedback.frozen.images import IMAGES, copy_images, image_names, named_by_content
from prospect.feedback.frozen.tombstones import Tombstone, pseudonym_of, rater_mark, row_mark, sidecar, tombstones
from prospect.feedback.times import write_time

_DERIVED = "/+"  # what stands between the ids of rows that were made from others: a/chosen, a+b


class Purged(NamedTuple):
    """What was done to one dataset, or would be.

    Attributes:
        path: the file or the frozen folder.
        removed: rows that were taken out.
        left: rows that stay.
        derived: rows that stay although their id was made from a purged one (`a/chosen`, `a+b`).
        hashes: of every version of the dataset that held the rows.
        images: that only the removed rows named, as these had them, and that stay: the user's own, beside a file that
            is not frozen.
    """

    path: Path
    removed: int
    left: int
    derived: int
    hashes: frozenset[str]
    images: list[str]


class Runs(NamedTuple):
    """Which runs have seen some data.

    Attributes:
        looked_at: how many there are.
        found: run -> `train`, `eval` or both.
        unknown: runs whose provenance has no hashes of files; whether they saw the data cannot be told.
    """

    looked_at: int
    found: dict[Path, list[str]]
    unknown: list[Path]


def purge(
    paths: Sequence[str | Path],
    *,
    rater: str | None = None,
    ids: Collection[str] = (),
    reason: str | None = None,
    dry_run: bool = False,
) -> list[Purged]:
    """Remove the rows of a rater, or rows by id, from JSON lines files and frozen folders.

    Every other row stays as it is, byte for byte. A dataset that loses rows gets a tombstone, in its manifest or, where
    it has none, in `FILE.tombstones.json` beside it. Each file appears whole or not at all, and nothing is written
    before all datasets were read.

    Args:
        paths: files (.jsonl, .ndjson) and frozen folders.
        rater: the name as it stands in the rows, or before importing made a pseudonym of it, or the pseudonym.
        ids: of rows; `rows.jsonl:17` for one that has no id of its own.
        reason: for the tombstone; it is kept as it is.
        dry_run: only count.

    Refuses other formats, broken rows, and a frozen dataset that was changed since it was frozen.
    """
    from prospect.feedback.frozen.pseudonym import rater_key

    key = rater_key()
    selects = _by_rater(rater, key) if rater is not None else _by_id(ids)
    mark = rater_mark(rater, key) if rater is not None else None
    wanted = {row_mark({"id": identity}, key) for identity in ids}
    plans = [_Plan(path, selects, frozenset(ids), key) for path in _distinct(paths)]
    now = write_time(datetime.now(UTC).replace(microsecond=0))
    if not dry_run:
        for plan in plans:
            if plan.marks:
                plan.carry_out(time=now, reason=reason, rater=mark)
    return [plan.purged(lambda stone: stone.rater == mark if mark else bool(wanted & {*stone.marks})) for plan in plans]


def runs_that_used(hashes: Collection[str], folders: Sequence[str | Path], *, paths: Collection[Path] = ()) -> Runs:
    """Return the runs under the folders that trained on, or were held against, some files.

    Args:
        hashes: of the files.
        folders: where runs are looked for.
        paths: of files that go on changing, such as a store of votes, and that no hash names.
    """
    known = {*hashes, *(str(path.resolve()) for path in paths)}
    runs = Runs(0, {}, [])
    for path in sorted({path for folder in folders for path in _provenances(Path(folder))}):
        runs = runs._replace(looked_at=runs.looked_at + 1)
        files = _files_of(path)
        if files is None:
            runs.unknown.append(path.parent)
        parts = [part for part, used in (files or {}).items() if not used.isdisjoint(known)]
        if parts:
            runs.found[path.parent] = parts
    return runs


class _Plan:
    """What is to be removed from one dataset."""

    def __init__(
        self, path: Path, selects: Callable[[Mapping[str, Any], str], bool], ids: frozenset[str], key: bytes
    ) -> None:
        self.folder = frozen_folder(path)
        self.path = self.folder or path
        self.file = self.folder / ROWS if self.folder else path
        self.manifest = check_frozen(self.folder) if self.folder else None
        self.stones = tombstones(self.path)
        self.selects = selects
        self.marks: list[str] = []
        self.left = self.derived = 0
        named: dict[bool, set[str]] = {True: set(), False: set()}  # images, by whether the row goes
        for _, default_id, row in read_jsonl(self.file):
            identity = str(row["id"]) if row.get("id") is not None else default_id
            goes = selects(row, identity)
            named[goes].update(image_names(row))
            if goes:
                self.marks.append(row_mark(named_by_content(row, self.file), key))
            else:
                self.left += 1
                self.derived += bool(ids) and _is_made_from(identity, ids)
        self.images = [] if self.folder else sorted(named[True] - named[False])
        self.before = self._hashes()

    def purged(self, concerns: Callable[[Tombstone], bool]) -> Purged:
        """Return what was done, with the hashes of this and all earlier versions that held such rows."""
        last = (
            len(self.stones)
            if self.marks
            else 1 + max((i for i, s in enumerate(self.stones) if concerns(s)), default=-1)
        )
        held = [stone.before for stone in self.stones[:last]] + ([self.before] if self.marks else [])
        hashes = frozenset(value for version in held for value in version.values())
        return Purged(self.path, len(self.marks), self.left, self.derived, hashes, self.images)

    def carry_out(self, *, time: str, reason: str | None, rater: str | None) -> None:
        facts = {"time": time, "reason": reason, "rows": len(self.marks), "rater": rater}
        try:
            self._rewrite_folder(facts) if self.folder else self._rewrite_file(facts)
        except OSError as error:
            raise DataError(f"{self.path}: cannot be written: {error.strerror}. Check the folder") from error

    def _rewrite_file(self, facts: dict[str, Any]) -> None:
        file = self.file.resolve()  # what a link points to is what holds the rows
        mode = file.stat().st_mode
        with atomic_file(file) as new:
            new.writelines(self._kept_lines())
        file.chmod(mode)
        stone = self._tombstone(facts, after={"sha256": file_hash(file)})
        write_json(sidecar(self.file), {"tombstones": [one.as_dict() for one in (*self.stones, stone)]})

    def _rewrite_folder(self, facts: dict[str, Any]) -> None:
        assert self.folder is not None and self.manifest is not None
        folder = self.folder.resolve()
        with atomic_directory(folder) as new:
            for other in folder.iterdir():
                if other.name not in (ROWS, MANIFEST, IMAGES):
                    (shutil.copytree if other.is_dir() else shutil.copy2)(other, new / other.name)
            with (new / ROWS).open("wb") as file:
                file.writelines(self._kept_lines())
            copy_images(folder, new, (row for _, _, row in read_jsonl(new / ROWS)))
            summary = Summary()
            for row in iter_feedback(new / ROWS) if self.left else ():
                summary.add(row, canonical(columns_of(row), row.where))
            manifest = manifest_of(
                summary, new / ROWS, sources=self.manifest.get("sources", []), filters=self.manifest.get("filters", {})
            )
            after = {"sha256": manifest["file"]["sha256"], "content": manifest["content"]}
            stones = [*self.stones, self._tombstone(facts, after=after)]
            manifest["tombstones"] = [stone.as_dict() for stone in stones]
            write_json(new / MANIFEST, {**manifest, "created": self.manifest.get("created")})

    def _kept_lines(self) -> Iterator[bytes]:
        removed = 0
        for number, line in read_lines(self.file):
            row = json.loads(line) if line.strip() else None
            if row is not None:
                identity = str(row["id"]) if row.get("id") is not None else f"{self.file.name}:{number}"
                if self.selects(row, identity):
                    removed += 1
                    continue
            yield line.encode()
        if removed != len(self.marks):
            raise DataError(f"{self.file}: was written to while it was read. Nothing was changed; purge again")

    def _tombstone(self, facts: dict[str, Any], after: dict[str, str]) -> Tombstone:
        return Tombstone(**facts, marks=tuple(sorted(self.marks)), before=self.before, after=after)

    def _hashes(self) -> dict[str, str]:
        if self.manifest is None:
            return {"sha256": file_hash(self.file)}
        return {"sha256": self.manifest["file"]["sha256"], "content": self.manifest["content"]}


def _by_rater(rater: str, key: bytes) -> Callable[[Mapping[str, Any], str], bool]:
    wanted, same = pseudonym_of(rater, key), {rater: True}

    def selects(row: Mapping[str, Any], identity: str) -> bool:
        said = row.get("rater")
        if said is None:
            return False
        name = str(said)
        if name not in same:
            same[name] = pseudonym_of(name, key) == wanted
        return same[name]

    return selects


def _by_id(ids: Collection[str]) -> Callable[[Mapping[str, Any], str], bool]:
    wanted = frozenset(ids)
    return lambda row, identity: identity in wanted


def _is_made_from(identity: str, ids: frozenset[str]) -> bool:
    parts = identity.split("+")
    return any(part in ids or part.rpartition("/")[0] in ids for part in parts)


def _distinct(paths: Sequence[str | Path]) -> list[Path]:
    """Return the datasets, each once, however it was named; refuse what is none."""
    found: dict[Path, Path] = {}
    for path in map(Path, paths):
        folder = frozen_folder(path)
        if folder is None and path.is_dir():
            raise DataError(f"{path}: is a folder without {MANIFEST}. Name the files in it")
        if not path.exists():
            raise DataError(f"{path}: no such file. Look in {path.absolute().parent}")
        if folder is None and path.suffix.lower() not in (".jsonl", ".ndjson"):
            raise DataError(
                f"{path}: rows are removed from .jsonl, .ndjson and frozen folders alone. Write it as JSON lines with "
                "`prospect data convert`, and delete this one"
            )
        found.setdefault((folder or path).resolve(), folder or path)
    return list(found.values())


def _provenances(folder: Path) -> Iterator[Path]:
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder of runs. Name the one that holds them with --runs")
    for place, folders, files in os.walk(folder):
        if "provenance.json" in files:
            folders.clear()  # a run holds no other runs
            yield Path(place) / "provenance.json"


def _files_of(path: Path) -> dict[str, set[str]] | None:
    """`train` and `eval` -> hashes and paths of what was read; None where the run does not say."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))["data"]
        described = {part: data[part]["files"] for part in ("train", "eval") if "files" in (data.get(part) or {})}
        hashes = {
            part: {
                value
                for name, one in files.items()
                for value in (one.get("sha256"), one.get("manifest", {}).get("content"), str(Path(name).resolve()))
            }
            for part, files in described.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return hashes if "train" in hashes else None
