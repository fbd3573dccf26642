"""Limits on what one client may send: sizes, rates, and how much at once."""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from starlette.types import Message, Receive, Scope

from prospect.collect.refusals import Refusal

MOST_BODY = 2**20  # bytes of a request
MOST_COMMENT = 4096  # bytes of a comment
MOST_CORRECTION = 2**16  # bytes of a corrected answer
MOST_MESSAGES = 200
MOST_NAME = 128  # characters of a rater or a conversation
_MOST_BUCKETS = 100_000  # full buckets are forgotten first; 100 bytes each


@dataclass(frozen=True)
class Limits:
    """How much one client may ask for.

    Attributes:
        requests: completions a second for each key; twice as many at once.
        votes: votes and events a second for each key; twice as many at once.
        votes_of_rater: votes and events a minute of one rater.
        streams: answers under way for each key.
        at_once: answers under way for all keys together.
    """

    requests: float = 100.0
    votes: float = 200.0
    votes_of_rater: float = 60.0
    streams: int = 256
    at_once: int = 1024


class Rates:
    """Token buckets by name: each holds `burst` tokens, and gets `rate` a second back.

    Args:
        rate: tokens a second.
        burst: how many may be taken at once.
        clock: seconds, from any start.
    """

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens, and when they were counted

    def take(self, name: str, what: str) -> None:
        """Take a token.

        Args:
            name: of the bucket.
            what: is asked for too often, for the message.

        Raises:
            Refusal: 429; there is none.
        """
        now = self._clock()
        tokens, counted = self._buckets.pop(name, (self._burst, now))
        tokens = min(self._burst, tokens + (now - counted) * self._rate)
        enough = tokens >= 1
        self._buckets[name] = (tokens - enough, now)
        if len(self._buckets) > _MOST_BUCKETS:
            self._buckets.popitem(last=False)  # the one not used for longest
        if not enough:
            wait = (1 - tokens) / self._rate
            raise Refusal(429, f"too many {what}. Try again in {wait:.1f} seconds.", retry_after=wait)


class Gate:
    """Counts answers under way.

    Args:
        limits: how many there may be.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._open: Counter[str] = Counter()
        self.open = 0

    @contextmanager
    def enter(self, key: str) -> Iterator[None]:
        """Count one more answer of a key within the block.

        Raises:
            Refusal: 429 or 503; there are too many.
        """
        if self.open >= self._limits.at_once:
            raise Refusal(503, f"{self.open} answers are under way, which is the limit. Try again.", retry_after=1)
        if self._open[key] >= self._limits.streams:
            raise Refusal(429, f"{self._open[key]} answers are under way for this key. End one first.", retry_after=1)
        self._open[key] += 1
        self.open += 1
        try:
            yield
        finally:
            self.open -= 1
            self._open[key] -= 1
            if not self._open[key]:
                del self._open[key]


def bounded(scope: Scope, receive: Receive) -> Receive:
    """Return a `receive` that refuses a body of more than `MOST_BODY` bytes, whatever its head says.

    Raises:
        Refusal: 413; the head says that it is longer.
    """
    said = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
    if not said.isdigit() or int(said[:20]) > MOST_BODY:
        raise _too_long()
    read = 0

    async def receive_bounded() -> Message:
        nonlocal read
        message = await receive()
        read += len(message.get("body", b""))
        if read > MOST_BODY:
            raise _too_long()
        return message

    return receive_bounded


def _too_long() -> Refusal:
    return Refusal(413, f"the request has more than {MOST_BODY >> 20} MiB. Send less.")


def check_size(text: str | None, most: int, what: str) -> None:
    """Refuse a text of more than `most` bytes with 413."""
    if text is not None and len(text.encode(errors="replace")) > most:
        raise Refusal(413, f"the {what} has more than {most} bytes. Shorten it.")
