"""Which turns people are asked about: a share of all, drawn by their ids.

Those who vote by themselves are not a fair sample of those who read. Whom chance has asked are, as far as they answer.
Ids are random, so that their first digits are the draw: whoever knows the share knows which turns were asked about.
"""

from __future__ import annotations

USUAL_SHARE = 0.05
_DIGITS = 8  # of an id, in hexadecimal: the share is exact to one in four billion


def bound(share: float) -> str:
    """Return what the ids of a share of all turns come before, as text; `share` is from 0 to 1."""
    return "g" if share >= 1 else f"{int(share * 16**_DIGITS):0{_DIGITS}x}"


def is_asked(turn: str, share: float) -> bool:
    """Return whether a turn is one of those that are asked about; a larger share keeps those of a smaller one."""
    return turn < bound(share)
