"""What a model of ours works on: a request read, and written token by token."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from prospect.collect.refusals import Refusal
from prospect.data.render import encode_prompt, make_renderer
from prospect.errors import ProspectError
from prospect.evaluation.answers.rendering import RenderingOptions
from prospect.evaluation.answers.subject import find_subject, load_for_generating
from prospect.feedback.chat.renderer import ChatRenderer
from prospect.feedback.chat.rendering import Rendering
from prospect.feedback.files.text import parse_turns
from prospect.feedback.records import Text
from prospect.models.sampling import Sampling, generate_each

USUAL_TOKENS = 256  # of an answer, where the client says nothing


@dataclass(frozen=True)
class LocalModel:
    """A model in memory, ready to answer.

    Attributes:
        name: as it was named.
        model: of Transformers.
        tokenizer: its tokenizer.
        rendering: how prompts become text.
        fingerprint: changes when the weights on disk do.
    """

    name: str
    model: Any
    tokenizer: Any
    rendering: Rendering
    fingerprint: str

    @classmethod
    def load(cls, name: str) -> LocalModel:
        """Load a run, a model's folder, an adapter, a GGUF file or a hub name.

        Raises:
            ProspectError: it is none of these, or cannot be loaded.
        """
        subject = find_subject(name)
        model, tokenizer = load_for_generating(subject)
        return cls(name, model, tokenizer, RenderingOptions().for_writing(subject), subject.fingerprint)

    def renderer(self, *, chat: bool) -> ChatRenderer:
        """Return what makes text of prompts: the text of a plain completion is continued as it is."""
        return make_renderer(self.tokenizer, self.rendering if chat else replace(self.rendering, plain_as_chat=False))


@dataclass(frozen=True)
class Piece:
    """A part of an answer.

    Attributes:
        choice: of which choice.
        text: what is new.
        finish: how it ended; None where it goes on.
        tokens: of the whole choice, where it ended.
        error: what went wrong; nothing follows.
    """

    choice: int = 0
    text: str = ""
    finish: str | None = None
    tokens: int = 0
    error: str = ""


class _LeftError(Exception):
    """Nobody waits for the answer any more."""


class _StoppedError(Exception):
    """A stop string was written."""


@dataclass(eq=False)
class Job:
    """A request that the model's thread works on.

    Attributes:
        chat: whether it is of messages.
        prompt: what is answered.
        prompt_tokens: how many tokens that is.
        limit: most tokens of an answer.
        n: how many answers.
        seed: of the draws.
        sampling: how tokens are drawn.
        stops: strings before which an answer ends.
        say: takes a piece to the event loop.
        left: set when nobody waits any more.
    """

    chat: bool
    prompt: Text
    prompt_tokens: int
    limit: int
    n: int
    seed: int
    sampling: Sampling
    stops: list[str]
    say: Callable[[Piece], None]
    left: threading.Event = field(default_factory=threading.Event)

    def run(self, model: LocalModel) -> None:
        """Write all answers, piece by piece."""
        try:
            for choice in range(self.n):
                self._write(model, choice)
        except _LeftError:
            pass
        except ProspectError as error:
            self.say(Piece(error=str(error)))
        except Exception as error:
            self.say(Piece(error=f"the model failed ({type(error).__name__})"))

    def _write(self, model: LocalModel, choice: int) -> None:
        said, tokens = 0, 0
        held_back = max(map(len, self.stops), default=1) - 1  # it may be the beginning of a stop string

        def heard(_: int, text: str) -> None:
            nonlocal said, tokens
            tokens += 1
            if self.left.is_set():
                raise _LeftError
            end = min((place for stop in self.stops if (place := text.find(stop)) >= 0), default=None)
            safe = len(text.rstrip("\ufffd")) - held_back if end is None else end  # a character may not be whole yet
            if safe > said:
                self.say(Piece(choice, text[said:safe]))
                said = safe
            if end is not None:
                raise _StoppedError

        rendering = model.renderer(chat=self.chat).settings
        each = generate_each(
            model.model, model.tokenizer, [(self.prompt, choice)], self.sampling, max_new_tokens=self.limit,
            seed=self.seed, batch_size=1, rendering=rendering, heard=heard,
        )  # fmt: skip
        try:
            [(_, whole)] = each
        except _StoppedError:
            self.say(Piece(choice, finish="stop", tokens=tokens))
        else:
            self.say(Piece(choice, whole.text[said:], "stop" if whole.finished else "length", whole.tokens))


def read_job(model: LocalModel, fields: dict[str, Any], say: Callable[[Piece], None], *, chat: bool) -> Job:
    """Return a request for the model.

    Raises:
        Refusal: 400; a field is of another kind, or the prompt does not fit.
    """
    try:
        prompt: Text = parse_turns(fields.get("messages"), "messages", "the request") if chat else _prompt(fields)
        renderer = model.renderer(chat=chat)
        length = len(encode_prompt(model.tokenizer, prompt, None, renderer, where="the request"))
        sampling = Sampling(
            _number(fields, "temperature", 1.0), _number(fields, "top_p", 1.0), _whole(fields, "top_k", 0)
        )
        asked = _whole(fields, "max_completion_tokens", _whole(fields, "max_tokens", 0))
        context = getattr(model.model.config, "max_position_embeddings", None)
        room = USUAL_TOKENS if context is None else min(USUAL_TOKENS, context - length)
        if asked < 0 or (context is not None and length + max(asked, 1) > context):
            raise Refusal(400, f"the prompt has {length} tokens and the model room for {context}. Ask for fewer.")
    except ProspectError as error:
        raise Refusal(400, f"{error}") from None
    seed = _whole(fields, "seed", secrets.randbits(31))
    return Job(chat, prompt, length, asked or room, _between(fields, "n", 1, 16), seed, sampling, _stops(fields), say)


def _prompt(fields: dict[str, Any]) -> str:
    prompt = fields.get("prompt", "")
    if not isinstance(prompt, str):
        raise Refusal(400, "prompt is no text.")
    return prompt


def _number(fields: dict[str, Any], name: str, usual: float) -> float:
    value = fields.get(name)
    if value is None:
        return usual
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Refusal(400, f"{name} is no number.")
    return float(value)


def _whole(fields: dict[str, Any], name: str, usual: int) -> int:
    value = fields.get(name)
    if value is not None and (type(value) is not int or abs(value) >= 2**63):
        raise Refusal(400, f"{name} is no whole number.")
    return usual if value is None else value


def _between(fields: dict[str, Any], name: str, usual: int, most: int) -> int:
    value = _whole(fields, name, usual)
    if not 1 <= value <= most:
        raise Refusal(400, f"{name} is {value}; expected 1 to {most}.")
    return value


def _stops(fields: dict[str, Any]) -> list[str]:
    stops = fields.get("stop")
    stops = [] if stops is None else [stops] if isinstance(stops, str) else stops
    if not isinstance(stops, list) or len(stops) > 4 or not all(isinstance(stop, str) for stop in stops):
        raise Refusal(400, "stop is no text, and no list of at most four texts.")
    return [stop for stop in stops if stop]
