"""Server-sent events of a chat server: cut into events, read for the record, and given an id of ours.

Pure: bytes in, bytes out. Any split of the same bytes gives the same events, the same turn and, put together, the same
output. What cannot be read passes through unchanged.

Source: HTML Living Standard, "Server-sent events", 9.2.6: a line ends with LF, CR or CR LF; a blank line ends an
event.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import orjson

from prospect.collect.answer import Answer
from prospect.endpoint.replies import read_json

MOST_EVENT_BYTES = 2**20  # a chunk of an answer has some hundred bytes; a longer event passes unread

_LINE_END = rb"(?>\r\n|\n|\r)"
_BLANK_LINE = re.compile(_LINE_END + _LINE_END)
_DATA = re.compile(rb"(?:^(?:\xef\xbb\xbf)?|(?<=[\r\n]))data: ?([^\r\n]*)")  # the first may have a byte order mark
_ID_FIRST = re.compile(rb'\s*\{\s*"id"\s*:\s*("(?:[^"\\]|\\.)*")')
_TOKENS = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\]]', re.DOTALL)
_VALUE = re.compile(rb'\s*:\s*("(?:[^"\\]|\\.)*")', re.DOTALL)
_DONE = b"[DONE]"


class Event:
    """One event as it came.

    Attributes:
        raw: its bytes, the blank line with them.
        unread: whether it is too long to be read.
    """

    def __init__(self, raw: bytes, *, unread: bool = False) -> None:
        self.raw, self.unread = raw, unread

    @cached_property
    def data(self) -> list[tuple[int, int]]:
        """Where its data stands in `raw`: (start, end) of each data line."""
        return [] if self.unread else [line.span(1) for line in _DATA.finditer(self.raw)]

    @cached_property
    def payload(self) -> bytes:
        """Its data, the lines joined as the standard says."""
        return b"\n".join(self.raw[start:end] for start, end in self.data)


class EventReader:
    """Cuts a stream into events; every byte that goes in comes out in one of them.

    Args:
        secret: written as *** wherever it is; empty for none.
    """

    def __init__(self, secret: bytes = b"") -> None:
        self._secret = secret
        self._buffer = bytearray()
        self._looked = 0  # no blank line ends before this
        self._skipping = False  # within an event that is too long to be read
        self._returns = False  # whether lines may end with CR, which takes a slower search

    def feed(self, data: bytes) -> Iterator[Event]:
        """Yield the events that these bytes complete."""
        self._buffer += data
        self._returns = self._returns or b"\r" in data
        while end := self._blank_line():
            yield self._take(end)
        self._looked = max(0, len(self._buffer) - 3)
        if len(self._buffer) > MOST_EVENT_BYTES:
            # The line end may be half of the blank line; it stays for the next look.
            end = len(self._buffer) - 3
            self._skipping = True
            yield Event(self._cut(end), unread=True)

    def finish(self) -> Iterator[Event]:
        """Yield what is left when the stream ends without a blank line."""
        if self._buffer:
            yield self._take(len(self._buffer))

    def _blank_line(self) -> int:
        """Return where the first blank line ends; 0 where there is none yet."""
        if self._returns:
            found = _BLANK_LINE.search(self._buffer, self._looked)
            return 0 if found is None else found.end()
        start = self._buffer.find(b"\n\n", self._looked)
        return 0 if start < 0 else start + 2

    def _take(self, end: int) -> Event:
        unread = self._skipping or end > MOST_EVENT_BYTES
        self._skipping = False
        return Event(self._cut(end), unread=unread)

    def _cut(self, end: int) -> bytes:
        raw = bytes(self._buffer[:end])
        del self._buffer[:end]
        self._looked = 0
        return without(self._secret, raw)


class StreamReader:
    """Reads a stream into an `Answer` and gives every chunk the same id.

    Args:
        turn_id: the id that chunks get.
        answer: what the chunks are added to; it is done once [DONE] has been yielded.
        secret: as for `EventReader`.
    """

    def __init__(self, turn_id: str, answer: Answer, secret: bytes = b"") -> None:
        self._id = turn_id.encode()
        self._answer = answer
        self._events = EventReader(secret)
        # How the last chunk began, up to its id; with ours in place of it; and where its data began.
        self._begins, self._ours, self._data = b"", b"", 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what these bytes complete, with our id; [DONE] comes in a block of its own, with what follows it."""
        block: list[bytes] = []
        for event in self._events.feed(data):
            if block and self._is_done(event):
                yield b"".join(block)
                block = []
            block.append(self._pass(event))
        if block:
            yield b"".join(block)

    def finish(self) -> bytes:
        """Return what is left at the end of the stream, with our id."""
        return b"".join(self._pass(event) for event in self._events.finish())

    def _is_done(self, event: Event) -> bool:
        return _DONE in event.raw and event.payload.strip() == _DONE

    def _pass(self, event: Event) -> bytes:
        if self._is_usual(event):
            chunk = parse(event.raw[self._data : -2])
            if not isinstance(chunk, dict):
                return event.raw
            self._answer.add(chunk)
            return self._ours + event.raw[len(self._begins) :] if isinstance(chunk.get("id"), str) else event.raw
        payload = event.payload
        if not payload or payload.isspace():
            return event.raw
        if payload.strip() == _DONE:
            self._answer.done = True
            return event.raw
        chunk = parse(payload)
        if not isinstance(chunk, dict):
            return event.raw
        self._answer.add(chunk)
        return self._with_id(event, payload) if isinstance(chunk.get("id"), str) else event.raw

    def _is_usual(self, event: Event) -> bool:
        """Return whether an event has one line of data that begins as that of the last chunk, up to its id."""
        raw, begins = event.raw, self._begins
        if not begins or event.unread or not raw.startswith(begins):
            return False
        return (
            raw.find(b"\n", len(begins)) == len(raw) - 2 and raw.endswith(b"\n\n") and raw.find(b"\r", len(begins)) < 0
        )

    def _with_id(self, event: Event, payload: bytes) -> bytes:
        raw = event.raw
        for start, end in reversed(id_spans(payload)):
            start, end = _place_in_raw(event, start), _place_in_raw(event, end)
            raw = raw[: start + 1] + self._id + raw[end - 1 :]
        if len(event.data) == 1 and (first := _ID_FIRST.match(payload)):
            self._data = event.data[0][0]
            self._begins = event.raw[: self._data + first.end()]
            self._ours = event.raw[: self._data + first.start(1) + 1] + self._id + b'"'
        return raw


def _place_in_raw(event: Event, place: int) -> int:
    """Return where a byte of the payload stands in the event; a string of JSON never goes over the end of a line."""
    for start, end in event.data:
        if place <= end - start:
            return start + place
        place -= end - start + 1
    raise AssertionError("the place is outside of the payload")


def without(secret: bytes, data: bytes) -> bytes:
    """Return the bytes with *** in place of a secret; the same bytes where there is none."""
    return data.replace(secret, b"***") if secret and secret in data else data


def parse(data: bytes) -> Any:
    """Return what JSON holds, or None where it cannot be read."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        try:
            return read_json(data)  # it reads NaN too, which some servers send as a log-prob
        except ValueError:
            return None


def id_spans(data: bytes) -> list[tuple[int, int]]:
    """Return where the strings of the keys "id" of a JSON object stand, quotes included; not those of inner objects."""
    if found := _ID_FIRST.match(data):
        return [found.span(1)]
    spans, depth = [], 0
    for token in _TOKENS.finditer(data):
        first = data[token.start()]
        if first in b"{[":
            depth += 1
        elif first in b"}]":
            depth -= 1
        elif depth == 1 and token[0] == b'"id"' and (value := _VALUE.match(data, token.end())):
            spans.append(value.span(1))
    return spans


def with_id(body: bytes, turn_id: str) -> bytes:
    """Return a JSON answer with our id in place of its own; all other bytes as they are."""
    for start, end in reversed(id_spans(body)):
        body = body[: start + 1] + turn_id.encode() + body[end - 1 :]
    return body
