"""What to worry about in the scores of held-out feedback that a run measures as it goes.

Each check is one function of the facts that returns a `PageFinding` or None, as in findings.py.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from prospect.report.page.parts import PageFinding
from prospect.report.page.wording import count, number
from prospect.report.run.facts import MetricCurve, RunFacts


def held_out_not_improving(facts: RunFacts) -> PageFinding | None:
    """Warn that the held-out score ends no higher than it began."""
    name, score = _held_out_score(facts)
    if len(score.steps) < 2 or score.last - score.first >= 0.01:
        return None
    return PageFinding(
        True,
        f"Held-out {name} did not improve",
        f"It was {number(score.first)} at step {count(score.steps[0])} and is {number(score.last)} at step"
        f" {count(score.steps[-1])}. What was learnt does not carry over to feedback the model has not seen.",
    )


def held_out_at_chance(facts: RunFacts) -> PageFinding | None:
    """Warn that the held-out score has risen, and by no more than a score of random rewards would scatter.

    Without any skill the standard error of AUROC over P good and Q bad rows is sqrt((P + Q + 1) / (12 P Q)), that of
    the accuracy over N pairs 1 / (2 sqrt(N)).
    """
    name, score = _held_out_score(facts)
    good, bad = facts.held_out.desirable, facts.held_out.undesirable
    if not score or not good or not bad or held_out_not_improving(facts):
        return None
    if name != "AUROC" and facts.feedback != "paired":  # chance is one half of pairs, and something else of thumbs
        return None
    error = np.sqrt((good + bad + 1) / (12 * good * bad)) if name == "AUROC" else 0.5 / np.sqrt(good)
    if score.last > 0.5 + 2 * error:
        return None
    highest = min(1.0, 0.5 + 2 * error)
    return PageFinding(
        True,
        f"Held-out {name} is no better than chance, as far as can be told",
        f"It ends at {number(score.last)}, and with {count(good + bad, facts.noun)} up to {number(highest)}"
        " may be chance. Hold out more feedback, train longer, or raise the learning rate.",
    )


def past_the_best(facts: RunFacts) -> PageFinding | None:
    """Warn that the held-out score was clearly higher earlier in the run."""
    name, score = _held_out_score(facts)
    if len(score.steps) < 3:
        return None
    best = int(score.values.argmax())
    if score.values[best] - score.last <= 0.03 * max(1.0, abs(score.first)):
        return None
    return PageFinding(
        True,
        f"Held-out {name} was better earlier",
        f"It was best at step {count(score.steps[best])} ({number(score.values[best])}) and ends at"
        f" {number(score.last)}: fewer steps or a lower learning rate would have served.",
    )


def loss_rises(facts: RunFacts) -> PageFinding | None:
    """Warn that the held-out loss of demonstrations is not lower than it was."""
    loss = facts.curve("eval_loss")
    if facts.feedback != "demonstration" or len(loss.steps) < 2 or loss.last < loss.values[:-1].min() * 1.02:
        return None
    return PageFinding(
        True,
        "The held-out loss rises",
        f"It was {number(loss.values[:-1].min())} and ends at {number(loss.last)}: the model repeats its"
        " training data rather than learning from it. Train fewer epochs.",
    )


HELD_OUT_CHECKS: tuple[Callable[[RunFacts], PageFinding | None], ...] = (
    held_out_not_improving,
    held_out_at_chance,
    past_the_best,
    loss_rises,
)


def _held_out_score(facts: RunFacts) -> tuple[str, MetricCurve]:
    auroc = facts.curve("eval_rewards/auroc")
    return ("AUROC", auroc) if auroc else ("accuracy", facts.curve("eval_rewards/accuracies"))
