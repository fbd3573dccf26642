"""What the files hold that a study names: one whose data, model or own loss changed is another study."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from prospect.user_code import is_own


def with_contents(world: Mapping[str, Any]) -> dict[str, Any]:
    """Return a world's settings with the hash of every file and folder that they name; hub names have none."""
    named = {key: value if isinstance(value, list) else [value] for key, value in world.items()}
    named["kind"] = [str(world.get("kind", "")).partition(":")[0]]
    found = {
        str(path): _hash(path)
        for values in named.values()
        for path in (Path(value) for value in values if isinstance(value, str) and value)
        if path.exists()
    }
    return {**world, "contents": found} if found else dict(world)


def of_losses(sections: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the hashes of the files of losses of one's own, as one entry; nothing where all are built in."""
    files = {str(section["name"]).rpartition(":")[0] for section in sections if is_own(str(section["name"]))}
    found = {file: _hash(path) for file in sorted(files) if (path := Path(file).expanduser()).is_file()}
    return {"losses": found} if found else {}


def _hash(path: Path) -> str:
    """Of a file, its bytes; of a folder, the names and bytes of all files in it."""
    if path.is_file():
        status = path.stat()
        return _hash_file(path, status.st_size, status.st_mtime_ns)
    parts = [f"{file.relative_to(path)} {_hash(file)}" for file in sorted(path.rglob("*")) if file.is_file()]
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=16).hexdigest()


@cache  # a study asks several times, and nothing is read again that was not written again
def _hash_file(path: Path, size: int, modified: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()[:32]
