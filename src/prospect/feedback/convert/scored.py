"""Several completions of one prompt, side by side, each with its score."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from statistics import fmean
from typing import Any, NamedTuple

from prospect.feedback.convert.maker import LeftOut, Maker, UnconvertibleError, made_by
from prospect.feedback.convert.verdicts import joined_fields
from prospect.feedback.files.rowstore import Rows
from prospect.feedback.records import Demonstration, Feedback, Paired, Scored, Unpaired
from prospect.feedback.split import group_key, group_keys


class Unscorable(NamedTuple):
    """The rows with one completion that grouping leaves out, because nothing ranks the rows of their prompt."""

    rows: int
    prompts: int

    def __str__(self) -> str:
        found = f"{self.rows} rows of {self.prompts} prompts"
        return f"{found} have no two completions with different scores or labels and are left out"


def to_scored(rows: Iterable[Feedback]) -> list[Scored]:
    """Return scored completions, one record per prompt: its rows of one completion, side by side.

    The score of a completion is its row's `score` if every such row of the prompt has one, else its label, as 1
    or 0. A group weighs as much as its rows do on average, and is finished if all of them are. Rows with the
    same text but other tools are other prompts. A pair is two completions with scores 1 and 0. Scored rows pass
    as they are. `verdicts.joined_fields` says what a group keeps of who judged it, when and why.
    Left out, and counted by `count_unscorable`, are rows whose prompt has fewer than two completions, only one
    score, or demonstrations without a score.

    Refuses rows of which nothing is left.
    """
    return made_by(Groups(Rows(rows, first=("scored", "paired"))))


def count_unscorable(rows: Iterable[Feedback]) -> Unscorable:
    """Return how many rows, of how many prompts, `to_scored` leaves out."""
    groups = Groups(Rows(rows))
    deque(groups, maxlen=0)
    return groups.left_out


class Groups(Maker[Scored]):
    """Makes the rows of `to_scored`: scored rows and pairs in their order, then prompt by prompt.

    Attributes:
        left_out: the rows that nothing ranks; complete after the iteration.
    """

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._made = 0
        self.left_out = Unscorable(0, 0)

    def __iter__(self) -> Iterator[Scored]:
        """Yield the scored rows."""
        keys = bytearray()
        for row in self._rows:
            if isinstance(row, Scored | Paired):
                self._made += 1
                yield scored_pair(row) if isinstance(row, Paired) else row
            else:
                keys += group_key(row)
                self._rows.remember(row)
        order, starts = group_keys(keys)
        rows = prompts = 0
        for start, end in pairwise(starts.tolist()):
            members: Any = [self._rows[n] for n in order[start:end].tolist()] if end - start > 1 else []
            if scores := ranking(members):
                self._made += 1
                yield scored_group(members, scores)
            else:
                rows, prompts = rows + end - start, prompts + 1
        self.left_out = Unscorable(rows, prompts)
        self._rows.check_unchanged()

    def finish(self) -> list[LeftOut]:
        """Return the rows that nothing ranks; refuse rows among which nothing can be compared."""
        if not self._made:
            raise UnconvertibleError(
                f"not one of the prompts of {sum(self._rows.kinds.values())} rows has two completions with different "
                "scores, or labels where there are no scores, so nothing can be compared. Collect several completions "
                "of one prompt, each with the column score or label; a demonstration says nothing without a score"
            )
        return [LeftOut("unscorable", self.left_out.rows, str(self.left_out))]


def ranking(group: Sequence[Unpaired | Demonstration]) -> tuple[float, ...]:
    """Return the scores of one prompt's rows, or their labels; nothing where neither puts one above another."""
    scores = [row.score for row in group if row.score is not None]
    labels = [float(row.desirable) for row in group if isinstance(row, Unpaired)]
    values = next((values for values in (scores, labels) if len(values) == len(group)), [])
    return tuple(values) if len(set(values)) > 1 else ()


def scored_group(group: Sequence[Unpaired | Demonstration], scores: tuple[float, ...]) -> Scored:
    """Return one prompt's rows side by side; see `to_scored`."""
    completions = tuple(row.completion for row in group)
    weight = fmean(row.weight for row in group)
    return Scored(completions=completions, scores=scores, weight=weight, **joined_fields(group))


def scored_pair(row: Paired) -> Scored:
    """Return the pair as two completions with scores 1 and 0."""
    return Scored(completions=(row.chosen, row.rejected), scores=(1.0, 0.0), **row.shared_fields(), id=row.id)
