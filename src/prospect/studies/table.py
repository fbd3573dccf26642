"""The result of a study: one JSON object, and the same as a markdown table.

`result.json` in the study's folder, and what `prospect compare --json` prints. No torch is needed to read or make it.

    format         "prospect.study/1"
    name           short, the name of the folder; "imbalance"
    title          one line for people
    question       what is asked, one or two sentences; may be ""
    file           the study's YAML as it was given; "studies/imbalance.yaml"
    digest         hash of everything that decides the numbers (world, methods, conditions, seeds)
    level          coverage of all intervals; 0.95
    complete       true where every run is there; else the numbers are of what there is
    runs           {"wanted", "done", "failed"}: counts of training runs that are scored
    seconds        sum of the runs' training and scoring times, one process after another
    world          {"kind": "demo" | "stories" | "files", "says": one sentence on what is trained and how it is scored,
                   "prompts": how many held-out prompts a run is scored on}
    claim          null, or
                   {"text": what the paper says, "source": where,
                    "agrees": "yes" | "no" | "cannot tell", "why": one sentence,
                    "rules": [RULE]}    in the order of the YAML; decided by prospect.studies.rules
    measures       name -> {"label": for a column's head, "unit": "share" | "words" | "points" | "nats" | ...,
                   "better": "higher" | "lower" | null (neither is better), "kind": "rate" | "value"}
                   in the order of columns. "rate": 0 to 1, show as percent.
    primary        the measure that the study is about; a key of measures
    methods        [{"name", "loss", "after": name of the method whose model it starts from, or null,
                   "recipe": what the method sets, a part of a recipe}]
    conditions     [{"name", "says": one sentence, "settings": what the YAML sets}]
    seeds          [0, 1, 2]
    axes           [{"label": "label flips", "unit": "share" | "", "points": [{"condition": name, "x": 0.1}]}
                   or the same with "method" in place of "condition"]; lines to draw: x is a number, and a point's
                   y are the cells with that condition (one line per method) or that method (one line per condition)
    start          measure -> ESTIMATE of the model that nothing was done to; {} where it is not scored
    cells          [CELL], methods in order and for each its conditions in order
    comparisons    [COMPARISON], of each cell with its baseline, on the primary measure
    baseline       {"method": name or null, "condition": name or null} null: that of the cell itself;
                   or "start"; what the comparisons are with
    findings       [{"kind": "good" | "bad" | "plain" | "worry", "text": one plain sentence}]

    ESTIMATE       a rate:   {"rate", "low", "high", "n", "prompts", "seeds"}
                   a value:  {"value", "low", "high", "n", "prompts", "seeds"}
                   n = rows = prompts x seeds. Prompts and seeds are both taken as draws, so the interval is about
                   other prompts and other seeds too. With one seed it is about other prompts alone.
    CELL           {"method", "condition",
                    "estimates": measure -> ESTIMATE, {} where no run is done,
                    "wins": how often its completion beats the start's on the same prompt, a tie counting half:
                            {"rate", "low", "high", "n", "p", "p_holm", "verdict"}, or null,
                    "runs": [RUN], one for each seed}
    RUN            {"seed", "status": "done" | "failed" | "missing",
                    "error": text where it failed, else null,
                    "measures": measure -> mean over prompts, {} unless done,
                    "data": {"desirable", "undesirable", "pairs", ...: counts of what was trained on},
                    "steps", "seconds", "folder": relative to result.json; null unless done,
                    "z0_clamped": share of the steps whose z0 was negative and held at 0; null without z0,
                    "examples": [{"prompt", "completion", "start": the start's completion or null, "score"}] at most 3,
                            of the first prompts, chosen by nobody}
    COMPARISON     {"measure", "method", "condition", "baseline": {"method", "condition"} or "start",
                    "value": mean difference, cell less baseline, on the same prompts and seeds, "low", "high",
                    "n", "prompts", "seeds", "p", "p_holm", "verdict": "better" | "worse" | "no difference shown"}
                   the verdict is after Holm's correction over all comparisons of the study
    RULE           {"text": in words, "agrees": "yes" | "no" | "cannot tell", "found": in words with numbers,
                    "measure", "value", "low", "high": of the difference the rule is about, null where a cell is not
                    there; "bound": what it is compared with; "p_holm"}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from prospect.errors import ConfigError
from prospect.statistics.comparisons import Comparison, Difference, Verdict, correct_for_many
from prospect.studies.conditions import describe
from prospect.studies.findings import find
from prospect.studies.outcome import EXAMPLES, Measure, World
from prospect.studies.plan import Cell
from prospect.studies.pooling import Pooled
from prospect.studies.rules import judge
from prospect.studies.scores import START, Place, Scores
from prospect.studies.study import Study, unknown

FORMAT = "prospect.study/1"


def make_result(study: Study, world: World, cells: Sequence[Cell], file: str) -> dict[str, Any]:
    """Return the result of what was run so far; see the top of this file.

    Args:
        study: the study.
        world: its world.
        cells: all of its runs, done or not.
        file: the study's YAML, for the record.

    Raises:
        ConfigError: the primary measure is none of the world's, or neither way of it is better.
        UsageError: there are runs of other settings.
    """
    check_measures(study, world)
    scores = Scores.read(cells, study.level)
    statuses = [_status(found) for found in scores.found.values()]
    result: dict[str, Any] = {
        "format": FORMAT,
        "name": study.name,
        "title": study.title or study.name,
        "question": study.question,
        "file": file,
        "digest": study.digest(),
        "level": study.level,
        "complete": set(statuses) == {"done"},
        "runs": {"wanted": len(statuses), "done": statuses.count("done"), "failed": statuses.count("failed")},
        "seconds": round(sum((found or {}).get("seconds", 0.0) for found in scores.found.values()), 1),
        "world": {"kind": study.world["kind"], "says": world.says, "prompts": world.held_out},
        "claim": judge(study, study.claim, scores, world.measures) if study.claim else None,
        "measures": {name: measure.as_dict() for name, measure in world.measures.items()},
        "primary": study.primary,
        "methods": [
            {"name": name, "loss": method.loss["name"], "after": method.after, "recipe": method.recipe()}
            for name, method in study.methods.items()
        ],
        "conditions": [
            {"name": name, "says": describe(one), "settings": one.model_dump(exclude_defaults=True)}
            for name, one in study.conditions.items()
        ],
        "seeds": study.seeds,
        "axes": [
            {
                "label": axis.label,
                "unit": axis.unit,
                "points": [{axis.over: name, "x": x} for name, x in axis.points.items()],
            }
            for axis in study.axes
        ],
        "start": _estimates(START, scores, world.measures),
        "cells": _cells(study, world, cells, scores),
        "comparisons": _comparisons(study, world.measures[study.primary], scores),
        "baseline": START if study.baseline == START else study.baseline.model_dump(),  # type: ignore[union-attr]
    }
    return {**result, "findings": find(result)}


def check_measures(study: Study, world: World) -> None:
    """Refuse a study about a measure that the world has not.

    Raises:
        ConfigError: it is none of the world's, or neither way of it is better.
    """
    if study.primary not in world.measures:
        raise unknown("measure", study.primary, list(world.measures), "study: primary")
    if world.measures[study.primary].better is None:
        raise ConfigError(f"study: primary is {study.primary}, of which neither more nor less is better.")


def _cells(study: Study, world: World, cells: Sequence[Cell], scores: Scores) -> list[dict[str, Any]]:
    wins = _wins(study, world, scores)
    folders = {(cell.method, cell.condition, cell.seed): cell for cell in cells}
    return [
        {
            "method": method,
            "condition": condition,
            "estimates": _estimates((method, condition), scores, world.measures),
            "wins": wins.get(f"{method}\n{condition}"),
            "runs": [_run(folders[method, condition, seed], scores) for seed in study.seeds],
        }
        for method, condition in study.cells()
    ]


def _run(cell: Cell, scores: Scores) -> dict[str, Any]:
    found = scores.found[cell.method, cell.condition, cell.seed]
    status = _status(found)
    run: dict[str, Any] = {"seed": cell.seed, "status": status, "error": None, "measures": {}, "data": {}}
    run |= {"steps": None, "seconds": None, "folder": None, "z0_clamped": None, "examples": []}
    if found is None:
        return run
    if status == "failed":
        return {**run, "error": found["error"]}
    begun = scores.starts.get(cell.seed, {}).get("examples", [])
    examples = [
        {**example, "start": begun[i]["completion"] if i < len(begun) else None}
        for i, example in enumerate(found["examples"][:EXAMPLES])
    ]
    return {
        **run,
        "measures": {name: sum(values) / len(values) for name, values in found["scores"].items()},
        "data": found["data"],
        "steps": found["steps"],
        "seconds": found["seconds"],
        "z0_clamped": found["z0_clamped"],
        "folder": cell.folder.relative_to(cell.folder.parents[3]).as_posix(),
        "examples": examples,
    }


def _status(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "missing"
    return "failed" if "error" in found else "done"


def _estimates(place: Place, scores: Scores, measures: Mapping[str, Measure]) -> dict[str, Any]:
    found = {name: scores.estimate(place, name, measure) for name, measure in measures.items()}
    return {name: estimate for name, estimate in found.items() if estimate is not None}


def _wins(study: Study, world: World, scores: Scores) -> dict[str, dict[str, Any]]:
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
    return {name: one._asdict() for name, one in correct_for_many(compared, study.level).items()}


def _comparisons(study: Study, measure: Measure, scores: Scores) -> list[dict[str, Any]]:
    """Each cell with its baseline, on the primary measure."""
    compared: dict[str, Difference] = {}
    about: dict[str, dict[str, Any]] = {}
    sign = -1.0 if measure.better == "lower" else 1.0
    for place in study.cells():
        baseline = _baseline(study, place)
        pooled = None if baseline == place else scores.contrast([(1.0, place), (-1.0, baseline)], study.primary)
        if pooled is None:
            continue
        name = "\n".join(place)
        compared[name] = _difference(pooled, measure, sign, scores)
        other = baseline if isinstance(baseline, str) else {"method": baseline[0], "condition": baseline[1]}
        about[name] = {"method": place[0], "condition": place[1], "baseline": other, "seeds": pooled.seeds}
    return [
        {"measure": study.primary, **about[name], **one._asdict()}
        for name, one in correct_for_many(compared, study.level).items()
    ]


def _baseline(study: Study, place: tuple[str, str]) -> Place:
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
