"""What is collected: turns, votes and events, and how turns of one conversation share their text."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from prospect.feedback.files.store.selection import MAIN as MAIN

Ended = Literal["stop", "length", "client_left", "upstream_error"]
ENDED: tuple[Ended, ...] = ("stop", "length", "client_left", "upstream_error")
REASONS = ("not_followed", "wrong", "style", "refused", "unsafe", "too_long", "other")
OF_TWO = ("preferred", "same")  # events on two answers to one prompt, shown side by side
EVENTS = ("regenerated", "copied", "edited", "abandoned", *OF_TWO)

_HASH_BYTES = 16
_ENCODE = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode  # `json.dumps` would make one for each value


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """One answer of a model, with what it was asked.

    Attributes:
        id: ours, of `new_id`; also the id of the response.
        tenant: who may see it.
        conversation: as the client names it; None lets the store find it by the history that was sent.
        rater: who asked; the store keeps a pseudonym.
        consent: whether text may be kept; without it the turn is only counted.
        messages: the whole request as it was sent: messages, or the text of a plain completion.
        completion: the assistant's message with its tool calls, or plain text; None where nothing came.
        tools: tool schemas of the request.
        ended: how; only `stop` is a whole answer.
        model: the name that the upstream was asked for.
        fingerprint: of the weights that answered, as far as they are known.
        arm: `current`, `canary`, or `shadow` for an answer that nobody asked for or saw.
        sampling: settings of the request, such as temperature.
        prompt_tokens: as the upstream counted them.
        completion_tokens: likewise.
        ms_first: milliseconds to the first byte of the answer.
        ms_last: milliseconds to its last byte.
        created: when the request came.
        upstream_id: what the upstream called the response.
        parent: the turn before; the store finds it.
        sibling_group: the same for all answers to one prompt in a conversation; the store finds it.
        beside: of a shadow's answer, the turn whose answer people saw: it stands in the same conversation.
    """

    id: str
    tenant: str
    rater: str | None
    consent: bool
    messages: str | Sequence[Mapping[str, Any]]
    completion: str | Mapping[str, Any] | None
    ended: Ended
    model: str
    created: datetime
    conversation: str | None = None
    tools: Sequence[Mapping[str, Any]] | None = None
    fingerprint: str | None = None
    arm: str | None = None
    sampling: Mapping[str, Any] = field(default_factory=dict)
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    ms_first: float | None = None
    ms_last: float | None = None
    upstream_id: str | None = None
    parent: str | None = None
    sibling_group: str | None = None
    beside: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Vote:
    """One rater's verdict on one turn; the latest counts.

    Attributes:
        turn: the id of the turn.
        tenant: whose turn it is.
        rater: who votes; the store keeps a pseudonym.
        value: 1, -1, or 0 for a vote taken back.
        at: when.
        reason: one of `REASONS`.
        comment: the rater's own words.
        correction: the answer that the rater would have liked.
        version: how many times the rater voted on the turn; given by the store.
        cursor: where it stands in the history of the store; given by the store.
        model: whose answer it is about; given by the store when it keeps the vote.
    """

    turn: str
    tenant: str
    rater: str
    value: int
    at: datetime
    reason: str | None = None
    comment: str | None = None
    correction: str | None = None
    version: int = 0
    cursor: int = 0
    model: str = field(default="", compare=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """Something that a rater did with a turn, and that is no verdict on it.

    Attributes:
        turn: the id of the turn.
        tenant: whose turn it is.
        rater: who did it; the store keeps a pseudonym.
        kind: one of `EVENTS`.
        at: when.
        other: of `preferred`, the sibling that this turn was preferred to; of `same`, the one that is as good.
        detail: anything small, such as the order in which two drafts were shown; no text of people.
    """

    turn: str
    tenant: str
    rater: str | None
    kind: str
    at: datetime
    other: str | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)


def new_id() -> str:
    """Return the id of a turn: 128 random bits, which nobody can guess or count."""
    return secrets.token_hex(16)


@dataclass(frozen=True, slots=True)
class Chain:
    """How a turn's text follows from an earlier one's.

    Attributes:
        asked: hash of the whole prompt; equal for siblings.
        known: hash of the prompt up to its last assistant message: the `reach` of the turn before, if that is known.
        reach: hash of prompt and completion; None where there is none.
        new: how many messages at the end of the prompt are not in `known`.
    """

    asked: str
    known: str | None
    reach: str | None
    new: int


def chain(turn: Turn, key: bytes) -> Chain:
    """Return the hashes of a turn's history, keyed, so that nobody who reads them can try texts until one fits.

    Each message is hashed with the hash of those before it, so that equal hashes mean an equal history: one changed
    word, role or tool schema, and the turn starts a new root.
    """
    if isinstance(turn.messages, str):
        return Chain(_hash(turn.tenant, {"text": turn.messages}, key), None, None, 1)
    link = _hash(turn.tenant, {"tools": turn.tools or None}, key)
    known, new = None, len(turn.messages)
    for number, message in enumerate(map(plain, turn.messages), start=1):
        link = _hash(link, message, key)
        if message.get("role") == "assistant":
            known, new = link, len(turn.messages) - number
    reach = _hash(link, plain(turn.completion), key) if isinstance(turn.completion, Mapping) else None
    return Chain(link, known, reach, new)


def plain(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return a message without empty fields, and with content of one text part as that text.

    Clients send the same message back in these forms.
    """
    kept = {name: value for name, value in message.items() if value is not None}
    match kept.get("content"):
        case [{"type": "text", "text": str(text)}]:
            kept["content"] = text
    return kept


def _hash(before: str, value: Any, key: bytes) -> str:
    text = f"{before}\0{_ENCODE(value)}"
    return hashlib.blake2b(text.encode(), key=key[:64], digest_size=_HASH_BYTES).hexdigest()
