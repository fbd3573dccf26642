"""How far the review has come, and how far people agree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, case, func

from prospect.collect.database import Database
from prospect.collect.review import STRATEGIES, Strategy, waiting_turns
from prospect.collect.tables import owned, review, vote

if TYPE_CHECKING:
    from prospect.statistics.agreement import Agreement, RatersAgreement

MOST_COUNTED = 1000
"""Turns that wait are counted up to here: a person does not get further, and the count of millions takes seconds."""
_RESAMPLES = 2000  # a page waits for it


@dataclass(frozen=True, kw_only=True)
class ReviewStats:
    """Numbers of one tenant's review.

    Attributes:
        waiting: how many turns wait, by strategy, up to `MOST_COUNTED`.
        turns: how many have a verdict of good or bad.
        good: verdicts.
        bad: verdicts.
        passed_over: answers that a reviewer passed over.
        reviewers: how many people gave a verdict.
        among_reviewers: agreement of reviewers, by their verdicts before they saw the votes; None without a turn that
            two reviewed.
        with_votes: agreement of the reviewers' majority with that of the votes; None without a turn that has both.
    """

    waiting: dict[Strategy, int]
    turns: int
    good: int
    bad: int
    passed_over: int
    reviewers: int
    among_reviewers: RatersAgreement | None
    with_votes: Agreement | None

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {
            **vars(self),
            "among_reviewers": _as_json(self.among_reviewers),
            "with_votes": _as_json(self.with_votes),
        }


def review_stats(database: Database, tenant: str, reviewers: int) -> ReviewStats:
    """Return the numbers of a tenant's review.

    Args:
        database: of the store.
        tenant: whose turns.
        reviewers: how many verdicts a turn gets.
    """
    # numpy comes with it, which a server starts without.
    from prospect.statistics.agreement import measure_agreement, measure_raters

    with database.reading() as connection:
        waiting = {name: _count(connection, waiting_turns(tenant, name, reviewers)) for name in STRATEGIES}
        sums = (_ups(review.c.verdict), _downs(review.c.verdict), _sum(review.c.verdict == 0))
        given = owned(review, tenant, *sums, func.count(review.c.reviewer.distinct()))
        good, bad, passed, people = connection.execute(given.where(review.c.verdict.is_not(None))).one()
        blind = owned(review, tenant, review.c.turn, _ups(review.c.blind), _downs(review.c.blind))
        verdicts = {
            turn: (up, down)
            for turn, up, down in connection.execute(blind.where(review.c.blind.is_not(None)).group_by(review.c.turn))
        }
        reviewed = owned(review, tenant, review.c.turn).where(review.c.blind.is_not(None))
        thumbs = owned(vote, tenant, vote.c.turn, _ups(vote.c.value), _downs(vote.c.value))
        thumbs = thumbs.where(vote.c.value != 0, vote.c.turn.in_(reviewed)).group_by(vote.c.turn)
        votes = {turn: (up, down) for turn, up, down in connection.execute(thumbs)}
    both = [(votes[turn], verdicts[turn]) for turn in sorted(votes) if _decided(votes[turn], verdicts[turn])]
    return ReviewStats(
        waiting=waiting,
        turns=len(verdicts),
        good=good or 0,
        bad=bad or 0,
        passed_over=passed or 0,
        reviewers=people,
        among_reviewers=measure_raters(list(verdicts.values()), resamples=_RESAMPLES),
        with_votes=measure_agreement(
            [_label(votes) for votes, _ in both], [_label(verdicts) for _, verdicts in both], resamples=_RESAMPLES
        )
        if both
        else None,
    )


def _count(connection: Connection, waiting: Any) -> int:
    return len(connection.execute(waiting.order_by(None).limit(MOST_COUNTED)).all())


def _decided(*counts: tuple[int, int]) -> bool:
    """Return whether each has a majority."""
    return all(up != down for up, down in counts)


def _label(counts: tuple[int, int]) -> str:
    return "good" if counts[0] > counts[1] else "bad"


def _ups(column: Any) -> Any:
    return _sum(column > 0)


def _downs(column: Any) -> Any:
    return _sum(column < 0)


def _sum(condition: Any) -> Any:
    return func.sum(case((condition, 1), else_=0))


def _as_json(found: Agreement | RatersAgreement | None) -> dict[str, Any] | None:
    if found is None:
        return None
    kappa = None if found.kappa is None else found.kappa._asdict()
    return {**found._asdict(), "rate": found.rate._asdict(), "kappa": kappa}
