"""The rules: facts -> a method, and the reasons for it, the deciding one first.

What the papers say is cited; a number that is only a rule of thumb of ours is called one, to the user as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from prospect.feedback.convert.balance import suggest_class_weights

if TYPE_CHECKING:
    from prospect.feedback.advice.advice import Facts, Method

FEWEST_VERDICTS = 200
"""Thumbs. A step of 32 wants to be taken a few times; and the tenth that is held out, 20 here, tells the share of right
verdicts to 22 points either way."""
FEWEST_EXAMPLES = 100
"""Pairs, which hold two verdicts each; demonstrations; prompts with scores."""
FEWEST_OF_A_CLASS = 20
FEWEST_PROMPTS = 20
FEWEST_VOTES = 50
"""Below it an estimated flip rate is known to 11 points or worse, and is not used."""
LOW_NOISE = 0.10
"""Share of flipped verdicts from which preferences count as noisy; the paper gives no number."""
MUCH_NOISE = 0.25
"""Share from which label smoothing leaves half of a pair's first gradient, 1 - 2e of it, or less."""
CERTAIN, FEW_PAIRS = 0.02, 500
"""Pairs with no more flips, and fewer of them, are seen several times, and DPO would widen their margins every time."""
CONTRADICTORY = 0.02
"""Share of the prompts, or of the pairs, that may contradict themselves in data that counts as transitive."""
PAPERS_IMBALANCE = 10
"""The largest imbalance for which the paper shows a win rate."""
NEAR_BALANCE = 1.2
"""How many times the fewer the more may be before anybody would call it out of balance."""

Choice = tuple["Method", list[str]]

SFT_BEFORE_KTO = (
    "A model that has never seen such answers wants loss sft on the desirable ones first; large, well-trained models "
    "can do without it under KTO (arXiv 2402.01306)."
)
SFT_BEFORE_DPO = (
    "A model that has never seen such answers wants loss sft on the chosen ones first: without it the DPO of the KTO "
    "paper (arXiv 2402.01306) rambled, 735 tokens on average against KTO's 287."
)
VANISHES = "KTO's gradient vanishes on what cannot be learnt (proposition 4.1 of arXiv 2402.01306)"


def choose_method(facts: Facts) -> Choice:
    """Return the method that suits the feedback, and why.

    Source: KTO, arXiv 2402.01306, on when to use KTO and when DPO. The thresholds are ours.
    """
    return RULES[facts.kind](facts)


def usable_flip_rate(facts: Facts) -> float | None:
    """Return the flip rate where enough votes stand behind it."""
    return facts.flip_rate if facts.votes >= FEWEST_VOTES else None


def _demonstrations(facts: Facts) -> Choice:
    if _scores_suffice(facts):
        return _scored(facts)
    if facts.rows < FEWEST_EXAMPLES:
        return "collect", [_too_few("demonstrations", facts.rows, FEWEST_EXAMPLES)]
    return "sft", [
        "The rows are answers to imitate, without a verdict, and supervised fine-tuning is what learns from those.",
        "Then let the tuned model answer, collect thumbs on its answers, and align it on those with kto.",
    ]


def _unpaired(facts: Facts) -> Choice:
    if _scores_suffice(facts):
        return _scored(facts)
    if min(facts.desirable, facts.undesirable) < FEWEST_OF_A_CLASS:
        return _one_class(facts)
    short = _short_of_verdicts(facts, facts.desirable + facts.undesirable, FEWEST_VERDICTS, "thumbs")
    if short:
        return "collect", [*short, *_while_collecting(facts)]
    return "kto", [
        "The verdicts are binary, one on each completion, which is what KTO learns from. DPO would need both verdicts "
        f"on one prompt, which {facts.pairable} of {facts.prompts} prompts have.",
        *_balance(facts),
        *_noise_of_thumbs(facts),
        *_unused_scores(facts),
        SFT_BEFORE_KTO,
    ]


def _one_class(facts: Facts) -> Choice:
    """Thumbs of one kind, or nearly so: what can be imitated, or what is missing."""
    found = f"There are {facts.desirable} desirable and {facts.undesirable} undesirable completions"
    if facts.desirable >= max(FEWEST_EXAMPLES, facts.undesirable):
        return "sft", [
            f"{found}: with hardly any of the second there is nothing to compare, but the first can be imitated.",
            f"From {FEWEST_OF_A_CLASS} undesirable ones on KTO would use them too; that number is a rule of thumb.",
        ]
    missing = "desirable" if facts.desirable <= facts.undesirable else "undesirable"
    more = FEWEST_OF_A_CLASS - min(facts.desirable, facts.undesirable)
    reasons = [
        f"{found}; collect at least {more} more {missing} ones. That a class should have {FEWEST_OF_A_CLASS} is a rule "
        "of thumb: the class weights give it as much say as the other, so a few odd rows would steer the whole run."
    ]
    if facts.desirable == 0:
        reasons.append(
            "Nothing is desirable, so there is nothing to imitate either, and answers that are only pushed down leave "
            "open what should take their place. Check the labels (data.label_map)."
        )
    rows = facts.desirable + facts.undesirable
    if rows + more < FEWEST_VERDICTS:
        reasons.append(_too_few("thumbs", rows, FEWEST_VERDICTS))
    return "collect", reasons


def _paired(facts: Facts) -> Choice:
    short = _short_of_verdicts(facts, facts.rows, FEWEST_EXAMPLES, "pairs")
    if short:
        return "collect", short
    contradiction = _contradiction(facts)
    if contradiction:
        return "kto", [
            f"The pairs contradict each other: {contradiction}. KTO, which reads a pair as a thumb up and a thumb "
            "down, goes with the majority there, where DPO may go with the minority (theorem 4.3 of arXiv 2402.01306).",
            SFT_BEFORE_KTO,
        ]
    noise = usable_flip_rate(facts)
    if noise is None:
        return _clean_pairs(
            "How noisy they are is not known, for hardly any pair has several votes. If they come from many people, or "
            "from people in a hurry, kto is the safer choice."
        )
    if noise >= LOW_NOISE:
        return _noisy_pairs(noise)
    if noise <= CERTAIN and facts.rows < FEW_PAIRS:
        return "ipo", [
            f"The pairs are certain ({_percent(noise)} of the verdicts are flipped) and few ({facts.rows}), so they "
            "are seen several times: DPO would widen their margins without end, IPO has a margin to reach.",
            SFT_BEFORE_DPO,
        ]
    return _clean_pairs(f"About {_percent(noise)} of the verdicts are flipped, which is little.")


def _contradiction(facts: Facts) -> str:
    """Return what shows that the pairs are not transitive, if anything does."""
    if facts.cycles >= CONTRADICTORY * facts.prompts:
        return f"the preferences of {facts.cycles} of {facts.prompts} prompts go in a circle" if facts.cycles else ""
    # Where the flip rate is known, a pair in both directions is one of the flips.
    if facts.contradictions >= CONTRADICTORY * facts.rows and usable_flip_rate(facts) is None:
        return f"{facts.contradictions} of {facts.rows} pairs exist in both directions" if facts.contradictions else ""
    return ""


def _clean_pairs(noise: str) -> Choice:
    return "dpo", [
        "The rows are pairs, and they do not contradict each other: of clean, transitive preferences DPO uses more "
        "than KTO does.",
        noise,
        SFT_BEFORE_DPO,
    ]


def _noisy_pairs(noise: float) -> Choice:
    if noise < MUCH_NOISE:
        return "cdpo", [
            f"About {_percent(noise)} of the preferences are flipped, and they do not go in circles: DPO with that "
            "rate as label_smoothing (conservative DPO) expects as many of the pairs to be wrong.",
            f"kto is the alternative: {VANISHES}, whatever the rate is.",
            SFT_BEFORE_DPO,
        ]
    return "kto", [
        f"About {_percent(noise)} of the preferences are flipped. Wrong pairs pull hardest under DPO; {VANISHES}.",
        f"DPO with label_smoothing {noise:.2g} is the alternative; at that rate it takes away {_percent(2 * noise)} of "
        "a pair's first gradient.",
        SFT_BEFORE_KTO,
    ]


def _scored(facts: Facts) -> Choice:
    if facts.comparable < FEWEST_EXAMPLES:
        name = "prompts with two completions of different score"
        return "collect", [_too_few(name, facts.comparable, FEWEST_EXAMPLES)]
    return "nca", [
        f"{facts.comparable} of {facts.prompts} prompts have completions with different scores: NCA learns from all of "
        "them at once and from how far apart they are, and holds up the likelihood of the good ones.",
        "That asks for scores on one scale. If they are ranks, or stars by many people, turn them into thumbs for kto.",
    ]


def _scores_suffice(facts: Facts) -> bool:
    """Whether single rows are better used by their scores than by what else they say."""
    return facts.comparable >= FEWEST_EXAMPLES and 2 * facts.comparable >= facts.prompts


def _unused_scores(facts: Facts) -> list[str]:
    if not facts.scores:
        return []
    return [
        f"{facts.scores} rows have scores, which are left aside: only {facts.comparable} of {facts.prompts} prompts "
        "have completions with different scores."
    ]


def _balance(facts: Facts) -> list[str]:
    if suggest_class_weights(facts.desirable, facts.undesirable) == (1.0, 1.0):
        return []
    more, fewer = max(facts.desirable, facts.undesirable), min(facts.desirable, facts.undesirable)
    found = f"{facts.desirable} desirable and {facts.undesirable} undesirable"
    if more <= NEAR_BALANCE * fewer:
        return [f"The classes are near balance ({found}); KTO's class weights give the desirable a little more say."]
    reasons = [f"The classes are out of balance ({found}), which KTO's class weights make up for."]
    if round(more / fewer) > PAPERS_IMBALANCE:
        reasons.append(
            f"{more / fewer:.0f} to 1 is more than the {PAPERS_IMBALANCE} to 1 that the paper shows a result for. "
            f"{fewer} rows get as much say as {more}: look at those few by hand."
        )
    return reasons


def _noise_of_thumbs(facts: Facts) -> list[str]:
    noise = usable_flip_rate(facts)
    if noise is not None and noise >= LOW_NOISE:
        return [f"About {_percent(noise)} of the thumbs are flipped; {VANISHES}, wrong labels among it."]
    if facts.contradictions:
        return [f"{facts.contradictions} completions have both verdicts; KTO goes with the majority of them."]
    return []


def _short_of_verdicts(facts: Facts, rows: int, fewest: int, name: str) -> list[str]:
    """Why the verdicts are too few, if they are.

    n verdicts of which a share e is flipped tell about as much as n (1 - 2e)^2 clean ones: the mean of many is 1 - 2e
    times as far from a coin toss's, and varies as much.
    """
    if facts.prompts < FEWEST_PROMPTS:
        return [
            f"There are {facts.prompts} different prompts; collect feedback on at least "
            f"{FEWEST_PROMPTS - facts.prompts} more. From so few, a model learns the prompts and not a behaviour. That "
            f"{FEWEST_PROMPTS} should do is a rule of thumb."
        ]
    noise = usable_flip_rate(facts) or 0.0
    told = max(0.0, 1 - 2 * noise) ** 2
    if rows * told >= fewest:
        return []
    if not noise:
        return [_too_few(name, rows, fewest)]
    found = f"About {_percent(noise)} of the verdicts are flipped, so {rows} {name} say as much as {rows * told:.0f} "
    if 100 * rows * told < fewest:
        return [
            f"{found}clean ones: hardly anything. Agree on what is good before collecting more, or leave out careless "
            "raters."
        ]
    more = math.ceil(fewest / told) - rows
    return [
        f"{found}clean ones; collect about {more} more, or clearer ones. That {fewest} clean ones should do is a rule "
        "of thumb."
    ]


def _while_collecting(facts: Facts) -> list[str]:
    """Return what a few thumbs are good for all the same, as the study of benchmarks/advice.py found."""
    noisy = (usable_flip_rate(facts) or 0.0) >= LOW_NOISE
    if facts.desirable < FEWEST_OF_A_CLASS or facts.prompts < FEWEST_PROMPTS or noisy:
        return []
    return [
        f"Meanwhile loss sft on the {facts.desirable} desirable ones is worth a try: with 80 thumbs on a model's own "
        "answers it went far in our study (docs/advice.md). Read its samples: too little can be held out to measure it."
    ]


def _too_few(name: str, rows: int, fewest: int) -> str:
    return (
        f"There are {rows} {name}; collect at least {fewest - rows} more. That {fewest} should do is a rule of thumb: "
        "with fewer there are hardly any steps to take, and what is held out is too little to show whether they helped."
    )


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


RULES: dict[str, Callable[[Facts], Choice]] = {
    "unpaired": _unpaired,
    "paired": _paired,
    "demonstration": _demonstrations,
    "scored": _scored,
}
