"""Where `prospect translate` and `prospect init` put the recipe that they write."""

from __future__ import annotations

import sys
from pathlib import Path

from prospect.atomic import write_text
from prospect.errors import OutputError
from prospect.terminal import say


def write_recipe(text: str, path: Path | None, *, force: bool) -> None:
    """Write a recipe, on stdout where no file is named.

    Raises:
        OutputError: a file is there, and nothing says that it may be replaced.
    """
    if path is None:
        sys.stdout.write(text)
        return
    require_free(path, force=force)
    write_text(path, text)
    say(f"recipe  {path}")


def require_free(path: Path, *, force: bool) -> None:
    """Refuse a name under which there is a file already.

    Raises:
        OutputError: there is, and nothing says that it may be replaced.
    """
    if path.exists() and not force:
        raise OutputError(f"{path}: is there already. Choose another name, or replace it with --force.")
