"""What to worry about in a run's evaluations: lengths, repetition, judges that look at the place, drift.

Each check is one function of an evaluation's result that returns a `PageFinding` or None.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prospect.report.page.parts import PageFinding
from prospect.report.page.wording import count, interval, number, percent
from prospect.report.run.evaluations import results_of
from prospect.report.run.facts import RunFacts, dig, is_number
from prospect.report.run.measured import measured

LONGER = 1.5  # times as long: two samples of one model differ by less in most cases
LOOPS = 0.1  # of the texts repeat themselves, more than on the other side
UNREAD = 0.05  # of the verdicts
PLACE = 0.1  # away from one half
FAR = 0.5  # nats of KL per token of the policy's own samples


def contest_lengths(contest: Any) -> PageFinding | None:
    """Our completions are much longer or shorter than the other side's."""
    ours, theirs = (dig(contest, side, "words", "value") for side in ("our_texts", "their_texts"))
    if not (is_number(ours) and is_number(theirs) and min(ours, theirs) > 0):
        return None
    if 1 / LONGER < ours / theirs < LONGER:
        return None
    word = "longer" if ours > theirs else "shorter"
    return PageFinding(
        True,
        f"Completions are much {word} than {_named(contest, 'theirs')}'s",
        f"{number(float(ours))} words on average against {number(float(theirs))}: part of the win rate may be length.",
    )


def only_longer(contest: Any) -> PageFinding | None:
    """Warn that the win rate is above one half, and at equal length it is not."""
    plain, equal = (measured(dig(contest, key), key) for key in ("win_rate", "length_controlled"))
    if not plain or not equal or plain.low <= 0.5 or equal.low > 0.5 or dig(contest, "length_controlled", "note"):
        return None
    return PageFinding(
        True,
        "That it wins may be a matter of length",
        f"Its win rate is {interval(plain.low, plain.high)}, at equal length {interval(equal.low, equal.high)}.",
    )


def repeats(contest: Any) -> PageFinding | None:
    """More of our texts loop than of theirs."""
    ours, theirs = (measured(dig(contest, side, "looping"), side) for side in ("our_texts", "their_texts"))
    before = theirs.value if theirs else 0.0
    if not ours or ours.value - before < LOOPS:
        return None
    return PageFinding(
        True,
        f"{percent(ours.value)} of the completions repeat themselves",
        f"More than half of such a text has been said before in it; on the other side it is {percent(before)}."
        " The usual cause is a learning rate that is too high, or a beta that is too low.",
    )


def looks_at_the_place(contest: Any) -> PageFinding | None:
    """Warn that the judge chooses what it is shown first, or last."""
    first = measured(dig(contest, "shown_first"), "shown_first")
    if not first or abs(first.value - 0.5) < PLACE or first.low <= 0.5 <= first.high:
        return None
    both = is_number(dig(contest, "orders")) and contest["orders"] > 1
    so = "Both orders were asked, so it favours nobody, but ties are many." if both else "Ask it in both orders."
    return PageFinding(
        not both,
        f"The judge chose the completion shown first in {percent(first.value)} of its verdicts",
        f"It looks at the place as well as at the text. {so}",
    )


def unread(contest: Any) -> PageFinding | None:
    """Verdicts that could not be read; they stay in the denominator."""
    lost, n = dig(contest, "unparsed"), dig(contest, "win_rate", "n") or dig(contest, "n")
    if not (is_number(lost) and is_number(n) and n > 0) or lost / n < UNREAD:
        return None
    return PageFinding(
        True,
        f"{count(lost, 'verdict')} of {count(n)} could not be read",
        "They count for nobody and stay in the total, so the win rate is too low on both sides. Read some, and ask"
        " the judge for the label alone.",
    )


def far_away(feedback: Any) -> PageFinding | None:
    """KL from the reference, by the policy's own samples."""
    kl, tokens = dig(feedback, "drift", "kl", "value"), dig(feedback, "drift", "kl", "tokens")
    if not (is_number(kl) and is_number(tokens) and tokens > 0) or kl / tokens < FAR:
        return None
    return PageFinding(
        True,
        "The policy writes what its reference hardly would",
        f"KL is {number(float(kl), 2)} nats over completions of {number(float(tokens), 2)} tokens, by the"
        " policy's own samples: it may have lost what the reference could do. A higher beta or a lower"
        " learning rate holds it closer.",
    )


def _first(kind: str, check: Callable[[Any], PageFinding | None]) -> Callable[[RunFacts], PageFinding | None]:
    """Return a check of a run from one of an evaluation's result: the first finding among results of that kind."""

    def first(facts: RunFacts) -> PageFinding | None:
        found = (check(result) for _, of, result in results_of(facts) if of == kind)
        return next((finding for finding in found if finding), None)

    return first


EVALUATION_CHECKS: tuple[Callable[[RunFacts], PageFinding | None], ...] = (
    _first("contest", repeats),
    _first("contest", contest_lengths),
    _first("contest", only_longer),
    _first("feedback", far_away),
    _first("contest", unread),
    _first("contest", looks_at_the_place),
)


def _named(contest: Any, side: str) -> str:
    return str(dig(contest, side) or "the other side")
