"""Judges of completions: verifiers, reward models, language models, servers, people, scores, your own function.

Public names are imported when first used; a model's library only when that judge is asked.
"""

from __future__ import annotations

import importlib
from typing import Any

_NAMES = {
    "asking": ("Asking", "Judged", "Price", "Said"),
    "base": ("Candidate", "Grade", "Item", "Judge", "ScoringJudge", "Verdict"),
    "clip": ("ClipJudge",),
    "endpoint": ("EndpointJudge",),
    "function": ("FunctionJudge",),
    "grading": ("GradeFile", "Grading"),
    "human": ("HumanJudge",),
    "human_page": ("write_page", "write_thumbs_page"),
    "local_lm": ("LocalLMJudge",),
    "names": ("judge_named",),
    "prompt": ("DEFAULT_QUESTION", "DEFAULT_RUBRIC", "judging_prompt", "read_rubric"),
    "quality": ("JudgeQuality", "judge_quality"),
    "registry": ("all_judges", "judge"),
    "reward_model": ("RewardModelJudge",),
    "score_file": ("ScoreFileJudge",),
    "verifier": ("Verifier",),
}
_HOMES = {name: f"{__name__}.{module}" for module, names in _NAMES.items() for name in names}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
