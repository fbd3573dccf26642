"""Where a completion ends: one rule for tokens that are trained on and tokens that are only counted."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence


def first_end(ids: Sequence[int], ends: Collection[int], decode: Callable[[int], str]) -> int | None:
    """Return the place of a completion's end token: the first among the end tokens and white space that it ends with.

    Args:
        ids: of the completion.
        ends: the tokens that end one.
        decode: a token to its text.
    """
    end = None
    for place in range(len(ids) - 1, -1, -1):
        if ids[place] in ends:
            end = place
        elif decode(ids[place]).strip():
            break
    return end


def common_ending(one: str, other: str) -> str:
    """Return the longest text that both end with; nothing where one is the other, or its ending."""
    same = next((i for i, (a, b) in enumerate(zip(one[::-1], other[::-1], strict=False)) if a != b), 0)
    return one[len(one) - same :]
