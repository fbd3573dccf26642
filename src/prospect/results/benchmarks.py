"""The file of benchmarks."""

from __future__ import annotations

from typing import Literal

from pydantic import JsonValue

from prospect.results.evaluated import Evaluation, Named
from prospect.results.stored import Part
from prospect.statistics.comparisons import Verdict


class TaskScore(Part):
    """A metric of a task for one model."""

    value: float
    stderr: float | None
    low: float | None
    high: float | None
    n: int
    level: float


class TaskChange(Part):
    """Ours less the reference's."""

    value: float
    low: float | None
    high: float | None
    n: int
    prompts: int
    p: float
    p_holm: float
    verdict: Verdict
    level: float
    paired: bool
    """Whether it is paired document by document."""


class TaskMetric(Part):
    """A metric of a task."""

    ours: TaskScore
    higher_is_better: bool | None
    reference: TaskScore | None = None
    change: TaskChange | None = None


class TaskResult(Part):
    """A task, or a group of tasks."""

    version: JsonValue
    num_fewshot: JsonValue
    n: int
    part_of: list[str]
    metrics: dict[str, TaskMetric]


class Harness(Part):
    """What ran the tasks."""

    name: str
    version: str


class BenchmarksResult(Evaluation):
    """Benchmarks of one model, or of two."""

    format: str = "prospect.benchmarks/1"
    evaluation: Literal["benchmarks"] = "benchmarks"
    model: Named
    reference: Named | None
    harness: Harness
    limit: int | None
    """Documents of each task, the first; null for all."""
    chat_template: bool
    level: float
    tasks: dict[str, TaskResult]
