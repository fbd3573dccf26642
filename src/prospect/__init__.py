"""Prospect: align language models with human-aware losses, from thumbs up and thumbs down.

Public names are imported when first used, so that `import prospect` and the feedback half of the command line start
without torch. `__init__.pyi` says what they are to editors and type checkers.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.2.0"

_HOMES = {
    "train": "prospect.verbs.training",
    "evaluate": "prospect.verbs.evaluating",
    "contest": "prospect.verbs.evaluating",
    "generate": "prospect.verbs.answering",
    "label": "prospect.verbs.answering",
    "inspect": "prospect.verbs.inspecting",
    "merge": "prospect.verbs.handing_over",
    "check_model": "prospect.verbs.handing_over",
    "push": "prospect.verbs.handing_over",
    "compare": "prospect.verbs.comparing",
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
