"""What the store knows of the two models of a canary: turns, votes, errors and times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, case, distinct, func, select

from prospect.collect.canary import CANARY, CURRENT, SHADOW
from prospect.collect.database import Database
from prospect.collect.rows import milliseconds
from prospect.collect.tables import turn, vote
from prospect.results.canary import ArmCounts

_FAILED = turn.c.ended == "upstream_error"
# Answers that came whole, with their time.
_TIMED = turn.c.ended.in_(("stop", "length")) & turn.c.ms_last.is_not(None)


class RaterVotes(NamedTuple):
    """One rater's votes on the turns of one arm."""

    rater: str
    arm: str
    up: int
    down: int


@dataclass(frozen=True)
class Arms:
    """Both models since the canary began.

    Attributes:
        current: the model that most conversations have.
        canary: the one that is tried.
        slow: the canary's answers that took longer than the limit.
        slow_ms: the limit over which an answer counts as slow; None where it is not known yet.
        raters: who voted on what.
    """

    current: ArmCounts
    canary: ArmCounts
    slow: int
    slow_ms: float | None
    raters: Sequence[RaterVotes]


def read_arms(database: Database, current: str, canary: str, since: datetime, slowdown: float) -> Arms:
    """Return the counts of both models' turns.

    All tenants are counted together, for one server has one current model: these queries return numbers and pseudonyms,
    and no text.

    Args:
        database: of the store.
        current: name of the current model.
        canary: name of the canary.
        since: when the canary began, or got its present share.
        slowdown: an answer is slow that takes this many times as long as 95 % of the current model's do.
    """
    with database.reading() as connection:
        old = _count(connection, current, _of(CURRENT, current, since))
        slow_ms = None if old.p95_ms is None else slowdown * old.p95_ms
        new = _count(connection, canary, _of(CANARY, canary, since))
        slow = 0 if slow_ms is None else _slow(connection, _of(CANARY, canary, since), slow_ms)
        raters = [
            RaterVotes(rater, arm, int(up), int(down))
            for arm, model in ((CURRENT, current), (CANARY, canary))
            for rater, up, down in connection.execute(
                _votes(_of(arm, model, since), vote.c.rater, _sum(vote.c.value > 0), _sum(vote.c.value < 0)).group_by(
                    vote.c.rater
                )
            )
        ]
    return Arms(old, new, slow, slow_ms, raters)


def count_model(database: Database, model: str) -> ArmCounts:
    """Return all that people ever asked of a model, as current, canary or neither."""
    shown = turn.c.arm.is_distinct_from(SHADOW)
    with database.reading() as connection:
        return _count(connection, model, (turn.c.model == model) & shown)


def _of(arm: str, model: str, since: datetime) -> Any:
    """Return the condition on the turns of an arm."""
    return (turn.c.arm == arm) & (turn.c.model == model) & (turn.c.created >= milliseconds(since))


def _votes(condition: Any, *columns: Any) -> Select[Any]:
    """Return a query on the votes on answers that were shown."""
    voted = select(*columns).join_from(vote, turn, turn.c.id == vote.c.turn)
    return voted.where(condition, ~_FAILED, vote.c.value != 0)


def _count(connection: Connection, model: str, condition: Any) -> ArmCounts:
    shown, errors, timed = connection.execute(
        select(_sum(~_FAILED), _sum(_FAILED), _sum(_TIMED)).where(condition)
    ).one()
    conversations = select(turn.c.tenant, turn.c.conversation).where(condition).distinct().subquery()
    voted, downed, up, down = connection.execute(
        _votes(
            condition,
            func.count(distinct(vote.c.turn)),
            func.count(distinct(case((vote.c.value < 0, vote.c.turn)))),
            _sum(vote.c.value > 0),
            _sum(vote.c.value < 0),
        )
    ).one()
    return ArmCounts(
        model=model,
        conversations=int(connection.execute(select(func.count()).select_from(conversations)).scalar_one()),
        turns=int(shown),
        errors=int(errors),
        voted=int(voted),
        downed=int(downed),
        up=int(up),
        down=int(down),
        timed=int(timed),
        p95_ms=_p95(connection, condition, int(timed)),
    )


def _slow(connection: Connection, condition: Any, slow_ms: float) -> int:
    """Return how many answers took longer."""
    late = select(func.count()).select_from(turn).where(condition & _TIMED & (turn.c.ms_last > slow_ms))
    return int(connection.execute(late).scalar_one())


def _p95(connection: Connection, condition: Any, timed: int) -> float | None:
    """Return the milliseconds within which 95 % of `timed` answers came."""
    if not timed:
        return None
    times = select(turn.c.ms_last).where(condition & _TIMED).order_by(turn.c.ms_last)
    return float(connection.execute(times.offset((timed * 95 + 99) // 100 - 1).limit(1)).scalar_one())


def _sum(condition: Any) -> Any:
    return func.coalesce(func.sum(case((condition, 1), else_=0)), 0)
