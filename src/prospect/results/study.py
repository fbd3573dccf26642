"""The files of a study: `result.json`, and in its cells what each run scored."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from prospect.results.stored import Stored
from prospect.results.study_cells import CellDifference, Place, Pooled, SeenExample, StudyCell
from prospect.results.study_entries import (
    AxisEntry,
    ClaimAnswer,
    ConditionEntry,
    MeasureEntry,
    MethodEntry,
    RunCounts,
    StudyFinding,
    StudyTuning,
    StudyWorld,
)

if TYPE_CHECKING:
    from polars import DataFrame


class StudyResult(Stored):
    """`result.json`, and what `prospect compare --json` prints."""

    format: str = "prospect.study/1.2"
    name: str
    title: str
    question: str
    file: str
    """The study's YAML, as it was given."""
    digest: str
    """Hash of everything that decides the numbers: world, methods, conditions, seeds."""
    protocol: str | None = None
    """Hash of all that was fixed beforehand: the above before it was tuned, the tuning, the claim's rules."""
    level: float
    """Coverage of all intervals."""
    complete: bool
    """Whether every run is there; else the numbers are of what there is."""
    runs: RunCounts
    seconds: float
    """Training and scoring of all runs, one process after another."""
    world: StudyWorld
    claim: ClaimAnswer | None
    tuning: StudyTuning | None = None
    measures: dict[str, MeasureEntry]
    """In the order of columns."""
    primary: str
    """The measure that the study is about."""
    methods: list[MethodEntry]
    conditions: list[ConditionEntry]
    seeds: list[int]
    axes: list[AxisEntry]
    start: dict[str, Pooled]
    """By measure, of the model that nothing was done to; empty where it is not scored."""
    cells: list[StudyCell]
    """Methods in order, and for each its conditions in order."""
    comparisons: list[CellDifference]
    """Of each cell with its baseline, on the primary measure."""
    baseline: Place | Literal["start"]
    """What the comparisons are with; null is that of the cell itself."""
    findings: list[StudyFinding] = Field(default_factory=list)

    @property
    def about(self) -> MeasureEntry:
        """The primary measure."""
        return self.measures[self.primary]

    def varied(self) -> list[str]:
        """Return the primary measure, then every other that is not the same for the start and all cells."""
        places = [self.start, *(cell.estimates for cell in self.cells)]
        others = [
            name
            for name in self.measures
            if name != self.primary and _differ([place[name].mean for place in places if name in place])
        ]
        return [self.primary, *others]

    def to_frame(self) -> DataFrame:
        """Return the cells as a Polars table: a row for each method, condition and measure, the start's first.

        Differences from the baseline stand in the rows of the primary measure. Every key of a recipe in which the
        methods differ has a column of its own, such as `loss.beta`.
        """
        import polars

        from prospect.results.study_rows import rows_of

        return polars.DataFrame(rows_of(self), infer_schema_length=None)

    def difference_of(self, cell: StudyCell) -> CellDifference | None:
        """Return a cell's comparison with its baseline, None where there is none."""
        place = cell.method, cell.condition
        return next((one for one in self.comparisons if (one.method, one.condition) == place), None)


def _differ(means: list[float]) -> bool:
    """Return whether means tell anything: there are several numbers, or one that nothing can be compared with."""
    return len(means) == 1 or len(set(means)) > 1


class _Scored(Stored):
    """Scores by measure, one for each held-out prompt in the world's order."""

    older_formats: ClassVar[tuple[int | None, ...]] = (None,)
    digest: str
    """Hash of what decides the numbers."""
    scores: dict[str, list[float]]
    examples: list[SeenExample]


class StartOutcome(_Scored):
    """`shared/seed-N/start.json`: what the model scored that nothing was done to."""

    format: str = "prospect.study.start/1"


class CellOutcome(_Scored):
    """`outcome.json` of a run: what it scored."""

    format: str = "prospect.study.outcome/1.1"
    method: str
    condition: str
    seed: int
    data: dict[str, int]
    steps: int
    tokens: int | None = None
    z0_clamped: float | None
    reward_magnitude: float | None = None
    seconds: float


class CellFailure(Stored):
    """`failure.json` of a run: why it could not be made."""

    older_formats: ClassVar[tuple[int | None, ...]] = (None,)
    format: str = "prospect.study.failure/1"
    digest: str
    method: str
    condition: str
    seed: int
    error: str
