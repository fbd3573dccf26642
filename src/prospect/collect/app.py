"""The server: completions, votes, pages, health and metrics, behind one shell of limits and headers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.telemetry import TelemetryConfig
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from prospect import __version__
from prospect.collect.access import Access
from prospect.collect.asking import USUAL_SHARE
from prospect.collect.canary import Canary
from prospect.collect.feedback_api import FeedbackApi
from prospect.collect.limits import Gate, Limits
from prospect.collect.metrics import Metrics
from prospect.collect.openapi import PROXY_PATHS
from prospect.collect.pages.admin import AdminPage
from prospect.collect.pages.chat import chat_page
from prospect.collect.pages.review import review_page
from prospect.collect.proxy import Proxy
from prospect.collect.recorder import Recorder
from prospect.collect.refusals import error_body
from prospect.collect.retention import sweep_when_due
from prospect.collect.review_api import ReviewApi
from prospect.collect.shadow import Shadow
from prospect.collect.shell import Shell
from prospect.collect.spans import Spans
from prospect.collect.store import Store
from prospect.collect.upstream import Upstream
from prospect.errors import StoreError
from prospect.feedback.files.store.selection import USUAL_REVIEWERS

if TYPE_CHECKING:
    from prospect.collect.routes import Routes


@dataclass(frozen=True)
class Serving:
    """How a server serves.

    Attributes:
        model: the name that the upstream is asked for, whatever the client says; empty leaves the client's.
        canary: the model that answers a share of the conversations.
        shadow: the model that answers a share of the requests a second time, unseen.
        registry: the folder of a registry that says both, from when it has a current model; its canary is rolled back
            when it is worse.
        consent: whether text is kept where the client says nothing about it.
        origins: web pages of these origins may vote from a browser.
        limits: how much a client may ask for.
        ask: the share of the turns whose readers are asked for a vote, so that these votes are a fair sample.
        reviewers: how many verdicts of reviewers an answer gets.
        between_looks: seconds from one look at the registry's canary to the next.
    """

    model: str = ""
    canary: Canary | None = None
    shadow: Canary | None = None
    registry: Path | None = None
    consent: bool = False
    origins: Sequence[str] = ()
    limits: Limits = field(default_factory=Limits)
    ask: float = USUAL_SHARE
    reviewers: int = USUAL_REVIEWERS
    between_looks: float = 60.0  # every look holds, so that more of them cost only time


def make_app(store: Store, upstream: Upstream, access: Access, serving: Serving | None = None) -> FastAPI:
    """Return the server as an ASGI application; it closes upstream and store when it ends."""
    serving = serving or Serving()
    gate = Gate(serving.limits)
    metrics = Metrics(lambda: store.waiting, lambda: gate.open)
    spans = Spans.configured()
    recorder = Recorder(store, metrics, spans)
    shadow = None if serving.shadow is None else Shadow(serving.shadow, upstream, recorder, metrics)
    routes = None if serving.registry is None else _routes(serving.registry, upstream, serving.model)
    proxy = Proxy(
        upstream, recorder, access, metrics, gate, serving.limits, serving.consent,
        serving.model, serving.canary, routes, shadow, serving.ask,
    )  # fmt: skip

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        beside = [asyncio.create_task(sweep_when_due(store))]
        if routes is not None:
            from prospect.collect.routes import watch

            beside.append(asyncio.create_task(watch(routes.registry, store.database, serving.between_looks)))
        yield
        for task in beside:
            task.cancel()
        if shadow is not None:
            shadow.stop()
        await recorder.finish()
        await upstream.close()
        store.close()

    app = FastAPI(
        title="Prospect", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None,
        description="Completions of an OpenAI-compatible server, and votes on them.",
        telemetry=_NO_TELEMETRY,
    )  # fmt: skip
    app.add_middleware(Shell, keyed=access.keys is not None, origins=frozenset(serving.origins), metrics=metrics)
    for path, handle, method in (
        ("/v1/chat/completions", proxy.chat, "POST"),
        ("/v1/completions", proxy.completions, "POST"),
        ("/v1/models", proxy.models, "GET"),
        ("/v1/models/{id:path}", proxy.models, "GET"),
    ):
        app.router.routes.append(Route(path, _Raw(handle), methods=[method]))
    app.include_router(FeedbackApi(store, access, serving.limits, metrics, spans).router())
    app.include_router(ReviewApi(store, access, serving.limits, serving.reviewers).router())
    _add_health(app, store, access, metrics)
    app.get("/", include_in_schema=False)(chat_page)
    app.get("/review", include_in_schema=False)(review_page)
    admin = AdminPage(store.database, access, None if routes is None else routes.registry, serving.ask)
    app.get("/admin", include_in_schema=False)(admin.show)
    app.add_exception_handler(HTTPException, _refuse)
    app.add_exception_handler(RequestValidationError, _refuse_invalid)
    app.add_exception_handler(Exception, _refuse_unforeseen)
    app.openapi = _with_proxy_paths(app.openapi)  # type: ignore[method-assign]
    return app


def _routes(registry: Path, upstream: Upstream, usual: str) -> Routes:
    from prospect.collect.routes import Routes  # brings what trials need, which a server without one starts without

    return Routes(registry, upstream, usual)


# FastAPI's own spans and logs hold addresses with names of raters, and the words of errors.
_NO_TELEMETRY: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False, "operation_spans": False}


class _Raw:
    """An ASGI application of one function: Starlette takes a plain function for one that returns a response."""

    def __init__(self, handle: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        self._handle = handle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._handle(scope, receive, send)


def _add_health(app: FastAPI, store: Store, access: Access, metrics: Metrics) -> None:
    @app.get("/healthz", summary="Whether the server runs")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/readyz", summary="Whether votes can be kept", responses={503: {"description": "they cannot"}})
    async def readyz() -> Any:
        try:
            await store.ready()
        except StoreError:
            return Response(error_body(503, "the store cannot be written."), 503, media_type="application/json")
        return {"status": "ok"}

    @app.get("/metrics", include_in_schema=False)
    async def metrics_text(request: Request) -> Response:
        await access.caller(request.headers, "admin")
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    body = error_body(error.status_code, str(error.detail))
    return Response(body, error.status_code, dict(error.headers or {}), "application/json")


async def _refuse_invalid(request: Request, error: Exception) -> Response:
    """Say which field is wrong, and nothing of what was in it."""
    assert isinstance(error, RequestValidationError)
    found = [f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}" for one in error.errors()[:5]]
    return Response(error_body(422, "; ".join(found)[:1000]), 422, media_type="application/json")


async def _refuse_unforeseen(request: Request, error: Exception) -> Response:
    return Response(error_body(500, "an error that nobody foresaw."), 500, media_type="application/json")


def _with_proxy_paths(made: Callable[[], dict[str, Any]]) -> Callable[[], dict[str, Any]]:
    def openapi() -> dict[str, Any]:
        schema = made()
        schema["paths"] = {**PROXY_PATHS, **schema["paths"]}
        return schema

    return openapi
