"""What rounds ask of a medium: the kind of completion that the policy makes, a text or an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from prospect.evaluation.answers.asked import Question
from prospect.evaluation.contest.judges.base import Judge
from prospect.feedback.records import Demonstration, Feedback, Text
from prospect.model_source import find_adapter_of_images, find_model
from prospect.results.rounds import Drawn, RoundSample
from prospect.rounds.outcomes import Passed
from prospect.rounds.prompts import Prompts
from prospect.rounds.recipe import RoundsRecipe
from prospect.statistics.bootstrap import Estimate


class Draws(NamedTuple):
    """What a model made.

    Attributes:
        rows: by prompt; none of a prompt that the medium leaves out.
        tokens: of all of them, 0 of images.
    """

    rows: list[list[Demonstration]]
    tokens: int = 0

    @property
    def flat(self) -> list[Demonstration]:
        """All rows, in their order."""
        return [row for some in self.rows for row in some]


class RoundsMedium(Protocol):
    """One kind of completion."""

    @property
    def default_rate(self) -> float:
        """The learning rate where the recipe names none."""

    @property
    def sampling(self) -> str:
        """How samples are drawn, in words that follow their number."""

    def prepare(self, prompts: Prompts, judges: Sequence[Judge], folder: Path) -> Prompts:
        """Return prompts with a teacher's completions as rounds can have them; refuse what the medium cannot.

        Args:
            prompts: of all rounds.
            judges: who judges.
            folder: of the start.
        """

    def draw(self, model: str, prompts: Sequence[Text], count: int, seed: int, *, number: int, folder: Path) -> Draws:
        """Return what a model makes of prompts; what a killed run kept is not asked for again.

        Args:
            model: its name, or a run directory.
            prompts: what is asked.
            count: completions of each prompt.
            seed: another seed, other completions.
            number: of the round.
            folder: of the stage, in which completions are kept as they come.
        """

    def unfit(self, rows: Sequence[Feedback], weights: Mapping[str, float]) -> str:
        """Return why a round cannot train on its rows; empty where it can.

        Args:
            rows: of the round, balanced.
            weights: that the loss is given.
        """

    def describe(self, draws: Draws, seconds: float) -> Drawn:
        """Return what was drawn for training, in numbers."""

    def measure(self, draws: Draws) -> dict[str, Any]:
        """Return what `HeldOut` has of this medium."""

    def show(self, rows: Sequence[Demonstration], passed: Passed, places: Sequence[int]) -> RoundSample:
        """Return the completions of one held-out prompt as the ledger has them.

        Args:
            rows: all that was drawn.
            passed: what the judge says of them.
            places: which of them are of the prompt.
        """

    def kl(self, questions: Sequence[Question], model: str, start: str, who: str, seed: int) -> Estimate | None:
        """Return an estimate of KL(policy || start), nats a sample; None where there is none."""


def medium_of(recipe: RoundsRecipe) -> RoundsMedium:
    """Return what the model of a recipe makes.

    Raises:
        ConfigError: settings that it cannot have.
        ModelError: there is no such model.
    """
    name = recipe.start
    if find_adapter_of_images(name) is not None or find_model(name).kind == "pipeline":
        from prospect.rounds.image_medium import Images

        return Images.of(recipe)
    from prospect.rounds.text_medium import Texts

    return Texts.of(recipe)
