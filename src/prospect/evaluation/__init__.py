"""Did it get better? Scores, each with its interval. The statistics import no torch.

Public names are imported when first used.
"""

from __future__ import annotations

import importlib
from typing import Any

_NAMES = {
    "statistics.agreement": ("Agreement", "measure_agreement"),
    "evaluation.benchmarks.harness": ("Benchmarking", "run_benchmarks"),
    "statistics.bootstrap": ("Estimate", "resample"),
    "statistics.calibration": ("Bin", "Calibration", "measure_calibration"),
    "statistics.comparisons": (
        "Comparison",
        "Difference",
        "compare_counts",
        "compare_outcomes",
        "compare_paired",
        "correct_for_many",
        "holm",
        "mcnemar",
        "verdict",
    ),
    "evaluation.contest.contest": ("hold_contest",),
    "statistics.discrimination": ("accuracy", "auroc", "auroc_delong", "class_margin", "log_loss"),
    "endpoint.client": ("Endpoint",),
    "evaluation.answers.generate": ("generate_file",),
    "evaluation.contest.judged": ("judge_completions",),
    "evaluation.contest.sides": ("Judging",),
    "results.contest": ("Contest", "TextMeasures"),
    "statistics.length_control": ("LengthControlled", "length_controlled_win_rate"),
    "statistics.means": ("mean_by_prompt", "rate_by_prompt"),
    "statistics.planning": (
        "ContestPlan",
        "comparisons_for_half_width",
        "comparisons_to_detect",
        "design_effect",
        "detectable_rate",
        "plan",
        "planned_half_width",
    ),
    "evaluation.held_out.preference": ("Settings", "evaluate_feedback"),
    "evaluation.contest.text_measures": ("distinct_ngrams", "measure_texts", "repeated_ngrams"),
    "evaluation.contest.judges.verdict_cache": ("VerdictCache",),
    "statistics.sequential": ("CanaryPlan", "Gap", "confidence_sequence", "plan_canary", "sequential_gap"),
    "statistics.rates": ("Rate", "overlap", "proportion", "win_rate"),
}
_HOMES = {name: f"prospect.{module}" for module, names in _NAMES.items() for name in names}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'prospect.evaluation' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
