"""The review queue over HTTP: POST /v1/review/next, /v1/review and /v1/review/redact, GET /v1/review/stats."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from prospect.collect.access import Access, Caller
from prospect.collect.feedback_api import ERRORS, Name, Strict, Text, TurnId, kept, now
from prospect.collect.limits import MOST_COMMENT, Limits, Rates, check_size
from prospect.collect.redaction import Redaction
from prospect.collect.refusals import Refusal
from prospect.collect.review import OPEN, Queue, Review, Strategy
from prospect.collect.review_stats import ReviewStats, review_stats
from prospect.collect.store import Store
from prospect.collect.turns import Turn

if TYPE_CHECKING:
    from prospect.statistics.agreement import Agreement, RatersAgreement

_VERDICTS = {"good": 1, "bad": -1, "skip": 0}
_SHORTEST = 3  # characters of a marked text: a shorter one would be replaced all over
_MOST_MARKED = 50

Reviewer = Annotated[Name | None, Field(description="who reviews; of an API key it is the key's name")]


class NextIn(Strict):
    """Which answer comes next."""

    strategy: Strategy = "random"
    reviewer: Reviewer = None


class MessageOut(BaseModel):
    """A message of the conversation."""

    role: str
    text: str


class ItemOut(BaseModel):
    """An answer to review, without its model and its votes."""

    id: str
    messages: list[MessageOut] = Field(description="what it answers")
    answer: str
    finished: bool = Field(description="whether the answer came to its end")
    open_until: datetime = Field(description="so long its place is kept")


class NextOut(BaseModel):
    """The answer that comes next; null where none waits."""

    item: ItemOut | None


class ReviewIn(Strict):
    """A verdict on an answer."""

    id: TurnId
    verdict: Literal["good", "bad", "skip"]
    note: Text | None = Field(None, description=f"at most {MOST_COMMENT} bytes")
    reviewer: Reviewer = None


class VoteShown(BaseModel):
    """A vote on the answer, shown after the verdict."""

    value: int
    reason: str | None
    comment: str | None
    correction: str | None


class ReviewOut(BaseModel):
    """A verdict as it is kept."""

    id: str
    verdict: Literal["good", "bad", "skip"]
    version: int = Field(description="how many times the reviewer decided on the answer")
    at: datetime
    votes: list[VoteShown] = Field(description="what users said; none where the answer was passed over")


class RedactIn(Strict):
    """Words to take out of a conversation."""

    id: TurnId
    texts: list[Annotated[Text, Field(min_length=_SHORTEST, max_length=MOST_COMMENT)]] = Field(
        [], max_length=_MOST_MARKED, description="replaced wherever they occur; personal data is in any case"
    )
    reviewer: Reviewer = None


class RedactOut(BaseModel):
    """The answer anew, and how much was replaced."""

    replaced: dict[str, int]
    item: ItemOut


class AgreementOut(BaseModel):
    """How far people agree, with 95 % intervals."""

    turns: int
    rate: float
    low: float
    high: float
    kappa: float | None
    kappa_low: float | None
    kappa_high: float | None


class StatsOut(BaseModel):
    """How far the review has come."""

    reviewer: str | None = Field(description="the name of the key; null where requests say who reviews")
    waiting: dict[Strategy, int] = Field(description="answers that wait, 1,000 at most")
    good: int
    bad: int
    skipped: int
    among_reviewers: AgreementOut | None
    with_votes: AgreementOut | None


@dataclass
class ReviewApi:
    """Lets people review what a store holds.

    Attributes:
        store: of the turns.
        access: who may.
        limits: how often.
        reviewers: how many verdicts an answer gets.
    """

    store: Store
    access: Access
    limits: Limits
    reviewers: int
    _alone: asyncio.Lock = field(default_factory=asyncio.Lock)  # for what takes seconds: threads are few

    def __post_init__(self) -> None:
        self._rates = Rates(self.limits.votes, 2 * self.limits.votes)

    def router(self) -> APIRouter:
        """Return the routes."""
        router = APIRouter(prefix="/v1/review", responses=ERRORS)
        add: Any = router.add_api_route
        add("/next", self.next, methods=["POST"], summary="Open the next answer to review", response_model=NextOut)
        add("", self.decide, methods=["POST"], summary="Give a verdict on an answer", response_model=ReviewOut)
        redacting = {"summary": "Take words out of a conversation", "response_model": RedactOut}
        add("/redact", self.redact, methods=["POST"], **redacting)
        add("/stats", self.stats, methods=["GET"], summary="How far the review has come", response_model=StatsOut)
        return router

    async def next(self, request: Request, said: NextIn) -> NextOut:
        """Open the next answer for ten minutes; an earlier one that has no verdict yet is let go."""
        caller, reviewer = await self._reviewer(request, said.reviewer)
        queue = Queue(self.store, caller.tenant, reviewer, self.reviewers)
        found = await kept(queue.open(said.strategy, time := now()))
        return NextOut(item=None if found is None else _item(found, time))

    async def decide(self, request: Request, said: ReviewIn) -> ReviewOut:
        """Keep a verdict, in place of the reviewer's earlier one, and show the votes."""
        check_size(said.note, MOST_COMMENT, "note")
        caller, reviewer = await self._reviewer(request, said.reviewer)
        one = Review(
            turn=said.id, tenant=caller.tenant, reviewer=reviewer, verdict=_VERDICTS[said.verdict], at=now(),
            note=said.note,
        )  # fmt: skip
        one, votes = await kept(Queue(self.store, caller.tenant, reviewer).decide(one))
        shown = [VoteShown.model_validate(vote, from_attributes=True) for vote in votes]
        return ReviewOut(id=one.turn, verdict=said.verdict, version=one.version, at=one.at, votes=shown)

    async def redact(self, request: Request, said: RedactIn) -> RedactOut:
        """Replace personal data and marked texts in the whole conversation, for good."""
        caller, reviewer = await self._reviewer(request, said.reviewer)
        redaction, time = Redaction(said.texts), now()
        replaced = await kept(
            self.store.write(lambda connection: redaction.apply(connection, caller.tenant, said.id, reviewer, time))
        )
        async with self._alone:  # the old pages are still in SQLite's log
            await kept(asyncio.to_thread(self.store.database.shorten_log))
        turn = await kept(self.store.turn(caller.tenant, said.id))
        assert turn is not None, "it was there a moment ago"
        return RedactOut(replaced=replaced, item=_item(turn, time))

    async def stats(self, request: Request) -> StatsOut:
        """Return how many answers wait, and how far people agree."""
        caller = await self.access.caller(request.headers, "review")
        self._rates.take(caller.key, "requests")
        async with self._alone:
            found = await kept(asyncio.to_thread(review_stats, self.store.database, caller.tenant, self.reviewers))
        return _stats(found, caller)

    async def _reviewer(self, request: Request, said: str | None) -> tuple[Caller, str]:
        """Return who may review now, and by which name."""
        caller = await self.access.caller(request.headers, "review")
        self._rates.take(caller.key, "requests")
        if caller.name and said not in (None, caller.name):
            raise Refusal(403, "the API key is another reviewer's.")
        reviewer = caller.name or said
        if reviewer is None:
            raise Refusal(403, "without keys a request says who reviews. Send a reviewer.")
        return caller, reviewer


def _item(turn: Turn, opened: datetime) -> ItemOut:
    messages: list[Mapping[str, Any]]
    messages = [{"role": "text", "content": turn.messages}] if isinstance(turn.messages, str) else list(turn.messages)
    return ItemOut(
        id=turn.id,
        messages=[MessageOut(role=str(one.get("role", "")), text=_text(one)) for one in messages],
        answer=turn.completion if isinstance(turn.completion, str) else _text(turn.completion or {}),
        finished=turn.ended == "stop",
        open_until=opened + OPEN,
    )


def _text(message: Mapping[str, Any]) -> str:
    """Return what a message says: its text, and all else in it as JSON."""
    content = message.get("content")
    parts = content if isinstance(content, list) else [] if content is None else [{"type": "text", "text": content}]
    shown = [part["text"] if isinstance(part, dict) and set(part) == {"type", "text"} else part for part in parts]
    if rest := {name: value for name, value in message.items() if name not in ("role", "content") and value}:
        shown.append(rest)
    return "\n".join(one if isinstance(one, str) else json.dumps(one, indent=1) for one in shown)


def _stats(found: ReviewStats, caller: Caller) -> StatsOut:
    return StatsOut(
        reviewer=caller.name or None,
        waiting=found.waiting,
        good=found.good,
        bad=found.bad,
        skipped=found.passed_over,
        among_reviewers=_agreement(found.among_reviewers),
        with_votes=_agreement(found.with_votes),
    )


def _agreement(found: Agreement | RatersAgreement | None) -> AgreementOut | None:
    if found is None:
        return None
    rate, kappa = found.rate, found.kappa
    return AgreementOut(
        turns=rate.n,
        rate=rate.rate,
        low=rate.low,
        high=rate.high,
        kappa=None if kappa is None else kappa.value,
        kappa_low=None if kappa is None else kappa.low,
        kappa_high=None if kappa is None else kappa.high,
    )
