"""Between the kinds of feedback: lists of records, as training holds them; `streaming` does files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from prospect.errors import ConfigError, DataError
from prospect.feedback.convert.balance import ClassCounts, ClassWeights, class_counts, suggest_class_weights
from prospect.feedback.convert.pairing import Unpairable, count_unpairable, to_paired
from prospect.feedback.convert.scored import to_scored
from prospect.feedback.convert.verdicts import demonstration_of, unpaired_of
from prospect.feedback.records import Demonstration, Feedback, Kind, Unpaired

__all__ = [
    "ClassCounts",
    "ClassWeights",
    "Unpairable",
    "as_kind",
    "class_counts",
    "count_unpairable",
    "suggest_class_weights",
    "to_demonstrations",
    "to_paired",
    "to_unpaired",
    "wanting",
]


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
        raise wanting(kind, method, error) from error


def wanting(kind: Kind, method: str, error: DataError) -> DataError:
    """Return the error with who needs which kind of feedback before it."""
    return DataError(f"{method} needs {_NEEDS[kind]}: {error}")


def to_unpaired(rows: Iterable[Feedback]) -> list[Unpaired]:
    """Return one verdict per completion: of a pair, the chosen is desirable and the rejected is not.

    The two rows of a pair keep its weight, rater, tools, `finished` and provenance, not its score, which belongs to
    neither alone. Refuses demonstrations, in which there is no verdict, and scored rows, for which score is
    still desirable is not for us to say; `prospect.feedback.convert.thresholds` is for who says it.
    """
    return [verdict for row in rows for verdict in unpaired_of(row)]


def to_demonstrations(rows: Iterable[Feedback]) -> list[Demonstration]:
    """Return what to imitate: demonstrations, desirable completions, the chosen of pairs and the best of the scored.

    Where several completions of a scored row have its highest score, the first is taken.

    Refuses rows among which nothing is desirable.
    """
    demonstrations = [shown for row in rows if (shown := demonstration_of(row)) is not None]
    if not demonstrations:
        raise nothing_to_imitate()
    return demonstrations


def nothing_to_imitate() -> DataError:
    """Return the refusal of rows among which nothing is desirable."""
    return DataError(
        "no row is desirable, so there is nothing to imitate. Check the labels (data.label_map), "
        "or collect desirable completions"
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
