"""The queue of answers that people review: which comes next, who has it open, and what was decided.

Verdicts of reviewers have a table of their own and are never counted as votes. A reviewer does not see the model, nor
the votes before the own verdict.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Literal, get_args

from sqlalchemy import ColumnElement, Connection, Select, and_, case, delete, func, not_, or_
from sqlalchemy.dialects import postgresql, sqlite

from prospect.collect.rows import UnknownTurnError, milliseconds, text_of
from prospect.collect.store import Store
from prospect.collect.tables import owned, review, reward, turn, vote
from prospect.collect.turns import Event, Turn
from prospect.collect.votes import log_event
from prospect.errors import StoreError
from prospect.feedback.files.store.selection import USUAL_REVIEWERS

Strategy = Literal["random", "disagreement", "new_raters", "margin", "flagged"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)
OPEN = timedelta(minutes=10)
"""How long a place among the reviewers of an answer is kept for who opened it."""
FEW_VOTES = 10
"""Raters with fewer votes are new: the number from which `Raters` says anything about one."""
FLAGS = ("unsafe", "refused")

_AHEAD = 8  # candidates that are read before one is taken, for other reviewers may be faster


@dataclass(frozen=True, kw_only=True)
class Review:
    """A reviewer's verdict on a turn.

    Attributes:
        turn: the id of the turn.
        tenant: whose turn it is.
        reviewer: who decided.
        verdict: 1 for a good answer, -1 for a bad one, 0 to pass it over.
        at: when.
        note: the reviewer's own words.
        version: how many times the reviewer decided on the turn; given by the store.
    """

    turn: str
    tenant: str
    reviewer: str
    verdict: int
    at: datetime
    note: str | None = None
    version: int = 0


@dataclass(frozen=True)
class Queue:
    """The turns of one tenant for one reviewer.

    Attributes:
        store: of the turns.
        tenant: whose.
        reviewer: who reviews.
        reviewers: how many verdicts a turn gets.
    """

    store: Store
    tenant: str
    reviewer: str
    reviewers: int = USUAL_REVIEWERS

    async def open(self, strategy: Strategy, now: datetime) -> Turn | None:
        """Return the next turn, kept open for ten minutes; None where none waits. An earlier one is let go."""
        waiting = waiting_turns(self.tenant, strategy, self.reviewers, reviewer=self.reviewer, now=now)
        ids = await self.store.read(lambda connection: connection.execute(waiting.limit(_AHEAD)).scalars().all())
        for id in ids:
            if await self.store.write(partial(self._take, id=id, strategy=strategy, now=now)):
                return await self.store.turn(self.tenant, id)
        return None

    async def decide(self, one: Review) -> tuple[Review, list[Any]]:
        """Keep a verdict in place of the reviewer's earlier one; return it, and the votes on the turn.

        Votes are returned with a verdict of 1 or -1 alone: they are hidden until then.

        Raises:
            UnknownTurnError: the tenant has no such turn with text.
        """
        if self.store.redacts and one.note is not None:
            from prospect.feedback.importers.made_rows import redacted

            one = replace(one, note=redacted(one.note, Counter()))
        return await self.store.write(lambda connection: _decide(connection, one))

    def _take(self, connection: Connection, id: str, strategy: Strategy, now: datetime) -> bool:
        """Open a turn, unless others have taken its last place meanwhile."""
        free = _free_turns(self.tenant, strategy, self.reviewers, self.reviewer, now)
        if connection.execute(free.where(turn.c.id == id)).first() is None:
            return False
        mine = (review.c.tenant == self.tenant, review.c.reviewer == self.reviewer)
        connection.execute(delete(review).where(*mine, review.c.verdict.is_(None), review.c.turn != id))
        log_review(connection, self.tenant, id, self.reviewer, "opened", now, {})
        row = {"turn": id, "reviewer": self.reviewer, "tenant": self.tenant, "version": 0, "at": milliseconds(now)}
        values = {**row, "verdict": None, "blind": None, "note": None, "open_until": milliseconds(now + OPEN)}
        connection.execute(_UPSERT[connection.dialect.name], values)
        return True


def waiting_turns(
    tenant: str, strategy: Strategy, reviewers: int, *, reviewer: str = "", now: datetime | None = None
) -> Select[Any]:
    """Return the query of the turns that wait for a verdict, the next one first.

    random        in the order of their ids, which are drawn by chance
    disagreement  votes, or verdicts, or a vote and a verdict are opposed; a tie of reviewers gets one verdict more
    new_raters    a vote of a rater with fewer than ten
    margin        the smallest |implied reward| first
    flagged       a vote down because the answer is unsafe or refuses

    Args:
        tenant: whose turns.
        strategy: which.
        reviewers: how many verdicts a turn gets.
        reviewer: leave out what this one has decided.
        now: count what others have open now as decided; None does not.
    """
    query = _free_turns(tenant, strategy, reviewers, reviewer, now)
    if strategy == "disagreement":
        query = query.where(or_(*(turn.c.id.in_(some) for some in _opposed(tenant))))
    elif strategy == "new_raters":
        thumbs = vote.c.value != 0
        few = owned(vote, tenant, vote.c.rater).where(thumbs).group_by(vote.c.rater).having(func.count() < FEW_VOTES)
        query = query.where(turn.c.id.in_(owned(vote, tenant, vote.c.turn).where(thumbs, vote.c.rater.in_(few))))
    elif strategy == "margin":
        query = query.join(reward, (reward.c.turn == turn.c.id) & (reward.c.tenant == tenant))
        query = query.order_by(func.abs(reward.c.value))
    elif strategy == "flagged":
        down = owned(vote, tenant, vote.c.turn).where(vote.c.value < 0, vote.c.reason.in_(FLAGS))
        query = query.where(turn.c.id.in_(down))
    return query.order_by(turn.c.id)


def _free_turns(tenant: str, strategy: Strategy, reviewers: int, reviewer: str, now: datetime | None) -> Select[Any]:
    """Return the query of the turns that have a place for a reviewer, whether or not they are what is looked for."""
    here = review.c.turn == turn.c.id
    decided: ColumnElement[bool] = review.c.verdict != 0
    if now is not None:
        decided = or_(decided, and_(review.c.verdict.is_(None), review.c.open_until > milliseconds(now)))
    places = owned(review, tenant, func.count()).where(here, review.c.reviewer != reviewer, decided).scalar_subquery()
    mine = owned(review, tenant).where(here, review.c.reviewer == reviewer, review.c.verdict.is_not(None))
    wanted: Any = reviewers
    if strategy == "disagreement":
        balance = owned(review, tenant, func.sum(review.c.verdict)).where(here).scalar_subquery()
        wanted = reviewers + case((balance == 0, 1), else_=0)
    return owned(turn, tenant, turn.c.id).where(*_READABLE, not_(mine.exists()), places < wanted)


_READABLE = (
    turn.c.consent,
    turn.c.purged.is_(None),
    turn.c.answer.is_not(None),
    turn.c.ended != "upstream_error",
)


def _opposed(tenant: str) -> list[Select[Any]]:
    """Return queries of turns on which people disagree: raters, reviewers, and one with the other."""
    votes = owned(vote, tenant, vote.c.turn).where(vote.c.value != 0).group_by(vote.c.turn)
    verdicts = owned(review, tenant, review.c.turn).where(review.c.verdict != 0).group_by(review.c.turn)
    both = owned(review, tenant, review.c.turn).join(vote, vote.c.turn == review.c.turn)
    return [
        votes.having(func.min(vote.c.value) < func.max(vote.c.value)),
        verdicts.having(func.min(review.c.verdict) < func.max(review.c.verdict)),
        both.where(vote.c.value * review.c.verdict < 0),
    ]


def _upsert(dialect: Any) -> Any:
    statement = dialect.insert(review)
    new = statement.excluded
    set_ = {
        "verdict": new.verdict,
        "blind": func.coalesce(review.c.blind, new.blind),
        "note": new.note,
        "open_until": new.open_until,
        "version": review.c.version + new.version,
        "at": new.at,
    }
    return statement.on_conflict_do_update(index_elements=["turn", "reviewer"], set_=set_).returning(review.c.version)


_UPSERT = {"sqlite": _upsert(sqlite), "postgresql": _upsert(postgresql)}


def _decide(connection: Connection, one: Review) -> tuple[Review, list[Any]]:
    if one.verdict not in (1, -1, 0):
        raise StoreError(f"the verdict is {one.verdict}; expected 1, -1, or 0 to pass the answer over")
    one = replace(one, reviewer=text_of(one.reviewer), note=None if one.note is None else text_of(one.note))
    require_readable(connection, one.tenant, one.turn)
    detail = {"verdict": one.verdict, "note": one.note}
    log_review(connection, one.tenant, one.turn, one.reviewer, "review", one.at, detail)
    values = {
        "turn": one.turn, "reviewer": one.reviewer, "tenant": one.tenant, "verdict": one.verdict,
        "blind": one.verdict or None, "note": one.note, "open_until": None, "version": 1, "at": milliseconds(one.at),
    }  # fmt: skip
    version = connection.execute(_UPSERT[connection.dialect.name], values).scalar_one()
    thumbs = owned(vote, one.tenant).where(vote.c.turn == one.turn, vote.c.value != 0).order_by(vote.c.event)
    votes = list(connection.execute(thumbs)) if one.verdict else []
    return replace(one, version=version), votes


def log_review(
    connection: Connection, tenant: str, id: str, reviewer: str, kind: str, at: datetime, detail: dict[str, Any]
) -> None:
    """Write in the history who has seen a turn, and what the reviewer did: `opened`, `review` or `redacted`."""
    log_event(connection, Event(turn=id, tenant=tenant, rater=reviewer, kind=kind, at=at), kind, detail)


def require_readable(connection: Connection, tenant: str, id: str) -> None:
    """Refuse a turn that nobody can review.

    Raises:
        UnknownTurnError: the tenant has no such turn, or it has no text.
    """
    if connection.execute(owned(turn, tenant, turn.c.id).where(turn.c.id == id, *_READABLE)).first() is None:
        raise UnknownTurnError(f"{id}: there is no such turn with text")
