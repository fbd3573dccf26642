"""A server that writes the samples of rounds, made to serve each round's model by a command of the user's."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from prospect import progress
from prospect.endpoint.client import EndpointError
from prospect.evaluation.answers.answers import Answer
from prospect.evaluation.answers.writers import EndpointWriter, Generation, Sample, Service
from prospect.model_source import find_model
from prospect.rounds.recipe import RoundsRecipe


@dataclass
class Server:
    """The server.

    Attributes:
        recipe: of the rounds.
        served: the model that it serves, as far as this process knows.
    """

    recipe: RoundsRecipe
    served: str | None = None


@dataclass
class ServedWriter:
    """The server, which is made to serve a model when it is first asked something."""

    server: Server
    model: str
    number: int

    def __post_init__(self) -> None:
        recipe = self.server.recipe
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
        if self.server.served != self.model:
            self._serve()
            self.server.served = self.model
        yield from self._endpoint.answer(asked, settings)

    def _serve(self) -> None:
        """Run the command that makes the server serve the model.

        Raises:
            EndpointError: it cannot be run, or failed.
        """
        place, log = find_model(self.model).place, Path(self.server.recipe.output) / "serve.log"
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
