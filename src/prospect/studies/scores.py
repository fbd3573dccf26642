"""The scores of a study's runs, read from its folder, and what can be pooled from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from prospect.results.study import CellFailure, CellOutcome, StartOutcome
from prospect.results.study_cells import START, PooledRate, PooledValue
from prospect.studies.outcome import Measure
from prospect.studies.plan import Cell
from prospect.studies.pooling import Pooled, pool

Place = tuple[str, str] | str
"""(method, condition), or `start`."""
Table = dict[int, dict[str, list[float]]]
"""seed -> measure -> a score for each held-out prompt."""


@dataclass(frozen=True)
class Scores:
    """Everything that was scored.

    Attributes:
        places: each (method, condition), and `start`, to its scores.
        found: (method, condition, seed) to what the run wrote down; None where it was not run.
        starts: seed to what was written down of the start.
        level: coverage of the intervals.
    """

    places: dict[Place, Table]
    found: dict[tuple[str, str, int], CellOutcome | CellFailure | None]
    starts: dict[int, StartOutcome]
    level: float

    @classmethod
    def read(cls, cells: Sequence[Cell], level: float) -> Scores:
        """Read whatever there is."""
        found = {(cell.method, cell.condition, cell.seed): cell.read() for cell in cells}
        starts = {cell.seed: StartOutcome.read(cell.start_path) for cell in cells if cell.start_path.exists()}
        places: dict[Place, Table] = {START: {seed: start.scores for seed, start in starts.items()}}
        for (method, condition, seed), outcome in found.items():
            table = places.setdefault((method, condition), {})
            if isinstance(outcome, CellOutcome):
                table[seed] = outcome.scores
        return cls(places, found, starts, level)

    def done(self, method: str, condition: str) -> list[CellOutcome]:
        """Return what a cell's runs wrote down, of those that are done."""
        found = [one for (m, c, _), one in self.found.items() if (m, c) == (method, condition)]
        return [one for one in found if isinstance(one, CellOutcome)]

    def errors(self, method: str, condition: str) -> list[str]:
        """Return why runs of a cell failed."""
        found = [one for (m, c, _), one in self.found.items() if (m, c) == (method, condition)]
        return [one.error for one in found if isinstance(one, CellFailure)]

    def contrast(self, terms: Sequence[tuple[float, Place]], measure: str) -> Pooled | None:
        """Return a weighted sum of places, on the same prompts and seeds; None where one of them has no score."""
        tables = [(weight, self.places.get(place, {})) for weight, place in terms]
        seeds = [seed for seed in self._seeds() if all(measure in table.get(seed, {}) for _, table in tables)]
        if not seeds:
            return None
        rows = [
            [
                sum(weight * score for (weight, _), score in zip(tables, prompt, strict=True))
                for prompt in zip(*(table[seed][measure] for _, table in tables), strict=True)
            ]
            for seed in seeds
        ]
        return pool(rows)

    def wins(self, place: Place, measure: str) -> Pooled | None:
        """How often a place's completion has the higher score than the start's on the same prompt, ties half."""
        ours, theirs = self.places.get(place, {}), self.places[START]
        seeds = [seed for seed in self._seeds() if measure in ours.get(seed, {}) and measure in theirs.get(seed, {})]
        if not seeds:
            return None
        return pool(
            [
                [(a > b) + (a == b) / 2 for a, b in zip(ours[seed][measure], theirs[seed][measure], strict=True)]
                for seed in seeds
            ]
        )

    def estimate(self, place: Place, name: str, measure: Measure) -> PooledRate | PooledValue | None:
        """Return the mean with its interval, as it stands in a result."""
        pooled = self.contrast([(1.0, place)], name)
        if pooled is None:
            return None
        counts = {"n": pooled.n, "prompts": pooled.prompts, "seeds": pooled.seeds}
        if measure.kind == "rate":
            low, high = pooled.rate_interval(self.level)
            return PooledRate(rate=pooled.value, low=low, high=high, **counts)
        low, high = pooled.interval(self.level, measure.bounds)
        return PooledValue(value=pooled.value, low=low, high=high, **counts)

    def difference_bounds(self, measure: Measure, differences: int = 1) -> tuple[float, float] | None:
        """Between which numbers a difference of two scores lies, or one of two differences."""
        if measure.bounds is None:
            return None
        span = differences * (measure.bounds[1] - measure.bounds[0])
        return -span, span

    def _seeds(self) -> list[int]:
        return list(dict.fromkeys([*(seed for _, _, seed in self.found), *self.starts]))
