"""Sample, label, align again: rounds of alignment on what the model itself writes.

Public names are imported when first used.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "run_rounds": "prospect.rounds.run",
    "load_rounds": "prospect.rounds.recipe",
    "protocol": "prospect.rounds.protocols",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
