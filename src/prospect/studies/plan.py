"""A study as a list of training runs, each with its recipe, its folder and a hash of what decides its numbers."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prospect.config import load_config
from prospect.errors import ConfigError, UsageError
from prospect.losses.declared import check_declared
from prospect.results.study import CellFailure, CellOutcome
from prospect.studies.contents import of_losses, with_contents
from prospect.studies.names import slug, unknown
from prospect.studies.outcome import World
from prospect.studies.sections import Condition
from prospect.studies.study import Study, hash_of
from prospect.user_code import is_own

OURS = ("data.train", "train.seed", "output", "model.name_or_path", "push_to_hub")
"""Keys of a recipe that a study decides."""


@dataclass(frozen=True)
class Cell:
    """One training run: a method under a condition with a seed.

    Attributes:
        method: its name.
        condition: its name.
        seed: of feedback, training and sampling.
        settings: what the condition does.
        folder: where everything about it lies.
        shared: the folder of what all runs of the seed share.
        recipe: what is trained.
        digest: hash of what decides its numbers.
        after: the run whose model it starts from, if any.
        keeps_model: whether another run starts from its model, or the study keeps all.
    """

    method: str
    condition: str
    seed: int
    settings: Condition
    folder: Path
    shared: Path
    recipe: dict[str, Any]
    digest: str
    after: Cell | None
    keeps_model: bool

    def __str__(self) -> str:
        return f"{self.method} · {self.condition} · seed {self.seed}"

    @property
    def run_path(self) -> Path:
        """The run directory."""
        return self.folder / "run"

    @property
    def model_path(self) -> Path:
        """The trained model."""
        return self.run_path / "model"

    @property
    def outcome_path(self) -> Path:
        """Its scores; written last, so that what is there is finished."""
        return self.folder / "outcome.json"

    @property
    def failure_path(self) -> Path:
        """Why it could not be run."""
        return self.folder / "failure.json"

    @property
    def start_path(self) -> Path:
        """What the model scored that nothing was done to."""
        return self.shared / "start.json"

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return self.outcome_path.exists() and (self.model_path.exists() or not self.keeps_model)

    def read(self) -> CellOutcome | CellFailure | None:
        """Return its outcome, or why there is none; None where it was not run yet.

        Raises:
            UsageError: what is there was made with other settings.
            CheckpointError: a file cannot be read.
        """
        kinds: tuple[tuple[Path, type[CellOutcome | CellFailure]], ...] = (
            (self.outcome_path, CellOutcome),
            (self.failure_path, CellFailure),
        )
        for path, kind in kinds:
            if path.exists():
                found = kind.read(path)
                if found.digest != self.digest:
                    raise UsageError(
                        f"{path}: {self} was run with other settings or files than the study now has, and numbers of "
                        "both would be mixed. Choose another folder with -o, or remove that of the run."
                    )
                return found
        return None

    def failure(self, error: str) -> CellFailure:
        """Return the record of a run that could not be made."""
        return CellFailure(
            digest=self.digest, method=self.method, condition=self.condition, seed=self.seed, error=error
        )


def make_cells(study: Study, world: World, output: Path) -> list[Cell]:
    """Return every run of a study, one that another starts from before that one.

    Raises:
        ConfigError: a recipe that is none, sets what the study decides, or names a loss or a setting that is not there.
    """
    needed = {method.after for method in study.methods.values()}
    made: dict[tuple[str, str, int], Cell] = {}
    world_now = with_contents(study.world)

    def make(method: str, condition: str, seed: int) -> Cell:
        key = method, condition, seed
        if key not in made:
            after = study.methods[method].after
            before = None if after is None else make(after, condition, seed)
            folder = output / "cells" / slug(method) / slug(condition) / f"seed-{seed}"
            recipe = _recipe(study, world, method, seed, folder, before)
            decides = {
                "world": world_now,
                "condition": study.conditions[condition].model_dump(mode="json", exclude_defaults=True),
                "seed": seed,
                "recipe": {"study": study.recipe, "method": study.methods[method].recipe()},
                "after": before.digest if before else None,
                **of_losses([study.methods[method].loss]),
            }
            made[key] = Cell(
                method,
                condition,
                seed,
                study.conditions[condition],
                folder,
                output / "shared" / f"seed-{seed}",
                recipe,
                hash_of(decides),
                before,
                study.keep_models or method in needed,
            )
        return made[key]

    for method, condition in study.cells():
        for seed in study.seeds:
            make(method, condition, seed)
    return list(made.values())


def choose(study: Study, cells: Sequence[Cell], only: Sequence[str]) -> list[Cell]:
    """Return the runs of some methods or conditions, with those that they start from.

    Raises:
        ConfigError: a name is neither a method nor a condition.
    """
    if not only:
        return list(cells)
    for name in only:
        if name not in study.methods and name not in study.conditions:
            raise unknown("method or condition", name, [*study.methods, *study.conditions], "--only")
    methods = {name for name in only if name in study.methods} or set(study.methods)
    conditions = {name for name in only if name in study.conditions} or set(study.conditions)
    return with_starts([cell for cell in cells if cell.method in methods and cell.condition in conditions])


def with_starts(cells: Sequence[Cell]) -> list[Cell]:
    """Return runs with those that they start from, each after the one it starts from."""
    wanted: dict[int, Cell] = {}

    def take(cell: Cell) -> None:
        if cell.after is not None:
            take(cell.after)
        wanted.setdefault(id(cell), cell)

    for cell in cells:
        take(cell)
    return list(wanted.values())


def merge(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Give a mapping with another laid over it, section by section."""
    inner = {
        key: merge(values[key], change)
        for key, change in changes.items()
        if isinstance(change, Mapping) and isinstance(values.get(key), Mapping)
    }
    return {**values, **changes, **inner}


def _recipe(study: Study, world: World, method: str, seed: int, folder: Path, before: Cell | None) -> dict[str, Any]:
    own = merge(study.recipe, study.methods[method].recipe())
    for key in OURS:
        section, _, name = key.partition(".")
        if name in own.get(section, {}) if name else section in own:
            raise ConfigError(f"study: methods.{method} sets {key}, which the study decides. Leave it out.")
    defaults = {"data": {"eval": None}, "train": {"samples": 0}}
    recipe = merge(merge(defaults, world.recipe()), own)
    ours: dict[str, Any] = {
        "data": {"train": str(folder / "data.jsonl")},
        "train": {"seed": seed},
        "output": str(folder / "run"),
    }
    if before is not None:
        ours["model"] = {"name_or_path": str(before.model_path)}
    recipe = merge(recipe, ours)
    where = f"study: methods.{method}"
    loss = load_config(recipe, where=where).loss
    try:
        if is_own(loss.name) or "prospect.losses.registry" in sys.modules:  # known once its file has run, or since made
            from prospect.losses.registry import get_loss

            get_loss(loss.name).check(loss.hyperparameters)
        else:
            check_declared(loss.name, loss.hyperparameters)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    return recipe
