"""What a killed job has done so far: a file of lines, one for each result, under its key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, BinaryIO

from prospect.errors import DataError
from prospect.file_kinds import regular_file


class PartialFile:
    """Results by key, appended as they come. A line that a killed run left half written is asked for again.

    Args:
        path: the file, made with the first result; None keeps results in memory.

    Raises:
        DataError: it cannot be read or written.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._file: BinaryIO | None = None
        self._found: dict[str, Any] = {}
        self._torn = False
        if path is not None and path.exists():
            self._read(path)

    def __enter__(self) -> PartialFile:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def __contains__(self, key: str) -> bool:
        return key in self._found

    def __getitem__(self, key: str) -> Any:
        return self._found[key]

    def put(self, key: str, value: Any) -> None:
        """Keep a result; it is in the file when this returns."""
        self._found[key] = value
        if self.path is None:
            return
        line = json.dumps({"key": key, "value": value}).encode() + b"\n"
        try:
            if self._file is None:
                self._file = self.path.open("ab")
                line = b"\n" + line if self._torn else line
            self._file.write(line)
            self._file.flush()
        except OSError as error:
            raise DataError(f"{self.path}: cannot be written: {error.strerror}. Check the folder") from error

    def _read(self, path: Path) -> None:
        try:
            data = regular_file(path).read_bytes()
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror}. Remove it to start anew") from error
        self._torn = bool(data) and not data.endswith(b"\n")
        for line in data.split(b"\n"):
            try:
                row = json.loads(line)
                self._found[row["key"]] = row["value"]
            except (ValueError, KeyError, TypeError):
                continue
