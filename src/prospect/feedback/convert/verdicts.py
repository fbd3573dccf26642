"""The verdicts in one row: what is desirable in it and what is not; and what rows that are joined keep of each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from prospect.feedback.convert.maker import LeftOut, Maker, UnconvertibleError, made_by
from prospect.feedback.records import Demonstration, Feedback, Paired, Scored, Unpaired, record


def to_unpaired(rows: Iterable[Feedback]) -> list[Unpaired]:
    """Return one verdict per completion: of a pair, the chosen is desirable and the rejected is not.

    The two rows of a pair keep its weight, rater, tools, `finished` and provenance, not its score, which belongs to
    neither alone. Refuses demonstrations, in which there is no verdict, and scored rows, for which the user has to
    name the score that is desirable: see `prospect.feedback.convert.thresholds`.
    """
    return made_by(Verdicts(rows))


def to_demonstrations(rows: Iterable[Feedback]) -> list[Demonstration]:
    """Return what to imitate: demonstrations, desirable completions, the chosen of pairs and the best of the scored.

    Where several completions of a scored row have its highest score, the first is taken.

    Refuses rows among which nothing is desirable.
    """
    return made_by(Demonstrations(rows))


class Verdicts(Maker[Unpaired]):
    """Makes the rows of `to_unpaired`."""

    def __init__(self, rows: Iterable[Feedback]) -> None:
        self._rows = rows

    def __iter__(self) -> Iterator[Unpaired]:
        """Yield the verdicts in each row."""
        for row in self._rows:
            if type(row) is Unpaired:
                yield row
            else:
                yield from unpaired_of(row)


class Demonstrations(Maker[Demonstration]):
    """Makes the rows of `to_demonstrations`."""

    def __init__(self, rows: Iterable[Feedback]) -> None:
        self._rows = rows
        self._made = self._left_out = 0

    def __iter__(self) -> Iterator[Demonstration]:
        """Yield what is to be imitated in each row."""
        for row in self._rows:
            shown = demonstration_of(row)
            if shown is None:
                self._left_out += 1
            else:
                self._made += 1
                yield shown

    def finish(self) -> list[LeftOut]:
        """Return the undesirable rows; refuse rows among which nothing is desirable."""
        if not self._made:
            raise UnconvertibleError(
                "no row is desirable, so there is nothing to imitate. Check the labels (data.label_map), "
                "or collect desirable completions"
            )
        return [LeftOut("undesirable", self._left_out, f"{self._left_out} rows are undesirable and are left out")]


def unpaired_of(row: Feedback) -> tuple[Unpaired, ...]:
    """Return one verdict per completion of a row; see `to_unpaired`."""
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
        raise UnconvertibleError(
            f"{row.where}: the row is scored, without a verdict; expected a label or a pair. Which score counts "
            "as desirable is yours to say: give a threshold (prospect data convert --to unpaired --threshold T), or "
            "write one row per completion with the column label. Or train on the best against the worst, with loss "
            "dpo, or on the scores, with loss infonca"
        )
    raise UnconvertibleError(
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
