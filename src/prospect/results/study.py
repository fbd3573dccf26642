"""The files of a study: `result.json`, and in its cells what each run scored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Final, Literal

from pydantic import Field, JsonValue

from prospect.results.stored import AS_OBJECT, Part, Stored
from prospect.statistics.comparisons import Comparison, Verdict

if TYPE_CHECKING:
    from polars import DataFrame

START: Final = "start"
Agrees = Literal["yes", "no", "cannot tell"]


class _Pooled(Part):
    """A mean over prompts and seeds. Both are taken as draws; with one seed, prompts alone are."""

    low: float
    high: float
    n: int
    """Prompts times seeds."""
    prompts: int
    seeds: int


class PooledRate(_Pooled):
    """A share over prompts and seeds."""

    rate: float

    @property
    def mean(self) -> float:
        """The share."""
        return self.rate


class PooledValue(_Pooled):
    """A mean that is no share, over prompts and seeds."""

    value: float

    @property
    def mean(self) -> float:
        """The mean."""
        return self.value


Pooled = PooledRate | PooledValue


class RunCounts(Part):
    """How many training runs are scored."""

    wanted: int
    done: int
    failed: int


class StudyWorld(Part):
    """What is trained, and how it is scored."""

    kind: str
    """demo, stories, files, or a class in a file."""
    says: str
    """One sentence."""
    prompts: int
    """Held-out prompts that a run is scored on."""


class RuleAnswer(Part):
    """A rule of the claim, and whether it holds."""

    text: str
    agrees: Agrees
    found: str
    """The difference in words."""
    measure: str
    value: float | None
    """The difference that the rule is about; null where a cell is not there."""
    low: float | None
    high: float | None
    bound: float
    """What the difference is compared with."""
    p_holm: float | None
    """Against the bound, after Holm's correction over all rules."""


class ClaimAnswer(Part):
    """The claim, and whether the study agrees."""

    text: str
    source: str
    agrees: Agrees
    why: str
    """One sentence."""
    rules: list[RuleAnswer]
    """In the order of the YAML."""


class MeasureEntry(Part):
    """What a number means."""

    label: str
    unit: str
    """share, words, points, nats, ..."""
    better: Literal["higher", "lower"] | None
    """Null where neither is better."""
    kind: Literal["rate", "value"]
    """A rate is 0 to 1, and shown as percent."""
    bounds: tuple[float, float] | None = None
    """Smallest and largest possible number; null where there is none."""


class MethodEntry(Part):
    """A method."""

    name: str
    loss: str
    after: str | None
    """The method whose model it starts from."""
    recipe: dict[str, JsonValue]
    """What the method sets, a part of a recipe."""


class ConditionEntry(Part):
    """A data condition."""

    name: str
    says: str
    settings: dict[str, JsonValue]
    """What the YAML sets."""


class AxisPoint(Part):
    """A condition or a method at a place on a line."""

    x: float
    condition: str | None = None
    method: str | None = None


class AxisEntry(Part):
    """A line to draw: x is a number, y are the cells of that condition (or method)."""

    label: str
    unit: str
    points: list[AxisPoint]


class Place(Part):
    """A cell; null stands for every method, or every condition."""

    method: str | None
    condition: str | None


class SeenExample(Part):
    """A completion to read, and the start's of the same prompt."""

    prompt: JsonValue
    completion: JsonValue
    start: JsonValue = None
    score: float | None = None


class StudyRun(Part):
    """One training run of a cell."""

    seed: int
    status: Literal["done", "failed", "missing"]
    error: str | None = None
    measures: dict[str, float] = Field(default_factory=dict)
    """Measure to its mean over prompts; empty unless done."""
    data: dict[str, int] = Field(default_factory=dict)
    """Counts of what was trained on."""
    steps: int | None = None
    seconds: float | None = None
    folder: str | None = None
    """Relative to result.json."""
    tokens: int | None = None
    """Prompts and completions that went through training."""
    z0_clamped: float | None = None
    """Share of the steps whose z0 was negative and held at 0; null without z0."""
    reward_magnitude: float | None = None
    """Mean of abs(beta log-ratio) at the end of training; null without a reference."""
    examples: list[SeenExample] = Field(default_factory=list)
    """Of the first prompts, at most three."""


class CellTraining(Part):
    """How far the runs of a cell were trained: means over those that are done."""

    steps: float
    tokens: float | None
    """Prompts and completions."""
    z0_clamped: float | None
    """Share of the steps whose z0 was negative and held at 0; null without z0."""
    reward_magnitude: float | None
    """Mean of abs(beta log-ratio) at the end of training; null without a reference."""
    not_tested: list[str]
    """What such runs cannot tell about: the value function where the last is below 0.5, z0 where it was held at 0 in
    more than half of the steps."""


class StudyCell(Part):
    """A method under a condition."""

    method: str
    condition: str
    estimates: dict[str, Pooled]
    """By measure; empty where no run is done."""
    wins: Annotated[Comparison, AS_OBJECT] | None
    """How often its completion beats the start's on the same prompt, a tie counting half."""
    training: CellTraining | None = None
    """Null where no run is done."""
    runs: list[StudyRun]
    """One for each seed."""


class CellDifference(Part):
    """A cell less its baseline, on the same prompts and seeds."""

    measure: str
    method: str
    condition: str
    baseline: Place | Literal["start"]
    seeds: int
    value: float
    low: float
    high: float
    n: int
    prompts: int
    p: float
    p_holm: float
    verdict: Verdict
    """After Holm's correction over all comparisons of the study."""
    detectable: float | None = None
    """The smallest true difference that such a study would show in 80 % of repetitions, from the error of this one and
    at the level that Holm's correction asks of the first comparison; null where no score varies."""


class TriedSettings(Part):
    """One point of a method's grid."""

    settings: dict[str, JsonValue]
    """Dotted keys of a recipe."""
    estimate: Pooled | None
    """Of the primary measure, over the prompts and seeds of the tuning; null where no run is done."""
    error: str | None
    """Why a run failed; such a point is not chosen."""


class TunedMethod(Part):
    """What was tried for a method, and chosen."""

    method: str
    chosen: dict[str, JsonValue]
    at_edge: list[str]
    """Keys whose chosen value is the smallest or the largest that was tried."""
    tries: list[TriedSettings]


class StudyTuning(Part):
    """How the settings were chosen, on prompts and seeds that the study itself does not use."""

    condition: str
    seeds: list[int]
    prompts: int
    """Held-out prompts that a try is scored on."""
    says: str
    """The world in one sentence."""
    methods: list[TunedMethod]


class StudyFinding(Part):
    """One sentence about the study."""

    kind: Literal["good", "bad", "plain", "worry"]
    text: str


class StudyResult(Stored):
    """`result.json`, and what `prospect compare --json` prints."""

    format: str = "prospect.study/1.1"
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
            if name != self.primary and len({place[name].mean for place in places if name in place}) > 1
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
