"""The numbers of a study: of each run, of each cell, and of a cell less its baseline."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field, JsonValue

from prospect.results.stored import AS_OBJECT, Part
from prospect.statistics.comparisons import Comparison, Verdict

START: Final = "start"


class _Pooled(Part):
    """A mean over prompts and seeds. Both are taken as draws; with one seed, prompts alone are."""

    low: float
    high: float
    n: int
    """Prompts times seeds."""
    prompts: int
    seeds: int


class PooledRate(_Pooled):
    """A share over prompts and seeds."""

    rate: float

    @property
    def mean(self) -> float:
        """The share."""
        return self.rate


class PooledValue(_Pooled):
    """A mean that is no share, over prompts and seeds."""

    value: float

    @property
    def mean(self) -> float:
        """The mean."""
        return self.value


Pooled = PooledRate | PooledValue


class Place(Part):
    """A cell; null stands for every method, or every condition."""

    method: str | None
    condition: str | None


class SeenExample(Part):
    """A completion to read, and the start's of the same prompt."""

    prompt: JsonValue
    completion: JsonValue
    start: JsonValue = None
    score: float | None = None


class StudyRun(Part):
    """One training run of a cell."""

    seed: int
    status: Literal["done", "failed", "missing"]
    error: str | None = None
    measures: dict[str, float] = Field(default_factory=dict)
    """Measure to its mean over prompts; empty unless done."""
    data: dict[str, int] = Field(default_factory=dict)
    """Counts of what was trained on."""
    steps: int | None = None
    seconds: float | None = None
    folder: str | None = None
    """Relative to result.json."""
    tokens: int | None = None
    """Prompts and completions that went through training."""
    z0_clamped: float | None = None
    """Share of the steps whose z0 was negative and held at 0; null without z0."""
    reward_magnitude: float | None = None
    """Mean of abs(beta log-ratio) at the end of training; null without a reference."""
    examples: list[SeenExample] = Field(default_factory=list)
    """Of the first prompts, at most three."""


class CellTraining(Part):
    """How far the runs of a cell were trained: means over those that are done."""

    steps: float
    tokens: float | None
    """Prompts and completions."""
    z0_clamped: float | None
    """Share of the steps whose z0 was negative and held at 0; null without z0."""
    reward_magnitude: float | None
    """Mean of abs(beta log-ratio) at the end of training; null without a reference."""
    not_tested: list[str]
    """What such runs cannot tell about: the value function where the last is below 0.5, z0 where it was held at 0 in
    more than half of the steps."""


class StudyCell(Part):
    """A method under a condition."""

    method: str
    condition: str
    estimates: dict[str, Pooled]
    """By measure; empty where no run is done."""
    wins: Annotated[Comparison, AS_OBJECT] | None
    """How often its completion beats the start's on the same prompt, a tie counting half."""
    training: CellTraining | None = None
    """Null where no run is done."""
    runs: list[StudyRun]
    """One for each seed."""


class CellDifference(Part):
    """A cell less its baseline, on the same prompts and seeds."""

    measure: str
    method: str
    condition: str
    baseline: Place | Literal["start"]
    seeds: int
    value: float
    low: float
    high: float
    n: int
    prompts: int
    p: float
    p_holm: float
    verdict: Verdict
    """After Holm's correction over all comparisons of the study."""
    detectable: float | None = None
    """The smallest true difference that such a study would show in 80 % of repetitions, from the error of this one and
    at the level that Holm's correction asks of the first comparison; null where no score varies."""
