"""Who answers prompts: a model from disk, or one behind a server; what is answered already is not asked again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from prospect.errors import ConfigError, UsageError
from prospect.evaluation.endpoint import Endpoint
from prospect.evaluation.partial import PartialFile
from prospect.evaluation.rendering import look_over
from prospect.evaluation.subject import ENDPOINT, Subject, find_subject, load_for_generating
from prospect.feedback.records import Message, Text
from prospect.feedback.rendering import Rendering
from prospect.feedback.split import prompt_key

Progress = Callable[[int, int], None]
"""Told now and then how many completions are there, and of how many."""

Tell = Callable[[str], None]


def _say_nothing(line: str) -> None:
    pass


# Batches between two writes to the file of a half-done job: enough that sorting by length still saves padding.
BATCHES_TOGETHER = 4


class Answer(NamedTuple):
    """One completion.

    Attributes:
        text: without special tokens.
        tokens: how many were generated, 0 where a server does not say.
        finished: false where the limit cut it.
    """

    text: str
    tokens: int
    finished: bool


@dataclass(frozen=True)
class Generation:
    """What decides a completion besides model and prompt.

    Attributes:
        samples_per_prompt: completions of each prompt.
        max_new_tokens: where a completion is cut.
        temperature: 0 is greedy.
        top_p: sample among the tokens that hold this share.
        seed: another seed, other completions. A server may ignore it.
    """

    samples_per_prompt: int = 1
    max_new_tokens: int = 256
    temperature: float = 0.8
    top_p: float = 0.95
    seed: int = 0

    def key(self, model: str, prompt: str, sample: int) -> str:
        """Return the name of one completion: the same for the same question to the same model."""
        settings = {name: value for name, value in asdict(self).items() if name != "samples_per_prompt"}
        name = json.dumps([model, prompt, sample, settings], sort_keys=True)
        return hashlib.blake2b(name.encode(), digest_size=16).hexdigest()


@dataclass(frozen=True)
class Service:
    """How a server is asked; a model from disk is not.

    Attributes:
        concurrency: requests under way at a time.
        retries: further tries after a failure that may pass.
        timeout: seconds without a byte after which a try has failed.
        api_key_env: the environment variable that holds the key; two sides of a contest share it on one host only.
        chat: send a plain prompt as one user turn, for servers that only chat. Otherwise it is continued as it is.
    """

    concurrency: int = 8
    retries: int = 5
    timeout: float = 120.0
    api_key_env: str | None = None
    chat: bool = False


class Writer(Protocol):
    """Something that answers prompts."""

    identity: str

    def answer(self, prompts: Sequence[Text], settings: Generation) -> Iterator[tuple[int, int, Answer]]:
        """Yield number of prompt, number of sample and completion, as they come."""


@dataclass
class LocalWriter:
    """A model from disk. The longest prompts come first: what does not fit into memory fails at once."""

    subject: Subject
    batch_size: int = 64
    rendering: Rendering = field(default_factory=Rendering)
    announce: Tell = _say_nothing
    identity: str = field(init=False)

    def __post_init__(self) -> None:
        self.identity = self.subject.fingerprint + self.rendering.identity

    def answer(self, prompts: Sequence[Text], settings: Generation) -> Iterator[tuple[int, int, Answer]]:
        """Yield the completions of some batches at a time."""
        from prospect.data.render import make_renderer
        from prospect.models.sampling import generate

        model, tokenizer = load_for_generating(self.subject)
        answerable, remarks = look_over(make_renderer(tokenizer, self.rendering), prompts)
        for remark in remarks:
            self.announce(remark)
        order = sorted(answerable, key=lambda i: -_length(prompts[i]))
        together = max(1, BATCHES_TOGETHER * self.batch_size // settings.samples_per_prompt)
        for start in range(0, len(order), together):
            some = order[start : start + together]
            answers = generate(
                model,
                tokenizer,
                [prompts[i] for i in some],
                **asdict(settings),
                batch_size=self.batch_size,
                rendering=self.rendering,
            )
            for i, samples in zip(some, answers, strict=True):
                for sample, one in enumerate(samples):
                    yield i, sample, Answer(one.text, one.tokens, one.finished)


@dataclass
class EndpointWriter:
    """A model behind an OpenAI-compatible server: plain prompts are continued, conversations answered."""

    address: str
    service: Service = field(default_factory=Service)
    identity: str = field(init=False)

    def __post_init__(self) -> None:
        asked = {name: getattr(self.service, name) for name in ("concurrency", "retries", "timeout", "api_key_env")}
        self.endpoint = Endpoint.parse(self.address.removeprefix(ENDPOINT), **asked)
        self.identity = f"{self.endpoint.url}#{self.endpoint.model}{' chat' if self.service.chat else ''}"

    def answer(self, prompts: Sequence[Text], settings: Generation) -> Iterator[tuple[int, int, Answer]]:
        """Yield completions as they come, several requests under way at a time."""
        asked = [(i, sample) for i in range(len(prompts)) for sample in range(settings.samples_per_prompt)]

        def ask(one: tuple[int, int]) -> Answer:
            prompt, sample = prompts[one[0]], one[1]
            options: dict[str, Any] = {
                "max_tokens": settings.max_new_tokens,
                "temperature": settings.temperature,
                "top_p": settings.top_p,
                "seed": _seed(settings.seed, prompt, sample),
            }
            if isinstance(prompt, str) and not self.service.chat:
                reply = self.endpoint.complete(prompt, **options)
            else:
                turns = (Message("user", prompt),) if isinstance(prompt, str) else prompt
                reply = self.endpoint.chat([turn.as_dict() for turn in turns], **options)
            return Answer(reply.text, reply.completion_tokens, reply.finish_reason != "length")

        for place, answer in self.endpoint.in_parallel(ask, asked):
            yield *asked[place], answer


def find_writer(
    model: str | Path,
    *,
    batch_size: int = 64,
    service: Service | None = None,
    rendering: Rendering | None = None,
    announce: Tell | None = None,
) -> Writer:
    """Return who answers: a server for endpoint:URL#NAME, else the model from disk or hub.

    Args:
        model: who.
        batch_size: completions that a model from disk generates at once.
        service: how a server is asked.
        rendering: how a model from disk gets its prompts.
        announce: told how prompts are rendered, and which are left out.

    Raises:
        UsageError: a file of completions, which cannot be asked anything.
    """
    subject = find_subject(model)
    if subject.kind == "completions":
        raise UsageError(
            f"{model}: a file; expected a run directory, a model's folder or hub name, or endpoint:URL#NAME."
        )
    if subject.kind == "endpoint":
        return EndpointWriter(subject.name, service or Service())
    return LocalWriter(subject, batch_size, rendering or Rendering(), announce or _say_nothing)


def collect_answers(
    writer: Writer,
    prompts: Sequence[Text],
    settings: Generation,
    *,
    partial: Path | None = None,
    progress: Progress | None = None,
) -> list[list[Answer]]:
    """Return the completions of every prompt, in the prompts' order; equal prompts are asked once.

    A prompt that the writer leaves out has none.

    Args:
        writer: who answers.
        prompts: strings or conversations.
        settings: see `Generation`.
        partial: where completions are kept as they come, and looked up first; the caller removes it in the end.
        progress: see `Progress`.

    Raises:
        ConfigError: a setting is out of its range.
    """
    _check(settings)
    names = [prompt_key(prompt) for prompt in prompts]
    distinct = dict(zip(names, prompts, strict=True))
    samples = range(settings.samples_per_prompt)
    keys = {(name, sample): settings.key(writer.identity, name, sample) for name in distinct for sample in samples}
    with PartialFile(partial) as kept:
        missing = [name for name in distinct if any(keys[name, sample] not in kept for sample in samples)]
        done = len(keys) - len(missing) * len(samples)
        if progress is not None and done:
            progress(done, len(keys))
        if missing:
            for i, sample, answer in writer.answer([distinct[name] for name in missing], settings):
                kept.put(keys[missing[i], sample], answer._asdict())
                done += 1
                if progress is not None:
                    progress(done, len(keys))
        return [[Answer(**kept[key]) for sample in samples if (key := keys[name, sample]) in kept] for name in names]


def _check(settings: Generation) -> None:
    """Refuse before anybody is asked; `prospect.models.sampling` refuses the same of a model from disk."""
    for name in ("samples_per_prompt", "max_new_tokens"):
        if getattr(settings, name) < 1:
            raise ConfigError(f"{name} is {getattr(settings, name)}; expected a whole number of at least 1.")
    if not settings.temperature >= 0:
        raise ConfigError(f"temperature is {settings.temperature}; expected 0 (greedy) or more.")
    if not 0 < settings.top_p <= 1:
        raise ConfigError(f"top_p is {settings.top_p}; expected more than 0 and at most 1 (1 keeps every token).")


def _length(prompt: Text) -> int:
    return len(prompt) if isinstance(prompt, str) else sum(len(turn.content) for turn in prompt)


def _seed(seed: int, prompt: Text, sample: int) -> int:
    """A number of a prompt's own, as models from disk have it: its neighbours do not matter."""
    name = f"{seed}|{sample}|{prompt_key(prompt)}".encode()
    return int.from_bytes(hashlib.blake2b(name, digest_size=4).digest(), "little") >> 1
