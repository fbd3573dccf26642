"""The file of an evaluation on held-out feedback."""

from __future__ import annotations

from typing import Annotated, Literal

from prospect.results.evaluated import Evaluation, Named, NumberObject, ShareObject
from prospect.results.run import LeftOut
from prospect.results.stored import AS_OBJECT, Part
from prospect.statistics.calibration import Calibration


class ScoredModel(Named):
    """The model that was looked at."""

    identity: str
    loss: str | None
    """Of the run, where it is one."""


class ComparedModel(Named):
    """What it was compared with."""

    identity: str


class HeldOutData(Part):
    """The feedback that was looked at."""

    source: str
    sha256: str
    kind: str
    rows: int
    prompts: int
    desirable: int
    undesirable: int | None
    cut: int = 0
    """Completions that max_length cut."""
    dropped: int = 0
    """Rows whose prompt alone fills max_length."""
    unrenderable: dict[str, LeftOut]
    """Rows that the chat template refuses, by reason."""


class ScoreUsed(Part):
    """What a completion is scored by."""

    what: str
    beta: float


class Threshold(Part):
    """Where good and bad are told apart, on the scale of the score."""

    kind: Literal["z0", "zero", "median"]
    value: float


class Kl(Part):
    """KL(policy || reference) in nats, by samples of the policy."""

    value: float | None
    """Null where no sample could be drawn."""
    low: float | None
    high: float | None
    n: int
    prompts: int | None = None
    level: float | None = None
    tokens: float | None = None
    """Mean length of the samples."""
    max_new_tokens: int
    cut: int
    """Samples that reached that length."""
    left_out: int


class Drift(Part):
    """How far the policy is from the reference."""

    log_ratio: dict[str, NumberObject]
    """Of the feedback, by class, nats."""
    kl: Kl | None


class FeedbackResult(Evaluation):
    """Held-out feedback, scored by a model and its reference."""

    format: str = "prospect.feedback/1.1"
    evaluation: Literal["feedback"] = "feedback"
    model: ScoredModel
    reference: ComparedModel | None
    data: HeldOutData
    level: float
    score: ScoreUsed
    threshold: Threshold
    rewards: dict[str, NumberObject]
    """By class."""
    accuracy: ShareObject | None
    auroc: NumberObject | None
    auroc_delong: NumberObject | None
    """By DeLong's method, which takes rows of one prompt for independent."""
    margin: NumberObject | None
    calibration: Annotated[Calibration, AS_OBJECT] | None
    label_log_loss: NumberObject | None
    log_loss: dict[str, NumberObject | None] | None
    """Nats per token of desirable text, by policy and reference."""
    drift: Drift | None
    errors: dict[str, NumberObject] | None = None
    """Of images, the policy's squared error over the reference's by class: 1 for equal models."""
    notes: list[str]
