"""Whether something can be written under a name: asked before hours are spent on what is to be written.

A check is an attempt: a nameless temporary file is made where the output goes, for permissions alone do not tell of a
disk that is full or mounted read-only.
"""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from prospect.errors import OutputError
from prospect.file_kinds import kind_of

_LONGEST_NAME = 255  # bytes, on every file system in use but a few that allow less and say so themselves
_LONGEST_PATH = 4096  # bytes, of Linux
_ROOM = 32  # bytes of a name, for those made of it: NAME.partial, NAME.tombstones.json
_ROOM_INSIDE = 256  # bytes of a path, for what a folder will hold


def output_file(name: str | Path) -> Path:
    """Return the path, `~` expanded, of a file that can be written.

    Raises:
        OutputError: the name is empty or too long, is that of a folder, device or read-only file, its folder is not
            there, or nothing can be written in it.
    """
    path = _expanded(name, "file")
    found = _found(path)
    if found is not None and not stat.S_ISREG(found.st_mode):
        raise OutputError(f"{path}: is {kind_of(found)}; expected the name of a file. Choose another name.")
    if found is not None and not found.st_mode & 0o222:
        raise OutputError(f"{path}: is there and read-only. Make it writable, or choose another name.")
    if not os.path.isdir(path.parent):  # noqa: PTH112 - unlike Path.is_dir it never raises
        raise OutputError(f"{path}: there is no folder {path.parent}. Make it first.")
    _try(path.parent, path)
    return path


def output_folder(name: str | Path) -> Path:
    """Return the path, `~` expanded, of a folder in which files can be written, or that can be made.

    Raises:
        OutputError: the name is empty or too long, is that of a file, lies below one, or nothing can be written there.
    """
    path = _expanded(name, "folder")
    for place in (path, *path.absolute().parents):
        found = _found(place)
        if found is None:
            continue
        if not stat.S_ISDIR(found.st_mode):
            what = f"is {kind_of(found)}" if place == path else f"{place} is {kind_of(found)}"
            raise OutputError(f"{path}: {what}; expected the name of a folder. Choose another name.")
        _try(place, path)
        break
    return path


def _expanded(name: str | Path, what: str) -> Path:
    text = str(name)
    if not text.strip():
        raise OutputError(f'the output is named "{text}"; expected the name of a {what}. Give it one.')
    try:
        if b"\0" in os.fsencode(text):
            raise OutputError(f"{text}: the output's name holds the character NUL. Choose another name.")
        path = Path(text).expanduser()
    except UnicodeEncodeError:
        raise OutputError(f"{text}: the output's name holds half a character. Choose another name.") from None
    except RuntimeError:  # ~somebody
        raise OutputError(f"{text}: nobody of this name has a home folder here. Write the path out.") from None
    longest = max((len(os.fsencode(part)) for part in path.parts), default=0)
    if longest > _LONGEST_NAME - _ROOM:
        raise OutputError(
            f"{_shortened(text)}: a name in it has {longest} bytes; expected {_LONGEST_NAME - _ROOM} at most. Choose a "
            "shorter one."
        )
    length = len(os.fsencode(path.absolute()))
    if length > _LONGEST_PATH - _ROOM_INSIDE:
        raise OutputError(
            f"{_shortened(text)}: the path has {length} bytes; expected {_LONGEST_PATH - _ROOM_INSIDE} at most. Choose "
            "a shorter one."
        )
    return path


def _found(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise OutputError(f"{path}: cannot be looked at: {error.strerror}. Choose another name.") from error


def _try(folder: Path, output: Path) -> None:
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputError(
            f"{output}: nothing can be written in {folder}: {error.strerror}. Check its permissions and the disk, or "
            "choose another place."
        ) from error


def _shortened(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."
