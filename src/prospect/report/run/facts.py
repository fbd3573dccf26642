"""What a run directory holds, as the questions a reader has; whatever is absent answers None or empty."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard, TypeVar

import numpy as np
from pydantic import JsonValue

from prospect.errors import CheckpointError
from prospect.report.page.wording import method_name
from prospect.results.before_after import BeforeAfterResult
from prospect.results.benchmarks import BenchmarksResult
from prospect.results.contest import ContestResult
from prospect.results.evaluation import AnyEvaluation
from prospect.results.feedback import FeedbackResult
from prospect.results.rounds import RoundOf, round_of
from prospect.results.run import AlarmsRow, DataSummary, MetricsRow, Provenance, SampleRow
from prospect.run_dir import RunDir

CLASS_NAMES = {"paired": ("chosen", "rejected"), "scored": ("best", "others")}
DESIRABLE_UNDESIRABLE = ("desirable", "undesirable")


class MetricCurve(NamedTuple):
    """One metric over the run: the steps (S,) that logged a finite value, and the values (S,)."""

    steps: np.ndarray
    values: np.ndarray

    def __bool__(self) -> bool:
        return len(self.steps) > 0

    @property
    def first(self) -> float:
        """The first value."""
        return float(self.values[0])

    @property
    def last(self) -> float:
        """The last value."""
        return float(self.values[-1])


Result = TypeVar("Result", ContestResult, FeedbackResult, BenchmarksResult)


@dataclass(frozen=True)
class RunFacts:
    """One run, read once.

    Attributes:
        path: the run directory, absolute.
        config: the resolved recipe.
        provenance: versions, hashes, data summaries.
        metrics: every logged row of numbers.
        raised: every logged row of alarms.
        samples: sampled completions.
        evaluations: evaluation results by file stem.
        round_of: the round that it trained, None for a run of its own.
    """

    path: Path
    config: dict[str, Any]
    provenance: Provenance
    metrics: list[MetricsRow]
    raised: list[AlarmsRow]
    samples: list[SampleRow]
    evaluations: dict[str, AnyEvaluation | JsonValue]
    round_of: RoundOf | None

    @classmethod
    def read(cls, run: RunDir) -> RunFacts:
        """Return what `run` holds; refuse a folder that is no run directory."""
        path = Path(run.path)
        if not path.is_dir():
            raise CheckpointError(f"{path}: no such run directory. Train first: prospect train RECIPE.yaml")
        facts = cls(
            path.resolve(),
            run.config(),
            run.provenance(),
            *run.logged(),
            run.samples(),
            run.evaluations(),
            round_of(path),
        )
        if not (facts.config or facts.provenance.known or facts.metrics or facts.evaluations):
            raise CheckpointError(
                f"{path}: not a run directory: expected config.yaml, provenance.json, metrics.jsonl or"
                " evaluation/*.json, found none. Name the folder that `prospect train` wrote."
            )
        return facts

    @property
    def name(self) -> str:
        """The run directory's name."""
        return self.path.name

    def curve(self, key: str) -> MetricCurve:
        """Return the finite values of one metric by step; a step logged twice counts as logged last."""
        by_step = self._values.get(key, {})
        points = np.array(sorted(by_step.items()), float).reshape(-1, 2)
        return MetricCurve(*points[np.isfinite(points[:, 1])].T)

    @cached_property
    def _values(self) -> dict[str, dict[float, float]]:
        """Metric -> step -> its value: the rows are gone through once, for there may be many."""
        found: dict[str, dict[float, float]] = defaultdict(dict)
        for row in self.metrics:
            for key, value in row.items():
                found[key][row["step"]] = value
        return dict(found)

    def recipe(self, *keys: str) -> Any:
        """One setting of the recipe, None where absent."""
        return dig(self.config, *keys)

    @property
    def noun(self) -> str:
        """What the model makes."""
        return "image" if self.provenance.images is not None else "completion"

    @property
    def train_data(self) -> DataSummary:
        """The summary of the training feedback."""
        return self.provenance.data.train

    @property
    def held_out(self) -> DataSummary:
        """The summary of the held-out feedback; empty where there is none."""
        return self.provenance.data.eval or DataSummary()

    @property
    def loss(self) -> str:
        """The loss's name, as in the recipe."""
        return str(self.provenance.loss.name or self.recipe("loss", "name") or "")

    @property
    def beta(self) -> float | None:
        """The scale of rewards, None for a loss without one."""
        beta = self.provenance.loss.hyperparameters.get("beta")
        return beta if is_number(beta) else None

    @property
    def model(self) -> str:
        """The name of the model that the run started from."""
        return str(self.provenance.policy.name_or_path or self.recipe("model", "name_or_path") or "")

    @property
    def method(self) -> str:
        """The loss's name as written on the page."""
        return method_name(self.loss)

    @property
    def feedback(self) -> str:
        """What the loss reads: unpaired, paired, demonstration or scored."""
        return self.provenance.loss.feedback or self.train_data.kind or "unpaired"

    @property
    def class_names(self) -> tuple[str, str]:
        """What the two classes of completions are called in this run."""
        return CLASS_NAMES.get(self.feedback, DESIRABLE_UNDESIRABLE)

    @property
    def class_counts(self) -> tuple[int, int] | None:
        """How many desirable and undesirable completions an unpaired loss trained on."""
        train = self.train_data
        if self.feedback != "unpaired":
            return None
        if train.kind == "paired" and train.rows:
            return train.rows, train.rows
        if train.desirable is None or train.undesirable is None or train.desirable + train.undesirable == 0:
            return None
        return train.desirable, train.undesirable

    @property
    def class_weights(self) -> tuple[float, float]:
        """lambda_D and lambda_U as used, 1 where the loss has none."""
        names = ("desirable_weight", "undesirable_weight")
        used = [self.provenance.loss.hyperparameters.get(name) for name in names]
        asked = [self.recipe("loss", name) for name in names]
        first, second = (next((w for w in pair if is_number(w)), 1.0) for pair in zip(used, asked, strict=True))
        return float(first), float(second)

    def alarms(self, kind: str) -> list[tuple[int, str]]:
        """Return the steps at which training raised an alarm of this kind, with its words."""
        return [(row.step, alarm.text) for row in self.raised for alarm in row.alarms if alarm.kind == kind]

    @cached_property
    def steps_sampled(self) -> list[int]:
        """The steps at which the policy wrote samples."""
        return sorted({row.step for row in self.samples})

    @cached_property
    def steps_done(self) -> int:
        """The last step that logged anything."""
        return int(max((max(values) for values in self._values.values()), default=0))

    def results(self, kind: type[Result]) -> list[Result]:
        """Return the evaluations of one kind."""
        return [one for one in self.evaluations.values() if isinstance(one, kind)]

    @property
    def in_progress(self) -> bool:
        """Whether training has started and not said that it finished."""
        return self.provenance.known and self.provenance.finished is None

    @cached_property
    def comparison(self) -> BeforeAfterResult | None:
        """The first evaluation that has a pass rate before and after."""
        return next((one for one in self.evaluations.values() if isinstance(one, BeforeAfterResult)), None)


def dig(tree: Any, *keys: str) -> Any:
    """Return the value below nested mappings, None where any step is missing."""
    for key in keys:
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree


def is_number(value: Any) -> TypeGuard[float]:
    """Whether `value` is a finite number, and no boolean."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
