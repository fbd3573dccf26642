"""What to worry about in rounds: no gain, drift, balance, a judge that is gamed, texts that change.

Each check is one function of the ledger that yields findings; a new check is one more in `CHECKS`, which are in the
order of their severity.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

from prospect.report.page.parts import PageFinding
from prospect.report.page.wording import count, number, percent
from prospect.report.rounds.text_findings import TEXT_CHECKS
from prospect.report.rounds.words import difference, evaluated, outcome, round_name, sentence, shown_judge, verdict_of
from prospect.report.run.evaluation_findings import FAR, UNREAD
from prospect.results.rounds import HeldOut, Ledger
from prospect.statistics.rates import proportion

ONE_CLASS = 0.05  # of the thumbs: 19 of 600 with a weight of 23.5 made a round worse that gained without it
DISAGREE = 0.75  # of the samples on which two judges agree; a coin agrees with itself on half of them
CLAMPED = 0.5  # of the steps
FEW = 100  # held-out prompts: a share of a half is known to 10 points


def findings(ledger: Ledger) -> list[PageFinding]:
    """Return all that the checks found: worries first, of these the worst first."""
    found = [finding for check in CHECKS for finding in check(ledger)]
    return sorted(found, key=lambda finding: not finding.worry)


def second_judge_falls(ledger: Ledger) -> Iterator[PageFinding]:
    """Warn that the judge that training never sees finds the samples worse."""
    if not (kept := outcome(ledger)):
        return
    found = kept[1]
    changes = {"the start": found.second_against_start, "the model before": found.second_against_last}
    worse = {other: change for other, change in changes.items() if change and change.verdict == "worse"}
    rises = " while the judge of the rounds finds them better" if verdict_of(ledger, found) == "better" else ""
    for other, change in list(worse.items())[:1]:
        yield PageFinding(
            True,
            f"The second judge finds the samples worse than those of {other}{rises}",
            f"By {shown_judge(ledger.second_judge or '')} the change is {difference(change)}. The rounds may have"
            " learnt what the first judge overlooks. Read the samples, and take an earlier round's model.",
        )


def no_gain(ledger: Ledger) -> Iterator[PageFinding]:
    """Warn that the model to use is not shown to be better than the start."""
    if not (kept := outcome(ledger)):
        return
    one, found = kept
    word = verdict_of(ledger, found)
    told = f"The difference is {difference(found.against_start)}. " if found.against_start else ""
    if not one.round or word == "worse":
        yield PageFinding(
            True,
            f"The model of {round_name(one)} is worse than the start" if one.round else "No model beats the start",
            f"{told}The usual cause is a learning rate that is too high, or a round that is nearly of one class.",
        )
    elif word != "better":
        yield PageFinding(
            True,
            f"No gain is shown for the model of {round_name(one)}",
            f"{told}More held-out prompts make the interval narrower; prompts on which the start is sometimes right"
            " give the rounds more to learn from.",
        )


def not_kept(ledger: Ledger) -> Iterator[PageFinding]:
    """Warn of rounds that are worse than the model they came from."""
    for one, found in evaluated(ledger):
        if not one.is_kept and found.against_last:
            yield PageFinding(
                True,
                f"{round_name(one).capitalize()} is worse than the model it came from",
                f"The change is {difference(found.against_last)}. Its model is not kept.",
            )


def drifted(ledger: Ledger) -> Iterator[PageFinding]:
    """Warn that the model to use is far from the start."""
    one, found = outcome(ledger) or (None, None)
    if one and found and found.kl and found.tokens and found.kl.value / found.tokens >= FAR:
        yield PageFinding(
            True,
            f"The model of {round_name(one)} writes what the start hardly would",
            f"KL from the start is {number(found.kl.value, 2)} nats over samples of {number(found.tokens, 2)}"
            " tokens: it may have lost what the start could do. A higher beta, a lower learning rate or fewer"
            " rounds hold it closer.",
        )


def kl_without_gain(ledger: Ledger) -> Iterator[PageFinding]:
    """Warn of rounds that went further from the start, and are not shown to be better than the model before."""
    for (before, there), (one, here) in pairwise(evaluated(ledger)):
        change = here.against_last
        further = there.kl and here.kl and here.kl.low > there.kl.high
        if before.is_kept and further and change and change.verdict == "no difference shown":
            yield PageFinding(
                True,
                f"{round_name(one).capitalize()} went further from the start without a gain",
                f"KL from the start rose from {_nats(there)} to {_nats(here)} nats; against the model before it, the"
                f" change is {difference(change)}.",
            )


def nearly_one_class(ledger: Ledger) -> Iterator[PageFinding]:
    """Warn that nearly all samples of a round got the same thumb."""
    for one in ledger.rounds:
        up, down = (one.judged.desirable, one.judged.undesirable) if one.judged else (0, 0)
        of_thumbs = one.rows is None or one.rows.kind == "unpaired"
        if not of_thumbs or min(up, down) >= ONE_CLASS * (up + down):
            continue
        few, word, advice = (
            (down, "down", "Ask harder prompts, or add rows of earlier rounds (replay).")
            if down < up
            else (up, "up", "Take easier prompts, a teacher's answers, or more samples a prompt.")
        )
        capped = " Its class weights were capped." if one.rows and one.rows.capped else ""
        yield PageFinding(
            True,
            f"Only {count(few)} of {count(up + down, 'thumb')} of {round_name(one)} are {word}",
            "A round that is nearly of one class teaches little, and weights that make up for it let a few rows decide."
            f"{capped} {advice}",
        )


def alarms(ledger: Ledger) -> Iterator[PageFinding]:
    """Report the alarms of training."""
    for one in ledger.rounds:
        for text in dict.fromkeys(one.trained.alarms if one.trained else []):
            yield PageFinding(True, f"Training raised an alarm in {round_name(one)}", text)


def judge_is_hard_to_read(ledger: Ledger) -> Iterator[PageFinding]:
    """Warn that many verdicts could not be read."""
    for one in ledger.rounds:
        asked = one.drawn.samples if one.drawn else 0
        if one.judged and asked and one.judged.unread / asked >= UNREAD:
            yield PageFinding(
                True,
                f"{count(one.judged.unread, 'verdict')} of {round_name(one)} could not be read",
                f"They are of {count(asked, 'sample')}, which got no thumb. If the judge fails on the hard ones, the"
                " rest flatters the model.",
            )


def judges_disagree(ledger: Ledger) -> Iterator[PageFinding]:
    """Warn that the two judges often differ."""
    _, found = outcome(ledger) or (None, None)
    if found and found.agreement is not None and found.agreement < DISAGREE:
        yield PageFinding(
            True,
            f"The two judges agree on {percent(found.agreement)} of the samples",
            "They do not look for the same thing: read samples on which they differ before you trust either.",
        )


def too_few_prompts(ledger: Ledger) -> Iterator[PageFinding]:
    """Warn that the held-out prompts are too few for narrow intervals."""
    n = ledger.held_out_prompts
    if 0 < n < FEW:
        half = 100 * (proportion(n / 2, n).high - 0.5)
        yield PageFinding(
            True,
            f"Only {count(n, 'prompt')} {'is' if n == 1 else 'are'} held out",
            f"A share of a half would be known to ±{half:.0f} points only. 400 give ±5, 100 give ±10.",
        )


def clamped(ledger: Ledger) -> Iterator[PageFinding]:
    """Note that z0 was 0 for most of a round's steps."""
    told = ", ".join(
        f"{percent(one.trained.clamped)} in {round_name(one)}"
        for one in ledger.rounds
        if one.trained and one.trained.clamped is not None and one.trained.clamped >= CLAMPED
    )
    if told:
        yield PageFinding(
            False,
            "The reference point z0 was 0 on half of the steps or more",
            f"Share of the steps on which its estimate was clamped: {told}. There, gains are measured from the"
            " reference itself.",
        )


def no_second_judge(ledger: Ledger) -> Iterator[PageFinding]:
    """Note that nothing but the judge itself says whether it is being gamed."""
    if ledger.second_judge is None and ledger.held_out_judge is None and evaluated(ledger):
        yield PageFinding(
            False,
            "One judge both teaches and measures",
            "A model learns to please its judge, also where the judge is wrong. A second judge that training never sees"
            " shows when they part.",
        )


def notes(ledger: Ledger) -> Iterator[PageFinding]:
    """Report what the rounds noted themselves."""
    for one in ledger.rounds:
        for text in one.notes:
            yield PageFinding(False, round_name(one).capitalize(), sentence(text))


# The worst first: a model that games its judge or is no better, one that has drifted, rounds that could teach little,
# then how much was measured.
CHECKS: tuple[Callable[[Ledger], Iterator[PageFinding]], ...] = (
    second_judge_falls,
    no_gain,
    not_kept,
    drifted,
    kl_without_gain,
    nearly_one_class,
    *TEXT_CHECKS,
    alarms,
    judge_is_hard_to_read,
    judges_disagree,
    too_few_prompts,
    clamped,
    no_second_judge,
    notes,
)


def _nats(found: HeldOut) -> str:
    return number(found.kl.value, 2) if found.kl else "?"
