"""The recording proxy: completions pass through unchanged but for the id, and every one becomes a turn.

A stream is passed on event by event. The turn goes to the store's writer before the client gets the end of its answer,
so that a vote never comes before its turn. A client that leaves ends the upstream's work as well, and what it has seen
is recorded.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from prospect.collect.access import Access, Caller
from prospect.collect.asking import is_asked
from prospect.collect.canary import CANARY, CURRENT, Canary
from prospect.collect.exchange import Exchange
from prospect.collect.limits import Gate, Limits, Rates
from prospect.collect.metrics import Metrics
from prospect.collect.recorder import Recorder
from prospect.collect.refusals import Refusal, error_body
from prospect.collect.request import Asked, header_value, path_of_models, read_request
from prospect.collect.shadow import Shadow
from prospect.collect.stream import StreamReader, parse, with_id
from prospect.collect.upstream import Reply, Upstream, UpstreamError

if TYPE_CHECKING:
    from prospect.collect.routes import Routes


@dataclass
class Proxy:
    """Passes requests on and records what was answered.

    Attributes:
        upstream: who answers.
        recorder: writes the turns.
        access: who may ask.
        metrics: counts.
        gate: how many answers are under way.
        limits: how much a client may ask for.
        consent: whether text is kept where the client says nothing.
        model: the name that the upstream is asked for, whatever the client says; empty leaves the client's.
        canary: the model that answers a share of the conversations.
        routes: says both instead, where a registry does.
        shadow: answers a share of the requests a second time, unseen.
        ask: the share of the turns whose readers are asked for a vote.
    """

    upstream: Upstream
    recorder: Recorder
    access: Access
    metrics: Metrics
    gate: Gate
    limits: Limits
    consent: bool
    model: str = ""
    canary: Canary | None = None
    routes: Routes | None = None
    shadow: Shadow | None = None
    ask: float = 0.0

    def __post_init__(self) -> None:
        self._rates = Rates(self.limits.requests, 2 * self.limits.requests)

    async def models(self, scope: Scope, receive: Receive, send: Send) -> None:
        """GET /v1/models, and /v1/models/ID: what the upstream says."""
        headers = Headers(scope=scope)
        self._rates.take((await self.access.caller(headers, "chat")).key, "requests")
        reply = await self.upstream.ask(path_of_models(scope["path_params"].get("id")), None, headers)
        try:
            await _send_whole(send, reply, await reply.whole())
        finally:
            reply.close()

    async def chat(self, scope: Scope, receive: Receive, send: Send) -> None:
        """POST /v1/chat/completions."""
        await self._complete(scope, receive, send, "chat/completions")

    async def completions(self, scope: Scope, receive: Receive, send: Send) -> None:
        """POST /v1/completions."""
        await self._complete(scope, receive, send, "completions")

    async def _complete(self, scope: Scope, receive: Receive, send: Send, path: str) -> None:
        headers = Headers(scope=scope)
        caller = await self.access.caller(headers, "chat")
        self._rates.take(caller.key, "requests")
        body = bytearray()
        while (message := await receive())["type"] == "http.request":
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        else:
            return  # it left before it had asked
        exchange = self._exchange(read_request(bytes(body), headers, chat=path == "chat/completions"), caller)
        with self.gate.enter(caller.key):
            await self._unless_left(exchange, self._answer(exchange, path, headers, send), receive)
        if self.shadow is not None:
            self.shadow.after(exchange)

    def _exchange(self, asked: Asked, caller: Caller) -> Exchange:
        """Decide which model answers."""
        current, canary = self.routes.now() if self.routes is not None else (self.model, self.canary)
        model, arm = current or asked.model, CURRENT
        if canary is not None and canary.takes(asked.branch(caller.tenant)):
            model, arm = canary.model, CANARY
        consent = self.consent if asked.consent is None else asked.consent
        return Exchange(asked, caller.tenant, consent, model, arm, self.upstream.fingerprint(model))

    async def _unless_left(self, exchange: Exchange, answer: Coroutine[None, None, None], receive: Receive) -> None:
        """Answer until all is sent or the client leaves; record in both cases, even if this task is cancelled."""
        work, leaving = asyncio.current_task(), asyncio.ensure_future(_left(receive))
        assert work is not None, "requests are answered in tasks"
        ended = False

        def leave(_: asyncio.Future[None]) -> None:
            if not ended:
                exchange.client_left = True
                work.cancel()  # closes the connection to the upstream

        leaving.add_done_callback(leave)
        try:
            await answer
        except asyncio.CancelledError:
            if not exchange.client_left:  # the server ends
                exchange.client_left = True
                raise
            work.uncancel()
        finally:
            ended = True
            leaving.cancel()
            self._record(exchange)

    async def _answer(self, exchange: Exchange, path: str, headers: Headers, send: Send) -> None:
        began = time.perf_counter()
        try:
            reply = await self.upstream.ask(path, exchange.asked.body_for(exchange.model), headers)
        except Refusal as refusal:
            exchange.failed = isinstance(refusal, UpstreamError)
            exchange.recorded = not exchange.failed  # what was refused is no turn
            raise
        try:
            if 200 <= reply.status < 300:
                await (self._stream if reply.is_stream else self._whole)(exchange, reply, send)
                self._measure(exchange, time.perf_counter() - began)
            else:
                exchange.failed = reply.status >= 500
                exchange.recorded = not exchange.failed  # what the client did wrong is no turn
                await _send_whole(send, reply, await reply.whole())
        finally:
            reply.close()

    def _headers(self, exchange: Exchange) -> list[tuple[bytes, bytes]]:
        """Return what the client needs to vote."""
        return [
            (b"x-prospect-turn", exchange.id.encode()),
            (b"x-prospect-vote", self.access.token(exchange.id, exchange.tenant, exchange.asked.rater).encode()),
            (b"x-prospect-model", header_value(exchange.model)),
            (b"x-prospect-ask", b"yes" if is_asked(exchange.id, self.ask) else b"no"),
        ]

    async def _whole(self, exchange: Exchange, reply: Reply, send: Send) -> None:
        try:
            body = await reply.whole()
        except UpstreamError:
            exchange.failed = True
            raise
        exchange.heard()
        content = parse(body)
        if isinstance(content, dict):
            exchange.answer.add(content)
            exchange.answer.done = True
            body = with_id(body, exchange.id)
        self._record(exchange)
        await _send_whole(send, reply, body, self._headers(exchange))

    async def _stream(self, exchange: Exchange, reply: Reply, send: Send) -> None:
        headers = [*reply.headers, *self._headers(exchange), (b"x-accel-buffering", b"no")]
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        reader = StreamReader(exchange.id, exchange.answer, reply.secret)
        try:
            async for piece in reply.pieces:
                exchange.heard()
                for block in reader.feed(piece):
                    if exchange.answer.done:
                        self._record(exchange)
                    await send({"type": "http.response.body", "body": block, "more_body": True})
            rest = reader.finish()
        except UpstreamError as error:  # the head was sent: what is left is to say it in the stream
            exchange.failed = True
            rest = reader.finish() + b"\n\ndata: " + error_body(error.status_code, error.detail) + b"\n\n"
        self._record(exchange)
        await send({"type": "http.response.body", "body": rest})

    def _record(self, exchange: Exchange) -> None:
        """Write the turns of an exchange, once."""
        if not exchange.recorded:
            exchange.recorded = True
            self.recorder.record(exchange)

    def _measure(self, exchange: Exchange, seconds: float) -> None:
        if exchange.upstream_seconds is not None:
            self.metrics.upstream.observe(exchange.upstream_seconds)
            self.metrics.overhead.observe(max(0.0, seconds - exchange.upstream_seconds))


async def _send_whole(send: Send, reply: Reply, body: bytes, more: Sequence[tuple[bytes, bytes]] = ()) -> None:
    headers = [*reply.headers, *more, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _left(receive: Receive) -> None:
    """Return when the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
