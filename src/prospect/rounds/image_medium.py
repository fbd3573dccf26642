"""Images as the medium of rounds: a pipeline draws, and an image is what a judge sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from prospect.config import Config
from prospect.errors import ConfigError, DataError, UsageError
from prospect.evaluation.answers.asked import Question
from prospect.evaluation.answers.images import Painter, as_text, check_sampling, image_rows
from prospect.evaluation.contest.judges.base import Judge
from prospect.feedback.images.pixels import load_image
from prospect.feedback.images.writing import write_image
from prospect.feedback.records import Demonstration, Feedback, Image, Text, Unpaired
from prospect.losses import get_loss
from prospect.models.diffusion.pipelines import Pipeline, read_pipeline
from prospect.models.diffusion.sampling import ImageSampling
from prospect.results.rounds import Drawn, RoundSample
from prospect.rounds.folder import PARTIAL
from prospect.rounds.medium import Draws
from prospect.rounds.outcomes import Passed
from prospect.rounds.prompts import Prompts
from prospect.rounds.recipe import LabelSettings, RoundsRecipe, RoundsSettings
from prospect.statistics.bootstrap import Estimate
from prospect.training.image_recipe import check_balance, usual_rate

SHOWN = 8  # images of a held-out prompt in the ledger


@dataclass(frozen=True)
class Images:
    """What rounds make with a pipeline.

    Attributes:
        recipe: of the rounds.
        pipeline: that the rounds start from.
    """

    recipe: RoundsRecipe
    pipeline: Pipeline

    @classmethod
    def of(cls, recipe: RoundsRecipe) -> Images:
        """Return the medium of a recipe; see `medium_of` for what is refused."""
        settings = recipe.rounds
        sampling = ImageSampling(settings.steps, settings.guidance)
        painter = Painter.named(recipe.start, sampling, settings.sample_batch)
        if painter.adapter is not None:
            raise ConfigError(
                f"{recipe.start} trained an adapter of a pipeline, and rounds of images start from whole weights. Fold "
                f"it in with diffusers (fuse_lora) and name that pipeline, or begin with {painter.source}."
            )
        made = cls(recipe, read_pipeline(painter.source))
        check_sampling(made.pipeline, sampling, "rounds.")
        _refuse(recipe, made.pipeline)
        return made

    @property
    def default_rate(self) -> float:
        """See `RoundsMedium`."""
        return usual_rate(self.recipe.base)

    @property
    def sampling(self) -> str:
        """See `RoundsMedium`."""
        side, steps = self.pipeline.resolution, self.recipe.rounds.steps
        return f", of {side} x {side} pixels{f', in {steps} steps' if steps else ''}"

    def prepare(self, prompts: Prompts, judges: Sequence[Judge], folder: Path) -> Prompts:
        """Refuse judges that read words alone and prompts that the pipeline does not know; take real images in.

        They are cropped around their centre and resized to what the pipeline draws, for both sides of a pair share
        their noise, and are copied into the folder of the rounds.
        """
        for judge in judges:
            judge.require_eyes("the model makes images")
        for number, one in enumerate((*prompts.questions, *prompts.held_out), start=1):
            if not self.pipeline.family.knows(self.pipeline.index, as_text(one.prompt, number)):
                raise DataError(f'prompt "{one.prompt}": {self.pipeline.name} does not know it. Leave it out.')
        teacher = {key: [self._taken_in(row, folder) for row in rows] for key, rows in prompts.teacher.items()}
        return prompts._replace(teacher=teacher)

    def _taken_in(self, row: Demonstration, folder: Path) -> Demonstration:
        if not isinstance(row.completion, Image):
            raise DataError(f"{row.where}: the teacher's row is a text, and {self.pipeline.name} makes images.")
        size = (self.pipeline.resolution, self.pipeline.resolution)
        return replace(row, completion=write_image(load_image(row.completion, size, row.where), folder))

    def draw(self, model: str, prompts: Sequence[Text], count: int, seed: int, *, number: int, folder: Path) -> Draws:
        """Let the pipeline draw, each image from the round's seed, its prompt and its number alone."""
        settings, asked = self.recipe.rounds, [as_text(prompt, i) for i, prompt in enumerate(prompts, start=1)]
        painter = Painter.named(model, ImageSampling(settings.steps, settings.guidance), settings.sample_batch)
        images = painter.draw(asked, count, seed, folder, folder / PARTIAL)
        rows = image_rows(asked, images)
        return Draws([[*islice(rows, count)] for _ in asked])

    def unfit(self, rows: Sequence[Feedback], weights: Mapping[str, float]) -> str:
        """Say so where undesirable images would pull more than desirable ones: a denoiser makes noise of all then."""
        values = self.recipe.base.as_dict()
        loss = get_loss(self.recipe.base.loss.name)
        values["loss"] = {**loss.hyperparameters, **values["loss"], **weights}
        thumbs = [row.desirable for row in rows if isinstance(row, Unpaired)]
        try:
            check_balance(Config.model_validate(values), loss, sum(thumbs), len(thumbs) - sum(thumbs))
        except ConfigError as error:
            return f"{error} In rounds, rounds.balance.max_desirable_weight caps the weight of thumbs up."
        return ""

    def describe(self, draws: Draws, seconds: float) -> Drawn:
        """Count."""
        return Drawn(
            prompts=len(draws.rows),
            samples=len(draws.flat),
            distinct=sum(len({row.completion for row in some}) for some in draws.rows),
            seconds=round(seconds, 2),
        )

    def measure(self, draws: Draws) -> dict[str, Any]:
        """Return nothing: an image has no words."""
        return {}

    def show(self, rows: Sequence[Demonstration], passed: Passed, places: Sequence[int]) -> RoundSample:
        """Name the first images of a prompt, and count those of them that pass."""
        home, shown = Path(self.recipe.output), places[:SHOWN]
        images = [row.completion.path for place in shown if isinstance((row := rows[place]).completion, Image)]
        return RoundSample(
            prompt=str(rows[places[0]].prompt),
            images=[path.relative_to(home).as_posix() for path in images],
            passed=sum(passed.passed[place] == 1 for place in shown),
        )

    def kl(self, questions: Sequence[Question], model: str, start: str, who: str, seed: int) -> Estimate | None:
        """Return None: of an image only what two models differ by at a noise level is known."""
        return None


def _refuse(recipe: RoundsRecipe, pipeline: Pipeline) -> None:
    """Refuse what of a recipe images cannot have.

    Raises:
        UsageError: a protocol of texts.
        ConfigError: a setting of texts.
    """
    settings, protocol = recipe.rounds, recipe.protocol
    if protocol.of_texts:
        raise UsageError(
            f"protocol {protocol.name} is about texts, and {pipeline.name} makes images. Take {protocol.of_texts}."
        )
    if recipe.base.model.trains_adapter and pipeline.family.vocabulary:
        raise ConfigError(f"model.lora: {pipeline.name} is drawn with by its own weights alone. Leave it out.")
    if settings.sft_first and recipe.base.model.trains_adapter:
        raise ConfigError("rounds.sft_first begins an adapter, and model.lora another. Leave one of them out.")
    plain = RoundsSettings(prompts="").model_copy(update=dict(protocol.defaults))
    names = ("temperature", "top_p", "max_new_tokens", "sampler", "serve", "positives")
    given = [f"rounds.{name}" for name in names if getattr(settings, name) != getattr(plain, name)]
    given += ["rounds.label.cut"] if settings.label.cut != LabelSettings().cut else []
    if given:
        raise ConfigError(f"{given[0]} is about texts, and {pipeline.name} makes images. Leave it out.")
