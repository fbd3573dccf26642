"""What every request passes first and every response last: who is called, sizes, kinds, and headers of safety."""

from __future__ import annotations

import re

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from prospect.collect.limits import bounded
from prospect.collect.metrics import Metrics
from prospect.collect.refusals import Refusal, error_body

_JSON = "application/json"
_LOOPBACK = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:[0-9]{1,5})?", re.IGNORECASE)
# A response is data, whatever it holds: a browser that is led to it runs nothing and shows it in no frame.
_HEADERS = {
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}
_BROWSERS_PATHS = ("/v1/feedback", "/v1/events")  # those that pages of other origins may call, if they are named


class Shell:
    """Middleware around the whole application.

    Args:
        app: what is inside.
        keyed: whether callers need a key. Without keys only names of the loopback may be called: else a page in
            somebody's browser could reach the server by a name of its own that leads to 127.0.0.1.
        origins: pages of these origins may vote.
        metrics: counts refusals.
    """

    def __init__(self, app: ASGIApp, keyed: bool, origins: frozenset[str], metrics: Metrics) -> None:
        self._app, self._keyed, self._origins, self._metrics = app, keyed, origins, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        origin = headers.get("origin", "")
        shared = origin if origin in self._origins and scope["path"] in _BROWSERS_PATHS else ""

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._complete(message, shared)
            await send(message)

        try:
            self._check(scope, headers)
            if shared and scope["method"] == "OPTIONS":
                await _send(send_safely, 204, b"", {"access-control-max-age": "600"})
                return
            receive = bounded(scope, receive)
        except Refusal as refusal:
            body = error_body(refusal.status_code, refusal.detail)
            await _send(send_safely, refusal.status_code, body, {"content-type": "application/json"})
            return
        await self._app(scope, receive, send_safely)

    def _check(self, scope: Scope, headers: Headers) -> None:
        if not self._keyed and not _LOOPBACK.fullmatch(headers.get("host", "")):
            raise Refusal(421, "without keys this server answers to localhost and 127.0.0.1 only.")
        # A form of any page may post text/plain; for JSON the browser asks first, and is refused.
        if scope["method"] == "POST" and headers.get("content-type", "").partition(";")[0].strip().lower() != _JSON:
            raise Refusal(415, "the content type is not application/json.")

    def _complete(self, message: Message, shared: str) -> None:
        if message["status"] >= 400:
            self._metrics.refused(message["status"])
        headers = MutableHeaders(raw=message["headers"])
        for name, value in _HEADERS.items():
            headers.setdefault(name, value)
        if shared:
            headers["access-control-allow-origin"] = shared
            headers["access-control-allow-methods"] = "GET, POST, DELETE"
            headers["access-control-allow-headers"] = "content-type, x-prospect-vote, idempotency-key"
            headers["vary"] = "origin"


async def _send(send: Send, status: int, body: bytes, headers: dict[str, str]) -> None:
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    raw.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})
