"""What to worry about in a run's evaluations: lengths, repetition, judges that look at the place, drift.

Each check is one function of an evaluation's result that returns a `PageFinding` or None.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from prospect.report.page.parts import PageFinding
from prospect.report.page.wording import count, interval, number, percent
from prospect.report.run.facts import RunFacts
from prospect.results.contest import ContestResult
from prospect.results.feedback import FeedbackResult

Kind = TypeVar("Kind", ContestResult, FeedbackResult)

LONGER = 1.5  # times as long: two samples of one model differ by less in most cases
LOOPS = 0.1  # of the texts repeat themselves, more than on the other side
UNREAD = 0.05  # of the verdicts
PLACE = 0.1  # away from one half
FAR = 0.5  # nats of KL per token of the policy's own samples


def contest_lengths(contest: ContestResult) -> PageFinding | None:
    """Our completions are much longer or shorter than the other side's."""
    if not contest.our_texts or not contest.their_texts:
        return None
    ours, theirs = contest.our_texts.words.value, contest.their_texts.words.value
    if min(ours, theirs) <= 0 or 1 / LONGER < ours / theirs < LONGER:
        return None
    word = "longer" if ours > theirs else "shorter"
    return PageFinding(
        True,
        f"Completions are much {word} than {contest.theirs}'s",
        f"{number(ours)} words on average against {number(theirs)}: part of the win rate may be length.",
    )


def only_longer(contest: ContestResult) -> PageFinding | None:
    """Warn that the win rate is above one half, and at equal length it is not."""
    plain, equal = contest.win_rate, contest.length_controlled
    if not equal or plain.low <= 0.5 or equal.low > 0.5 or equal.note:
        return None
    return PageFinding(
        True,
        "That it wins may be a matter of length",
        f"Its win rate is {interval(plain.low, plain.high)}, at equal length {interval(equal.low, equal.high)}.",
    )


def repeats(contest: ContestResult) -> PageFinding | None:
    """More of our texts loop than of theirs."""
    ours, theirs = (texts and texts.looping for texts in (contest.our_texts, contest.their_texts))
    before = theirs.rate if theirs else 0.0
    if not ours or ours.rate - before < LOOPS:
        return None
    return PageFinding(
        True,
        f"{percent(ours.rate)} of the completions repeat themselves",
        f"More than half of such a text has been said before in it; on the other side it is {percent(before)}."
        " The usual cause is a learning rate that is too high, or a beta that is too low.",
    )


def looks_at_the_place(contest: ContestResult) -> PageFinding | None:
    """Warn that the judge chooses what it is shown first, or last."""
    first = contest.shown_first
    if not first or abs(first.rate - 0.5) < PLACE or first.low <= 0.5 <= first.high:
        return None
    both = contest.orders > 1
    so = "Both orders were asked, so it favours nobody, but ties are many." if both else "Ask it in both orders."
    return PageFinding(
        not both,
        f"The judge chose the completion shown first in {percent(first.rate)} of its verdicts",
        f"It looks at the place as well as at the text. {so}",
    )


def unread(contest: ContestResult) -> PageFinding | None:
    """Verdicts that could not be read; they stay in the denominator."""
    lost, n = contest.unparsed, contest.win_rate.n
    if not n or lost / n < UNREAD:
        return None
    return PageFinding(
        True,
        f"{count(lost, 'verdict')} of {count(n)} could not be read",
        "They count for nobody and stay in the total, so the win rate is too low on both sides. Read some, and ask"
        " the judge for the label alone.",
    )


def far_away(feedback: FeedbackResult) -> PageFinding | None:
    """KL from the reference, by the policy's own samples."""
    kl = feedback.drift.kl if feedback.drift else None
    if not kl or kl.value is None or not kl.tokens or kl.value / kl.tokens < FAR:
        return None
    return PageFinding(
        True,
        "The policy writes what its reference hardly would",
        f"KL is {number(kl.value, 2)} nats over completions of {number(kl.tokens, 2)} tokens, by the"
        " policy's own samples: it may have lost what the reference could do. A higher beta or a lower"
        " learning rate holds it closer.",
    )


def _first(kind: type[Kind], check: Callable[[Kind], PageFinding | None]) -> Callable[[RunFacts], PageFinding | None]:
    """Return a check of a run from one of an evaluation's result: the first finding among results of that kind."""

    def first(facts: RunFacts) -> PageFinding | None:
        return next((found for result in facts.results(kind) if (found := check(result))), None)

    return first


EVALUATION_CHECKS: tuple[Callable[[RunFacts], PageFinding | None], ...] = (
    _first(ContestResult, repeats),
    _first(ContestResult, contest_lengths),
    _first(ContestResult, only_longer),
    _first(FeedbackResult, far_away),
    _first(ContestResult, unread),
    _first(ContestResult, looks_at_the_place),
)
