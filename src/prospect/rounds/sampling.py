"""Who writes the samples of rounds: the model itself in this process, or a server that is made to serve it."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from prospect import progress
from prospect.endpoint.client import EndpointError
from prospect.evaluation.answers.answers import Answer
from prospect.evaluation.answers.subject import find_subject
from prospect.evaluation.answers.writers import (
    EndpointWriter,
    Generation,
    LocalWriter,
    Service,
    Writer,
    collect_answers,
)
from prospect.feedback.chat.rendering import Rendering
from prospect.feedback.records import Text
from prospect.model_source import find_model
from prospect.rounds.recipe import RoundsRecipe


@dataclass
class Sampler:
    """Lets the policy of a round write.

    Attributes:
        recipe: of the rounds.
        served: the model that the server serves, as far as this process knows.
    """

    recipe: RoundsRecipe
    served: str | None = None

    def answer(
        self, model: str, prompts: Sequence[Text], generation: Generation, *, number: int, keep: Path
    ) -> list[list[Answer]]:
        """Return what a model writes to prompts, thoughts and all; what a killed run kept is not asked for again.

        Args:
            model: who writes: a model's name, or a run directory.
            prompts: strings or conversations.
            generation: how tokens are drawn.
            number: of the round, for the command that makes the server serve the model.
            keep: file in which completions are kept as they come.
        """
        total = len(prompts) * generation.samples_per_prompt
        return collect_answers(
            self._writer(model, number),
            prompts,
            generation,
            thoughts="keep",
            partial=keep,
            progress=lambda done, _: progress.count(done, total, "completions"),
        )

    def _writer(self, model: str, number: int) -> Writer:
        settings = self.recipe.rounds
        if settings.sampler is None or settings.serve is None:
            # The start and the runs are asked alike: as the recipe renders prompts.
            rendering = replace(Rendering.of(self.recipe.base.data), date=None)
            return LocalWriter(find_subject(model), settings.sample_batch, rendering)
        if self.served != model:
            _serve(settings.serve, model, number)
            self.served = model
        return EndpointWriter(settings.sampler, Service(chat=bool(self.recipe.base.data.plain_as_chat)))


def _serve(command: str, model: str, number: int) -> None:
    """Run the command that makes the server serve a model.

    Raises:
        EndpointError: it cannot be run, or failed.
    """
    place = find_model(model).place
    full = str(Path(place).resolve()) if Path(place).exists() else place
    words = [word.replace("{model}", full).replace("{round}", str(number)) for word in shlex.split(command)]
    with progress.phase(f"letting the server serve {model}"):
        try:
            done = subprocess.run(words, capture_output=True, text=True, check=False)  # noqa: S603 - the user's own
        except OSError as error:
            raise EndpointError(
                f"rounds.serve: {words[0]} cannot be run: {error.strerror}. Check the command."
            ) from None
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise EndpointError(
            f"rounds.serve: {command} ended with {done.returncode}{f': {said[-1]}' if said else ''}. Mend it, and go "
            "on with --resume."
        )
