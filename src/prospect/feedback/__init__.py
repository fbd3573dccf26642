"""What people said: records, where they come from, and what they can be turned into.

Public names are imported when first used.
"""

from __future__ import annotations

import importlib
from typing import Any

_NAMES = {
    "convert.balance": ("ClassCounts", "ClassWeights", "class_counts", "suggest_class_weights"),
    "convert.kinds": ("as_kind",),
    "convert.pairing": ("Unpairable", "count_unpairable", "to_paired"),
    "convert.scored": ("Unscorable", "count_unscorable", "to_scored"),
    "convert.verdicts": ("to_demonstrations", "to_unpaired"),
    "files.sources": ("iter_feedback", "load_feedback", "load_prompts"),
    "files.write": ("as_columns", "write_jsonl"),
    "records": ("Demonstration", "Feedback", "Image", "Kind", "Message", "Paired", "Scored", "Text", "Unpaired"),
    "split": ("prompt_key", "split_by_prompt"),
}
_HOMES = {name: f"{__name__}.{module}" for module, names in _NAMES.items() for name in names}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
