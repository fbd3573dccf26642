"""The file of the same prompts before and after training."""

from __future__ import annotations

from pydantic import Field, JsonValue

from prospect.results.evaluated import Evaluation, RateObject
from prospect.results.stored import Part


class BeforeAfter(Part):
    """A share before and after training."""

    before: RateObject
    after: RateObject


class MeanWords(Part):
    """Mean length of completions in words."""

    before: float
    after: float


class BeforeAfterExample(Part):
    """A prompt with both completions."""

    prompt: JsonValue
    before: JsonValue
    after: JsonValue
    before_passes: bool | None = None
    after_passes: bool | None = None


class BeforeAfterPictures(Part):
    """A prompt with pictures by both models, from the same noise."""

    prompt: str
    before: list[str]
    """Paths from the run directory."""
    after: list[str]
    before_pass: int
    """How many of those before pass."""
    after_pass: int


class BeforeAfterResult(Evaluation, BeforeAfter):
    """The share of completions that pass before and after training; `prospect demo` writes one."""

    format: str = "prospect.before_after/1.1"
    win_rate: RateObject | None = None
    """Against the start."""
    method: str | None = None
    rules: dict[str, BeforeAfter] = Field(default_factory=dict)
    noise: float | None = None
    """Share of the thumbs that were flipped on purpose."""
    customers: dict[str, JsonValue] = Field(default_factory=dict)
    """How thumbs were given."""
    mean_words: MeanWords | None = None
    examples: list[BeforeAfterExample] = Field(default_factory=list)
    pictures: list[BeforeAfterPictures] = Field(default_factory=list)
