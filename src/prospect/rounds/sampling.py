"""Who writes the samples of rounds: the model itself in this process, or a server that is made to serve it."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterator, Mapping, Sequence
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
    Sample,
    Service,
    Writer,
    collect_answers,
)
from prospect.evaluation.contest.text_measures import measure_texts
from prospect.feedback.chat.rendering import Rendering
from prospect.feedback.records import Text
from prospect.model_source import find_model
from prospect.results.rounds import Drawn
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
        return _ServedWriter(self, model, number)


def describe(answers: Sequence[Sequence[Answer]], seconds: float) -> Drawn:
    """Return what was sampled, in numbers."""
    flat = [one for some in answers for one in some]
    measured = measure_texts([one.text for one in flat])
    return Drawn(
        prompts=len(answers),
        samples=len(flat),
        distinct=sum(len({one.text for one in some}) for some in answers),
        tokens=sum(one.tokens for one in flat),
        cut=sum(not one.finished for one in flat),
        empty=measured.empty,
        words=round(measured.words.value, 2),
        repetition=round(measured.repetition.value, 4) if measured.repetition else None,
        distinct_2=round(measured.distinct_2, 4) if measured.distinct_2 is not None else None,
        seconds=round(seconds, 2),
    )


@dataclass
class _ServedWriter:
    """The server, which is made to serve a model when it is first asked something."""

    sampler: Sampler
    model: str
    number: int

    def __post_init__(self) -> None:
        recipe = self.sampler.recipe
        data = recipe.base.data
        arguments = {"chat_template_kwargs": dict(data.template_arguments)} if data.template_arguments else {}
        service = Service(chat=bool(data.plain_as_chat), request=arguments)
        self._endpoint = EndpointWriter(str(recipe.rounds.sampler), service)
        self._command = str(recipe.rounds.serve)

    @property
    def identity(self) -> str:
        """Name the server and the model."""
        return f"{self._endpoint.identity} {self.model}"

    def answer(self, asked: Sequence[Sample], settings: Generation) -> Iterator[tuple[int, Answer]]:
        """Yield completions as they come."""
        if self.sampler.served != self.model:
            self._serve()
            self.sampler.served = self.model
        yield from self._endpoint.answer(asked, settings)

    def _serve(self) -> None:
        """Run the command that makes the server serve the model.

        Raises:
            EndpointError: it cannot be run, or failed.
        """
        place, log = find_model(self.model).place, Path(self.sampler.recipe.output) / "serve.log"
        full = str(Path(place).resolve()) if Path(place).exists() else place
        values = {"{model}": full, "{round}": str(self.number)}
        words = [_filled(word, values) for word in shlex.split(self._command)]
        with progress.phase(f"letting the server serve {self.model}"), log.open("ab") as said:
            # Into a file: a server that the command leaves running would hold a pipe open for ever.
            begun = said.tell()
            try:
                code = subprocess.run(  # noqa: S603 - the user's own
                    words, stdin=subprocess.DEVNULL, stdout=said, stderr=said, check=False
                ).returncode
            except OSError as error:
                raise EndpointError(
                    f"rounds.serve: {words[0]} cannot be run: {error.strerror}. Check the command."
                ) from None
        if code:
            lines = log.read_bytes()[begun:].decode(errors="replace").strip().splitlines()
            raise EndpointError(
                f"rounds.serve: {self._command} ended with {code}{f': {lines[-1]}' if lines else ''} ({log}). Mend it, "
                "and go on with --resume."
            )


def _filled(word: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        word = word.replace(name, value)
    return word
