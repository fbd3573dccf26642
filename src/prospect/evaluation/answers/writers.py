"""Who answers prompts: a model from disk or in memory, or one behind a server; no completion is asked for twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from prospect.endpoint.client import Endpoint
from prospect.errors import ConfigError, DataError, UsageError
from prospect.evaluation.answers.answers import Answer, Thoughts
from prospect.evaluation.answers.keyed_file import KeyedFile
from prospect.evaluation.answers.rendering import look_over
from prospect.evaluation.answers.subject import ENDPOINT, Subject, find_subject, load_for_generating
from prospect.feedback.chat.rendering import Rendering
from prospect.feedback.chat.thoughts import join_thoughts
from prospect.feedback.records import Message, Text
from prospect.feedback.split import prompt_key

if TYPE_CHECKING:
    from prospect.models.policy import Policy

Progress = Callable[[int, int], None]
"""Told now and then how many completions are there, and of how many."""

Tell = Callable[[str], None]
"""Told what a reader of the completions must know."""

# The first completions that all end before an answer begins say that the limit is the wrong one.
MOST_UNANSWERED = 16
_UNANSWERED = (
    "completions hold no text: they end before an answer begins. Allow more tokens (--max-new-tokens), turn the "
    "model's thinking off, or write its thoughts too (--thoughts keep)."
)


def _say_nothing(line: str) -> None:
    pass


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
        timeout: seconds without a byte after which a try has failed; see `Endpoint`.
        api_key_env: the environment variable that holds the key; two sides of a contest share it on one host only.
        chat: send a plain prompt as one user turn, for servers that only chat. Otherwise it is continued as it is.
        request: further fields of each request; see `Endpoint`.
    """

    concurrency: int = 8
    retries: int = 5
    timeout: float = 300.0
    api_key_env: str | None = None
    chat: bool = False
    request: Mapping[str, Any] = field(default_factory=dict)


Sample = tuple[Text, int]
"""A prompt, and which of its completions is wanted."""


class Writer(Protocol):
    """Something that answers prompts."""

    @property
    def identity(self) -> str:
        """Name what decides its completions, apart from `Generation`."""

    def answer(self, asked: Sequence[Sample], settings: Generation) -> Iterator[tuple[int, Answer]]:
        """Yield the number of a sample and its completion, each as soon as it is there."""


@dataclass
class LocalWriter:
    """A model from disk, or a policy in memory with the weights that it has now."""

    subject: Subject | Policy
    batch_size: int = 64
    rendering: Rendering = field(default_factory=Rendering)
    announce: Tell = _say_nothing

    @property
    def identity(self) -> str:
        """Return a hash of the weights, or of their files, and the rendering."""
        if isinstance(self.subject, Subject):
            return self.subject.fingerprint + self.rendering.identity
        from prospect.models.loading import weights_identity

        return weights_identity(self.subject.model, self.subject.precision) + self.rendering.identity

    def answer(self, asked: Sequence[Sample], settings: Generation) -> Iterator[tuple[int, Answer]]:
        """Yield completions batch by batch, the longest prompts first; prompts that are left out have none."""
        from prospect.data.render import make_renderer
        from prospect.models.sampling import Sampling, generate_each

        if isinstance(self.subject, Subject):
            model, tokenizer = load_for_generating(self.subject)
        else:
            model, tokenizer = self.subject.model, self.subject.tokenizer
        prompts = {id(prompt): prompt for prompt, _ in asked}
        kept, remarks = look_over(make_renderer(tokenizer, self.rendering), list(prompts.values()))
        for remark in remarks:
            self.announce(remark)
        names = list(prompts)
        answerable = {names[i] for i in kept}
        numbers = [number for number, (prompt, _) in enumerate(asked) if id(prompt) in answerable]
        each = generate_each(
            model,
            tokenizer,
            [asked[number] for number in numbers],
            Sampling(settings.temperature, settings.top_p),
            max_new_tokens=settings.max_new_tokens,
            seed=settings.seed,
            batch_size=self.batch_size,
            rendering=self.rendering,
        )
        for place, one in each:
            yield numbers[place], Answer(one.text, one.tokens, one.finished, one.opened)


@dataclass
class EndpointWriter:
    """A model behind an OpenAI-compatible server: plain prompts are continued, conversations answered."""

    address: str
    service: Service = field(default_factory=Service)
    identity: str = field(init=False)

    def __post_init__(self) -> None:
        names = ("concurrency", "retries", "timeout", "api_key_env", "request")
        self.endpoint = Endpoint.parse(
            self.address.removeprefix(ENDPOINT), **{name: getattr(self.service, name) for name in names}
        )
        self.identity = f"{self.endpoint.url}#{self.endpoint.model}{' chat' if self.service.chat else ''}"
        if self.service.request:
            self.identity += f" {json.dumps(self.service.request, sort_keys=True)}"

    def answer(self, asked: Sequence[Sample], settings: Generation) -> Iterator[tuple[int, Answer]]:
        """Yield completions as they come, several requests under way at a time."""

        def ask(one: Sample) -> Answer:
            prompt, sample = one
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
            text = join_thoughts(reply.thoughts, reply.text, closed=bool(reply.text) or not reply.cut)
            return Answer(text, reply.completion_tokens, not reply.cut)

        yield from self.endpoint.in_parallel(ask, asked)


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
    thoughts: Thoughts = "strip",
    partial: Path | None = None,
    progress: Progress | None = None,
) -> list[list[Answer]]:
    """Return the completions of every prompt, in the prompts' order; equal prompts are asked once.

    A prompt that the writer leaves out has none.

    Args:
        writer: who answers.
        prompts: strings or conversations.
        settings: see `Generation`.
        thoughts: strip or keep what a model thought before its answer.
        partial: where completions are kept as they come, thoughts and all, and looked up first; the caller removes it
            in the end.
        progress: see `Progress`.

    Raises:
        ConfigError: a setting is out of its range.
        DataError: the first completions, or all of them, end before an answer begins.
    """
    _check(settings)
    names = [prompt_key(prompt) for prompt in prompts]
    distinct = dict(zip(names, prompts, strict=True))
    samples = range(settings.samples_per_prompt)
    identity = writer.identity
    keys = {(name, sample): settings.key(identity, name, sample) for name in distinct for sample in samples}

    def written(answer: Answer, prompt: Text) -> Answer:
        return answer.without_thoughts() if thoughts == "strip" else answer.with_thoughts(prompt)

    with KeyedFile(partial, lambda row: Answer(**row), Answer._asdict) as kept:
        missing = [one for one, key in keys.items() if kept.get(key) is None]
        asked = [(distinct[name], sample) for name, sample in missing]
        done, unanswered = len(keys) - len(missing), 0
        if progress is not None and done:
            progress(done, len(keys))
        for came, (number, answer) in enumerate(writer.answer(asked, settings) if asked else (), start=1):
            kept.put(keys[missing[number]], answer)
            answer = written(answer, asked[number][0])
            unanswered += answer.is_unanswered
            if came == unanswered == MOST_UNANSWERED:
                raise DataError(f"the first {came} {_UNANSWERED}")
            done += 1
            if progress is not None:
                progress(done, len(keys))
        found = [
            [written(one, prompt) for sample in samples if (one := kept.get(keys[name, sample])) is not None]
            for name, prompt in zip(names, prompts, strict=True)
        ]
    given = [one for row in found for one in row]
    if given and all(one.is_unanswered for one in given):
        raise DataError(f"all {len(given)} {_UNANSWERED}")
    return found


def _check(settings: Generation) -> None:
    """Refuse before anybody is asked; `prospect.models.sampling` refuses the same of a model from disk."""
    for name in ("samples_per_prompt", "max_new_tokens"):
        if getattr(settings, name) < 1:
            raise ConfigError(f"{name} is {getattr(settings, name)}; expected a whole number of at least 1.")
    if not settings.temperature >= 0:
        raise ConfigError(f"temperature is {settings.temperature}; expected 0 (greedy) or more.")
    if not 0 < settings.top_p <= 1:
        raise ConfigError(f"top_p is {settings.top_p}; expected more than 0 and at most 1 (1 keeps every token).")


def _seed(seed: int, prompt: Text, sample: int) -> int:
    """Return a number of a prompt's own, as models from disk have it: its neighbours do not matter."""
    name = f"{seed}|{sample}|{prompt_key(prompt)}".encode()
    return int.from_bytes(hashlib.blake2b(name, digest_size=4).digest(), "little") >> 1
