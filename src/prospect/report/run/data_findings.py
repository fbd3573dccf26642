"""What to worry about in a run's feedback and in how much was measured.

Each check is one function of the facts that returns a `PageFinding` or None, as in findings.py.
"""

from __future__ import annotations

from collections.abc import Callable

from prospect.report.page.parts import PageFinding
from prospect.report.page.wording import count, number, percent
from prospect.report.run.facts import RunFacts, is_number
from prospect.statistics.rates import proportion


def cut_completions(facts: RunFacts) -> PageFinding | None:
    """Completions that max_length cuts never teach the model how to end."""
    train = facts.train_data
    cut, limit = train.cut, facts.recipe("data", "max_length")
    completions = (train.desirable or 0) + (train.undesirable or 0)
    if cut is None or completions < 1:
        return None
    share = cut / completions
    if share < 0.01:
        return None
    at = f" at {count(limit)} tokens" if is_number(limit) else ""
    return PageFinding(
        share >= 0.05,
        f"{percent(share)} of the completions were cut{at}",
        "The model saw how they begin and not how they end. Raise data.max_length if memory allows.",
    )


def dropped_rows(facts: RunFacts) -> PageFinding | None:
    """Record that could not be used."""
    train = facts.train_data
    refused = {reason: found.rows for reason, found in train.unrenderable.items()}
    if train.dropped is None or train.rows is None:
        return None
    dropped, rows = train.dropped + sum(refused.values()), train.rows
    if dropped < 0.01 * (rows + dropped) or dropped == 0:
        return None
    share = dropped / (rows + dropped)
    why = f" Of {count(sum(refused.values()), 'record')}, {'; '.join(refused)}." if refused else ""
    return PageFinding(
        share >= 0.05,
        f"{percent(share)} of the records were dropped",
        f"{count(dropped, 'record')} could not be used.{why}",
    )


def rare_class(facts: RunFacts) -> PageFinding | None:
    """One class is much rarer than the other, and whether the class weights make up for it."""
    if not facts.class_counts:
        return None
    up, down = facts.class_counts
    if min(up, down) >= 0.2 * (up + down):
        return None
    name = facts.class_names[0 if up < down else 1]
    weighted = facts.class_weights[0] * up / (facts.class_weights[1] * down) if down and facts.class_weights[1] else 0.0
    made_up = 0.75 <= weighted <= 1.6
    advice = (
        "The class weights make up for it."
        if made_up
        else "The class weights do not make up for it; data.class_weights: auto would."
    )
    return PageFinding(
        not made_up,
        f"Only {percent(min(up, down) / (up + down))} of the thumbs are {name}",
        f"{count(up)} desirable against {count(down)} undesirable; weighted, they stand {weighted:.2g} to 1. {advice}",
    )


def many_epochs(facts: RunFacts) -> PageFinding | None:
    """More passes over the data than these methods are used with."""
    epochs = facts.provenance.epochs
    if epochs is None or epochs <= 3 or facts.in_progress:
        return None
    return PageFinding(
        False,
        f"The data was seen {epochs:.3g} times",
        "One pass is usual for preference methods; with more, watch the held-out curves for a turn.",
    )


def too_few_to_tell(facts: RunFacts) -> PageFinding | None:
    """Warn that the evaluation is too small for its interval to say much."""
    compared = facts.comparison
    n = compared.after.n if compared else facts.held_out.rows
    if n is None or n >= 100 or (facts.feedback == "demonstration" and not compared):
        return None
    half = (proportion(n / 2, n).high - 0.5) if n >= 1 else 0.5
    return PageFinding(
        True,
        f"The evaluation counts only {count(n, 'row')}",
        f"A share of a half would be known to ±{100 * half:.0f} points only. 400 give ±5, 100 give ±10.",
    )


def nothing_held_out(facts: RunFacts) -> PageFinding | None:
    """Warn that a finished run that measured nothing on unseen feedback."""
    of_round = facts.round_of and facts.round_of.round.held_out
    measured = (
        of_round
        or facts.comparison
        or any(facts.evaluations.values())
        or any("eval_loss" in row for row in facts.metrics)
    )
    if measured or facts.in_progress or not facts.metrics:
        return None
    if facts.recipe("online"):
        return PageFinding(
            True,
            "Only the judge that it was trained for has seen the result",
            "Its score rises as the policy finds out what it rewards; that does not show that the model got better. Ask"
            " another judge about prompts that it never saw (prospect contest).",
        )
    return PageFinding(
        True,
        "Nothing was held out",
        "Training rewards always rise; they do not show that the model got better. Keep some feedback apart"
        " (data.eval).",
    )


def length_changed(facts: RunFacts) -> PageFinding | None:
    """Completions grew or shrank a lot, which raters often mistake for quality."""
    words = facts.comparison.mean_words if facts.comparison else None
    if not words or min(words.before, words.after) <= 0 or 2 / 3 <= words.after / words.before <= 1.5:
        return None
    grew = "longer" if words.after > words.before else "shorter"
    return PageFinding(
        True,
        f"Completions became much {grew}",
        f"From {number(words.before)} to {number(words.after)} words on average: part of any change may be length.",
    )


DATA_CHECKS: tuple[Callable[[RunFacts], PageFinding | None], ...] = (
    length_changed,
    too_few_to_tell,
    nothing_held_out,
    cut_completions,
    dropped_rows,
    rare_class,
)
