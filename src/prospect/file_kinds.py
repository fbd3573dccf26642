"""What is under a name: a file, or something that only looks like one and may be waited for without end."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)


def kind_of(found: os.stat_result) -> str:
    """Return what was found, with its article: a file, a folder, a pipe, a device, a socket."""
    return next((kind for test, kind in _KINDS if test(found.st_mode)), "a file")


def regular_file(path: Path) -> Path:
    """Return the path of a regular file, to be opened.

    Raises:
        OSError: there is none, or something else is under that name.
    """
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, f"it is {kind_of(found)}; expected a file", str(path))
    return path
