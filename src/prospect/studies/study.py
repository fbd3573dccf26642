"""A study: which methods, on which data, with which seeds, and what the paper says of it."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Literal

from pydantic import Field

from prospect.config import Number
from prospect.studies.contents import of_losses, with_contents
from prospect.studies.grids import Grid, Tune
from prospect.studies.sections import Axis, Baseline, Claim, Condition, Method, StudySection


class Study(StudySection):
    """A whole study."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
    """Short; the name of its folder."""
    title: str = ""
    """One line."""
    question: str = ""
    """What is asked."""
    claim: Claim | None = None
    """What is said elsewhere."""
    world: dict[str, Any]
    """`kind` (demo, stories, files) and the world's own settings; `$NAME` in a path is an environment variable."""
    recipe: dict[str, Any] = Field(default={})
    """What all methods have in common, a part of a recipe."""
    methods: dict[str, Method] = Field(min_length=1)
    """Name to method."""
    grid: dict[str, Grid] = Field(default={})
    """Method to keys of a recipe with several values: a method for every combination takes its place."""
    tune: Tune | None = None
    """How the settings of each method are chosen before the study is run; null takes them as they are."""
    conditions: dict[str, Condition] = Field(default={"as it is": Condition()}, min_length=1)
    """Name to condition of the data."""
    seeds: list[int] = Field(default=[0, 1, 2], min_length=1)
    """Of feedback, training and sampling."""
    primary: str = "score"
    """The measure that the study is about."""
    baseline: Baseline | Literal["start"] = "start"
    """What every cell is compared with; start is the model that nothing was done to."""
    level: Number = Field(default=0.95, gt=0.5, lt=1.0)
    """Coverage of the intervals."""
    axes: list[Axis] = Field(default=[])
    """Lines to draw."""
    keep_models: bool = False
    """Whether trained models stay after they were scored."""

    def digest(self) -> str:
        """Return a hash of everything that decides the numbers; words about them do not."""
        decides = self.model_dump(
            mode="json", exclude={"name", "title", "question", "claim", "axes", "keep_models", "tune"}
        )
        return hash_of({**decides, "world": with_contents(self.world), **self._losses()})

    def protocol(self) -> str:
        """Return a hash of all that is fixed before anything is run: also what is tuned, and the claim's margins."""
        decides = self.model_dump(mode="json", exclude={"name", "title", "question", "axes", "keep_models"})
        rules = decides["claim"] and decides["claim"]["rules"]
        worlds = [with_contents(one) for one in (self.world, self.tune.world if self.tune else {})]
        return hash_of({**decides, "claim": rules, "worlds": worlds, **self._losses()})

    def _losses(self) -> dict[str, Any]:
        return of_losses(method.loss for method in self.methods.values())

    def conditions_of(self, method: str) -> list[str]:
        """Return the conditions that a method is run under, in the study's order."""
        wanted = self.methods[method].conditions
        return [name for name in self.conditions if wanted is None or name in wanted]

    def cells(self) -> list[tuple[str, str]]:
        """Every (method, condition), methods in order."""
        return [(method, condition) for method in self.methods for condition in self.conditions_of(method)]


def hash_of(values: Any) -> str:
    """Return a short hash of plain values."""
    return hashlib.blake2b(json.dumps(values, sort_keys=True, default=str).encode(), digest_size=8).hexdigest()
