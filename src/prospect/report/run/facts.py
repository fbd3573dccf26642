"""What a run directory holds, as the questions a reader has; whatever is absent answers None or empty."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

import numpy as np

from prospect.errors import CheckpointError
from prospect.run_dir import RunDir
from prospect.statistics.rates import Rate

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


class BeforeAfter(NamedTuple):
    """One evaluation of the policy before and after training; `rules` by name, `win` against the start."""

    before: Rate
    after: Rate
    rules: dict[str, tuple[Rate, Rate]]
    win: Rate | None
    details: dict[str, Any]


@dataclass(frozen=True)
class RunFacts:
    """One run, read once.

    Attributes:
        name: the run directory's name.
        config: the resolved recipe.
        provenance: versions, hashes, data summaries.
        metrics: every logged object.
        samples: sampled completions.
        evaluations: evaluation results by file stem.
    """

    name: str
    config: dict[str, Any]
    provenance: dict[str, Any]
    metrics: list[dict[str, Any]]
    samples: list[dict[str, Any]]
    evaluations: dict[str, dict[str, Any]]

    @classmethod
    def read(cls, run: RunDir) -> RunFacts:
        """Return what `run` holds; refuse a folder that is no run directory."""
        path = Path(run.path)
        if not path.is_dir():
            raise CheckpointError(f"{path}: no such run directory. Train first: prospect train RECIPE.yaml")
        facts = cls(
            path.resolve().name,
            run.config(),
            run.provenance(),
            [row for row in run.metrics() if isinstance(row, dict)],
            [row for row in run.samples() if isinstance(row, dict)],
            run.evaluations(),
        )
        if not (facts.config or facts.provenance or facts.metrics or facts.evaluations):
            raise CheckpointError(
                f"{path}: not a run directory: expected config.yaml, provenance.json, metrics.jsonl or"
                " evaluation/*.json, found none. Name the folder that `prospect train` wrote."
            )
        return facts

    def curve(self, key: str) -> MetricCurve:
        """Return the finite values of one metric by step; a step logged twice counts as logged last."""
        by_step = self._values.get(key, {})
        steps = sorted(by_step)
        return MetricCurve(np.array(steps, float), np.array([by_step[step] for step in steps], float))

    @cached_property
    def _values(self) -> dict[str, dict[float, float]]:
        """Metric -> step -> its value: the rows are gone through once, for there may be many."""
        found: dict[str, dict[float, float]] = defaultdict(dict)
        for row in self.metrics:
            step = row.get("step")
            if is_number(step):
                for key, value in row.items():
                    if is_number(value):
                        found[key][step] = value
        return dict(found)

    def recipe(self, *keys: str) -> Any:
        """One setting of the recipe, None where absent."""
        return dig(self.config, *keys)

    def origin(self, *keys: str) -> Any:
        """One fact of the provenance, None where absent."""
        return dig(self.provenance, *keys)

    @property
    def train_data(self) -> dict[str, Any]:
        """The summary of the training feedback."""
        train = self.origin("data", "train")
        return train if isinstance(train, dict) else {}

    @property
    def method(self) -> str:
        """The loss's name as written on the page: acronyms in capitals, a user's loss without its file."""
        name = str(self.origin("loss", "name") or self.recipe("loss", "name") or "").rpartition(":")[2]
        return name.upper() if name.isalpha() and len(name) <= 4 else name

    @property
    def feedback(self) -> str:
        """What the loss reads: unpaired, paired, demonstration or scored."""
        return str(self.origin("loss", "feedback") or self.origin("data", "train", "kind") or "unpaired")

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
        rows = train.get("rows")
        if train.get("kind") == "paired" and is_number(rows) and rows > 0:
            return int(rows), int(rows)
        up, down = train.get("desirable"), train.get("undesirable")
        if not is_number(up) or not is_number(down) or up + down == 0:
            return None
        return int(up), int(down)

    @property
    def class_weights(self) -> tuple[float, float]:
        """lambda_D and lambda_U as used, 1 where the loss has none."""
        names = ("desirable_weight", "undesirable_weight")
        used = [self.origin("loss", "hyperparameters", name) for name in names]
        asked = [self.recipe("loss", name) for name in names]
        first, second = (next((w for w in pair if is_number(w)), 1.0) for pair in zip(used, asked, strict=True))
        return float(first), float(second)

    def alarms(self, kind: str) -> list[tuple[int, str]]:
        """Return the steps at which training raised an alarm of this kind, with its words."""
        return [
            (int(row["step"]), str(alarm.get("text", "")))
            for row in self.metrics
            if is_number(row.get("step")) and isinstance(row.get("alarms"), list)
            for alarm in row["alarms"]
            if isinstance(alarm, dict) and alarm.get("kind") == kind
        ]

    @cached_property
    def steps_sampled(self) -> list[int]:
        """The steps at which the policy wrote samples."""
        return sorted({int(row["step"]) for row in self.samples if is_number(row.get("step"))})

    @cached_property
    def steps_done(self) -> int:
        """The last step that logged anything."""
        return int(max((max(values) for values in self._values.values()), default=0))

    @property
    def in_progress(self) -> bool:
        """Whether training has started and not finished."""
        return bool(self.provenance) and self.origin("finished") is None

    @cached_property
    def comparison(self) -> BeforeAfter | None:
        """The first evaluation that has a pass rate before and after."""
        for result in self.evaluations.values():
            before, after = rate_of(dig(result, "before")), rate_of(dig(result, "after"))
            if before and after:
                return BeforeAfter(before, after, _rules(result), rate_of(dig(result, "win_rate")), result)
        return None


def dig(tree: Any, *keys: str) -> Any:
    """Return the value below nested mappings, None where any step is missing."""
    for key in keys:
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree


def is_number(value: Any) -> TypeGuard[float]:
    """Whether `value` is a finite number, and no boolean."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def rate_of(value: Any) -> Rate | None:
    """Return a rate from its JSON form, None where it is not one."""
    fields = [dig(value, name) for name in Rate._fields]
    return Rate(*fields) if all(is_number(field) for field in fields) else None


def _rules(result: dict[str, Any]) -> dict[str, tuple[Rate, Rate]]:
    rules = dig(result, "rules")
    pairs = {
        str(name): (rate_of(dig(rule, "before")), rate_of(dig(rule, "after")))
        for name, rule in (rules.items() if isinstance(rules, dict) else ())
    }
    return {name: (before, after) for name, (before, after) in pairs.items() if before and after}
