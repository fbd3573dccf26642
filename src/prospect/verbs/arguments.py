"""What the functions take for a file, a run, a model or a judge, and how the library takes it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prospect.evaluation.contest.judges.base import Judge

Place = str | os.PathLike[str]
"""A path, a run directory, or a name."""
Places = Place | Sequence[Place]
LabelMap = Mapping[Any, bool]


def places_of(places: Places | None) -> Any:
    """Return places as the library takes them: one by its name, several as a list."""
    if places is None:
        return None
    return os.fspath(places) if isinstance(places, str | os.PathLike) else [os.fspath(place) for place in places]


def judge_of(judge: str | Judge, rubric: str | None) -> Judge:
    """Return a judge, or the one of a name."""
    if not isinstance(judge, str):
        return judge
    from prospect.evaluation.contest.judges.names import judge_named

    return judge_named(judge, rubric=rubric)
