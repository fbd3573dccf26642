"""The result of a study, made of its runs' scores; `prospect.results.study` says what is in it. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from prospect.errors import ConfigError
from prospect.results.study import CellFailure, CellOutcome, StudyResult
from prospect.results.study_cells import START, CellDifference, Place, PooledRate, PooledValue, StudyCell, StudyRun
from prospect.results.study_entries import (
    AxisEntry,
    AxisPoint,
    ConditionEntry,
    MeasureEntry,
    MethodEntry,
    RunCounts,
    StudyTuning,
    StudyWorld,
)
from prospect.statistics.comparisons import Comparison, Difference, Verdict, correct_for_many
from prospect.studies.conditions import describe
from prospect.studies.findings import find
from prospect.studies.names import unknown
from prospect.studies.outcome import EXAMPLES, Measure, World
from prospect.studies.plan import Cell
from prospect.studies.pooling import Pooled
from prospect.studies.rules import judge
from prospect.studies.scores import Place as Cells
from prospect.studies.scores import Scores
from prospect.studies.study import Study
from prospect.studies.trained import summarise


def make_result(
    study: Study,
    world: World,
    cells: Sequence[Cell],
    file: str,
    *,
    protocol: str | None = None,
    tuning: StudyTuning | None = None,
) -> StudyResult:
    """Return the result of what was run so far.

    Args:
        study: the study.
        world: its world.
        cells: all of its runs, done or not.
        file: the study's YAML, for the record.
        protocol: hash of what was fixed beforehand, where that is more than the study, for it was tuned.
        tuning: how its settings were chosen.

    Raises:
        ConfigError: the primary measure is none of the world's, or neither way of it is better.
        UsageError: there are runs of other settings.
    """
    check_measures(study, world)
    scores = Scores.read(cells, study.level)
    statuses = [_status(found) for found in scores.found.values()]
    seconds = sum(found.seconds for found in scores.found.values() if isinstance(found, CellOutcome))
    result = StudyResult(
        name=study.name,
        title=study.title or study.name,
        question=study.question,
        file=file,
        digest=study.digest(),
        protocol=protocol or study.protocol(),
        level=study.level,
        complete=set(statuses) == {"done"},
        runs=RunCounts(wanted=len(statuses), done=statuses.count("done"), failed=statuses.count("failed")),
        seconds=round(seconds, 1),
        world=StudyWorld(kind=study.world["kind"], says=world.says, prompts=world.held_out),
        claim=judge(study, study.claim, scores, world.measures) if study.claim else None,
        tuning=tuning,
        measures={
            name: MeasureEntry(label=one.label, unit=one.unit, better=one.better, kind=one.kind, bounds=one.bounds)
            for name, one in world.measures.items()
        },
        primary=study.primary,
        methods=[
            MethodEntry(name=name, loss=method.loss["name"], after=method.after, recipe=method.recipe())
            for name, method in study.methods.items()
        ],
        conditions=[
            ConditionEntry(name=name, says=describe(one), settings=one.model_dump(exclude_defaults=True))
            for name, one in study.conditions.items()
        ],
        seeds=study.seeds,
        axes=[
            AxisEntry(
                label=axis.label,
                unit=axis.unit,
                points=[_point(axis.over, name, x) for name, x in axis.points.items()],
            )
            for axis in study.axes
        ],
        start=_estimates(START, scores, world.measures),
        cells=_cells(study, world, cells, scores),
        comparisons=_comparisons(study, world.measures[study.primary], scores),
        baseline=START if isinstance(study.baseline, str) else Place(**study.baseline.model_dump()),
    )
    result.findings = find(result)
    return result


def _point(over: str, name: str, x: float) -> AxisPoint:
    return AxisPoint(x=x, condition=name) if over == "condition" else AxisPoint(x=x, method=name)


def check_measures(study: Study, world: World) -> None:
    """Refuse, before anything is run, a study about a measure that the world has not, and a claim about no cell.

    Raises:
        ConfigError: the primary measure or a rule's is none of the world's, or neither way of it is better.
    """
    if study.primary not in world.measures:
        raise unknown("measure", study.primary, list(world.measures), "study: primary")
    if world.measures[study.primary].better is None:
        raise ConfigError(f"study: primary is {study.primary}, of which neither more nor less is better.")
    if study.claim:
        judge(study, study.claim, Scores.read([], study.level), world.measures)


def _cells(study: Study, world: World, cells: Sequence[Cell], scores: Scores) -> list[StudyCell]:
    wins = _wins(study, world, scores)
    folders = {(cell.method, cell.condition, cell.seed): cell for cell in cells}
    return [
        StudyCell(
            method=method,
            condition=condition,
            estimates=_estimates((method, condition), scores, world.measures),
            wins=wins.get(f"{method}\n{condition}"),
            training=summarise(scores.done(method, condition)),
            runs=[_run(folders[method, condition, seed], scores) for seed in study.seeds],
        )
        for method, condition in study.cells()
    ]


def _run(cell: Cell, scores: Scores) -> StudyRun:
    found = scores.found[cell.method, cell.condition, cell.seed]
    if found is None:
        return StudyRun(seed=cell.seed, status="missing")
    if isinstance(found, CellFailure):
        return StudyRun(seed=cell.seed, status="failed", error=found.error)
    start = scores.starts.get(cell.seed)
    begun = [example.completion for example in start.examples] if start else []
    examples = [
        example.model_copy(update={"start": begun[i] if i < len(begun) else None})
        for i, example in enumerate(found.examples[:EXAMPLES])
    ]
    return StudyRun(
        seed=cell.seed,
        status="done",
        measures={name: sum(values) / len(values) for name, values in found.scores.items()},
        data=found.data,
        steps=found.steps,
        seconds=found.seconds,
        tokens=found.tokens,
        z0_clamped=found.z0_clamped,
        reward_magnitude=found.reward_magnitude,
        folder=cell.folder.relative_to(cell.folder.parents[3]).as_posix(),
        examples=examples,
    )


def _status(found: CellOutcome | CellFailure | None) -> str:
    if found is None:
        return "missing"
    return "done" if isinstance(found, CellOutcome) else "failed"


def _estimates(place: Cells, scores: Scores, measures: Mapping[str, Measure]) -> dict[str, PooledRate | PooledValue]:
    found = {name: scores.estimate(place, name, measure) for name, measure in measures.items()}
    return {name: estimate for name, estimate in found.items() if estimate is not None}


def _wins(study: Study, world: World, scores: Scores) -> dict[str, Comparison]:
    """Each cell's wins against the start, the verdict after Holm's correction over all cells."""
    if world.contest is None:
        return {}
    compared: dict[str, Comparison] = {}
    for place in study.cells():
        pooled = scores.wins(place, world.contest)
        if pooled is not None:
            low, high = pooled.rate_interval(study.level)
            p = pooled.p_rate_differs(0.5)
            word = _word(pooled.value - 0.5, p, study.level)
            compared["\n".join(place)] = Comparison(pooled.value, low, high, pooled.n, p, p, word)
    return correct_for_many(compared, study.level)


def _comparisons(study: Study, measure: Measure, scores: Scores) -> list[CellDifference]:
    """Each cell with its baseline, on the primary measure."""
    compared: dict[str, Difference] = {}
    about: dict[str, dict[str, Any]] = {}
    sign = -1.0 if measure.better == "lower" else 1.0
    found: list[tuple[tuple[str, str], Cells, Pooled]] = []
    for place in study.cells():
        baseline = _baseline(study, place)
        pooled = None if baseline == place else scores.contrast([(1.0, place), (-1.0, baseline)], study.primary)
        if pooled is not None:
            found.append((place, baseline, pooled))
    for place, baseline, pooled in found:
        name = "\n".join(place)
        compared[name] = _difference(pooled, measure, sign, scores)
        other = baseline if isinstance(baseline, str) else Place(method=baseline[0], condition=baseline[1])
        about[name] = {"method": place[0], "condition": place[1], "baseline": other, "seeds": pooled.seeds}
        about[name]["detectable"] = pooled.detectable((1 - study.level) / len(found))
    return [
        CellDifference(measure=study.primary, **about[name], **one._asdict())
        for name, one in correct_for_many(compared, study.level).items()
    ]


def _baseline(study: Study, place: tuple[str, str]) -> Cells:
    if isinstance(study.baseline, str):
        return START
    return study.baseline.method or place[0], study.baseline.condition or place[1]


def _difference(pooled: Pooled, measure: Measure, sign: float, scores: Scores) -> Difference:
    bounds = scores.difference_bounds(measure)
    low, high = pooled.interval(scores.level, bounds)
    p = pooled.p_differs(0.0, bounds)
    word = _word(sign * pooled.value, p, scores.level)
    return Difference(pooled.value, low, high, pooled.n, pooled.prompts, p, p, word)


def _word(lead: float, p: float, level: float) -> Verdict:
    if p >= 1 - level:
        return "no difference shown"
    return "better" if lead > 0 else "worse"
