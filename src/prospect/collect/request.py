"""What a client asks for: the fields of a request that the record and the proxy need."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import orjson

from prospect.collect.limits import MOST_MESSAGES, MOST_NAME
from prospect.collect.refusals import Refusal

# Fields that decide how tokens are drawn; those of OpenAI, and those that vLLM and llama.cpp add.
SAMPLING = (
    "temperature", "top_p", "top_k", "min_p", "n", "seed", "stop", "max_tokens", "max_completion_tokens",
    "presence_penalty", "frequency_penalty", "repetition_penalty", "reasoning_effort",
)  # fmt: skip
TRACE = ("traceparent", "tracestate")  # W3C Trace Context
_LONGEST_MODEL = 256  # characters
_LONGEST_SETTING = 200  # characters of a stop string that are recorded


@dataclass(frozen=True)
class Asked:
    """A request for a completion.

    Attributes:
        body: its bytes.
        fields: the JSON object.
        chat: whether it is of messages; else of plain text.
        conversation: as the client calls it; None where it does not.
        rater: who asks, as the client calls them; None where it does not.
        consent: whether the client says that text may be kept; None where it says nothing.
        trace: the headers that say which trace the request belongs to.
    """

    body: bytes
    fields: dict[str, Any]
    chat: bool
    conversation: str | None
    rater: str | None
    consent: bool | None
    trace: Mapping[str, str] = field(default_factory=dict)

    @property
    def model(self) -> str:
        """The model that is asked for; empty where the server chooses."""
        return str(self.fields.get("model") or "")

    @property
    def sampling(self) -> dict[str, Any]:
        """The settings of the sampling that were sent."""
        found = {name: self.fields.get(name) for name in SAMPLING}
        return {name: _short(value) for name, value in found.items() if value is not None}

    @property
    def tools(self) -> list[dict[str, Any]] | None:
        """The tools' schemas."""
        tools = self.fields.get("tools")
        return tools if isinstance(tools, list) and all(isinstance(tool, dict) for tool in tools) else None

    @property
    def prompts(self) -> list[str]:
        """The texts that are to be continued; none where they come as tokens, or it is a chat."""
        prompt = self.fields.get("prompt", "")
        prompts = prompt if isinstance(prompt, list) else [prompt]
        return prompts if not self.chat and all(isinstance(text, str) for text in prompts) else []

    def prompt_of(self, choice: int) -> str | Sequence[Mapping[str, Any]] | None:
        """Return what a choice answers: the messages, or the text that it continues; None for tokens."""
        if self.chat:
            return self.fields["messages"]
        n = self.fields.get("n")
        place = choice // n if isinstance(n, int) and n > 0 else choice
        return self.prompts[place] if place < len(self.prompts) else None

    def branch(self, tenant: str) -> str:
        """Return what stays the same while a conversation goes on: by it an arm is drawn.

        It is the conversation that the client names, or else who asks and the beginning up to the first turn of the
        user.
        """
        if self.conversation is not None:
            return f"{tenant}\0{self.conversation}"
        first = []
        for message in self.fields["messages"] if self.chat else [self.fields.get("prompt")]:
            first.append(message)
            if not isinstance(message, dict) or message.get("role") == "user":
                break
        beginning = hashlib.blake2b(orjson.dumps(first), digest_size=16).hexdigest()
        return f"{tenant}\0{self.rater or ''}\0{beginning}"

    def body_for(self, model: str) -> bytes:
        """Return the body that asks for a model: as it came, unless it asks for another one."""
        return self.body if model == self.model else orjson.dumps({**self.fields, "model": model})


def read_request(body: bytes, headers: Mapping[str, str], *, chat: bool) -> Asked:
    """Read a request for a completion.

    Raises:
        Refusal: it is none.
    """
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Refusal(400, f"the body is no JSON: {error}.") from None
    if not isinstance(fields, dict):
        raise Refusal(400, "the body is no JSON object.")
    if not _is_model(fields.get("model")):
        raise Refusal(400, f"model is no name of at most {_LONGEST_MODEL} printable ASCII characters.")
    if not isinstance(fields.get("stream"), bool | None):
        raise Refusal(400, "stream is neither true nor false.")
    if chat:
        _check_messages(fields.get("messages"))
    consent = headers.get("x-prospect-consent")
    if consent not in (None, "yes", "no"):
        raise Refusal(400, 'the header x-prospect-consent is neither "yes" nor "no".')
    return Asked(
        body, fields, chat, named(headers, "x-prospect-conversation"), named(headers, "x-prospect-rater"),
        None if consent is None else consent == "yes", {name: headers[name] for name in TRACE if name in headers},
    )  # fmt: skip


def path_of_models(model: str | None) -> str:
    """Return where an upstream describes a model, or all of them; no name leads to another place.

    Raises:
        Refusal: 404; it is no name of a model.
    """
    if model is None:
        return "models"
    if not model or not _is_model(model) or {".", ".."} & set(re.split(r"[/\\]", model)):
        raise Refusal(404, "there is no such model.")
    return f"models/{quote(model, safe='')}"


def _is_model(value: Any) -> bool:
    return value is None or (isinstance(value, str) and len(value) <= _LONGEST_MODEL and _is_plain(value))


def _check_messages(messages: Any) -> None:
    if not isinstance(messages, list) or not messages or not all(isinstance(message, dict) for message in messages):
        raise Refusal(400, "messages is no list of objects with role and content.")
    if len(messages) > MOST_MESSAGES:
        raise Refusal(413, f"there are {len(messages)} messages; {MOST_MESSAGES} are the most. Send fewer.")


def named(headers: Mapping[str, str], name: str) -> str | None:
    """Return a name that a header holds; None where there is none.

    Raises:
        Refusal: it is no name that can be kept.
    """
    value = headers.get(name, "").strip()
    if len(value) > MOST_NAME or not _is_plain(value):
        raise Refusal(400, f"the header {name} holds no name of at most {MOST_NAME} printable ASCII characters.")
    return value or None


def _is_plain(text: str) -> bool:
    return text.isascii() and text.isprintable()


def header_value(text: str) -> bytes:
    """Return a text that a client chose as a header's value, in which nothing can begin another header."""
    return quote(text[:256], safe=" /:@._-+~#").encode()


def _short(value: Any) -> Any:
    match value:
        case str():
            return value[:_LONGEST_SETTING]
        case list():
            return [_short(one) for one in value[:8]]
        case bool() | int() | float():
            return value
        case _:
            return None
