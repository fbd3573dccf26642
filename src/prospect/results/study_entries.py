"""What a study's result says beside its cells: what was asked, measured, tuned and found."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, JsonValue

from prospect.results.stored import Part
from prospect.results.study_cells import Pooled

Agrees = Literal["yes", "no", "cannot tell"]


class RunCounts(Part):
    """How many training runs are scored."""

    wanted: int
    done: int
    failed: int


class StudyWorld(Part):
    """What is trained, and how it is scored."""

    kind: str
    """demo, stories, files, or a class in a file."""
    says: str
    """One sentence."""
    prompts: int
    """Held-out prompts that a run is scored on."""


class RuleAnswer(Part):
    """A rule of the claim, and whether it holds."""

    text: str
    agrees: Agrees
    found: str
    """The difference in words."""
    measure: str
    value: float | None
    """The difference that the rule is about; null where a cell is not there."""
    low: float | None
    high: float | None
    bound: float
    """What the difference is compared with."""
    p_holm: float | None
    """Against the bound, after Holm's correction over all rules."""
    not_tested: list[str] = Field(default_factory=list)
    """What one of the cells that it compares cannot tell about."""


class ClaimAnswer(Part):
    """The claim, and whether the study agrees."""

    text: str
    source: str
    agrees: Agrees
    why: str
    """One sentence."""
    rules: list[RuleAnswer]
    """In the order of the YAML."""


class MeasureEntry(Part):
    """What a number means."""

    label: str
    unit: str
    """share, words, points, nats, ..."""
    better: Literal["higher", "lower"] | None
    """Null where neither is better."""
    kind: Literal["rate", "value"]
    """A rate is 0 to 1, and shown as percent."""
    bounds: tuple[float, float] | None = None
    """Smallest and largest possible number; null where there is none."""


class MethodEntry(Part):
    """A method."""

    name: str
    loss: str
    after: str | None
    """The method whose model it starts from."""
    recipe: dict[str, JsonValue]
    """What the method sets, a part of a recipe."""


class ConditionEntry(Part):
    """A data condition."""

    name: str
    says: str
    settings: dict[str, JsonValue]
    """What the YAML sets."""


class AxisPoint(Part):
    """A condition or a method at a place on a line."""

    x: float
    condition: str | None = None
    method: str | None = None


class AxisEntry(Part):
    """A line to draw: x is a number, y are the cells of that condition (or method)."""

    label: str
    unit: str
    points: list[AxisPoint]


class TriedSettings(Part):
    """One point of a method's grid."""

    settings: dict[str, JsonValue]
    """Dotted keys of a recipe."""
    estimate: Pooled | None
    """Of the primary measure, over the prompts and seeds of the tuning; null where no run is done."""
    error: str | None
    """Why a run failed; such a point is not chosen."""


class TunedMethod(Part):
    """What was tried for a method, and chosen."""

    method: str
    chosen: dict[str, JsonValue]
    at_edge: list[str]
    """Keys whose chosen value is the smallest or the largest that was tried."""
    tries: list[TriedSettings]


class StudyTuning(Part):
    """How the settings were chosen, on prompts and seeds that the study itself does not use."""

    condition: str
    seeds: list[int]
    prompts: int
    """Held-out prompts that a try is scored on."""
    says: str
    """The world in one sentence."""
    methods: list[TunedMethod]


class StudyFinding(Part):
    """One sentence about the study."""

    kind: Literal["good", "bad", "plain", "worry"]
    text: str
