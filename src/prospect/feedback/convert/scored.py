"""Several completions of one prompt, side by side, each with its score."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import NamedTuple

from prospect.errors import DataError
from prospect.feedback.convert.verdicts import joined_fields
from prospect.feedback.records import Demonstration, Feedback, Paired, Scored, Unpaired
from prospect.feedback.split import group_by_prompt


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
    rows = list(rows)
    scored = [row for row in rows if isinstance(row, Scored)]
    scored += [scored_pair(row) for row in rows if isinstance(row, Paired)]
    scored += [scored_group(group, scores) for group in _of_one_completion(rows) if (scores := ranking(group))]
    if not scored:
        raise nothing_scored(len(rows))
    return scored


def nothing_scored(rows: int) -> DataError:
    """Return the refusal of rows among which nothing can be compared."""
    return DataError(
        f"not one of the prompts of {rows} rows has two completions with different scores, or labels where "
        "there are no scores, so nothing can be compared. Collect several completions of one prompt, each with "
        "the column score or label; a demonstration says nothing without a score"
    )


def count_unscorable(rows: Iterable[Feedback]) -> Unscorable:
    """Return how many rows, of how many prompts, `to_scored` leaves out."""
    left_out = [group for group in _of_one_completion(rows) if not ranking(group)]
    return Unscorable(rows=sum(map(len, left_out)), prompts=len(left_out))


def _of_one_completion(rows: Iterable[Feedback]) -> list[list[Unpaired | Demonstration]]:
    return group_by_prompt(row for row in rows if isinstance(row, Unpaired | Demonstration))


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
