"""The files of rounds: `rounds.json`, the ledger, and what each stage of a round says of itself."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import Annotated, Final, Literal, NamedTuple

from pydantic import Field, JsonValue

from prospect.results.evaluated import RateObject
from prospect.results.stored import AS_OBJECT, Part, Stored
from prospect.statistics.bootstrap import Estimate
from prospect.statistics.comparisons import Difference

DifferenceObject = Annotated[Difference, AS_OBJECT]
EstimateObject = Annotated[Estimate, AS_OBJECT]

LEDGER: Final = "rounds.json"
"""The ledger's name in the folder of rounds."""

StopKind = Literal["done", "no_gain", "kl", "one_class", "length", "repetition", "second_judge", "no_rows"]
"""Why the rounds ended: `done` where all of them were made."""


class Drawn(Part):
    """What a round sampled from the policy."""

    prompts: int
    samples: int
    distinct: int
    """Different ones, prompt by prompt."""
    tokens: int | None = None
    """Of texts, as what follows; null of images."""
    cut: int = 0
    """Samples that the limit of tokens cut."""
    empty: int = 0
    words: float | None = None
    """Mean length."""
    repetition: float | None = None
    """Mean share of windows of 12 characters that a sample has held before."""
    distinct_2: float | None = None
    """Different pairs of neighbouring words / all pairs."""
    seconds: float


class Judged(Part):
    """What the judge made of the samples."""

    judge: str
    identity: str
    """Hash of everything that decides its verdicts."""
    threshold: str
    desirable: int
    undesirable: int
    unread: int
    """Verdicts that could not be read."""
    dropped: int
    """Samples without a thumb: cut ones where they are to be left out, or scores on the threshold."""
    rate: RateObject | None
    """Share of thumbs up; the interval draws prompts."""
    all_up: int
    """Prompts of which every sample is desirable."""
    all_down: int
    seconds: float


class Rows(Part):
    """What a round trained on."""

    rows: int
    kind: str
    """unpaired, paired or demonstration."""
    desirable: int
    undesirable: int
    ties: int = 0
    """Comparisons that no side won, which make no pair."""
    repeated: int = 0
    """Samples that were drawn before in the round, which became the weight of one row."""
    teacher: int = 0
    replayed: int = 0
    """Rows of earlier rounds, for the share that was asked for or for balance."""
    left_out: int = 0
    """Rows of the larger class that were left out for balance."""
    weights: dict[str, float] = Field(default_factory=dict)
    """`desirable_weight` and `undesirable_weight`, where the loss has them."""
    capped: bool = False
    """Whether a weight would have been larger but for the cap."""
    content: str
    """Hash of the rows."""


class Trained(Part):
    """The round's training run."""

    run: str
    """Its folder, below that of the rounds."""
    steps: int
    learning_rate: float
    loss: float | None
    kl_raw: float | None = None
    """Mean over the steps of the estimate of z0 before the clamp, nats."""
    clamped: float | None = None
    """Share of the steps whose z0 was clamped to 0."""
    alarms: list[str] = Field(default_factory=list)
    weights: str
    """Hash of the model's weights."""
    seconds: float


class RoundSample(Part):
    """A held-out prompt with what a round's model made of it: a text, or images."""

    prompt: str
    completion: str = ""
    score: float | None = None
    desirable: bool | None = None
    images: list[str] = Field(default_factory=list)
    """Paths from the folder of the rounds."""
    passed: int | None = None
    """How many of the images pass."""


class HeldOut(Part):
    """How a round's model does on held-out prompts, with the same random numbers in every round."""

    rate: RateObject
    """Share of samples that the judge finds desirable; of a judge that only compares, the win rate against the
    start."""
    mean_score: EstimateObject | None = None
    against_start: DifferenceObject | None = None
    """Null for the start itself. A difference of rates, on the same prompts."""
    against_last: DifferenceObject | None = None
    gained: int = 0
    """Prompts of which more samples pass now than at the start."""
    lost: int = 0
    kl: EstimateObject | None = None
    """Mean log-ratio of the model's own samples (temperature 1, all tokens) to the start's model, nats a sample: an
    estimate of KL(policy || start)."""
    second: RateObject | None = None
    """The rate of the second judge, whose verdicts training never sees."""
    second_against_start: DifferenceObject | None = None
    second_against_last: DifferenceObject | None = None
    agreement: float | None = None
    """Share of samples on which both judges agree."""
    words: float | None = None
    """Of texts, as what follows; null of images."""
    tokens: float | None = None
    cut: int = 0
    repetition: float | None = None
    distinct_2: float | None = None
    samples: list[RoundSample]
    seconds: float


class Round(Part):
    """One round; number 0 is the start, which only has `model` and `held_out`. What is not done yet is null."""

    round: int = Field(ge=0)
    model: str
    drawn: Drawn | None = None
    judged: Judged | None = None
    rows: Rows | None = None
    trained: Trained | None = None
    held_out: HeldOut | None = None
    notes: list[str] = Field(default_factory=list)
    """What a reader must know of the round, in words."""

    @property
    def is_kept(self) -> bool:
        """Whether it is finished and what follows starts from its model: it is not shown to be worse."""
        found = self.held_out
        return found is not None and (found.against_last is None or found.against_last.high >= 0)


class Stopped(Part):
    """Why no further round was made."""

    kind: StopKind
    text: str


class Ledger(Stored):
    """`rounds.json`: what was done in which round, and what came of it. Written anew after every stage."""

    format: str = "prospect.rounds/1.1"
    prospect: str
    """The version that wrote it."""
    protocol: str
    loss: str
    start: str
    """The model of round 0."""
    judge: str
    second_judge: str | None
    held_out_judge: str | None = None
    """Who judges held-out samples; null where it is `judge`."""
    compares: bool = False
    """Whether held-out samples are only compared: rates are then win rates against the start."""
    reference: Literal["start", "previous"]
    optimizer: Literal["fresh", "carried"]
    settings: dict[str, JsonValue]
    """The `rounds` section of the recipe."""
    prompts: int
    """To learn from."""
    held_out_prompts: int
    planned: int
    """Rounds that were asked for."""
    rounds: list[Round]
    stopped: Stopped | None = None
    seconds: float
    """Of all stages so far."""

    @property
    def imitates(self) -> bool:
        """Whether the start is a run of sft on a teacher's answers, in `start/run`."""
        return PurePath(self.start).parts[-2:] == ("start", "run")

    @property
    def kept(self) -> Round:
        """The latest finished round that is not shown to be worse than the one before it: whose model to use."""
        return [one for one in self.rounds if one.is_kept][-1]

    @property
    def best(self) -> Round:
        """The round with the highest held-out rate, the earliest of several."""
        evaluated = [one for one in self.rounds if one.held_out is not None]
        return max(evaluated, key=lambda one: (one.held_out.rate.rate if one.held_out else -1.0, -one.round))


class RoundOf(NamedTuple):
    """A round and the ledger that it is in."""

    ledger: Ledger
    round: Round


def round_of(run: Path) -> RoundOf | None:
    """Return the round whose training wrote a run directory; None for a run that belongs to no rounds.

    Raises:
        CheckpointError: there is a ledger, and it cannot be read.
    """
    run = run.resolve()
    folder = next((one for one in run.parents[:2] if (one / LEDGER).is_file()), None)
    if folder is None:
        return None
    ledger = Ledger.read(folder / LEDGER)
    done = (one for one in ledger.rounds if one.trained and (folder / one.trained.run).resolve() == run)
    return next((RoundOf(ledger, one) for one in done), None)
