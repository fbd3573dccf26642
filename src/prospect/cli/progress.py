"""How far a long command is, for what reports it as so many of so many."""

from __future__ import annotations

from prospect import progress


class Counter:
    """Say `done of total what`; called after each piece of work.

    Args:
        what: is counted.
    """

    def __init__(self, what: str) -> None:
        self.what = what

    def __call__(self, done: int, total: int) -> None:
        """Count it in the phase that is under way."""
        progress.count(done, total, self.what)
