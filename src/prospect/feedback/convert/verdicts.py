"""The verdicts in one row: what is desirable in it and what is not; and what rows that are joined keep of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from prospect.errors import DataError
from prospect.feedback.files.rows import record
from prospect.feedback.records import Demonstration, Feedback, Paired, Scored, Unpaired


def unpaired_of(row: Feedback) -> tuple[Unpaired, ...]:
    """Return one verdict per completion of a row; see `prospect.feedback.convert.kinds.to_unpaired`."""
    if isinstance(row, Unpaired):
        return (row,)
    if isinstance(row, Paired):
        good = vars(row).copy()
        good.pop("score", None)  # it belongs to neither side alone
        name, chosen, rejected = good["id"], good.pop("chosen"), good.pop("rejected")
        bad = good.copy()
        good["id"], good["completion"], good["desirable"] = f"{name}/chosen", chosen, True
        bad["id"], bad["completion"], bad["desirable"] = f"{name}/rejected", rejected, False
        return record(Unpaired, good), record(Unpaired, bad)
    if isinstance(row, Scored):
        raise DataError(
            f"{row.where}: the row is scored, without a verdict; expected a label or a pair. Which score counts "
            "as desirable is yours to say: give a threshold (prospect data convert --to unpaired --threshold T), or "
            "write one row per completion with the column label. Or train on the best against the worst, with loss "
            "dpo, or on the scores, with loss infonca"
        )
    raise DataError(
        f"{row.where}: the row is a demonstration, without a verdict; expected a label or a pair. "
        "Add the column label, or train on it with loss sft"
    )


def demonstration_of(row: Feedback) -> Demonstration | None:
    """Return what is to be imitated in a row; None where its completion is undesirable."""
    if isinstance(row, Demonstration):
        return row
    if isinstance(row, Paired):
        return Demonstration(completion=row.chosen, **row.shared_fields(), id=f"{row.id}/chosen")
    if isinstance(row, Scored):
        fields = {**row.shared_fields(), "id": f"{row.id}/best", "score": row.scores[row.best]}
        return Demonstration(completion=row.completions[row.best], **fields)
    if isinstance(row, Unpaired) and row.desirable:
        return Demonstration(completion=row.completion, **row.shared_fields(), id=row.id, score=row.score)
    return None


def joined_fields(rows: Sequence[Feedback]) -> dict[str, Any]:
    """Return what a record made of several rows of one prompt keeps of all of them.

    Rater, model and source are kept where all rows agree. Source ids are joined where all have one, and so are the
    different reasons. The time is that of the last verdict, for before it there was nothing to compare. It is finished
    if all are, and relative if one is.
    """
    first = rows[0]
    source_ids = [row.source_id for row in rows if row.source_id is not None]
    return {
        "prompt": first.prompt,
        "id": "+".join(row.id for row in rows),
        "where": "+".join(row.where for row in rows),
        "tools": first.tools,
        "finished": all(row.finished for row in rows),
        "rater": _agreed([row.rater for row in rows]),
        "source": _agreed([row.source for row in rows]),
        "source_id": "+".join(source_ids) if len(source_ids) == len(rows) else None,
        "time": max((row.time for row in rows if row.time is not None), default=None),
        "model": _agreed([row.model for row in rows]),
        "reason": "; ".join(dict.fromkeys(row.reason for row in rows if row.reason is not None)) or None,
        "relative": any(row.relative for row in rows),
    }


def _agreed(values: Sequence[str | None]) -> str | None:
    return values[0] if len(set(values)) == 1 else None
