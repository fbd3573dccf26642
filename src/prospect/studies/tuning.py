"""Each method's settings, chosen before a study is run: as many tries for each, on prompts and seeds of their own.

The tries are a study by themselves, in the folder `tuning`: they are resumed, refused and read as any other's runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prospect.errors import ConfigError, TrainingError
from prospect.results.study_entries import StudyTuning, TriedSettings, TunedMethod
from prospect.studies.grids import at_point, edges, point_name, points
from prospect.studies.outcome import World, make_world
from prospect.studies.plan import Cell, make_cells, merge
from prospect.studies.reading import check_study
from prospect.studies.runner import run_study
from prospect.studies.scores import Scores
from prospect.studies.study import Study
from prospect.studies.table import check_measures

FOLDER = "tuning"


def tune(study: Study, output: Path, **options: Any) -> tuple[Study, StudyTuning]:
    """Make every try that is not made yet, and choose.

    Args:
        study: one with `tune`.
        output: its folder.
        **options: as of `run_study`.

    Returns:
        The study with the chosen settings, and what was tried.

    Raises:
        ConfigError: tries would be scored on the study's own prompts, or the best is at the edge of a grid.
        TrainingError: no try of a method could be made.
    """
    tries, cells = tuning_cells(study, output)
    run_study(tries, cells, output / FOLDER, **options)
    return settle(study, cells)


def tuning_cells(study: Study, output: Path) -> tuple[Study, list[Cell]]:
    """Return the tries as a study, and its runs.

    Raises:
        ConfigError: as `tune`.
    """
    tries = tuning_study(study)
    world = make_world(tries.world)
    check_measures(tries, world)
    require_own_prompts(make_world(study.world), world)
    return tries, make_cells(tries, world, output / FOLDER)


def tuning_study(study: Study) -> Study:
    """Return the tries as a study: a method for each point of each grid."""
    tune = study.tune
    assert tune is not None, "there is nothing to tune"
    condition = _condition(study)
    methods = {
        point_name(name, point): at_point(_plain(study, name), point)
        for name, grid in tune.tries.items()
        for point in points(grid)
    }
    values = {
        "name": f"{study.name}-tuning",
        "world": merge(study.world, tune.world),
        "recipe": study.recipe,
        "methods": methods,
        "conditions": {condition: study.conditions[condition].model_dump(exclude_unset=True)},
        "seeds": tune.seeds,
        "primary": study.primary,
        "level": study.level,
    }
    return check_study(values, "study: tune")


def require_own_prompts(study: World, tries: World) -> None:
    """Refuse tries that are scored on prompts of the study.

    Raises:
        ConfigError: how many there are.
    """
    shared = study.held_out_keys() & tries.held_out_keys()
    if shared:
        raise ConfigError(
            f"study: tune: tries would be scored on {len(shared)} of the study's own {study.held_out} prompts. "
            "Name others in tune.world: held_out_after of the worlds demo and stories, held_out of files."
        )


def settle(study: Study, cells: Sequence[Cell]) -> tuple[Study, StudyTuning]:
    """Return the study with the best settings of each method, and what was tried.

    Raises:
        ConfigError: the best is at the edge of its grid, and `at_edge` is refuse.
        TrainingError: no try of a method could be made.
    """
    tune = study.tune
    assert tune is not None, "there is nothing to tune"
    world = make_world(merge(study.world, tune.world))
    tuning = StudyTuning(
        condition=_condition(study),
        seeds=tune.seeds,
        prompts=world.held_out,
        says=world.says,
        methods=[_choose(study, name, world, Scores.read(cells, study.level)) for name in tune.tries],
    )
    outside = [f"{one.method}: {', '.join(one.at_edge)}" for one in tuning.methods if one.at_edge]
    if outside and tune.at_edge == "refuse":
        raise ConfigError(
            f"study: tune: the best is the smallest or the largest value that was tried, so there may be better ones "
            f"beyond it: {'; '.join(outside)}. Try more on that side; what was tried is not run again. tune.at_edge: "
            "flag goes on."
        )
    values = study.model_dump(mode="json", exclude_unset=True, exclude={"tune"})
    for one in tuning.methods:
        values["methods"][one.method] = at_point(values["methods"][one.method], one.chosen)
    return check_study(values), tuning


def _choose(study: Study, name: str, world: World, scores: Scores) -> TunedMethod:
    """Return a method's tries; the best is that of the best mean, of equal ones the first."""
    assert study.tune is not None, "there is nothing to tune"
    measure, grid, condition = world.measures[study.primary], study.tune.tries[name], _condition(study)
    tries = []
    for point in points(grid):
        place = point_name(name, point), condition
        estimate = scores.estimate(place, study.primary, measure) if scores.done(*place) else None
        errors = scores.errors(*place)
        tries.append(TriedSettings(settings=point, estimate=estimate, error=errors[0] if errors else None))
    known = [one for one in tries if one.estimate is not None and one.error is None]
    if not known:
        raise TrainingError(f"study: tune: no try of {name} could be made: {tries[0].error}")
    sign = -1.0 if measure.better == "lower" else 1.0
    best = max(known, key=lambda one: sign * one.estimate.mean if one.estimate else 0.0)
    return TunedMethod(method=name, chosen=best.settings, at_edge=edges(grid, best.settings), tries=tries)


def _condition(study: Study) -> str:
    wanted = study.tune.condition if study.tune else None
    return next(iter(study.conditions)) if wanted is None else wanted


def _plain(study: Study, name: str) -> dict[str, Any]:
    return study.methods[name].model_dump(mode="json", exclude_unset=True, exclude={"conditions"})
