"""Glob patterns -> files. `**` goes through links to folders, and a loop of links has an end."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from pathlib import Path


def matching_files(pattern: str) -> list[Path]:
    """Return the files that match a pattern, in the order of their names, each real file once.

    `**` stands for any number of folders. As in `glob`, names that begin with a dot are matched only where the pattern
    says so. Of several names of one file (links) the first that is no link is kept.
    """
    start = Path(pattern).anchor or "."
    parts = Path(pattern).relative_to(start).parts if Path(pattern).is_absolute() else Path(pattern).parts
    parts = (*parts, "*") if parts[-1:] == ("**",) else parts
    found = [Path(start)]
    for part in parts:
        found = list(dict.fromkeys(path for place in found for path in _step(place, part)))
    kept: dict[str, Path] = {}
    for path in sorted(path for path in found if os.path.isfile(path)):  # noqa: PTH113 - it never raises
        real = os.path.realpath(path)
        if real not in kept or (kept[real].is_symlink() and not path.is_symlink()):
            kept[real] = path
    return sorted(kept.values())


def _step(place: Path, part: str) -> Iterator[Path]:
    """Yield the places that one part of a pattern leads to."""
    if part == "**":
        yield from _folders_below(place)
    elif glob.has_magic(part):
        names = glob.glob(part, root_dir=place)  # noqa: PTH207 - Path.glob follows other rules for dots
        yield from (place / name for name in names)
    elif os.path.lexists(place / part):
        yield place / part


def _folders_below(place: Path) -> Iterator[Path]:
    """Yield the folder and all folders in it, links followed, each real one once: a loop comes back to a known one."""
    seen: set[str] = set()
    for folder, inner, _ in os.walk(place, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            inner.clear()
            continue
        seen.add(real)
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        yield Path(folder)
