"""Votes and events over HTTP: POST, GET and DELETE /v1/feedback, POST /v1/events."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    ValidationError,
)

from prospect.collect.access import Access, unknown_rater
from prospect.collect.limits import MOST_COMMENT, MOST_CORRECTION, MOST_NAME, Limits, Rates, check_size
from prospect.collect.metrics import Metrics
from prospect.collect.refusals import Refusal
from prospect.collect.request import named
from prospect.collect.rows import KeyReusedError, UnknownTurnError
from prospect.collect.spans import Spans
from prospect.collect.store import MOST_ON_A_PAGE, Store
from prospect.collect.turns import Event, Vote
from prospect.errors import StoreError

Result = TypeVar("Result")

_ON_ITS_WAY = 0.25  # seconds from the end of an answer to the commit of its turn, at most, on a store that keeps up


def _storable(text: str) -> str:
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise ValueError("holds half of a character, which no database keeps")
    return text


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value  # JSON has one kind of number


def _rfc3339(value: Any) -> Any:
    if not (isinstance(value, str) and _TIME.fullmatch(value)):
        raise ValueError("is no time such as 2026-01-31T12:00:00Z")
    return value


_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
Thumb = Annotated[StrictInt, Field(ge=-1, le=1), BeforeValidator(_whole)]
Time = Annotated[AwareDatetime, BeforeValidator(_rfc3339)]
Text = Annotated[str, AfterValidator(_storable), Field(pattern=r"^[^\x00]*$")]  # PostgreSQL keeps no NUL
Name = Annotated[str, Field(min_length=1, max_length=MOST_NAME, pattern=r"^[ -~]+$")]
TurnId = Annotated[str, Field(pattern=r"^[0-9a-f]{32}(-[1-9][0-9]{0,2})?$", description="the id of the response")]
Reason = Literal["not_followed", "wrong", "style", "refused", "unsafe", "too_long", "other"]


class Strict(BaseModel):
    """A body that has nothing but its fields."""

    model_config = ConfigDict(extra="forbid")


class FeedbackIn(Strict):
    """A vote on a turn."""

    id: TurnId
    value: StrictBool | Thumb = Field(description="1 or true: thumb up; -1 or false: thumb down; 0: take the vote back")
    reason: Reason | None = None
    comment: Text | None = Field(None, description=f"at most {MOST_COMMENT} bytes")
    correction: Text | None = Field(None, description=f"what the answer should have been; {MOST_CORRECTION} bytes")
    rater: Name | None = Field(None, description="who votes; a token says it itself")


class VoteOut(BaseModel):
    """A vote as it is kept."""

    id: str
    value: int
    reason: str | None
    comment: str | None
    correction: str | None
    rater: str = Field(description="a pseudonym")
    at: datetime
    version: int = Field(description="how many times the rater voted on the turn")


class VotesOut(BaseModel):
    """A page of votes."""

    votes: list[VoteOut]
    cursor: int | None = Field(description="of the next page; null after the last")


class EventIn(Strict):
    """Something done with a turn that is no verdict on it."""

    id: TurnId
    kind: Literal["regenerated", "copied", "edited", "abandoned"]
    rater: Name | None = None


class PreferenceIn(Strict):
    """Which of two answers to one prompt was preferred, or that they are as good as one another."""

    id: TurnId
    kind: Literal["preferred", "same"]
    other: TurnId = Field(description="the answer that was not, or that is as good")
    first: Literal["id", "other"] | None = Field(None, description="which of them was shown first, on the left")
    rater: Name | None = None


class Kept(BaseModel):
    """An event was kept."""

    kept: Literal[True] = True


class ErrorBody(BaseModel):
    """What went wrong, as OpenAI says it."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorOut(BaseModel):
    """An error in OpenAI's shape."""

    error: ErrorBody


# Headers are read by hand: FastAPI takes longer for two of them than for all else in a vote.
_TOKEN = {
    "name": "x-prospect-vote",
    "in": "header",
    "description": "the token of the response, in place of an API key",
    "schema": {"type": "string"},
}
_IDEMPOTENCY = {
    "name": "idempotency-key",
    "in": "header",
    "description": "the same request again, with the same key, changes nothing",
    "schema": {"type": "string", "maxLength": MOST_NAME, "pattern": "^[ -~]*$"},
}
_VOTING = {"parameters": [_TOKEN, _IDEMPOTENCY]}
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorOut} for status in (400, 401, 403, 404, 405, 409, 413, 415, 421, 422, 429, 503)
}


class _VoteRoute(APIRoute):
    """The route of a vote, which FastAPI describes and does not read: it takes twice as long as all else in a vote."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what answers a request."""
        vote = self.endpoint

        async def answer(request: Request) -> Response:
            try:
                said = FeedbackIn.model_validate_json(await request.body())
            except ValidationError as error:
                found = [{**one, "loc": ("body", *one["loc"])} for one in error.errors(include_input=False)]
                raise RequestValidationError(found) from None
            kept: VoteOut = await vote(request, said)
            return Response(kept.model_dump_json(), media_type="application/json")

        return answer


@dataclass
class FeedbackApi:
    """Takes votes for a store.

    Attributes:
        store: where to.
        access: who may vote.
        limits: how often.
        metrics: counts votes.
        spans: tells OpenTelemetry of votes, where somebody listens.
    """

    store: Store
    access: Access
    limits: Limits
    metrics: Metrics
    spans: Spans | None = None

    def __post_init__(self) -> None:
        self._by_key = Rates(self.limits.votes, 2 * self.limits.votes)
        self._by_rater = Rates(self.limits.votes_of_rater / 60, self.limits.votes_of_rater)

    def router(self) -> APIRouter:
        """Return the routes."""
        router = APIRouter(prefix="/v1", responses=ERRORS)
        add: Any = router.add_api_route
        vote = {"response_model": VoteOut, "openapi_extra": _VOTING}
        add("/feedback", self.vote, methods=["POST"], summary="Vote on a turn", route_class_override=_VoteRoute, **vote)
        add("/feedback", self.retract, methods=["DELETE"], summary="Take a vote back", **vote)
        add("/feedback", self.votes, methods=["GET"], summary="Votes as they are now", response_model=VotesOut)
        event = {"response_model": Kept, "openapi_extra": {"parameters": [_TOKEN]}}
        add("/events", self.event, methods=["POST"], summary="Report an event", **event)
        return router

    async def vote(self, request: Request, said: FeedbackIn) -> VoteOut:
        """Keep a vote; the rater's latest on a turn counts. The same idempotency key changes nothing twice."""
        check_size(said.comment, MOST_COMMENT, "comment")
        check_size(said.correction, MOST_CORRECTION, "correction")
        tenant, rater = await self._rater(request, said.id, said.rater)
        value = (1 if said.value else -1) if isinstance(said.value, bool) else said.value
        one = Vote(
            turn=said.id, tenant=tenant, rater=rater, value=value, at=now(),
            reason=said.reason, comment=said.comment, correction=said.correction,
        )  # fmt: skip
        return await self._keep(one, request)

    async def retract(
        self, request: Request, id: Annotated[TurnId, Query()], rater: Annotated[Name | None, Query()] = None
    ) -> VoteOut:
        """Take a vote back; the same as a vote of 0."""
        tenant, rater = await self._rater(request, id, rater)
        one = Vote(turn=id, tenant=tenant, rater=rater, value=0, at=now())
        return await self._keep(one, request)

    async def votes(
        self,
        request: Request,
        since: Time | None = None,
        cursor: Annotated[int, Query(ge=0, lt=2**63)] = 0,
        limit: Annotated[int, Query(ge=1, le=MOST_ON_A_PAGE)] = MOST_ON_A_PAGE,
    ) -> VotesOut:
        """Return the tenant's votes in the order of their last change."""
        caller = await self.access.caller(request.headers, "review")
        self._by_key.take(caller.key, "requests")
        found = await kept(self.store.votes(caller.tenant, after=cursor, since=since, limit=limit))
        return VotesOut(votes=[_shown(one) for one in found], cursor=found[-1].cursor if len(found) == limit else None)

    async def event(
        self, request: Request, said: Annotated[EventIn | PreferenceIn, Field(discriminator="kind")]
    ) -> Kept:
        """Keep an event: regenerating, copying or editing an answer is no thumb."""
        tenant, rater = await self._rater(request, said.id, said.rater)
        other, first = (said.other, said.first) if isinstance(said, PreferenceIn) else (None, None)
        detail = {} if first is None else {"first": first}
        one = Event(turn=said.id, tenant=tenant, rater=rater, kind=said.kind, at=now(), other=other, detail=detail)
        await self._written(lambda: self.store.event(one))
        return Kept()

    async def _keep(self, one: Vote, request: Request) -> VoteOut:
        key = named(request.headers, "idempotency-key")
        kept = await self._written(lambda: self.store.vote(one, key))
        self.metrics.vote(kept.value, kept.model)
        if self.spans is not None:
            self.spans.vote(kept)
        return _shown(kept)

    async def _written(self, write: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        """Return what the store returns; a turn of another process may still be on its way there."""
        try:
            return await kept(write())
        except _UnknownTurn:
            await asyncio.sleep(_ON_ITS_WAY)
            return await kept(write())

    async def _rater(self, request: Request, turn: str, said: str | None) -> tuple[str, str]:
        """Return tenant and rater of a vote that may be made now: a token says both, a key the tenant."""
        if token := request.headers.get("x-prospect-vote"):
            claims = self.access.claims(token, turn)
            if said not in (None, claims.rater):
                raise Refusal(403, "the token is another rater's.")
            tenant, rater, key = claims.tenant, claims.rater, "token"
        else:
            caller = await self.access.caller(request.headers, "vote")
            tenant, rater, key = caller.tenant, said or unknown_rater(turn), caller.key
        self._by_key.take(f"{key}\0{tenant}", "votes")
        self._by_rater.take(f"{tenant}\0{rater}", "votes of one rater")
        return tenant, rater


class _UnknownTurn(Refusal):
    """A vote on a turn that is not there, or not yet."""


async def kept(work: Coroutine[Any, Any, Result]) -> Result:
    """Return what the store returns; its refusals as HTTP says them.

    A vote or a verdict is acknowledged or refused, never lost.
    """
    try:
        return await work
    except UnknownTurnError:
        raise _UnknownTurn(404, "there is no such turn.") from None
    except KeyReusedError as error:
        raise Refusal(409, f"{error}.") from None
    except StoreError:
        raise Refusal(503, "the store cannot be read or written. Send it again.", retry_after=2) from None


def now() -> datetime:
    """Return the time in whole milliseconds, as the store keeps it: a repeated request gets the same answer."""
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


def _shown(one: Vote) -> VoteOut:
    return VoteOut(
        id=one.turn, value=one.value, reason=one.reason, comment=one.comment, correction=one.correction,
        rater=one.rater, at=one.at, version=one.version,
    )  # fmt: skip
