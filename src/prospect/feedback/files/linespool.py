"""Encoded rows in a temporary file, while it is not yet known which of them are wanted."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, BinaryIO


class LineSpool:
    """Lines that are put aside once, and then copied by number, in their order.

    Args:
        folder: where the temporary file goes; /tmp may be in memory, so better where the result goes.
    """

    def __init__(self, folder: Path) -> None:
        self._file: IO[bytes] = tempfile.TemporaryFile(buffering=2**20, dir=folder)  # noqa: SIM115 - closed by __exit__
        self._lines = 0

    def __enter__(self) -> LineSpool:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def __len__(self) -> int:
        return self._lines

    def add(self, line: bytes) -> None:
        """Put a line aside; it ends with its only line feed."""
        self._file.write(line)
        self._lines += 1

    def __iter__(self) -> Iterator[bytes]:
        """Yield the lines."""
        self._file.seek(0)
        return iter(self._file)

    def copy(self, side_of: Sequence[int], sides: Sequence[BinaryIO]) -> list[int]:
        """Copy line i to `sides[side_of[i] - 1]`, nowhere where that is 0, and return the lines of each side."""
        counts = [0] * len(sides)
        for line, side in zip(self, side_of, strict=True):
            if side:
                sides[side - 1].write(line)
                counts[side - 1] += 1
        return counts
