"""What an OpenAI-compatible server answers -> a reply; everything in it may be missing, of another kind or absurd."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

# Servers that hold thoughts apart call them so: DeepSeek, vLLM, SGLang and llama.cpp; OpenRouter and Ollama.
_THOUGHTS = ("reasoning_content", "reasoning")
_MOST_TOKENS = 2**40  # far more than any bill, and still exact as a float


class Chances(NamedTuple):
    """What a model held likely at one place of its text.

    Attributes:
        token: what it wrote there.
        likeliest: tokens with their log-probs, nats.
    """

    token: str
    likeliest: tuple[tuple[str, float], ...]


class Reply(NamedTuple):
    """What a server answered.

    Attributes:
        text: the completion, empty where there is none.
        finish_reason: "stop", "length" (cut), ...; empty where the server does not say.
        prompt_tokens: as the server counts them, 0 where it does not.
        completion_tokens: likewise.
        thoughts: what the model thought before, where the server holds that apart.
        chances: token by token, where they were asked for (`logprobs`, `top_logprobs`) and the server gives them.
    """

    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    thoughts: str = ""
    chances: tuple[Chances, ...] = ()

    @property
    def cut(self) -> bool:
        """Whether the limit of tokens ended it."""
        return self.finish_reason == "length"


def read_json(body: bytes) -> Any:
    """Return what JSON holds.

    Raises:
        ValueError: it is none, or nested deeper than can be read.
    """
    try:
        return json.loads(body)
    except RecursionError:
        raise ValueError("nested too deep") from None


def read_chat(answer: Any) -> Reply:
    """Return the reply of `/chat/completions`.

    Raises:
        ValueError: the answer has another form; the message is for people.
    """
    return _read(answer, "content", lambda choice: choice["message"])


def read_completion(answer: Any) -> Reply:
    """Return the reply of `/completions`; refusals as in `read_chat`."""
    return _read(answer, "text", lambda choice: choice)


def _read(answer: Any, name: str, message_of: Callable[[Any], Any]) -> Reply:
    try:
        choice = answer["choices"][0]
        message = message_of(choice)
        text, thoughts = _parts(message.get(name))
        found = (message.get(key) for key in _THOUGHTS)
        thoughts = next((value for value in found if isinstance(value, str) and value), thoughts)
        finish, usage = str(choice.get("finish_reason") or ""), answer.get("usage") or {}
    except (KeyError, IndexError, TypeError, AttributeError, RecursionError):
        raise ValueError("the answer has no choices with a text") from None
    read, written = (_count(usage, name) for name in ("prompt_tokens", "completion_tokens"))
    return Reply(_whole(text), finish, read, written, _whole(thoughts), _chances(choice))


def _chances(choice: Any) -> tuple[Chances, ...]:
    """Return the log-probs of a chat's choice; none where there are none, or they have another form."""
    try:
        return tuple(
            Chances(str(place["token"]), tuple((str(one["token"]), _logp(one)) for one in place["top_logprobs"]))
            for place in choice["logprobs"]["content"]
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return ()


def _logp(token: Mapping[str, Any]) -> float:
    logp = float(token["logprob"])
    if not logp <= 1e-3:  # nor is NaN; a rounding error above 0 is
        raise ValueError(logp)
    return logp


def _parts(content: Any) -> tuple[str, str]:
    """Return text and thoughts of a message's content, which some servers (Mistral's) send in typed parts."""
    if isinstance(content, str | None):
        return content or "", ""
    thoughts = (part["thinking"] for part in content if part["type"] == "thinking")
    return _joined(content), "".join(one if isinstance(one, str) else _joined(one) for one in thoughts)


def _joined(parts: Any) -> str:
    return "".join(part["text"] for part in parts if part["type"] == "text")


def _count(usage: Any, name: str) -> int:
    value = usage.get(name) if isinstance(usage, Mapping) else None
    if not isinstance(value, int | float):
        return 0
    if not 0 <= value <= _MOST_TOKENS:  # nor is NaN
        raise ValueError(f"its usage.{name} is no count of tokens")
    return int(value)


def _whole(text: str) -> str:
    """Return a text without halves of characters, which no file can hold."""
    return text.encode(errors="replace").decode()
