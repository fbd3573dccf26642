"""The votes of a store with the turns that they are on, in an order that does not depend on when they were written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from prospect.feedback.files.store.branches import Branches, Query, paged
from prospect.feedback.files.store.raters import Raters
from prospect.feedback.files.store.selection import Selection

Cell = str | list[dict[str, Any]]

NO_CONSENT, PURGED, NO_ANSWER = "no consent", "purged", "no answer"
FAILED = "the upstream failed"

_REASONS = {
    "not_followed": "did not follow the instructions",
    "wrong": "wrong",
    "style": "style",
    "refused": "refused without cause",
    "unsafe": "unsafe",
    "too_long": "too long",
    "other": "other",
}


class Collected(NamedTuple):
    """A vote, and what it is on.

    Attributes:
        turn: its id.
        rater: the pseudonym.
        value: 1, 0 or -1.
        at: when it was given.
        model: who answered.
        finished: whether the answer came to its end.
        weight: 0 for a rater who is too new.
        reason: from the list, with the rater's own words.
        correction: the answer that the rater would have liked.
        prompt: what was asked.
        completion: what was answered.
        tools: what the model was offered.
        unusable: why the vote cannot become a row; there are no texts then.
    """

    turn: str
    rater: str
    value: int
    at: datetime
    model: str
    finished: bool
    weight: float
    reason: str | None
    correction: str | None
    prompt: Cell = ""
    completion: Cell = ""
    tools: list[dict[str, Any]] | None = None
    unusable: str | None = None


class Pair(NamedTuple):
    """Two answers to one prompt, of which one was preferred; fields as in `Collected`.

    Attributes:
        id: of the event in the store.
        relative: whether nobody said so: one answer was asked for again, and the other kept.
    """

    id: int
    turn: str
    other: str
    rater: str | None
    at: datetime
    model: str
    relative: bool
    prompt: Cell = ""
    chosen: Cell = ""
    rejected: Cell = ""
    tools: list[dict[str, Any]] | None = None
    unusable: str | None = None


def collected_votes(query: Query, selection: Selection) -> Iterator[Collected]:
    """Yield every vote of the selection, usable or not, in the order of their turns, which is that of the disk."""
    raters, branches = Raters(query, selection), Branches(query, selection.tenant)
    where, values = selection.where("v")
    rows = query(
        "SELECT v.turn, v.rater, v.value, v.at, v.reason, v.comment, v.correction, t.model, t.ended, t.consent, "  # noqa: S608
        "t.purged, t.answer IS NULL FROM vote v JOIN turn t ON t.id = v.turn "
        f"WHERE {where} ORDER BY t.created, v.turn, v.rater",
        values,
    )
    for page in paged(rows):
        votes = [_vote(row, raters) for row in page]
        branches.read_ahead(vote.turn for vote in votes if vote.unusable is None)
        for vote in votes:
            if vote.unusable is None:
                prompt, tools = branches.prompt(vote.turn)
                completion = cell(branches.answer(vote.turn))
                vote = vote._replace(prompt=prompt, completion=completion, tools=tools)
            yield vote


def collected_pairs(query: Query, selection: Selection, *, regenerated: bool) -> Iterator[Pair]:
    """Yield the pairs of the selection: of two drafts, and of answers that were asked for again.

    Args:
        query: asks the store.
        selection: whose, and of what time; its rules for raters are those for votes and do not apply.
        regenerated: whether an answer that was asked for again loses against the last one that was not.
    """
    where, values = selection.where("e")
    yield from _pairs(query, selection, _DRAFTS.format(where=where), values, relative=False)
    if regenerated:
        yield from _pairs(query, selection, _REGENERATED.format(where=where), values, relative=True)


_DRAFTS = (
    "SELECT e.id, e.turn, e.other, e.rater, e.at, t.model, t.consent, t.purged FROM event e "
    "JOIN turn t ON t.id = e.turn "
    "WHERE {where} AND e.kind = 'preferred' ORDER BY e.id"
)
_REGENERATED = (
    "SELECT e.id, t.id, e.turn, e.rater, e.at, t.model, t.consent, t.purged FROM event e JOIN turn a ON a.id = e.turn "
    "JOIN turn t ON t.id = (SELECT b.id FROM turn b WHERE b.tenant = a.tenant AND b.conversation = a.conversation "
    "AND b.sibling_group = a.sibling_group AND b.created > a.created AND COALESCE(b.arm, '') <> 'shadow' "
    "AND NOT EXISTS (SELECT 1 FROM event r WHERE r.turn = b.id AND r.kind = 'regenerated') "
    "ORDER BY b.created DESC, b.id LIMIT 1) "
    "WHERE {where} AND e.kind = 'regenerated' ORDER BY e.id"
)


def _pairs(query: Query, selection: Selection, sql: str, values: dict[str, Any], *, relative: bool) -> Iterator[Pair]:
    branches = Branches(query, selection.tenant)
    for id, turn, other, rater, at, model, consent, purged in query(sql, values):
        pair = Pair(id, turn, other, rater, moment(at), model, relative)
        unusable = NO_CONSENT if not consent else PURGED if purged is not None else None
        chosen, rejected = branches.answer(turn), branches.answer(other)
        if unusable or chosen is None or rejected is None:
            yield pair._replace(unusable=unusable or NO_ANSWER)
            continue
        prompt, tools = branches.prompt(turn)
        yield pair._replace(prompt=prompt, chosen=cell(chosen), rejected=cell(rejected), tools=tools)


def _vote(row: Sequence[Any], raters: Raters) -> Collected:
    turn, rater, value, at, reason, comment, correction, model, ended, consent, purged, empty = row
    unusable = unusable_turn(consent, purged, empty, ended) or (raters.refusal(rater, turn) if value else None)
    words = [_REASONS.get(reason, reason), comment] if reason else [comment]
    return Collected(
        turn=turn,
        rater=rater,
        value=value,
        at=moment(at),
        model=model,
        finished=ended == "stop",
        weight=raters.weight(rater),
        reason=": ".join(word for word in words if word) or None,
        correction=correction,
        unusable=unusable,
    )


def unusable_turn(consent: Any, purged: int | None, empty: Any, ended: str) -> str | None:
    """Return why a turn cannot become a row; None where it can."""
    if not consent:
        return NO_CONSENT
    if purged is not None:
        return PURGED
    if empty:
        return NO_ANSWER
    return FAILED if ended == "upstream_error" else None


def cell(answer: Any) -> Cell:
    """Return an answer as a file of feedback has it: text, or messages."""
    return answer if isinstance(answer, str) else [answer]


def moment(kept: int) -> datetime:
    """Return a time of the store."""
    return datetime.fromtimestamp(kept / 1000, UTC)
