"""An answer while it arrives: what each choice has said, and how it ended.

Servers differ, and a broken one may send anything: every field is looked at before it is used, and what has another
type than the protocol's is left out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from prospect.collect.turns import Ended

MOST_CHOICES = 128  # OpenAI's own limit of n
MOST_TOOL_CALLS = 128
MOST_CHARACTERS = 2**22  # of one choice; what follows passes to the client and is not recorded

_PLAIN = frozenset(("role", "content"))  # fields of nearly every chunk
_REASONING = ("reasoning_content", "reasoning")  # DeepSeek's and vLLM's older name, and today's


@dataclass
class ToolCall:
    """A call of a tool, whose arguments arrive in fragments."""

    id: str = ""
    kind: str = "function"
    name: str = ""
    arguments: list[str] = field(default_factory=list)

    def message(self) -> dict[str, Any]:
        """Return it as a message has it."""
        function = {"name": joined([self.name]), "arguments": joined(self.arguments)}
        return {"id": joined([self.id]), "type": joined([self.kind]), "function": function}


@dataclass
class Choice:
    """One of the n choices of an answer.

    Attributes:
        finish: the finish reason, as the server says it; None before it does.
        cut: whether it grew too long to be recorded whole.
    """

    text: list[str] = field(default_factory=list)
    refusal: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    calls: list[ToolCall] = field(default_factory=list)
    finish: str | None = None
    cut: bool = False
    _room: int = MOST_CHARACTERS
    _places: dict[int, ToolCall] = field(default_factory=dict)

    def message(self) -> dict[str, Any]:
        """Return what was said, as a message of the assistant."""
        message: dict[str, Any] = {"role": "assistant", "content": joined(self.text or self.refusal)}
        if self.reasoning:
            message["reasoning_content"] = joined(self.reasoning)
        if self.calls:
            message["tool_calls"] = [call.message() for call in self.calls]
        return message

    def add(self, piece: dict[str, Any]) -> None:
        """Add a piece: an element of `choices`, of a chunk or of a whole answer, of chat or of plain text."""
        self._append(self.text, piece.get("text"))
        for name in ("delta", "message"):
            said = piece.get(name)
            if isinstance(said, dict):
                self._append(self.text, said.get("content"))
                if not said.keys() <= _PLAIN:
                    self._append(self.refusal, said.get("refusal"))
                    self._append(self.reasoning, next((said[key] for key in _REASONING if said.get(key)), None))
                    self._add_calls(said)
        if isinstance(reason := piece.get("finish_reason"), str) and reason:
            self.finish = reason

    def _append(self, to: list[str], text: Any) -> None:
        if not isinstance(text, str) or not text:
            return
        self.cut |= len(text) > self._room
        text = text[: self._room]
        self._room -= len(text)
        to.append(text)

    def _add_calls(self, said: dict[str, Any]) -> None:
        calls = said.get("tool_calls")
        for place, call in enumerate(calls if isinstance(calls, list) else []):
            if isinstance(call, dict):
                self._add_call(call, place)
        if isinstance(old := said.get("function_call"), dict):  # the protocol's form before tools
            self._add_call({"function": old}, 0)

    def _add_call(self, piece: dict[str, Any], place: int) -> None:
        index = piece.get("index")
        known = self._call(index if type(index) is int else place, new=type(index) is not int and bool(piece.get("id")))
        if known is None:
            return
        function = piece.get("function")
        function = function if isinstance(function, dict) else {}
        known.id = _text(piece.get("id")) or known.id
        known.kind = _text(piece.get("type")) or known.kind
        known.name = _text(function.get("name")) or known.name
        self._append(known.arguments, function.get("arguments"))

    def _call(self, index: int, *, new: bool) -> ToolCall | None:
        """Return the call of an index; `new` where a server gives no index and the piece begins another call."""
        if new and index in self._places:
            index = max(self._places) + 1
        if index not in self._places:
            if len(self.calls) == MOST_TOOL_CALLS:
                self.cut = True
                return None
            self._places[index] = ToolCall()
            self.calls.append(self._places[index])
        return self._places[index]


@dataclass
class Answer:
    """What a server answered.

    Attributes:
        choices: by their index.
        done: whether the stream ended with [DONE], or the answer came whole.
        error: what the server says went wrong after it began; None if nothing did.
        upstream_id: the server's own id.
        model: as the server names it.
        fingerprint: the server's `system_fingerprint`.
        prompt_tokens: None where the server does not say.
        completion_tokens: of all choices together; None where the server does not say.
    """

    choices: dict[int, Choice] = field(default_factory=dict)
    done: bool = False
    error: str | None = None
    upstream_id: str = ""
    model: str = ""
    fingerprint: str = ""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None

    def add(self, chunk: dict[str, Any]) -> None:
        """Add a chunk of a stream, or a whole answer."""
        # Chunks come by the hundred, and nearly all are alike: what is known already is not read again.
        self.upstream_id = self.upstream_id or _text(chunk.get("id"))
        self.model = self.model or _text(chunk.get("model"))
        self.fingerprint = self.fingerprint or _text(chunk.get("system_fingerprint"))
        if error := chunk.get("error"):
            self.error = _text(error.get("message") if isinstance(error, dict) else error) or "an error without words"
        if isinstance(usage := chunk.get("usage"), dict):
            self.prompt_tokens = _count(usage.get("prompt_tokens"), self.prompt_tokens)
            self.completion_tokens = _count(usage.get("completion_tokens"), self.completion_tokens)
        pieces = chunk.get("choices")
        for place, piece in enumerate(pieces if isinstance(pieces, list) else []):
            if isinstance(piece, dict):
                index = piece.get("index")
                index = index if type(index) is int else place
                choice = self.choices.get(index)
                if choice is None and 0 <= index < MOST_CHOICES:
                    choice = self.choices[index] = Choice()
                if choice is not None:
                    choice.add(piece)

    def ended(self, choice: Choice) -> Ended:
        """Return how a choice ended, for a client that stayed."""
        if choice.finish == "length" or choice.cut:
            return "length"
        if choice.finish is not None or (self.done and self.error is None):
            return "stop"
        return "upstream_error"


def joined(parts: list[str]) -> str:
    """Return text that can be stored: halves of characters are put together, or replaced where one is missing."""
    text = "".join(parts)
    try:
        text.encode()
    except UnicodeEncodeError:
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def _text(value: Any) -> str:
    """Return a name as the server says it, without what no database keeps."""
    return joined([value[:1024]]).replace("\0", "") if isinstance(value, str) else ""


def _count(value: Any, before: int | None) -> int | None:
    return value if type(value) is int and 0 <= value < 2**31 else before
