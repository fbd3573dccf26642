"""Numbers by row key on disk: files that are only ever appended to, read through memory maps.

A file is an array of slots of 20 bytes. The first three hold the format and the reference's identity; then come
blocks, one for each flush: a slot with the count and a digest of the records, and the records, one to a slot. A block
counts whole or not at all. Letters: N keys that are looked up.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from prospect.atomic import sync

# 16 bytes of key in two halves; and with its number.
KEY = np.dtype([("head", "<u8"), ("tail", "<u8")])
SLOT = np.dtype([("head", "<u8"), ("tail", "<u8"), ("value", "<f4")])
HEADER_SLOTS = 3
_MAGIC = b"prospect logps v2\n\0\0"  # one slot; the identity's digest takes the other two
_COUNT_BYTES = 4


class LogpsStore:
    """A reference's log-probs of rows, in a folder that many processes may use at once.

    Nobody ever writes to a file that another process has made, and no file is ever made shorter: a process makes one
    of its own, `IDENTITY.RANK-NUMBER.logps`, when it first has something to write, and reads all of its identity.
    So no lock is needed, and what is mapped stays valid. What cannot be proved whole is passed over: a block that
    a crash has left half-written or whose bytes have changed, a file of another format or identity. Its rows are
    computed again.

    One million rows are 20 MB on disk, 12 MB of memory for the index, and take a fraction of a second to open.

    Attributes:
        folder: of the files.
        identity: whose numbers; part of the files' names and of what is in them.
        rank: of this process; where two files know a row, those of its own rank are asked first.
    """

    def __init__(self, folder: Path, identity: str, rank: int = 0) -> None:
        self.folder, self.identity, self.rank = folder, identity, rank
        self._header = (
            _MAGIC.ljust(SLOT.itemsize, b"\0")
            + hashlib.blake2b(identity.encode(), digest_size=(HEADER_SLOTS - 1) * SLOT.itemsize).digest()
        )
        self._files: dict[Path, _File] = {}
        self._unwritten: dict[bytes, float] = {}
        self._own: Path | None = None
        self.reload()

    @property
    def pattern(self) -> Path:
        """What the names of its files look like."""
        return self.folder / f"{self.identity}.*.logps"

    def __len__(self) -> int:
        """Record on disk and in memory."""
        return sum(len(file) for file in self._files.values()) + len(self._unwritten)

    def find(self, keys: Sequence[bytes]) -> np.ndarray:
        """float32 (N,): the number of each key of 16 bytes; NaN where there is none."""
        values = np.full(len(keys), np.nan, dtype=np.float32)
        wanted = np.frombuffer(b"".join(keys), dtype=KEY)
        for file in self._files.values():
            file.fill(wanted, values)
        if self._unwritten:
            for i in np.flatnonzero(np.isnan(values)).tolist():
                values[i] = self._unwritten.get(keys[i], np.nan)
        return values

    def add(self, keys: Sequence[bytes], values: np.ndarray) -> None:
        """Remember finite numbers, float32 (N,), of keys that it does not know; a known key keeps its number."""
        for key, value, known in zip(keys, values, self.find(keys), strict=True):
            if np.isnan(known) and np.isfinite(value):
                self._unwritten.setdefault(key, float(value))

    def flush(self) -> None:
        """Append what is new as one block, and wait until it is on disk.

        Raises:
            OSError: it cannot be written. A later flush tries again, in another file.
        """
        if not self._unwritten:
            return
        records = np.empty(len(self._unwritten), dtype=SLOT)
        keys = np.frombuffer(b"".join(self._unwritten), dtype=KEY)
        records["head"], records["tail"] = keys["head"], keys["tail"]
        records["value"] = list(self._unwritten.values())
        # A file that was deleted meanwhile is not made anew without its header.
        own = self._own if self._own is not None and self._own.exists() else self._create()
        self._own = None  # nothing must follow a block that is torn
        with own.open("ab") as file:
            file.write(self._block_head(records.view(np.uint8)) + records.tobytes())
            file.flush()
            os.fsync(file.fileno())
        self._own = own
        self._unwritten.clear()
        # What others have written since is left for `reload`: when it is seen must not depend on who was faster.
        self._files.pop(own, None)
        self._map({*self._files, own})

    def reload(self) -> None:
        """Read what other processes have written since."""
        self._files = {path: file for path, file in self._files.items() if file.is_current(path)}
        self._map(set(self.folder.glob(self.pattern.name)))

    def _map(self, paths: set[Path]) -> None:
        """Open those of the files that are not open, and put all in the order in which they are asked."""
        own = f"{self.identity}.{self.rank:03d}-"
        files: dict[Path, _File] = {}
        for path in sorted(paths, key=lambda p: (not p.name.startswith(own), p.name)):
            file = self._files[path] if path in self._files else self._open(path)
            if file is not None:
                files[path] = file
        self._files = files

    def _open(self, path: Path) -> _File | None:
        try:
            with path.open("rb") as file:
                stat = os.fstat(file.fileno())
                if file.read(len(self._header)) != self._header:
                    return None
                slots = np.asarray(np.memmap(file, SLOT, "r", shape=(stat.st_size // SLOT.itemsize,)))
        except FileNotFoundError:  # deleted a moment ago
            return None
        return _File(slots, self._whole_blocks(slots), (stat.st_ino, stat.st_size))

    def _whole_blocks(self, slots: np.ndarray) -> np.ndarray:
        """Return the numbers of the slots that are records, of the blocks whose digest is right."""
        data = slots.view(np.uint8)
        places, at = [np.empty(0, np.uint32)], HEADER_SLOTS
        while at < len(slots):
            head, start = data[at * SLOT.itemsize : (at + 1) * SLOT.itemsize].tobytes(), at + 1
            at = start + int.from_bytes(head[:_COUNT_BYTES], "little")
            if at == start or at > len(slots):
                break
            if self._block_head(data[start * SLOT.itemsize : at * SLOT.itemsize]) == head:
                places.append(np.arange(start, at, dtype=np.uint32))
        return np.concatenate(places)

    def _block_head(self, records: np.ndarray) -> bytes:
        """Count and digest of records, given as bytes; the identity is in the digest too."""
        count = (records.size // SLOT.itemsize).to_bytes(_COUNT_BYTES, "little")
        digest = hashlib.blake2b(count, digest_size=SLOT.itemsize - _COUNT_BYTES, key=self._header)
        digest.update(np.ascontiguousarray(records).data)
        return count + digest.digest()

    def _create(self) -> Path:
        """Make a file that no other process has, with a header."""
        self.folder.mkdir(parents=True, exist_ok=True)
        number = 0
        while True:
            path = self.folder / f"{self.identity}.{self.rank:03d}-{number:05d}.logps"
            try:
                with path.open("xb") as file:
                    file.write(self._header)
            except FileExistsError:
                number += 1
            else:
                sync(self.folder)
                return path


class _File:
    """The records of one file, found by key through an index of 12 bytes a record."""

    def __init__(self, slots: np.ndarray, places: np.ndarray, stamp: tuple[int, int]) -> None:
        self._slots, self._stamp = slots, stamp
        heads = slots["head"][places]
        order = np.argsort(heads, kind="stable")
        self._heads, self._places = heads[order], places[order]

    def __len__(self) -> int:
        return len(self._places)

    def is_current(self, path: Path) -> bool:
        """Whether the file is still the same and nothing was appended to it."""
        try:
            stat = path.stat()
        except FileNotFoundError:
            return False
        return (stat.st_ino, stat.st_size) == self._stamp

    def fill(self, wanted: np.ndarray, values: np.ndarray) -> None:
        """Write the numbers of wanted keys, (N,) in two halves, over the NaNs of `values` (N,)."""
        left = np.flatnonzero(np.isnan(values))
        at = np.searchsorted(self._heads, wanted["head"][left])
        while len(left):  # once, but for keys that share their first half
            here = at < len(self._heads)
            here[here] = self._heads[at[here]] == wanted["head"][left[here]]
            left, at = left[here], at[here]
            record = self._slots[self._places[at]]
            hit = record["tail"] == wanted["tail"][left]
            values[left[hit]] = record["value"][hit]
            left, at = left[~hit], at[~hit] + 1
