"""How many turns there were, how many got votes, and what those said, by model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, case, distinct, func

from prospect.collect.asking import USUAL_SHARE, bound
from prospect.collect.canary import SHADOW
from prospect.collect.database import Database
from prospect.collect.rows import milliseconds
from prospect.collect.tables import owned, tombstone, turn, vote
from prospect.statistics.rates import Rate, proportion


@dataclass(frozen=True, kw_only=True)
class ModelStats:
    """One model's turns and votes.

    Attributes:
        model: its name.
        arm: `current`, `canary` or `shadow`, if it has one.
        turns: how many were shown; of a shadow, how many were not.
        consented: how many of them may be kept.
        voted: how many have a vote.
        up: votes up.
        down: votes down.
        coverage: turns with a vote among those shown; None where none was. An up-share of few turns says little.
        up_share: votes up among votes, as if raters were independent; None without votes.
        asked: turns whose readers were asked for a vote, as far as their client asks.
        asked_coverage: turns with a vote among those.
        asked_up_share: votes up among votes on those.
        unasked_up_share: votes up among the other votes, of those who vote by themselves.
    """

    model: str
    arm: str | None
    turns: int
    consented: int
    voted: int
    up: int
    down: int
    coverage: Rate | None
    up_share: Rate | None
    asked: int
    asked_coverage: Rate | None
    asked_up_share: Rate | None
    unasked_up_share: Rate | None

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {name: value._asdict() if isinstance(value, Rate) else value for name, value in vars(self).items()}


def model_stats(
    database: Database, tenant: str, *, since: datetime | None = None, ask: float = USUAL_SHARE
) -> list[ModelStats]:
    """Return the numbers of each model and arm, the one with most turns first.

    Args:
        database: of the store.
        tenant: whose turns.
        since: only turns of then or later.
        ask: the share of the turns whose readers were asked for a vote; where it has changed, the smallest.
    """
    end = bound(ask)
    # The index by model does not have the id: a name that is no column keeps the database from going through it.
    asked = owned(turn, tenant, turn.c.model.concat("").label("name"), turn.c.arm, func.count().label("turns"))
    asked = asked.where(turn.c.id < end, turn.c.arm.is_distinct_from(SHADOW))
    shown = owned(turn, tenant, turn.c.model, turn.c.arm, func.count().label("turns"), _count(turn.c.consent))
    thumbs = owned(
        vote,
        tenant,
        vote.c.model,
        vote.c.arm,
        func.count(distinct(vote.c.turn)).label("voted"),
        _count(vote.c.value > 0),
        _count(vote.c.value < 0),
        func.count(distinct(case((vote.c.turn < end, vote.c.turn)))).label("asked_voted"),
        _count((vote.c.turn < end) & (vote.c.value > 0)),
        _count((vote.c.turn < end) & (vote.c.value < 0)),
    )
    thumbs = thumbs.where(vote.c.value != 0)
    with database.reading() as connection:

        def found(query: Select[Any], time: Any) -> dict[Any, Any]:
            recent = query if since is None else query.where(time >= milliseconds(since))
            return {row[:2]: row[2:] for row in connection.execute(recent.group_by(*recent.selected_columns[:2]))}

        turns, votes, drawn = found(shown, turn.c.created), found(thumbs, vote.c.shown), found(asked, turn.c.created)
    none = (0,) * 6
    models = [_of_model(which, turns[which], drawn.get(which, none)[0], votes.get(which, none)) for which in turns]
    return sorted(models, key=lambda one: (-one.turns, one.model, one.arm or ""))


def erased_turns(database: Database, tenant: str) -> dict[str, int]:
    """Return how many turns lost their text, by what was erased: rater, conversation, turn or retention."""
    query = owned(tombstone, tenant, tombstone.c.what, func.sum(tombstone.c.turns)).group_by(tombstone.c.what)
    with database.reading() as connection:
        return {what: int(turns) for what, turns in connection.execute(query.order_by(tombstone.c.what))}


def _of_model(which: tuple[str, str | None], shown: Sequence[int], asked: int, votes: Sequence[int]) -> ModelStats:
    (model, arm), (turns, consented) = which, shown
    voted, up, down, asked_voted, asked_up, asked_down = votes
    return ModelStats(
        model=model,
        arm=arm,
        turns=turns,
        consented=consented,
        voted=voted,
        up=up,
        down=down,
        coverage=_share(voted, 0 if arm == SHADOW else turns),
        up_share=_share(up, up + down),
        asked=asked,
        asked_coverage=_share(asked_voted, asked),
        asked_up_share=_share(asked_up, asked_up + asked_down),
        unasked_up_share=_share(up - asked_up, up + down - asked_up - asked_down),
    )


def _share(successes: int, n: int) -> Rate | None:
    return proportion(successes, n) if n else None


def _count(condition: Any) -> Any:
    return func.sum(case((condition, 1), else_=0))
