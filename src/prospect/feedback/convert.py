"""Between the kinds of feedback, and the balance of the two classes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from prospect.errors import ConfigError, DataError
from prospect.feedback.records import Demonstration, Feedback, Kind, Paired, Scored, Unpaired
from prospect.feedback.scored import to_scored
from prospect.feedback.split import group_by_prompt


class Unpairable(NamedTuple):
    """The rows that pairing leaves out, because all completions of their prompt have the same label or score."""

    rows: int
    prompts: int

    def __str__(self) -> str:
        return f"{self.rows} rows of {self.prompts} prompts have only one label or score and cannot be paired"


class ClassCounts(NamedTuple):
    """How many completions were judged desirable and how many undesirable; a pair is one of each."""

    desirable: int
    undesirable: int


class ClassWeights(NamedTuple):
    """lambda_D and lambda_U of KTO."""

    desirable: float
    undesirable: float


def as_kind(rows: Sequence[Feedback], kind: Kind, *, method: str = "this method") -> list[Any]:
    """Return the records as the kind that a method needs.

    Args:
        rows: records of any kind.
        kind: unpaired, paired, demonstration or scored.
        method: who needs it, for messages: `loss kto`, say.
    """
    convert = _CONVERTERS.get(kind)
    if convert is None:
        raise ConfigError(f"kind of feedback is {kind!r}; expected unpaired, paired, demonstration or scored")
    try:
        return list(convert(rows))
    except DataError as error:
        raise DataError(f"{method} needs {_NEEDS[kind]}: {error}") from error


def to_unpaired(rows: Iterable[Feedback]) -> list[Unpaired]:
    """Return one verdict per completion: of a pair, the chosen is desirable and the rejected is not.

    The two rows of a pair keep its weight, rater, tools and `finished`, not its score, which belongs to
    neither alone. Refuses demonstrations, in which there is no verdict, and scored rows, for which score is
    still desirable is not for us to say.
    """
    unpaired: list[Unpaired] = []
    for row in rows:
        if isinstance(row, Unpaired):
            unpaired.append(row)
        elif isinstance(row, Paired):
            unpaired.append(Unpaired(completion=row.chosen, desirable=True, **_of_side(row, "chosen")))
            unpaired.append(Unpaired(completion=row.rejected, desirable=False, **_of_side(row, "rejected")))
        elif isinstance(row, Scored):
            raise DataError(
                f"{row.where}: the row is scored, without a verdict; expected a label or a pair. Which score counts "
                "as desirable is yours to say: write one row per completion with the column label. Or train on the "
                "best against the worst, with loss dpo, or on the scores, with loss infonca"
            )
        else:
            raise DataError(
                f"{row.where}: the row is a demonstration, without a verdict; expected a label or a pair. "
                "Add the column label, or train on it with loss sft"
            )
    return unpaired


def to_paired(rows: Iterable[Feedback]) -> list[Paired]:
    """Return pairs: of each prompt, every desirable row beside an undesirable one.

    A prompt with n_D desirable and n_U undesirable rows gives max(n_D, n_U) pairs, cycling over the fewer, so
    that every row is used. Rows with the same text but other tools are other prompts. A pair weighs as much
    as the lighter of its rows and is finished if both are. Of a scored row, the best completion stands beside
    the worst, the first of each where scores are equal. Pairs pass as they are. Rows whose prompt has only one
    label, and scored rows with only one score, are left out; `count_unpairable` counts them.

    Refuses demonstrations, and rows that make no pair.
    """
    rows = list(rows)
    pairs = [row for row in rows if isinstance(row, Paired)]
    pairs += [_best_and_worst(row) for row in rows if isinstance(row, Scored) and not _is_tied(row)]
    for desirable, undesirable in _by_prompt(rows):
        if desirable and undesirable:
            n_d, n_u = len(desirable), len(undesirable)
            pairs += [_pair(desirable[i % n_d], undesirable[i % n_u]) for i in range(max(n_d, n_u))]
    if not pairs and any(isinstance(row, Scored) for row in rows):
        raise DataError(
            f"not one of the prompts of {len(rows)} rows has a better and a worse completion, so no pair can be made. "
            "Score completions of one prompt with a scale fine enough to tell them apart"
        )
    if not pairs:
        counts = class_counts(rows)
        raise DataError(
            f"not one of the prompts of {len(rows)} rows has both labels ({counts.desirable} rows are "
            f"desirable, {counts.undesirable} are not), so no pair can be made. Train on them unpaired, with "
            "loss kto, or collect both verdicts on the same prompts"
        )
    return pairs


def count_unpairable(rows: Iterable[Feedback]) -> Unpairable:
    """Return how many rows, of how many prompts, `to_paired` leaves out."""
    rows = list(rows)
    left_out: list[Sequence[Feedback]] = [d or u for d, u in _by_prompt(rows) if not (d and u)]
    left_out += group_by_prompt(row for row in rows if isinstance(row, Scored) and _is_tied(row))
    return Unpairable(rows=sum(map(len, left_out)), prompts=len(left_out))


def to_demonstrations(rows: Iterable[Feedback]) -> list[Demonstration]:
    """Return what to imitate: demonstrations, desirable completions, the chosen of pairs and the best of the scored.

    Where several completions of a scored row have its highest score, the first is taken.

    Refuses rows among which nothing is desirable.
    """
    demonstrations: list[Demonstration] = []
    for row in rows:
        if isinstance(row, Demonstration):
            demonstrations.append(row)
        elif isinstance(row, Paired):
            demonstrations.append(Demonstration(completion=row.chosen, **_of_side(row, "chosen")))
        elif isinstance(row, Scored):
            fields = {**_of_side(row, "best"), "score": row.scores[row.best]}
            demonstrations.append(Demonstration(completion=row.completions[row.best], **fields))
        elif isinstance(row, Unpaired) and row.desirable:
            fields = {**row.shared_fields(), "id": row.id, "score": row.score}
            demonstrations.append(Demonstration(completion=row.completion, **fields))
    if not demonstrations:
        raise DataError(
            "no row is desirable, so there is nothing to imitate. Check the labels (data.label_map), "
            "or collect desirable completions"
        )
    return demonstrations


def class_counts(rows: Iterable[Feedback]) -> ClassCounts:
    """Return the number of desirable and undesirable completions; refuses demonstrations and scored rows."""
    verdicts = [row.desirable for row in to_unpaired(rows)]
    return ClassCounts(desirable=sum(verdicts), undesirable=len(verdicts) - sum(verdicts))


def suggest_class_weights(n_desirable: int, n_undesirable: int) -> ClassWeights:
    """Return class weights under which desirable rows have a little more say, whatever their number.

    lambda_D n_D / (lambda_U n_U) in [1, 4/3]

    Both weights are 1 where n_D / n_U is in that interval. Else one stays 1 and the other is raised until the
    quotient is 7/6, the centre.

    Refuses an empty class.

    Source: KTO, arXiv 2402.01306v1, section 4.2. In later versions the upper end is 3/2. To aim at the centre
    of the interval is ours.
    """
    if n_desirable < 1 or n_undesirable < 1:
        raise DataError(_one_class(n_desirable, n_undesirable))
    quotient = n_desirable / n_undesirable
    if quotient < 1:
        return ClassWeights(desirable=7 / 6 / quotient, undesirable=1.0)
    if 3 * n_desirable > 4 * n_undesirable:  # in whole numbers, so that 4:3 is inside
        return ClassWeights(desirable=1.0, undesirable=quotient / (7 / 6))
    return ClassWeights(1.0, 1.0)


def _one_class(n_desirable: int, n_undesirable: int) -> str:
    found = f"found {n_desirable} desirable and {n_undesirable} undesirable rows; class weights need both"
    if n_desirable > 0:
        return f"{found}. Train on the desirable ones with loss sft, or collect undesirable ones"
    return f"{found}. Check the labels (data.label_map), or collect desirable ones"


def _of_side(row: Paired | Scored, side: str) -> dict[str, Any]:
    return {**row.shared_fields(), "id": f"{row.id}/{side}"}


def _by_prompt(rows: Iterable[Feedback]) -> list[tuple[list[Unpaired], list[Unpaired]]]:
    """The desirable and the undesirable rows of each prompt, in order of first appearance, of thumbs alone."""
    groups = group_by_prompt(to_unpaired(row for row in rows if not isinstance(row, Paired | Scored)))
    return [([row for row in group if row.desirable], [row for row in group if not row.desirable]) for group in groups]


def _best_and_worst(row: Scored) -> Paired:
    chosen, rejected = row.completions[row.best], row.completions[row.worst]
    return Paired(chosen=chosen, rejected=rejected, **row.shared_fields(), id=row.id)


def _is_tied(row: Scored) -> bool:
    return len(set(row.scores)) == 1


def _pair(desirable: Unpaired, undesirable: Unpaired) -> Paired:
    return Paired(
        prompt=desirable.prompt,
        chosen=desirable.completion,
        rejected=undesirable.completion,
        id=f"{desirable.id}+{undesirable.id}",
        where=f"{desirable.where}+{undesirable.where}",
        weight=min(desirable.weight, undesirable.weight),
        rater=desirable.rater if desirable.rater == undesirable.rater else None,
        tools=desirable.tools,
        finished=desirable.finished and undesirable.finished,
    )


_CONVERTERS: dict[str, Callable[[Iterable[Feedback]], Sequence[Feedback]]] = {
    "unpaired": to_unpaired,
    "paired": to_paired,
    "demonstration": to_demonstrations,
    "scored": to_scored,
}
_NEEDS = {
    "unpaired": "unpaired feedback (prompt, completion, label)",
    "paired": "paired feedback (prompt, chosen, rejected)",
    "demonstration": "demonstrations (prompt, completion) or desirable completions",
    "scored": "scored feedback (prompt, completions, scores)",
}
