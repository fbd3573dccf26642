"""The verdicts of reviewers in a store, one for each turn: what most of them said."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from prospect.feedback.files.store.branches import Branches, Query, paged
from prospect.feedback.files.store.selection import Selection
from prospect.feedback.files.store.votes import Cell, cell, moment, unusable_turn

TIE = "as many reviewers for it as against it"


class Reviewed(NamedTuple):
    """The verdict of the reviewers of one turn; fields as in `Collected`.

    Attributes:
        good: how many found the answer good.
        bad: how many found it bad.
        at: of the last verdict.
    """

    turn: str
    good: int
    bad: int
    at: datetime
    model: str
    finished: bool
    prompt: Cell = ""
    completion: Cell = ""
    tools: list[dict[str, Any]] | None = None
    unusable: str | None = None


def collected_reviews(query: Query, selection: Selection) -> Iterator[Reviewed]:
    """Yield every turn that reviewers decided on, usable or not, in the order of the turns.

    Args:
        query: asks the store.
        selection: whose, and verdicts of what time; its rules for raters do not apply to reviewers.
    """
    branches = Branches(query, selection.tenant)
    where, values = selection.where("r")
    rows = query(
        "SELECT r.turn, SUM(CASE WHEN r.verdict > 0 THEN 1 ELSE 0 END), "  # noqa: S608
        "SUM(CASE WHEN r.verdict < 0 THEN 1 ELSE 0 END), MAX(r.at), t.model, t.ended, t.consent, t.purged, "
        f"t.answer IS NULL, t.created FROM review r JOIN turn t ON t.id = r.turn WHERE {where} AND r.verdict <> 0 "
        "GROUP BY r.turn, t.model, t.ended, t.consent, t.purged, t.answer IS NULL, t.created "
        "ORDER BY t.created, r.turn",
        values,
    )
    for page in paged(rows):
        found = [_reviewed(row) for row in page]
        branches.read_ahead(one.turn for one in found if one.unusable is None)
        for one in found:
            if one.unusable is None:
                prompt, tools = branches.prompt(one.turn)
                one = one._replace(prompt=prompt, completion=cell(branches.answer(one.turn)), tools=tools)
            yield one


def _reviewed(row: Sequence[Any]) -> Reviewed:
    turn, good, bad, at, model, ended, consent, purged, empty, _ = row
    return Reviewed(
        turn=turn,
        good=int(good),
        bad=int(bad),
        at=moment(at),
        model=model,
        finished=ended == "stop",
        unusable=unusable_turn(consent, purged, empty, ended) or (TIE if good == bad else None),
    )
