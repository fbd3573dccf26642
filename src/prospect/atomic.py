"""Writing that a crash cannot leave half done: a temporary neighbour first, then one rename."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

TEMPORARY_PREFIX = ".tmp-"
_POSIX = os.name == "posix"
_NAME_KEPT = 40  # characters of the target's name in a temporary one, which must not become too long for the disk


@contextmanager
def atomic_directory(target: Path) -> Iterator[Path]:
    """Give a temporary directory that becomes `target` when the block ends well, and vanishes when not.

    An existing `target` is replaced: it is moved aside first, so that at no moment a half-written one bears
    its name.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    name = target.name[:_NAME_KEPT]
    temporary = Path(tempfile.mkdtemp(prefix=f"{TEMPORARY_PREFIX}{name}-", dir=target.parent))
    try:
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():
                file.chmod(0o644)  # libraries write some files for their owner alone
                sync(file)
        temporary.chmod(0o755)  # mkdtemp makes 0700, which other readers of a shared disk could not open
        if target.exists():
            old = target.with_name(f"{TEMPORARY_PREFIX}old-{name}")
            shutil.rmtree(old, ignore_errors=True)
            target.rename(old)
            temporary.rename(target)
            shutil.rmtree(old, ignore_errors=True)
        else:
            temporary.rename(target)
        sync(target.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Give a file to write bytes into that becomes `path` when the block ends well, and vanishes when not."""
    if path.is_dir():  # found out now, and not when all is written
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    handle, name = tempfile.mkstemp(prefix=TEMPORARY_PREFIX, dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a whole file or leave what was there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as file:
        file.write(text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def sync(path: Path) -> None:
    """Force a file's or directory's contents to disk, so that a rename never outruns them.

    Windows opens no directory and flushes no file that was opened to be read: there directories are left alone.
    """
    if not _POSIX and path.is_dir():
        return
    handle = os.open(path, os.O_RDONLY if _POSIX else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
