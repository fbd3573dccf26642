"""Data conditions: what is done to feedback before a method learns from it, each step counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from prospect.errors import DataError
from prospect.feedback.convert.balance import class_counts
from prospect.feedback.convert.pairing import count_unpairable, to_paired
from prospect.feedback.convert.subsample import ClassShares, keep_shares, one_per_prompt, texts_content, uniform
from prospect.feedback.records import Demonstration, Feedback, Kind, Paired, Scored, Unpaired
from prospect.studies.sections import Condition


def apply_condition(rows: Sequence[Feedback], condition: Condition, seed: int) -> list[Feedback]:
    """Return the feedback under a condition: flips, then fewer rows, then pairs.

    What happens to a row depends on its text, the condition and the seed: 5 % of a class are among its 10 %, and the
    verdicts that are turned round at 10 % are among those at 20 %. What raters do (`intransitive`) is the world's.

    Refuses a condition that these rows cannot meet.
    """
    found: list[Feedback] = flip(rows, condition.flip, seed)
    if condition.one_per_prompt:
        found = one_per_prompt(found, seed=seed)
    if condition.keep_desirable < 1 or condition.keep_undesirable < 1:
        shares = ClassShares(condition.keep_desirable, condition.keep_undesirable)
        found = list(keep_shares(_thumbs(found), shares, seed=seed))
    if condition.pairing is not None:
        found = list(to_paired(_thumbs(found), pairing=condition.pairing, seed=seed))
    if not found:
        raise DataError(f"{describe(condition)}: none of {len(rows)} rows is left. Keep more, or start with more rows")
    return found


def flip(rows: Sequence[Feedback], share: float, seed: int) -> list[Feedback]:
    """Return the rows with a share of the verdicts turned round: thumbs the other way up, sides of pairs exchanged.

    A row is turned where u(texts, seed) < share, u uniform on [0, 1). The share holds in the mean.

    Refuses rows without a verdict.
    """
    if share == 0:
        return list(rows)
    return [_turned(row) if uniform(_texts(row) + b"flip", seed) < share else row for row in rows]


def _turned(row: Feedback) -> Feedback:
    if isinstance(row, Unpaired):
        return replace(row, desirable=not row.desirable)
    assert isinstance(row, Paired)
    return replace(row, chosen=row.rejected, rejected=row.chosen)


def _texts(row: Feedback) -> bytes:
    """Return what a row says, without its verdict: a pair's two sides in an order of their own."""
    if isinstance(row, Unpaired):
        return texts_content(row.prompt, row.completion)
    if isinstance(row, Paired):
        return texts_content(row.prompt) + b"".join(sorted(texts_content(side) for side in (row.chosen, row.rejected)))
    raise DataError(f"{row.where}: the row is {row.kind}, and has no verdict to turn round. Leave flip out")


def _thumbs(rows: Sequence[Feedback]) -> list[Unpaired]:
    thumbs = [row for row in rows if isinstance(row, Unpaired)]
    if len(thumbs) < len(rows):
        odd = next(row for row in rows if not isinstance(row, Unpaired))
        raise DataError(
            f"{odd.where}: the row is {odd.kind}; keep_desirable, keep_undesirable and pairing are for thumbs. Convert "
            "it first, or leave them out"
        )
    return thumbs


def count(rows: Sequence[Feedback], kind: Kind) -> dict[str, int]:
    """Return how much a loss on this kind of feedback has to learn from.

    desirable and undesirable completions; for losses on pairs also the pairs that can be made, and the rows that make
    none.
    """
    if any(isinstance(row, Demonstration | Scored) for row in rows):
        return {"rows": len(rows)}
    counts = class_counts(rows)._asdict()
    if kind != "paired":
        return counts
    return {**counts, "pairs": len(to_paired(rows)), "rows left out": count_unpairable(rows).rows}


def describe(condition: Condition) -> str:
    """Return a condition in one sentence, without its full stop."""
    parts = [
        f"{100 * condition.intransitive:g} % of the comparisons are made by a taste that goes round"
        if condition.intransitive
        else "",
        f"{100 * condition.minority:g} % of the votes on each pair are for the other side"
        if condition.minority
        else "",
        f"{100 * condition.flip:g} % of the verdicts are turned round" if condition.flip else "",
        "one row of each prompt is kept" if condition.one_per_prompt else "",
        f"{100 * condition.keep_desirable:g} % of the desirable rows are kept" if condition.keep_desirable < 1 else "",
        f"{100 * condition.keep_undesirable:g} % of the undesirable rows are kept"
        if condition.keep_undesirable < 1
        else "",
        f"thumbs are made into pairs ({condition.pairing})" if condition.pairing else "",
    ]
    said = ", ".join(filter(None, parts)) or "the feedback as it is"
    return said[0].upper() + said[1:]
