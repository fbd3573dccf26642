"""What to worry about in a run's evaluations: lengths, repetition, judges that look at the place, drift.

Each check is one function of the facts that returns a `Finding` or None, as in findings.py.
"""

from __future__ import annotations

from collections.abc import Callable

from prospect.report.page.parts import Finding
from prospect.report.page.wording import count, interval, number, percent
from prospect.report.run.facts import Facts
from prospect.results.contest import ContestResult
from prospect.results.feedback import FeedbackResult

LONGER = 1.5  # times as long: two samples of one model differ by less in most cases
LOOPS = 0.1  # of the texts repeat themselves, more than on the other side
UNREAD = 0.05  # of the verdicts
PLACE = 0.1  # away from one half
FAR = 0.5  # nats of KL per token of the policy's own samples


def contest_lengths(facts: Facts) -> Finding | None:
    """Our completions are much longer or shorter than the other side's."""
    for contest in facts.results(ContestResult):
        if not contest.our_texts or not contest.their_texts:
            continue
        ours, theirs = contest.our_texts.words.value, contest.their_texts.words.value
        if min(ours, theirs) <= 0 or 1 / LONGER < ours / theirs < LONGER:
            continue
        word = "longer" if ours > theirs else "shorter"
        return Finding(
            True,
            f"Completions are much {word} than {contest.theirs}'s",
            f"{number(ours)} words on average against {number(theirs)}: part of the win rate may be length.",
        )
    return None


def only_longer(facts: Facts) -> Finding | None:
    """Warn that the win rate is above one half, and at equal length it is not."""
    for contest in facts.results(ContestResult):
        plain, equal = contest.win_rate, contest.length_controlled
        if not equal or plain.low <= 0.5 or equal.low > 0.5 or equal.note:
            continue
        return Finding(
            True,
            "That it wins may be a matter of length",
            f"Its win rate is {interval(plain.low, plain.high)}, at equal length {interval(equal.low, equal.high)}.",
        )
    return None


def repeats(facts: Facts) -> Finding | None:
    """More of our texts loop than of theirs."""
    for contest in facts.results(ContestResult):
        ours, theirs = (texts and texts.looping for texts in (contest.our_texts, contest.their_texts))
        before = theirs.rate if theirs else 0.0
        if not ours or ours.rate - before < LOOPS:
            continue
        return Finding(
            True,
            f"{percent(ours.rate)} of the completions repeat themselves",
            f"More than half of such a text has been said before in it; on the other side it is {percent(before)}."
            " The usual cause is a learning rate that is too high, or a beta that is too low.",
        )
    return None


def looks_at_the_place(facts: Facts) -> Finding | None:
    """Warn that the judge chooses what it is shown first, or last."""
    for contest in facts.results(ContestResult):
        first = contest.shown_first
        if not first or abs(first.rate - 0.5) < PLACE or first.low <= 0.5 <= first.high:
            continue
        both = contest.orders > 1
        so = "Both orders were asked, so it favours nobody, but ties are many." if both else "Ask it in both orders."
        return Finding(
            not both,
            f"The judge chose the completion shown first in {percent(first.rate)} of its verdicts",
            f"It looks at the place as well as at the text. {so}",
        )
    return None


def unread(facts: Facts) -> Finding | None:
    """Verdicts that could not be read; they stay in the denominator."""
    for contest in facts.results(ContestResult):
        lost, n = contest.unparsed, contest.win_rate.n
        if not n or lost / n < UNREAD:
            continue
        return Finding(
            True,
            f"{count(lost, 'verdict')} of {count(n)} could not be read",
            "They count for nobody and stay in the total, so the win rate is too low on both sides. Read some, and ask"
            " the judge for the label alone.",
        )
    return None


def far_away(facts: Facts) -> Finding | None:
    """KL from the reference, by the policy's own samples."""
    for feedback in facts.results(FeedbackResult):
        kl = feedback.drift.kl if feedback.drift else None
        if not kl or kl.value is None or not kl.tokens or kl.value / kl.tokens < FAR:
            continue
        return Finding(
            True,
            "The policy writes what its reference hardly would",
            f"KL is {number(kl.value, 2)} nats over completions of {number(kl.tokens, 2)} tokens, by the"
            " policy's own samples: it may have lost what the reference could do. A higher beta or a lower"
            " learning rate holds it closer.",
        )
    return None


EVALUATION_CHECKS: tuple[Callable[[Facts], Finding | None], ...] = (
    repeats,
    contest_lengths,
    only_longer,
    far_away,
    unread,
    looks_at_the_place,
)
