"""Texts as the store keeps them: JSON in UTF-8, compressed where it is long."""

from __future__ import annotations

import json
import zlib
from typing import Any

import orjson

_COMPRESSED_FROM = 1024  # bytes; shorter ones hardly shrink
_LEVEL = 1  # of zlib: half the time of 6 for a tenth more bytes
_MARK = b"x"  # zlib's first byte, which no JSON begins with


def pack(value: Any) -> bytes:
    """Return a value as the store keeps it."""
    try:
        text = orjson.dumps(value)
    except TypeError:  # half characters, whole numbers of more than 64 bits
        text = json.dumps(value).encode()
    return text if len(text) < _COMPRESSED_FROM else zlib.compress(text, _LEVEL)


def unpack(kept: bytes) -> Any:
    """Return the value again."""
    text = zlib.decompress(kept) if kept[:1] == _MARK else kept
    try:
        return orjson.loads(text)
    except ValueError:
        return json.loads(text)
