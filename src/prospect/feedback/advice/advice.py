"""Which method suits the feedback, with which settings, and why.

method_advice.py holds the rules, recipe_advice.py the settings; docs/advice.md both, and how they did in a study.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from prospect.errors import DataError
from prospect.feedback.advice.method import RULES, choose_method
from prospect.feedback.advice.recipe import write_recipe
from prospect.feedback.convert.balance import ClassWeights, suggest_class_weights

Method = Literal["kto", "dpo", "cdpo", "ipo", "nca", "sft", "collect"]


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the advice rests on; the data doctor measures it.

    Attributes:
        kind: unpaired, paired, demonstration or scored.
        rows: records.
        prompts: distinct prompts.
        desirable: desirable completions (of pairs: the chosen).
        undesirable: undesirable completions.
        pairable: prompts that have both labels, so that pairs can be made within them (paired rows: all of them).
        flip_rate: estimated share of verdicts that say the opposite of what most raters would; None where no completion
            has several votes.
        votes: verdicts on completions with several votes, on which `flip_rate` rests.
        contradictions: completions with both labels, or pairs that exist in both directions.
        cycles: prompts whose preferences go in a circle (a > b > c > a).
        scores: rows with a score of their own, or scored completions.
        completion_words: mean words of a completion.
        comparable: prompts that have two completions with different scores.
        score_spread: median over those prompts of the best score minus the worst; None without scores.
    """

    kind: Literal["unpaired", "paired", "demonstration", "scored"]
    rows: int
    prompts: int
    desirable: int = 0
    undesirable: int = 0
    pairable: int = 0
    flip_rate: float | None = None
    votes: int = 0
    contradictions: int = 0
    cycles: int = 0
    scores: int = 0
    completion_words: float = 0.0
    comparable: int = 0
    score_spread: float | None = None


@dataclass(frozen=True, kw_only=True)
class Advice:
    """A method, why, and the recipe to start from.

    Attributes:
        method: the method in a word; `collect` is "not enough data".
        reasons: one sentence each, the deciding one first.
        desirable_weight: lambda_D, as `class_weights: auto` would set it; 1 where the method has none.
        undesirable_weight: lambda_U.
        recipe: a recipe as nested settings, complete but for the user's own paths; None where nothing can be trained.
        settings: setting -> why it has its value.
    """

    method: Method
    reasons: tuple[str, ...]
    desirable_weight: float
    undesirable_weight: float
    recipe: dict[str, Any] | None
    settings: dict[str, str]


def advise(facts: Facts, *, model: str | None = None, data: str | Sequence[str] | None = None) -> Advice:
    """Return the method that suits the feedback, why, and a recipe to start from.

    thumbs -> kto; clean, transitive pairs -> dpo; noisy ones -> cdpo, noisier or circular ones -> kto; few and certain
    ones -> ipo; scores -> nca; good answers only -> sft; too little -> collect.

    Args:
        facts: what is in the feedback.
        model: for the recipe. The learning rate of a local folder of less than a billion parameters is raised.
        data: for the recipe: where the feedback lies.

    Refuses facts that cannot be true: negative counts, or a flip rate that is no share.

    Source: KTO, arXiv 2402.01306; NCA, arXiv 2402.05369; IPO, arXiv 2310.12036. The thresholds are ours.
    """
    _check(facts)
    method, reasons = choose_method(facts)
    return advise_method(method, reasons, facts, model=model, data=data)


def advise_method(
    method: Method,
    reasons: Sequence[str],
    facts: Facts,
    *,
    model: str | None = None,
    data: str | Sequence[str] | None = None,
) -> Advice:
    """Return the settings for a method that is chosen already: by the rules, or against them, to compare.

    Args:
        method: any.
        reasons: why it was chosen.
        facts: what is in the feedback; for kto both classes must have rows.
        model: as in `advise`.
        data: as in `advise`.
    """
    if facts.kind == "paired":  # one of each by definition, whatever was counted
        facts = replace(facts, desirable=facts.rows, undesirable=facts.rows)
    weights = ClassWeights(1.0, 1.0)
    recipe: dict[str, Any] | None = None
    settings: dict[str, str] = {}
    if method == "kto":
        weights = suggest_class_weights(facts.desirable, facts.undesirable)
    if method != "collect":
        recipe, settings = write_recipe(method, facts, weights, model=model, data=data)
    return Advice(
        method=method,
        reasons=tuple(reasons),
        desirable_weight=weights.desirable,
        undesirable_weight=weights.undesirable,
        recipe=recipe,
        settings=settings,
    )


_COUNTS = (
    "rows",
    "prompts",
    "desirable",
    "undesirable",
    "pairable",
    "votes",
    "contradictions",
    "cycles",
    "scores",
    "comparable",
)


def _check(facts: Facts) -> None:
    if facts.kind not in RULES:
        raise DataError(f"kind of feedback is {facts.kind!r}; expected unpaired, paired, demonstration or scored")
    for name in _COUNTS:
        if getattr(facts, name) < 0:
            raise DataError(f"facts: {name} is {getattr(facts, name)}; expected a count of at least 0")
    if facts.flip_rate is not None and not 0 <= facts.flip_rate <= 1:
        raise DataError(f"facts: flip_rate is {facts.flip_rate}; expected a share, 0 to 1, or None")
