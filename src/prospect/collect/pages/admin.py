"""GET /admin: turns and votes of each model, the canary, and exports; to read, without a script."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import Request
from sqlalchemy import func
from starlette.responses import Response

from prospect.collect.access import Access, Caller
from prospect.collect.database import Database
from prospect.collect.pages.page import page
from prospect.collect.refusals import Refusal
from prospect.collect.rows import moment
from prospect.collect.stats import model_stats
from prospect.collect.tables import export, owned
from prospect.errors import CheckpointError, StoreError
from prospect.statistics.rates import Rate

if TYPE_CHECKING:
    from prospect.collect.registry import Models, Registry
    from prospect.results.canary import CanaryResult
    from prospect.statistics.sequential import Gap

MOST_EXPORTS = 50
_DIGEST_BYTES = 8  # of each turn in an export


@dataclass
class AdminPage:
    """Shows an admin how the models do.

    Attributes:
        database: of the store.
        access: who may look.
        registry: of the models, where one is served.
        ask: the share of the turns whose readers are asked for a vote.
    """

    database: Database
    access: Access
    registry: Registry | None
    ask: float
    _alone: asyncio.Lock = field(default_factory=asyncio.Lock)  # a look at millions of turns takes seconds

    async def show(self, request: Request) -> Response:
        """Return the page of the caller's tenant, or one that says why not.

        A browser asks for the key as a password, with any name.
        """
        try:
            caller = await self.access.caller(_with_bearer(request.headers), "admin")
            async with self._alone:
                return await asyncio.to_thread(self._page, caller)
        except Refusal as refusal:
            refused = refusal
        except StoreError:
            refused = Refusal(503, "the store cannot be read. Load the page again in a while.", retry_after=5)
        response = page("refused.html.j2", status=refused.status_code, words=refused.detail)
        response.status_code = refused.status_code
        response.headers.update(refused.headers or {})
        if refused.status_code == 401:
            response.headers["www-authenticate"] = 'Basic realm="the API key as password", charset="UTF-8"'
        return response

    def _page(self, caller: Caller) -> Response:
        models, canary = self._canary()
        return page(
            "admin.html.j2",
            tenant=caller.tenant,
            models=model_stats(self.database, caller.tenant, ask=self.ask),
            ask=self.ask,
            has_registry=self.registry is not None,
            registry=models,
            canary=canary,
            gaps=_gaps(canary),
            exports=_exports(self.database, caller.tenant),
            most_exports=MOST_EXPORTS,
            share=_share,
            minute=_minute,
        )

    def _canary(self) -> tuple[Models | None, CanaryResult | None]:
        """Return the registry, None where none can be read, and how its canary does."""
        if self.registry is None:
            return None, None
        from prospect.collect.trial import look

        try:
            models = self.registry.read()
        except (CheckpointError, OSError):
            return None, None
        tried = models.current is not None and models.canary is not None
        return models, look(self.database, models, by_rater=False) if tried else None


def _with_bearer(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Return the headers with the password of HTTP's basic authentication as the API key."""
    kind, _, encoded = headers.get("authorization", "").partition(" ")
    if kind.lower() != "basic":
        return headers
    try:
        _, _, secret = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        secret = ""
    return {"authorization": f"Bearer {secret}"}


def _exports(database: Database, tenant: str) -> list[dict[str, Any]]:
    """Return a tenant's exports, the last first."""
    size = func.length(export.c.turns)
    query = owned(export, tenant, export.c.at, export.c.path, export.c.sha256, size)
    with database.reading() as connection:
        rows = connection.execute(query.order_by(export.c.id.desc()).limit(MOST_EXPORTS)).all()
    return [
        {"at": moment(at), "name": Path(path).name, "sha256": sha256, "turns": size // _DIGEST_BYTES}
        for at, path, sha256, size in rows
    ]


def _gaps(found: CanaryResult | None) -> dict[str, Gap]:
    """Return how much more the canary has of each, as far as there is anything to compare."""
    if found is None:
        return {}
    gaps = {
        "votes up among votes": found.up_share,
        "turns voted down": found.down_turns,
        "failed requests": found.errors,
    }
    return {words: gap for words, gap in gaps.items() if gap is not None}


def _share(rate: Rate) -> str:
    return f"{rate.rate:.1%} ({rate.low:.1%} to {rate.high:.1%})"


def _minute(at: str | datetime) -> str:
    """Return a time of the registry or the store, in UTC, to the minute."""
    time = datetime.fromisoformat(at) if isinstance(at, str) else at
    return f"{time:%Y-%m-%d %H:%M} UTC"
