"""Prospect: align language models with human-aware losses, from thumbs up and thumbs down.

Public names are imported when first used, so that `import prospect` and the feedback half of the command line start
without torch. `__init__.pyi` says what they are to editors and type checkers.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.2.0"

_HOMES = {
    "train": "prospect.rounds.online",
    "evaluate": "prospect.verbs",
    "contest": "prospect.verbs",
    "generate": "prospect.verbs",
    "label": "prospect.verbs",
    "inspect": "prospect.verbs",
    "merge": "prospect.verbs",
    "check_model": "prospect.verbs",
    "compare": "prospect.verbs",
    "run_rounds": "prospect.rounds.run",
    "figure": "prospect.report.run.figure",
    "RunDir": "prospect.run_dir",
    "load_feedback": "prospect.feedback.files.sources",
    "loss": "prospect.losses",
    "get_loss": "prospect.losses",
    "build_report": "prospect.report.run.build",
    "Callback": "prospect.training.callbacks",
    "StopRun": "prospect.training.callbacks",
    "CallbackError": "prospect.errors",
    "ProspectError": "prospect.errors",
}

__all__ = sorted(["__version__", *_HOMES])


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name in {"losses", "feedback", "evaluation", "training", "rounds"}:
        return importlib.import_module(f"prospect.{name}")
    raise AttributeError(f"module 'prospect' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
