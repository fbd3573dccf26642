"""What a server refuses, in the shape of OpenAI's errors, which every client of it reads."""

from __future__ import annotations

from typing import Any

import orjson
from fastapi import HTTPException

_KINDS = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    502: "upstream_error",
    504: "upstream_error",
}


class Refusal(HTTPException):
    """A request that is answered with an error.

    Args:
        status: of HTTP.
        message: what was found, and what to do.
        retry_after: seconds after which the client may try again.
    """

    def __init__(self, status: int, message: str, *, retry_after: float | None = None) -> None:
        headers = {} if retry_after is None else {"retry-after": str(max(1, round(retry_after)))}
        super().__init__(status, message, headers)


def error_body(status: int, message: str) -> bytes:
    """Return the body of an error."""
    kind = _KINDS.get(status, "invalid_request_error" if status < 500 else "server_error")
    body: dict[str, Any] = {"error": {"message": message, "type": kind, "param": None, "code": None}}
    return orjson.dumps(body)
