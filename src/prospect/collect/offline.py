"""What a run has to show before any user meets its model: the first gate, read from the run's own directory.

Every result that is there counts, so that nobody can choose among judges or tasks afterwards.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from prospect.results.benchmarks import BenchmarksResult, TaskMetric
from prospect.results.contest import ContestResult
from prospect.results.evaluated import Named
from prospect.results.feedback import FeedbackResult
from prospect.results.registry import Check, RegistryEntry
from prospect.run_dir import RunDir


def check_run(run: RunDir, current: RegistryEntry, margin: float) -> list[Check]:
    """Return what a run shows beside the current model.

    contest     its win rate's interval is above one half less the margin
    thumbs      the AUROC of held-out thumbs has its interval above one half
    benchmarks  no task's change has its interval reach below minus the margin
    alarms      training raised none

    Args:
        run: the run.
        current: the model that it would replace.
        margin: how much worse it may be, as a share: 0.05 is 5 points.

    Raises:
        CheckpointError: a file of the run cannot be read.
    """
    results = list(run.evaluations().values())
    us, them = shlex.quote(str(run.path)), shlex.quote(current.source)
    return [
        _check(
            "contest",
            [_contest(one, margin) for one in results if isinstance(one, ContestResult) and _is(one.against, current)],
            f"no contest with {current.model}",
            f"prospect contest {us} --against {them} --judge JUDGE",
        ),
        _check(
            "thumbs",
            [_thumbs(one) for one in results if isinstance(one, FeedbackResult)],
            "no evaluation on held-out thumbs",
            f"prospect evaluate {us}",
        ),
        _check(
            "benchmarks",
            [
                found
                for one in results
                if isinstance(one, BenchmarksResult) and _is(one.reference, current)
                for found in _benchmarks(one, margin)
            ],
            f"no benchmark beside {current.model}",
            f"prospect benchmark {us} --against {them} --tasks TASKS",
        ),
        _alarms(run),
    ]


def _check(name: str, found: Sequence[tuple[bool, str]], missing: str, command: str) -> Check:
    if not found:
        return Check(name=name, passed=False, found=missing, remedy=command)
    failed = [text for passed, text in found if not passed]
    return Check(name=name, passed=not failed, found="; ".join(failed or [text for _, text in found]))


def _is(named: Named | None, current: RegistryEntry) -> bool:
    """Return whether a result is about the current model: by its source, or by its name on a server."""
    if named is None:
        return False
    if named.kind == "endpoint":
        return named.name.endswith(f"#{current.model}")
    return named.name in (current.source, current.model) or Path(named.name).resolve() == Path(current.source).resolve()


def _contest(one: ContestResult, margin: float) -> tuple[bool, str]:
    rate = one.win_rate
    text = f"{one.judge} gives it a win rate of {rate.rate:.1%} ({rate.low:.1%} to {rate.high:.1%}, n = {rate.n})"
    passed = rate.low > 0.5 - margin
    return passed, text if passed else f"{text}; the interval should be above {0.5 - margin:.1%}"


def _thumbs(one: FeedbackResult) -> tuple[bool, str]:
    found = one.auroc
    if found is None or found.low is None or found.high is None:
        return False, f"{one.data.source}: no AUROC with an interval; hold out more thumbs, of both kinds"
    text = f"AUROC {found.value:.3f} ({found.low:.3f} to {found.high:.3f}) on {one.data.rows} rows of {one.data.source}"
    return found.low > 0.5, text if found.low > 0.5 else f"{text}; the interval should be above 0.5"


def _benchmarks(one: BenchmarksResult, margin: float) -> Iterator[tuple[bool, str]]:
    for task, result in one.tasks.items():
        for name, metric in result.metrics.items():
            if metric.change is not None and metric.higher_is_better is not None:
                yield _task(f"{task} {name}", metric, margin)


def _task(name: str, metric: TaskMetric, margin: float) -> tuple[bool, str]:
    change, reference = metric.change, metric.reference
    assert change is not None, "only changes are asked about"
    if change.low is None or change.high is None:
        return False, f"{name}: {change.value:+.3g}, without an interval; use more documents"
    # Metrics beyond 1, such as perplexity, have their margin in proportion.
    margin *= max(1.0, abs(reference.value)) if reference else 1.0
    passed = (change.low if metric.higher_is_better else -change.high) > -margin
    text = f"{name} {change.value:+.3g} ({change.low:+.3g} to {change.high:+.3g})"
    return passed, text if passed else f"{text}, which may be worse by more than {margin:.3g}"


def _alarms(run: RunDir) -> Check:
    seen = [f"step {row.step}: {alarm.text}" for row in run.alarms() for alarm in row.alarms]
    return Check(
        name="alarms",
        passed=not seen,
        found="; ".join(seen) or "none in training",
        remedy=f"look at {run.report_path}, and train again" if seen else None,
    )
