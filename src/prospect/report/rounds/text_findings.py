"""What to worry about in what the model to use writes: length, repetition, and fewer different words.

Each check is one function of the ledger that yields findings, as in findings.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prospect.report.page.parts import PageFinding
from prospect.report.page.wording import number, percent
from prospect.report.rounds.words import outcome, start_of
from prospect.report.run.evaluation_findings import LONGER
from prospect.results.rounds import HeldOut, Ledger

REPEATED = 0.1  # more of a sample has been said before in it
LESS_DIVERSE = 2 / 3  # of the start's share of different pairs of words


def length_changed(ledger: Ledger) -> Iterator[PageFinding]:
    """Warn that samples have become much longer or shorter."""
    for start, now in _ends(ledger):
        if start.words and now.words and not 1 / LONGER < now.words / start.words < LONGER:
            yield PageFinding(
                True,
                f"Samples became much {'longer' if now.words > start.words else 'shorter'}",
                f"From {number(start.words)} to {number(now.words)} words on average: part of a change may be length.",
            )


def repeats(ledger: Ledger) -> Iterator[PageFinding]:
    """Warn that samples repeat themselves more than the start's."""
    for start, now in _ends(ledger):
        before = start.repetition or 0.0
        if now.repetition is not None and now.repetition - before >= REPEATED:
            yield PageFinding(
                True,
                "Samples repeat themselves more",
                f"On average {percent(now.repetition)} of a sample has been said before in it; at the start it was"
                f" {percent(before)}.",
            )


def less_diverse(ledger: Ledger) -> Iterator[PageFinding]:
    """Warn that samples are more alike than the start's."""
    for start, now in _ends(ledger):
        if start.distinct_2 and now.distinct_2 is not None and now.distinct_2 < LESS_DIVERSE * start.distinct_2:
            yield PageFinding(
                True,
                "Samples are less diverse",
                f"{percent(now.distinct_2)} of their pairs of neighbouring words are different ones; at the start it"
                f" was {percent(start.distinct_2)}. The model answers different prompts in the same words.",
            )


TEXT_CHECKS: tuple[Callable[[Ledger], Iterator[PageFinding]], ...] = (length_changed, repeats, less_diverse)


def _ends(ledger: Ledger) -> list[tuple[HeldOut, HeldOut]]:
    """Return how the start and the model to use do, as a list of one; empty before both are evaluated."""
    start, kept = start_of(ledger), outcome(ledger)
    return [(start, kept[1])] if start and kept else []
