"""What a policy thinks of the answers that wait for review, so that those it is least sure of can come first.

The server imports none of this: it needs torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection, delete, insert

from prospect.collect.database import Database
from prospect.collect.review import waiting_turns
from prospect.collect.rows import milliseconds, querying
from prospect.collect.tables import owned, reward, turn
from prospect.errors import DataError
from prospect.evaluation.held_out.implied_rewards import implied_rewards
from prospect.feedback.files.rows import RowParser
from prospect.feedback.files.store.branches import Branches, paged
from prospect.feedback.files.store.votes import cell
from prospect.feedback.records import Feedback

_AT_ONCE = 500  # rows of one transaction, so that a server on the same store need not wait long


@dataclass(frozen=True)
class Scored:
    """How many answers got a number.

    Attributes:
        scored: those that have one now.
        left_out: answers that are no text, do not fit in the context, or that the chat template refuses.
    """

    scored: int
    left_out: int


def score_waiting(
    database: Database, tenant: str, model: str, *, reviewers: int, limit: int, reference: str | None = None
) -> Scored:
    """Keep the implied reward of answers that wait for review, in place of those of another policy.

    Args:
        database: of the store.
        tenant: whose turns.
        model: the policy: a run directory, or any model with a reference.
        reviewers: how many verdicts an answer gets.
        limit: score so many answers at most; they are drawn by chance, the same every time.
        reference: of `implied_rewards`.

    Raises:
        DataError: no answer waits that can be scored.
    """
    with database.reading() as connection:
        waiting = waiting_turns(tenant, "random", reviewers).limit(limit)
        ids = list(connection.execute(waiting).scalars())
        records = list(_records(connection, tenant, ids))
    if not records:
        raise DataError(f"{database.name}: of tenant {tenant} no answer waits for review that is text")
    found = implied_rewards(model, records, reference)
    row = {"tenant": tenant, "policy": found.policy, "at": milliseconds(datetime.now(UTC))}
    with database.writing() as connection:
        connection.execute(delete(reward).where(reward.c.tenant == tenant, reward.c.policy != found.policy))
    for some in paged(found.values.items(), _AT_ONCE):
        _keep(database, tenant, [{**row, "turn": id, "value": value} for id, value in some])
    return Scored(len(found.values), len(ids) - len(found.values))


def _records(connection: Connection, tenant: str, ids: list[str]) -> Iterator[Feedback]:
    branches, parser = Branches(querying(connection), tenant), RowParser()
    for id in ids:
        prompt, tools = branches.prompt(id)
        row = {"prompt": prompt, "completion": cell(branches.answer(id)), "tools": tools}
        try:
            yield parser.parse({name: value for name, value in row.items() if value is not None}, f"turn {id}", id)
        except DataError:
            continue


def _keep(database: Database, tenant: str, rows: list[dict[str, object]]) -> None:
    """Write the numbers of turns whose text was not purged meanwhile."""
    ids = [row["turn"] for row in rows]
    with database.writing() as connection:
        there = owned(turn, tenant, turn.c.id).where(turn.c.id.in_(ids), turn.c.purged.is_(None))
        kept = set(connection.execute(there).scalars())
        connection.execute(delete(reward).where(reward.c.tenant == tenant, reward.c.turn.in_(ids)))
        if kept:
            connection.execute(insert(reward), [row for row in rows if row["turn"] in kept])
