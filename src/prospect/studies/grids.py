"""Settings that are tried: a grid of a recipe's keys, its points, and whether the best of them is bracketed.

{train.learning_rate: [1e-4, 2e-4, 4e-4], loss.beta: [0.1, 0.3, 1]}      nine points
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Annotated, Any, Literal

from pydantic import Field

from prospect.config import AnyNumber, Section, set_key
from prospect.errors import ConfigError

RECIPE_SECTIONS = ("model", "data", "loss", "reference", "reference_point", "train")

Grid = dict[str, Annotated[list[AnyNumber], Field(min_length=1)]]
"""A recipe's dotted key to its values."""


class Tune(Section):
    """How each method's settings are chosen before the study is run, on prompts and seeds of its own."""

    tries: dict[str, Grid]
    """Method to its grid; as many points for each, and every method has one."""
    seeds: list[int] = Field(min_length=1)
    """Of the tries; none of the study's."""
    world: dict[str, Any] = Field(default={})
    """What differs from the study's world, so that other prompts are scored on."""
    condition: str | None = None
    """Under which condition; null means the first."""
    at_edge: Literal["refuse", "flag"] = "refuse"
    """What happens where the best value is the smallest or the largest that was tried. refuse: the study is not run.
    flag: it is, and says so."""


def points(grid: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Return every combination of a grid's values, the last key's changing fastest."""
    return [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]


def point_name(method: str, point: Mapping[str, Any]) -> str:
    """Return a method at a point in words, such as `kto learning_rate 0.0001 beta 0.3`."""
    return " ".join([method, *(f"{_last(key)} {value}" for key, value in point.items())])


def at_point(method: Mapping[str, Any], point: Mapping[str, Any]) -> dict[str, Any]:
    """Return a method's keys with those of a point set."""
    values = dict(method)
    for key, value in point.items():
        values = set_key(values, key, value)
    return values


def edges(grid: Mapping[str, Sequence[Any]], point: Mapping[str, Any]) -> list[str]:
    """Return the keys whose value is the smallest or the largest of those tried; names and switches have no edge."""
    return [
        key
        for key, values in grid.items()
        if len(values) > 1
        and all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
        and point[key] in (min(values), max(values))
    ]


def check_grids(grids: Mapping[str, Mapping[str, Sequence[Any]]], where: str) -> None:
    """Refuse a grid whose keys are none of a recipe, or whose values stand twice.

    Raises:
        ConfigError: which key of which method.
    """
    for name, grid in grids.items():
        if not grid:
            raise ConfigError(f"{where}.{name} is empty; expected keys of a recipe, each with a list of values.")
        if len({_last(key) for key in grid}) < len(grid):
            raise ConfigError(f"{where}.{name}: two keys end alike: {', '.join(grid)}; their methods would too.")
        for key, values in grid.items():
            if key.partition(".")[0] not in RECIPE_SECTIONS or "." not in key:
                raise ConfigError(
                    f"{where}.{name}: {key} is no key of a recipe; expected such as train.learning_rate or loss.beta."
                )
            if len({repr(value) for value in values}) != len(values) or any(value != value for value in values):
                raise ConfigError(f"{where}.{name}: {key} is {list(values)}; expected different values.")


def count_points(grid: Mapping[str, Sequence[Any]]) -> int:
    """Return how many points a grid has."""
    return math.prod(len(values) for values in grid.values())


def _last(key: str) -> str:
    return key.rpartition(".")[2]
