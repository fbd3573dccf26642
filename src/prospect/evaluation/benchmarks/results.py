"""Results of lm-evaluation-harness as numbers with intervals, and the change between two models."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from prospect.results.benchmarks import TaskChange, TaskMetric, TaskResult, TaskScore
from prospect.statistics.bootstrap import Estimate
from prospect.statistics.comparisons import Difference, compare_paired, correct_for_many, verdict
from prospect.statistics.estimates import Intervals
from prospect.statistics.means import mean_by_prompt, rate_by_prompt


@dataclass(frozen=True)
class Result:
    """One metric of one task for one model.

    Attributes:
        value: as the harness has it.
        stderr: its standard error, None where it has none.
        n: documents.
        by_document: their numbers; None where the result is no mean over documents.
        higher_is_better: None where the task does not say, or the tasks of a group disagree.
    """

    value: float
    stderr: float | None
    n: int
    by_document: np.ndarray | None
    higher_is_better: bool | None


def read_results(raw: Mapping[str, Any]) -> dict[tuple[str, str], Result]:
    """Our results of the harness's, by task (or group) and metric."""
    found: dict[tuple[str, str], Result] = {}
    for task, values in raw["results"].items():
        for metric, value in values.items():
            if "," not in metric or "_stderr," in metric or not isinstance(value, int | float):
                continue
            name, _, filtered = metric.partition(",")
            stderr = values.get(f"{name}_stderr,{filtered}")
            numbers = _by_document(raw, task, name, filtered)
            if numbers is None or not math.isclose(numbers.mean(), value, rel_tol=1e-9, abs_tol=1e-12):
                numbers = None  # another aggregation than the plain mean
            count = numbers.size if numbers is not None else _documents(raw, task)
            better = (raw["higher_is_better"].get(task) or {}).get(name)
            found[task, metric] = Result(
                float(value),
                float(stderr) if isinstance(stderr, int | float) and math.isfinite(stderr) else None,
                count,
                numbers,
                better if isinstance(better, bool) else None,
            )
    return found


def _leaves(raw: Mapping[str, Any], task: str) -> list[str]:
    """Return the tasks of a group, down to those with documents."""
    if task in raw["samples"]:
        return [task]
    return [leaf for child in raw["group_subtasks"].get(task, []) for leaf in _leaves(raw, child)]


def _by_document(raw: Mapping[str, Any], task: str, metric: str, filtered: str) -> np.ndarray | None:
    """Return a number for each document in the harness's order; None where a document has none."""
    rows = [row for leaf in _leaves(raw, task) for row in raw["samples"][leaf] if row["filter"] == filtered]
    values = [row.get(metric) for row in rows]
    if not values or not all(isinstance(value, int | float | np.number) for value in values):
        return None
    numbers = np.array(values, dtype=float)
    return numbers if np.isfinite(numbers).all() else None


def _documents(raw: Mapping[str, Any], task: str) -> int:
    return sum(raw["n-samples"][leaf]["effective"] for leaf in _leaves(raw, task))


def side_by_side(
    raw: Mapping[str, Any], sides: Sequence[dict[tuple[str, str], Result]], how: Intervals
) -> dict[str, TaskResult]:
    """Return results of one or two models, task by task, and the changes between them."""
    changes = {}
    if len(sides) == 2:
        changes = {key: change_of(ours, sides[1][key], how) for key, ours in sides[0].items() if key in sides[1]}
    corrected = correct_for_many({f"{task} {metric}": one for (task, metric), (one, _) in changes.items()}, how.level)
    tasks: dict[str, TaskResult] = {}
    for key, ours in sides[0].items():
        task, metric = key
        entry = TaskMetric(ours=_score(ours, how), higher_is_better=ours.higher_is_better)
        if key in changes:
            entry.reference = _score(sides[1][key], how)
            entry.change = _change(corrected[f"{task} {metric}"], how.level, paired=changes[key][1])
        tasks.setdefault(task, _about(raw, task)).metrics[metric] = entry
    return tasks


def _about(raw: Mapping[str, Any], task: str) -> TaskResult:
    return TaskResult(
        version=raw["versions"].get(task),
        num_fewshot=raw["n-shot"].get(task),
        n=_documents(raw, task),
        part_of=sorted(group for group, children in raw["group_subtasks"].items() if task in children),
        metrics={},
    )


def _score(result: Result, how: Intervals) -> TaskScore:
    found = _interval(result, how)
    low, high = (found.low, found.high) if found else (None, None)
    return TaskScore(value=result.value, stderr=result.stderr, low=low, high=high, n=result.n, level=how.level)


def _change(change: Difference, level: float, *, paired: bool) -> TaskChange:
    """Return a change as it is written; an infinite interval is none."""
    known = math.isfinite(change.low) and math.isfinite(change.high)
    ends = {} if known else {"low": None, "high": None}
    return TaskChange(**{**change._asdict(), **ends}, level=level, paired=paired)


def _interval(result: Result, how: Intervals) -> Estimate | None:
    """Exact for shares of documents, draws of documents for other means, else from the standard error."""
    numbers = result.by_document
    if numbers is not None and np.isin(numbers, (0.0, 0.5, 1.0)).all():
        rate = rate_by_prompt(numbers.tolist(), level=how.level)
        return Estimate(rate.rate, rate.low, rate.high, rate.n, rate.n)
    if numbers is not None and numbers.size > 1:
        return mean_by_prompt(numbers.tolist(), level=how.level, resamples=how.resamples, seed=how.seed)
    if result.stderr is None:
        return None
    reach = _normal_quantile(how.level) * result.stderr
    return Estimate(result.value, result.value - reach, result.value + reach, result.n, result.n)


def change_of(ours: Result, theirs: Result, how: Intervals) -> tuple[Difference, bool]:
    """Ours minus theirs, and whether it is paired by document. The word follows which way is better.

    A change is only "different" where nobody says which way that is.
    """
    a, b = ours.by_document, theirs.by_document
    if a is not None and b is not None and a.size == b.size:
        inside = bool(min(a.min(), b.min()) >= 0 and max(a.max(), b.max()) <= 1)
        bounds = (0.0, 1.0) if inside else None
        if inside or a.size > 1:
            found = compare_paired(a.tolist(), b.tolist(), bounds=bounds, **how.options())
            return _turned(found, ours.higher_is_better), True
    error = math.hypot(ours.stderr or math.nan, theirs.stderr or math.nan)
    value = ours.value - theirs.value
    reach = _normal_quantile(how.level) * error
    if not reach > 0:  # no standard error: nothing can be said
        return Difference(value, -math.inf, math.inf, ours.n, ours.n, 1.0, 1.0, "no difference shown"), False
    p = math.erfc(abs(value) / error / math.sqrt(2))
    low, high = value - reach, value + reach
    word = verdict(Estimate(value, low, high, ours.n, ours.n), null=0.0)
    return _turned(Difference(value, low, high, ours.n, ours.n, p, p, word), ours.higher_is_better), False


def _turned(change: Difference, higher_is_better: bool | None) -> Difference:
    """Of an error rate, less is better."""
    if higher_is_better or change.verdict == "no difference shown":
        return change
    if higher_is_better is None:
        return change._replace(verdict="different")
    return change._replace(verdict="worse" if change.verdict == "better" else "better")


def _normal_quantile(level: float) -> float:
    from scipy.special import ndtri

    return float(ndtri((1 + level) / 2))
