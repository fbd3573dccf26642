"""The sections of a study's file, but for the settings that are tried."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from prospect.config import Number, named_section
from prospect.feedback.convert.pairing import Pairing
from prospect.studies.grids import RECIPE_SECTIONS


class StudySection(BaseModel):
    """Keys of a study; unknown ones are refused."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


def _section(name: str) -> BeforeValidator:
    """Read a section of a recipe that may be written as what it names."""
    return BeforeValidator(lambda value: named_section(name, value))


class Method(StudySection):
    """A method: a part of a recipe, and where it starts from."""

    after: str | None = None
    """The method whose model, of the same condition and seed, it starts from and is compared with: SFT first, say."""
    conditions: list[str] | None = None
    """The conditions it is run under; null means all."""
    model: dict[str, Any] = {}
    """As in a recipe, but for the name, which the world knows."""
    data: dict[str, Any] = {}
    """As in a recipe, but for the files, which are the study's."""
    loss: Annotated[dict[str, Any], _section("loss")]
    """As in a recipe: a name, or a name and hyperparameters."""
    reference: dict[str, Any] = {}
    """As in a recipe."""
    reference_point: Annotated[dict[str, Any], _section("reference_point")] = {}
    """As in a recipe."""
    train: dict[str, Any] = {}
    """As in a recipe, but for the seed, which is the study's."""

    def recipe(self) -> dict[str, Any]:
        """Return what the method sets, as a part of a recipe."""
        return {key: value for key in RECIPE_SECTIONS if key in self.model_fields_set and (value := getattr(self, key))}


class Condition(StudySection):
    """What is done to the feedback before anybody trains on it, in this order."""

    intransitive: Number = Field(default=0.0, ge=0.0, le=1.0)
    """Share of the comparisons that are made by a taste that goes round. For worlds whose raters compare."""
    minority: Number = Field(default=0.0, ge=0.0, le=0.5)
    """Share of the votes on each pair that go to the other side. For worlds whose raters vote on the same pair."""
    flip: Number = Field(default=0.0, ge=0.0, le=1.0)
    """Share of the verdicts that are turned round."""
    one_per_prompt: bool = False
    """Whether each prompt keeps a single row: one y per x."""
    keep_desirable: Number = Field(default=1.0, ge=0.0, le=1.0)
    """Share of the desirable rows that are kept."""
    keep_undesirable: Number = Field(default=1.0, ge=0.0, le=1.0)
    """Share of the undesirable rows that are kept."""
    pairing: Pairing | None = None
    """How thumbs are made into pairs, for every method; null leaves them, and a loss on pairs makes its own."""


class Rule(StudySection):
    """One difference that the claim says there is. The study agrees, disagrees or cannot tell, by its interval."""

    left: str
    """A method, or `start`."""
    right: str
    """A method, or `start`, that it is compared with."""
    must_be: Literal["higher", "lower", "not higher", "not lower"]
    """What the left one must be."""
    by: Number = Field(default=0.0, ge=0.0)
    """For "not higher" and "not lower": a difference up to here is none. In the measure's unit; a rate's is 0 to 1."""
    measure: str | None = None
    """The measure; null means the primary one."""
    under: str | list[str] | None = None
    """The condition or conditions; null means each that both methods have."""
    left_under: str | None = None
    """The left one's condition, where it is another."""
    right_under: str | None = None
    """The right one's condition, where it is another."""
    since: str | None = None
    """Compare changes since this condition, and not levels."""


class Claim(StudySection):
    """What is said elsewhere, and by which rules this study agrees with it."""

    text: str
    """What is claimed."""
    source: str
    """Where: paper, version, table."""
    rules: list[Rule] = Field(min_length=1)
    """It agrees where all rules hold, does not where one is broken, and cannot tell otherwise."""


class Baseline(StudySection):
    """The cell that a cell is compared with; what is null is that of the cell itself."""

    method: str | None = None
    """A method."""
    condition: str | None = None
    """A condition."""


class Axis(StudySection):
    """Conditions or methods that lie on a line, to be drawn as one."""

    label: str
    """What varies."""
    unit: Literal["share", ""] = ""
    """share is shown in percent."""
    over: Literal["condition", "method"] = "condition"
    """What the names are of."""
    points: dict[str, Number]
    """Name to its place on the line."""
