"""An object in a JSON file, or a refusal that says where."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from prospect.errors import ProspectError
from prospect.file_kinds import regular_file


def read_object(path: Path, error: type[ProspectError], todo: str) -> dict[str, Any]:
    """Return the object that a file holds.

    Args:
        path: of the file.
        error: what is raised.
        todo: what to do then, as the end of the message.

    Raises:
        ProspectError: of that kind: it cannot be read, or holds something else.
    """
    try:
        found = json.loads(regular_file(path).read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as reason:
        raise error(f"{path}: cannot be read as JSON ({reason}). {todo}") from None
    if not isinstance(found, dict):
        raise error(f"{path}: holds {type(found).__name__}; expected an object. {todo}")
    return found
