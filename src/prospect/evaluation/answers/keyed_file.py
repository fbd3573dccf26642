"""Results by key in a file of JSON lines that only grows: a run that was killed goes on from it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Generic, Self, TypeVar

from prospect.errors import DataError
from prospect.file_kinds import regular_file

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

Value = TypeVar("Value")


class KeyedFile(Generic[Value]):
    """Keep results by key. Each is on disk when `put` returns; one process writes a file at a time.

    A line that cannot be read, such as one that a kill cut in two, is skipped, and its result is asked for again.

    Args:
        path: the file, made with the first result; None keeps results in memory.
        read: makes a result of the fields of a line; ValueError, KeyError and TypeError mean that it is none.
        write: makes the fields of a line of a result; the key is added.

    Attributes:
        unread: lines of the file that hold no result.

    Raises:
        DataError: the file cannot be read.
    """

    def __init__(
        self,
        path: str | Path | None,
        read: Callable[[dict[str, Any]], Value],
        write: Callable[[Value], Mapping[str, Any]],
    ) -> None:
        self.path = None if path is None else Path(path).expanduser()
        self.unread = 0
        self._write = write
        self._values: dict[str, Value] = {}
        self._file: BinaryIO | None = None
        self._torn = False
        if self.path is not None and self.path.exists():
            self._load(self.path, read)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: str) -> Value | None:
        """Return the result of a key, None where there is none yet."""
        return self._values.get(key)

    def put(self, key: str, value: Value, **more: Any) -> None:
        """Keep a result, with further fields for people.

        Raises:
            DataError: the file cannot be written, or another process writes it.
        """
        self._values[key] = value
        if self.path is None:
            return
        line = json.dumps({"key": key, **self._write(value), **more}).encode() + b"\n"
        try:
            if self._file is None:
                self._file = self._open(self.path)
                line = b"\n" + line if self._torn else line
            self._file.write(line)
            self._file.flush()
        except OSError as error:
            raise DataError(
                f"{self.path}: cannot be written: {error.strerror}. Check the folder and the disk"
            ) from error

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _load(self, path: Path, read: Callable[[dict[str, Any]], Value]) -> None:
        try:
            data = regular_file(path).read_bytes()
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror}. Remove it to start anew.") from error
        self._torn = bool(data) and not data.endswith(b"\n")
        for line in filter(None, data.split(b"\n")):
            try:
                row = json.loads(line)
                key = row.pop("key")
                if not isinstance(key, str):
                    raise TypeError(key)
                self._values[key] = read(row)
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                self.unread += 1

    def _open(self, path: Path) -> BinaryIO:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("ab")
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.close()
                raise DataError(f"{path}: another process writes it. Wait for it, or name another file.") from None
            except OSError:  # a file system without locks
                pass
        return file
