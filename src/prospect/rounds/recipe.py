"""The recipe of rounds: a `rounds` section beside the keys of an ordinary recipe, which hold in every round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from prospect.config import Config, Folder, Number, Section, apply_override, load_config, read_section, read_yaml
from prospect.errors import ConfigError
from prospect.model_source import find_model
from prospect.outputs import output_folder
from prospect.rounds.protocols import Protocol, get_protocol

DEFAULT_PROTOCOL = "online_kto"


def _words(value: Any) -> Any:
    """Read a number in words as one, and leave other words."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


class SftSettings(Section):
    """Sft on a teacher's answers before the first round; all else is as in the rounds."""

    epochs: int = Field(default=1, ge=1)
    """Passes over them."""
    learning_rate: Number | None = Field(default=None, gt=0)
    """Peak learning rate; null takes that of the loss sft."""


class LabelSettings(Section):
    """How samples become feedback."""

    judge: str | None = None
    """Who says what a sample is worth: verifier:numeric, verifier:python:FILE.py:NAME, reward:MODEL, lm:MODEL,
    endpoint:URL#NAME, FILE.py:NAME; of images clip:MODEL or FILE.py:NAME (docs/judging.md). The spin protocol needs
    none."""
    threshold: Annotated[str | float | None, BeforeValidator(_words)] = None
    """Which scores are thumbs up. equal: 1, as a verifier says it; a number: that and above; median: above that of
    all samples of the round; prompt_median: above that of the prompt's own samples. null: equal where scores are 0 and
    1, one half for chances, else median. Held-out samples of every round are held against the median of the start's."""
    cut: Literal["judge", "undesirable", "drop"] = "undesirable"
    """What becomes of a sample that the limit of tokens cut. judge: it is judged like any other."""
    rubric: str | None = None
    """The question, for judges that can be asked one (lm, endpoint)."""
    api_key_env: str | None = None
    """The environment variable that holds the key of a judge behind an endpoint."""


class EvaluateSettings(Section):
    """How each round's model is looked at, on prompts that training never sees."""

    prompts: Annotated[str | int | float, BeforeValidator(_words)] = 0.2
    """A share or a number of rounds.prompts, split off before the first round, or a file of others."""
    judge: str | None = None
    """null: the judge that labels."""
    samples_per_prompt: int = Field(default=1, ge=1)
    """Samples of each held-out prompt. More of them say more of few prompts; intervals know that they are alike."""
    second_judge: str | None = None
    """Another one, which training never hears; where it falls while the first rises, the rounds stop."""
    kl_prompts: int = Field(default=64, ge=0)
    """Held-out prompts answered at temperature 1 to estimate KL(policy || start); 0 leaves it out. Images have none."""
    samples: int = Field(default=8, ge=0)
    """Held-out prompts whose samples the report shows."""


class StopSettings(Section):
    """When no further round is made. A round that was made is kept."""

    no_gain: bool = True
    """Where a round does not show a gain: the interval of the difference to the round before does not lie above 0."""
    kl: Number | None = Field(default=10.0, gt=0)
    """Where the estimate of KL(policy || start) exceeds this, nats a sample; null never."""
    length: Number | None = Field(default=2.0, gt=1)
    """Where samples are this many times as long, or as short, as those of the start; null never."""
    repetition: Number | None = Field(default=0.2, gt=0, le=1)
    """Where the mean share of repeated text has grown by more than this; null never."""
    second_judge: bool = True
    """Where the second judge shows a loss while the first shows a gain."""


class BalanceSettings(Section):
    """What is done about rounds with many thumbs of one kind."""

    max_desirable_weight: Number = Field(default=30.0, ge=1)
    """The largest weight of thumbs up. Where they are few, balance needs it: from a start that kept the rules in 14 %
    of its samples, two rounds came to 45 % with balanced weights, to 18 % with a cap of 3 and to 6 % without weights
    (three seeds, docs/rounds-studies.md). 30 caps nothing that least_share lets pass."""
    max_undesirable_weight: Number = Field(default=1.0, ge=1)
    """The largest weight of thumbs down, which push away from what was sampled. Where they are few, weights brought
    nothing in any run: after two rounds that came to 86 %, a third came to 95 % without them, to 89 % with a cap of 3
    and to 86 % with balance (three seeds, docs/rounds-studies.md)."""
    least_share: Number = Field(default=0.05, ge=0, lt=0.5)
    """Of the rows, the smaller class has this share at least."""
    short: Literal["top_up", "shorten", "keep", "stop"] = "top_up"
    """What happens below it. top_up: rows of the smaller class from earlier rounds are added, the latest first, and if
    those are too few the round is shortened; shorten: rows of the larger class are left out; keep: nothing; stop: the
    rounds end."""
    least_rows: int = Field(default=8, ge=1)
    """With fewer rows of the smaller class, earlier ones counted, the rounds end: there is nothing left to learn from
    these prompts."""


class RoundsSettings(Section):
    """What the rounds are."""

    protocol: str = DEFAULT_PROTOCOL
    """What becomes of a round's samples (docs/rounds.md), or my_file.py:NAME."""
    count: int = Field(default=3, ge=1)
    """Rounds at most."""
    prompts: str
    """Rows with a prompt; the same prompt counts once."""
    target: str = "target"
    """The column with the right answers, for verifiers."""
    teacher: str | None = None
    """Rows of prompt and completion, or image, to learn from beside the own samples: orca_math begins with sft on them,
    spin holds them against its own samples."""
    sft_first: bool | None = None
    """Whether sft on the teacher's rows comes before the first round. null: as the protocol has it."""
    sft: SftSettings = Field(default_factory=SftSettings)
    """How that is trained."""
    prompts_per_round: Annotated[int, Field(ge=1)] | Literal["all"] = "all"
    """all: every prompt in every round. A number: so many fresh ones a round, none in two rounds."""
    samples_per_prompt: int = Field(default=4, ge=1)
    """Samples of each."""
    steps: int | None = Field(default=None, ge=1)
    """Of images: noise levels that are stepped through; null leaves it to the pipeline, as guidance."""
    guidance: Number | None = None
    """Of images: scale of guidance by the prompt."""
    temperature: Number = Field(default=0.7, gt=0)
    """Of the samples."""
    top_p: Number = Field(default=0.95, gt=0, le=1)
    """Of the samples."""
    max_new_tokens: int = Field(default=256, ge=1)
    """Where a sample is cut. Temperature, top_p and this are of texts."""
    sample_batch: int = Field(default=64, ge=1)
    """Samples drawn together; speed and memory."""
    sampler: str | None = None
    """Who samples: null for the model itself in this process, or endpoint:URL#NAME for a server that serves it."""
    serve: str | None = None
    """A command that makes the sampler serve a model; {model} and {round} in it are replaced (docs/rounds.md)."""
    label: LabelSettings = Field(default_factory=LabelSettings)
    """How samples become feedback."""
    positives: Literal["both", "teacher", "own"] = "both"
    """orca_math: whose desirable rows are trained on."""
    pairs: Literal["best_worst", "random", "all"] = "best_worst"
    """Of a prompt's samples, which pairs of a better and a worse one are made; equal scores make none."""
    replay: Number = Field(default=0.0, ge=0, le=1)
    """Rows of all earlier rounds that are added, as a share of the round's own."""
    reference: Literal["start", "previous"] = "start"
    """What the policy is compared with: the model before round 1, or that before the round itself."""
    optimizer: Literal["fresh", "carried"] = "fresh"
    """Whether AdamW's moments and the warm-up begin anew in each round, or go on."""
    learning_rate_factor: Number = Field(default=1.0, gt=0, le=1)
    """By what the learning rate is multiplied from round to round."""
    balance: BalanceSettings = Field(default_factory=BalanceSettings)
    """What is done about rounds with many thumbs of one kind."""
    evaluate: EvaluateSettings = Field(default_factory=EvaluateSettings)
    """How each round's model is looked at."""
    stop: StopSettings = Field(default_factory=StopSettings)
    """When no further round is made."""


class RoundsRecipe(Section):
    """The whole recipe; `rest` is what every round's training run has, as it is written."""

    rounds: RoundsSettings
    """What the rounds are."""
    rest: dict[str, Any]
    """The keys of an ordinary recipe, without data.train and output."""
    output: Folder
    """The folder of the rounds."""

    @property
    def protocol(self) -> Protocol:
        """What becomes of a round's samples."""
        return get_protocol(self.rounds.protocol)

    @cached_property
    def base(self) -> Config:
        """A round's training recipe, with a stand-in for the rows."""
        data = {"eval": None, "class_weights": "none", **self.rest.get("data", {}), "train": "rows"}
        return load_config({**self.rest, "data": data, "output": self.output}, where="recipe of rounds")

    @property
    def start(self) -> str:
        """The model before round 1, and before any sft."""
        return self.base.model.name_or_path

    def as_dict(self) -> dict[str, Any]:
        """Return the recipe as it is written in YAML."""
        return {"rounds": self.rounds.model_dump(mode="json"), **self.rest, "output": self.output}


def load_rounds(
    source: str | Path | Mapping[str, Any], overrides: Sequence[str] = (), *, where: str = "recipe"
) -> RoundsRecipe:
    """Read and check a recipe of rounds.

    Args:
        source: a YAML file, or a mapping.
        overrides: `key.path=value` strings, the value read as YAML; later ones win.
        where: what a mapping is called in messages.

    Raises:
        ConfigError: what is wrong, at which key, and the nearest key that exists.
    """
    if isinstance(source, Mapping):
        values = dict(source)
    else:
        values, where = read_yaml(Path(source), keys="rounds, model, loss, output"), str(source)
    for override in overrides:
        values = apply_override(values, override)
    rounds, output = values.pop("rounds", {}), values.pop("output", None)
    if not isinstance(rounds, Mapping):
        raise ConfigError(f"{where}: rounds is {rounds!r}; expected a section, with prompts above all.")
    data = values.get("data")
    if isinstance(data, Mapping) and data.get("train") is not None:
        raise ConfigError(
            f"{where}: data.train is {data['train']!r}, and rounds train on what they sample. Leave it out; prompts "
            "are named in rounds.prompts, and a teacher's answers in rounds.teacher."
        )
    protocol = get_protocol(str(rounds.get("protocol", DEFAULT_PROTOCOL)))
    settings = read_section(_Keys, {"rounds": {**protocol.defaults, **rounds}}, where).rounds
    if values.get("loss") is None or isinstance(values["loss"], Mapping):
        values["loss"] = {"name": protocol.loss, **(values.get("loss") or {})}
    output = output or f"runs/{protocol.name}"
    recipe = RoundsRecipe(rounds=settings, rest=values, output=output)
    output_folder(recipe.output)
    _check(recipe, where)
    return recipe


class _Keys(Section):
    """The section by its name, so that messages name whole keys."""

    rounds: RoundsSettings


def _check(recipe: RoundsRecipe, where: str) -> None:
    """Refuse what the protocol cannot do."""
    settings, protocol = recipe.rounds, recipe.protocol
    _check_training(recipe.base, protocol, where)
    if protocol.needs_teacher and settings.teacher is None:
        raise ConfigError(
            f"{where}: protocol {protocol.name} needs a teacher's answers. Name them in rounds.teacher: rows of prompt "
            "and completion."
        )
    if settings.label.judge is None and protocol.needs_judge:
        raise ConfigError(
            f"{where}: rounds.label.judge is missing: protocol {protocol.name} learns from what a judge says of the "
            "samples, such as verifier:numeric or FILE.py:NAME (docs/judging.md)."
        )
    if settings.label.judge is None and settings.evaluate.judge is None:
        raise ConfigError(f"{where}: rounds.evaluate.judge is missing: somebody must say what a round has brought.")
    if settings.samples_per_prompt < protocol.least_samples:
        raise ConfigError(
            f"{where}: rounds.samples_per_prompt is {settings.samples_per_prompt}, and protocol {protocol.name} "
            f"compares samples of one prompt; expected at least {protocol.least_samples}."
        )
    if settings.sft_first and settings.teacher is None:
        raise ConfigError(f"{where}: rounds.sft_first is true and rounds.teacher names no rows to imitate.")
    if (settings.serve is None) != (settings.sampler is None):
        raise ConfigError(
            f"{where}: rounds.sampler names a server, and rounds.serve is the command that makes it serve each round's "
            "model; expected both or neither."
        )
    if settings.sampler is not None and not settings.sampler.startswith("endpoint:"):
        raise ConfigError(f"{where}: rounds.sampler is {settings.sampler}; expected endpoint:URL#NAME.")
    role = recipe.base.data.system_role
    if settings.sampler is not None and role != "keep":
        raise ConfigError(
            f"{where}: data.system_role is {role}, and the server of rounds.sampler gets the turns as they are. "
            "Prepare the prompts so, or leave one of them out."
        )


def _check_training(config: Config, protocol: Protocol, where: str) -> None:
    """Refuse a training run that could only fail when the first round is sampled and judged.

    Raises:
        ConfigError: a loss that trains nothing that writes, or cannot learn from what the protocol makes.
        ModelError: there is no such reference.
    """
    if config.push_to_hub is not None:
        raise ConfigError(
            f"{where}: push_to_hub is of single runs. Push the last round's: prospect push RUN OWNER/NAME."
        )
    from prospect.losses import get_loss  # torch: a recipe with a fault before this is refused without it

    loss = get_loss(config.loss.name)
    if loss.reward_model or loss.needs_sampled_logps:
        why = "trains a reward model, which writes nothing" if loss.reward_model else "learns within a run (online)"
        raise ConfigError(f"{where}: loss.name is {loss.name}, which {why}; rounds need one that aligns, such as kto.")
    if protocol.loss == "sft" and loss.feedback != "demonstration":
        raise ConfigError(
            f"{where}: loss.name is {loss.name}, which learns from {loss.feedback} feedback, and protocol "
            f"{protocol.name} makes rows to imitate. Leave loss out, or take the protocol online_kto."
        )
    if config.reference.name_or_path is not None:
        find_model(config.reference.name_or_path)
