"""Records as the kind that a method needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from prospect.errors import ConfigError, DataError
from prospect.feedback.convert.maker import UnconvertibleError
from prospect.feedback.convert.pairing import to_paired
from prospect.feedback.convert.scored import to_scored
from prospect.feedback.convert.verdicts import to_demonstrations, to_unpaired
from prospect.feedback.records import Feedback, Kind


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
    except UnconvertibleError as error:
        raise wanting(kind, method, error) from error


def wanting(kind: Kind, method: str, error: DataError) -> DataError:
    """Return the error with who needs which kind of feedback before it."""
    return DataError(f"{method} needs {_NEEDS[kind]}: {error}")


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
