"""Any file of `evaluation/`, as the model of its kind."""

from __future__ import annotations

from pathlib import Path

from pydantic import JsonValue

from prospect.errors import CheckpointError
from prospect.results.before_after import BeforeAfterResult
from prospect.results.benchmarks import BenchmarksResult
from prospect.results.contest import ContestResult, JudgeResult
from prospect.results.feedback import FeedbackResult

AnyEvaluation = FeedbackResult | ContestResult | JudgeResult | BenchmarksResult | BeforeAfterResult
KINDS: tuple[type[AnyEvaluation], ...] = (
    FeedbackResult,
    ContestResult,
    JudgeResult,
    BenchmarksResult,
    BeforeAfterResult,
)


def parse_evaluation(value: JsonValue, where: Path) -> AnyEvaluation | JsonValue:
    """Return the model of a file in `evaluation/`; what another program wrote is returned as it is.

    A file of 0.1 has no format, and is known by its fields.

    Raises:
        CheckpointError: the format is one of ours, and the file cannot be read.
    """
    name = value.get("format") if isinstance(value, dict) else None
    if isinstance(name, str) and name.startswith("prospect."):
        kinds = {str(kind.model_fields["format"].default).partition("/")[0]: kind for kind in KINDS}
        kind = kinds.get(name.partition("/")[0])
        if kind is None:
            raise CheckpointError(
                f"{where}: format is {name}; expected one of {', '.join(kinds)}. Read it with the version "
                "that wrote it."
            )
        return kind.parse(value, where)
    if isinstance(value, dict) and name is None:
        for kind in KINDS:
            if value.get("evaluation") == getattr(kind.model_fields.get("evaluation"), "default", None):
                try:
                    return kind.parse(value, where)
                except CheckpointError:
                    continue
    return value
