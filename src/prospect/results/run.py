"""The files of a run directory: `provenance.json`, and the rows of `metrics.jsonl` and `samples.jsonl`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, NamedTuple

from pydantic import Field, JsonValue

from prospect.results.stored import AS_OBJECT, Part, Stored

MetricsRow = dict[str, float]
"""A row of `metrics.jsonl`: `step`, and what was logged of it by name."""


ROLLOUT = "rollout/number"
"""In a row of metrics about a rollout, its number."""


class Alarm(NamedTuple):
    """One sign of collapse: its `kind` (repetition, length, rewards, pictures, sampler), and what was seen."""

    kind: str
    text: str


class AlarmsRow(Part):
    """A row of `metrics.jsonl` that holds alarms in place of numbers."""

    step: int = Field(ge=0)
    epoch: float
    alarms: list[Annotated[Alarm, AS_OBJECT]]


class SampleRow(Part):
    """A row of `samples.jsonl`: what the policy wrote to a prompt, or drew."""

    step: int = Field(ge=0)
    prompt: JsonValue
    """Text, or the turns of a conversation."""
    completion: str
    """Empty of an image."""
    tokens: int | None = None
    finished: bool | None = None
    """False where the limit cut it."""
    image: str | None = None
    """Its file in the run directory."""
    likeness: str | None = None
    """Of an image: perceptual hash, 16 hexadecimal digits, of which alike ones differ in few bits."""
    spread: float | None = None
    """Of an image: standard deviation of its values, 0 to 127.5."""
    saturated: float | None = None
    """Of an image: share of its values that are 0 or 255."""


class RolloutRow(Part):
    """A row of `rollouts.jsonl`: what the policy wrote to a prompt, and what the judge made of it."""

    rollout: int = Field(ge=0)
    step: int = Field(ge=0)
    """After which it was written."""
    prompt: JsonValue
    """Text, or the turns of a conversation."""
    completion: str
    score: float | None = None
    """Null where the judge gave none."""
    tokens: int
    finished: bool
    """False where the limit cut it."""


class Lengths(Part):
    """Lengths in tokens."""

    mean: float
    p50: float
    p90: float
    max: int


class LengthHistogram(Part):
    """Completions by length in tokens, in bins between the edges."""

    edges: list[float]
    desirable: list[int] | None = None
    undesirable: list[int] | None = None


class LeftOut(Part):
    """Rows that the chat template refuses for one reason."""

    rows: int
    first: list[str]
    """Where the first of them are."""


class DataSummary(Part):
    """What the feedback looks like, as it was encoded."""

    source: str | None = None
    sha256: str | None = None
    """Over the encoded rows."""
    kind: str | None = None
    rows: int | None = None
    prompts: int | None = None
    desirable: int | None = None
    undesirable: int | None = None
    prompt_tokens: Lengths | None = None
    completion_tokens: dict[str, Lengths] = Field(default_factory=dict)
    """By class."""
    completion_histogram: LengthHistogram | None = None
    tokens: int | None = None
    """Prompts and completions of one pass."""
    sizes: dict[str, int] | None = None
    """Images by the size that they are brought to, WIDTHxHEIGHT in pixels; null of texts."""
    cut: int | None = None
    """Completions that max_length cut."""
    empty_completions: int | None = None
    dropped: int | None = None
    """Rows whose prompt alone fills max_length."""
    ignored: list[str] = Field(default_factory=list)
    unrenderable: dict[str, LeftOut] = Field(default_factory=dict)
    """By reason."""
    plain: int | None = None
    """Rows that are text, and no conversation."""
    files: JsonValue = None
    """Hashes of the files, and of the manifests of frozen datasets."""


class DataOrigin(Part):
    """The feedback of a run."""

    train: DataSummary = Field(default_factory=DataSummary)
    eval: DataSummary | None = None
    """Null where nothing is held out."""


class PolicyOrigin(Part):
    """The model that was trained."""

    name_or_path: str | None = None
    identity: str | None = None
    """Hash of weights, adapter and dtype."""
    adapter: str | None = None
    """What became of an adapter that the run started from."""
    base: str | None = None
    """The model that an adapter is of."""
    loads_with: str | None = None
    parameters: int | None = None
    trainable_parameters: int | None = None


class ReferenceOrigin(Part):
    """What the policy was compared with."""

    kind: str | None = None
    identity: str | None = None
    name_or_path: str | None = None
    """Where it is another model than the one that the run started from."""
    start: dict[str, float] | None = None
    """`log_ratio` before the first step, nats, and the `rows` it was measured on, where it need not be 0."""


class LossOrigin(Part):
    """The loss, with its hyperparameters as used."""

    name: str | None = None
    feedback: str | None = None
    """unpaired, paired, demonstration or scored."""
    hyperparameters: dict[str, JsonValue] = Field(default_factory=dict)
    sources: dict[str, str] = Field(default_factory=dict)
    """Hashes of the file of a loss of one's own."""


class DataPicture(Part):
    """A small copy of an image that a run trained on."""

    image: str
    """Path from the run directory."""
    prompt: str
    desirable: bool


class ImageOrigin(Part):
    """How images are scored: betas and log-ratios of other targets are not comparable."""

    target: str
    """What the denoiser predicts: epsilon, v_prediction or flow."""
    weighting: str = "uniform"
    """How noise levels are drawn, and how their errors are weighed."""
    resolution: int
    """Side of a square image in pixels."""
    numbers: int
    """Numbers of which such an image is made for the denoiser."""
    shown: list[DataPicture] = Field(default_factory=list)
    """A few of the images that it trained on, for its page."""


class PhaseTime(Part):
    """What a phase of a run took, without the phases within it."""

    seconds: float
    """By the clock."""
    processor_seconds: float
    """Of all processors together."""
    times: int
    """How often it began; 0 for what belongs to no phase."""


class Provenance(Stored):
    """`provenance.json`: where a run comes from. Fields that an older version did not write are null or empty."""

    older_formats: ClassVar[tuple[int | None, ...]] = (None, 1)
    format: str = "prospect.run/1"
    prospect: str | None = None
    """The version that wrote it."""
    python: str | None = None
    versions: dict[str, str] = Field(default_factory=dict)
    git: str | None = None
    """Commit of the folder that the run was started in."""
    device: str | None = None
    precision: str | None = None
    started: str | None = None
    finished: str | None = None
    """Null while the run is in progress."""
    seconds: float | None = None
    """Of training, without evaluations."""
    phases: dict[str, PhaseTime] = Field(default_factory=dict)
    """Where the time went in the process that finished the run: imports, loading, steps, evaluation and others."""
    policy: PolicyOrigin = Field(default_factory=PolicyOrigin)
    reference: ReferenceOrigin | None = None
    """Null for a loss without a reference."""
    loss: LossOrigin = Field(default_factory=LossOrigin)
    data: DataOrigin = Field(default_factory=DataOrigin)
    images: ImageOrigin | None = None
    """Null where the model writes text."""
    steps: int | None = None
    """Planned."""
    epochs: float | None = None

    @property
    def known(self) -> bool:
        """Whether the file was there, and said anything."""
        return bool(self.model_fields_set - {"format"})


def find_fault(row: Mapping[str, object]) -> str | None:
    """Return what keeps an object from being a row of metrics, None where nothing does. No model is built of a row."""
    step = row.get("step")
    if type(step) is not int or step < 0:
        return f"step is {step!r}; expected a whole number of at least 0"
    if _NUMBERS.issuperset(map(type, row.values())):
        return None
    odd = next(name for name, value in row.items() if type(value) not in _NUMBERS)
    return f"{odd} is {row[odd]!r:.60}; expected a number"


_NUMBERS = {int, float}
