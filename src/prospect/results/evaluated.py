"""What the files of `evaluation/` have in common."""

from __future__ import annotations

from typing import Annotated, ClassVar

from prospect.results.stored import AS_OBJECT, Part, Stored
from prospect.statistics.estimates import Number, Share
from prospect.statistics.rates import Rate

RateObject = Annotated[Rate, AS_OBJECT]
ShareObject = Annotated[Share, AS_OBJECT]
NumberObject = Annotated[Number, AS_OBJECT]


class Evaluation(Stored):
    """A file of `evaluation/`."""

    older_formats: ClassVar[tuple[int | None, ...]] = (None,)


class Named(Part):
    """A model, by the name that it was given by."""

    name: str
    kind: str
    """run, model, endpoint or completions."""
