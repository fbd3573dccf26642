"""How many turns there were, how many got votes, and what those said, by model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import case, distinct, func

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

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {name: value._asdict() if isinstance(value, Rate) else value for name, value in vars(self).items()}


def model_stats(database: Database, tenant: str, *, since: datetime | None = None) -> list[ModelStats]:
    """Return the numbers of each model and arm, the one with most turns first.

    Args:
        database: of the store.
        tenant: whose turns.
        since: only turns of then or later.
    """
    shown = owned(turn, tenant, turn.c.model, turn.c.arm, func.count().label("turns"), _count(turn.c.consent))
    thumbs = owned(
        vote,
        tenant,
        vote.c.model,
        vote.c.arm,
        func.count(distinct(vote.c.turn)).label("voted"),
        _count(vote.c.value > 0),
        _count(vote.c.value < 0),
    )
    thumbs = thumbs.where(vote.c.value != 0)
    if since is not None:
        shown = shown.where(turn.c.created >= milliseconds(since))
        thumbs = thumbs.where(vote.c.shown >= milliseconds(since))
    with database.reading() as connection:
        turns = connection.execute(shown.group_by(turn.c.model, turn.c.arm)).all()
        votes = {row[:2]: row[2:] for row in connection.execute(thumbs.group_by(vote.c.model, vote.c.arm))}
    return sorted((_of_model(row, votes) for row in turns), key=lambda one: (-one.turns, one.model, one.arm or ""))


def erased_turns(database: Database, tenant: str) -> dict[str, int]:
    """Return how many turns lost their text, by what was erased: rater, conversation, turn or retention."""
    query = owned(tombstone, tenant, tombstone.c.what, func.sum(tombstone.c.turns)).group_by(tombstone.c.what)
    with database.reading() as connection:
        return {what: int(turns) for what, turns in connection.execute(query.order_by(tombstone.c.what))}


def _of_model(row: Any, votes: Mapping[Any, Any]) -> ModelStats:
    model, arm, turns, consented = row
    voted, up, down = votes.get((model, arm), (0, 0, 0))
    return ModelStats(
        model=model,
        arm=arm,
        turns=turns,
        consented=consented,
        voted=voted,
        up=up,
        down=down,
        coverage=proportion(voted, turns) if turns and arm != SHADOW else None,
        up_share=proportion(up, up + down) if up + down else None,
    )


def _count(condition: Any) -> Any:
    return func.sum(case((condition, 1), else_=0))
