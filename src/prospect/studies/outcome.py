"""How a run is scored: a number for every held-out prompt and measure; and what a world must know to do so.

A world says what a model is trained on and what its completions are worth. Three come along: `demo`, `stories` and
`files`; another is a class in a file of one's own, `kind: my_file.py:MyWorld`, that is made from its settings.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from pydantic import BaseModel, ConfigDict, ValidationError

from prospect.errors import ConfigError
from prospect.feedback.records import Feedback
from prospect.results.study_cells import SeenExample
from prospect.studies.names import unknown
from prospect.studies.sections import Condition
from prospect.training.alarms import repetition
from prospect.user_code import import_file, is_own

WORLDS = {
    # By name: the demo stands above the evaluation, and what is not used need not be installed.
    "demo": "prospect.demo.study_world:DemoWorld",
    "stories": "prospect.studies.stories:StoriesWorld",
    "files": "prospect.studies.files:FilesWorld",
}
EXAMPLES = 3


class Measure(NamedTuple):
    """What a number per prompt means.

    Attributes:
        label: the head of its column.
        unit: share, words, points, ...
        better: which way is better; None where neither is.
        kind: "rate" for shares, each prompt 0, 1 or between; "value" for the rest.
        bounds: smallest and largest possible number, None for no bounds.
    """

    label: str
    unit: str
    better: Literal["higher", "lower"] | None
    kind: Literal["rate", "value"]
    bounds: tuple[float, float] | None = None


@dataclass(frozen=True)
class Outcome:
    """What a model scored.

    Attributes:
        scores: measure to a number for each held-out prompt, in the world's order.
        examples: `prompt`, `completion` and `score` of the first prompts; empty where nothing is written.
    """

    scores: dict[str, list[float]]
    examples: list[dict[str, Any]] = field(default_factory=list)

    def stored(self) -> dict[str, Any]:
        """Return the fields of `CellOutcome` and `StartOutcome` that it fills."""
        scores = {name: [round(value, 6) for value in values] for name, values in self.scores.items()}
        return {"scores": scores, "examples": [SeenExample.model_validate(one) for one in self.examples]}


class World(Protocol):
    """What a model is trained on, and what its completions are worth.

    Attributes:
        says: one sentence, for the result.
        measures: name to meaning, in the order of columns; the first is the one a study is about unless it says more.
        contest: the measure by which a completion beats the start's on the same prompt; None where there is none.
        held_out: how many prompts a run is scored on.
    """

    says: str
    measures: Mapping[str, Measure]
    contest: str | None
    held_out: int

    def recipe(self) -> dict[str, Any]:
        """Return the parts of a recipe that the world decides: the model above all."""

    def held_out_keys(self) -> set[str]:
        """Return `prompt_key` of every prompt that a run is scored on; asked where a study is tuned."""

    def prepare(self, folder: Path, seed: int) -> None:
        """Make what all runs of a seed share, in a folder of its own; called once before `feedback` and `score`."""

    def feedback(self, folder: Path, seed: int, condition: Condition) -> list[Feedback]:
        """Return the feedback of a seed, before `apply_condition`."""

    def score(self, model: Path | None, folder: Path, seed: int) -> Outcome | None:
        """Score a trained model; None is the start, and give None where the start has no score."""


class WorldSettings(BaseModel):
    """Base of a world's settings: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Any:
        """Check the settings that stand in a study."""
        try:
            return cls.model_validate({key: value for key, value in values.items() if key != "kind"})
        except ValidationError as error:
            lines = []
            for detail in error.errors():
                key = "world." + ".".join(map(str, detail["loc"]))
                if detail["type"] == "extra_forbidden":
                    lines.append(f"study: unknown key {key}. Known here: kind, {', '.join(cls.model_fields)}.")
                elif detail["type"] == "missing":
                    lines.append(f"study: {key} is missing; it has no default.")
                else:
                    lines.append(f"study: {key} is {detail['input']!r}; {detail['msg'][0].lower()}{detail['msg'][1:]}.")
            raise ConfigError("\n".join(lines)) from None


def make_world(settings: Mapping[str, Any]) -> World:
    """Make the world that a study names.

    Raises:
        ConfigError: there is none of that name, or its settings are wrong.
    """
    kind = str(settings.get("kind"))
    if is_own(kind):
        return _from_file(kind)(settings)
    if kind not in WORLDS:
        raise unknown("world", kind, list(WORLDS), "study: world.kind")
    module, _, name = WORLDS[kind].partition(":")
    return getattr(importlib.import_module(module), name)(settings)


def refuse_raters(condition: Condition, *keys: str, why: str) -> None:
    """Refuse a condition about raters whom a world has not.

    Raises:
        ConfigError: which key it is.
    """
    for key in keys:
        if getattr(condition, key):
            raise ConfigError(f"study: a condition has {key}; {why}")


def text_scores(texts: Sequence[str]) -> dict[str, list[float]]:
    """Return `words` and `repetition` of each text; one too short to repeat itself does not."""
    return {
        "words": [float(len(text.split())) for text in texts],
        "repetition": [repetition(text) or 0.0 for text in texts],
    }


TEXT_MEASURES = {
    "words": Measure("words", "words", None, "value"),
    "repetition": Measure("repetition", "share", "lower", "value", (0.0, 1.0)),
}
"""What `text_scores` gives."""


def _from_file(kind: str) -> Any:
    path, _, name = kind.rpartition(":")
    if not Path(path).is_file():
        raise ConfigError(f"study: world.kind is {kind}; there is no file {path}.")
    module = import_file(Path(path))
    if not hasattr(module, name):
        raise ConfigError(f"study: world.kind is {kind}; {path} has no {name}.")
    return getattr(module, name)
