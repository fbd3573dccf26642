"""The fields of a request to a server: ours, the user's, and what this server takes."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from prospect.endpoint.replies import read_json
from prospect.errors import UsageError

# Fields that not every server takes, and what is sent in their place; None leaves one out.
REPLACED: Mapping[str, str | None] = {
    "max_tokens": "max_completion_tokens",
    "temperature": None,
    "top_p": None,
    "seed": None,
}
LIMITS = ("max_tokens", "max_completion_tokens")
# Words of a refusal that is about a field itself, and not about how large or long something is.
_UNSUPPORTED = re.compile(
    r"unsupported|n[o']t (?:support|permitted|allowed|accepted|recogni[sz]ed)|unrecogni[sz]ed|unknown|unexpected"
    r"|extra_forbidden|cannot both",
    re.IGNORECASE,
)
_OURS = ("model", "messages", "prompt", "stream", "n")


class RequestFields:
    """Fields of the requests to one server; threads may share it.

    Args:
        request: the user's fields, in place of ours; None leaves one out. A limit replaces the other limit.

    Raises:
        UsageError: a field that is not the user's to set, or a value that JSON has no place for.
    """

    def __init__(self, request: Mapping[str, Any]) -> None:
        _check(request)
        self._request = request
        self._replaced: set[str] = set()
        self._lock = threading.Lock()

    def complete(self, ours: Mapping[str, Any]) -> dict[str, Any]:
        """Return what is sent: ours as far as the server is known to take it, and the user's in its place."""
        limited = any(name in self._request for name in LIMITS)
        sent: dict[str, Any] = {}
        for name, value in ours.items():
            place = REPLACED[name] if name in self._replaced else name
            if place is not None and not (limited and name in LIMITS):
                sent[place] = value
        return {name: value for name, value in {**sent, **self._request}.items() if value is not None}

    def replace(self, sent: Mapping[str, Any], said: str) -> tuple[bool, str]:
        """Learn from a refusal.

        Args:
            sent: the fields of the request that was refused.
            said: the server's words.

        Returns:
            Whether it is about a field of ours that can be replaced or left out, so that `complete` gives other fields
            now; and, the first time, what has changed, in words. A field that the user set is never replaced.
        """
        if not _UNSUPPORTED.search(said):
            return False, ""
        places = {}
        for name in REPLACED.keys() & sent.keys() - self._request.keys():
            if found := re.search(rf"\b{name}\b", said):
                places[found.start()] = name
        if not places:
            return False, ""
        name = places[min(places)]  # what a server advises comes after what it refuses
        with self._lock:
            known = name in self._replaced
            self._replaced.add(name)
        place = f"{REPLACED[name]} is sent in its place" if REPLACED[name] else "it is left out"
        return True, "" if known else f"the server takes no {name}, so {place} from now on ({said})"


def parse_request(texts: Sequence[str]) -> dict[str, Any]:
    """Return the fields of `NAME=VALUE` texts; a value is JSON (512, null, {"a": 1}) or else the text itself.

    Raises:
        UsageError: a text without a name, or a name twice; see `RequestFields` for the rest.
    """
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        name = name.strip()
        if not equals or not name:
            raise UsageError(f'request "{text}": expected NAME=VALUE, such as max_completion_tokens=512.')
        if name in found:
            raise UsageError(f"request {name}: it is given twice. Leave one out.")
        try:
            found[name] = read_json(value.encode(errors="replace"))
        except ValueError:
            found[name] = value
    _check(found)
    return found


def _check(request: Mapping[str, Any]) -> None:
    for name, value in request.items():
        if name in _OURS:
            raise UsageError(f"request {name}: every request has its own. Leave it out.")
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError):
            raise UsageError(f"request {name}: {value!r} cannot be sent; expected text, a number, or JSON.") from None
    if all(request.get(name) is not None for name in LIMITS):
        raise UsageError(f"request {' and '.join(LIMITS)}: a server takes one of them. Leave the other out.")
