"""What to worry about in a run.

Each check is one function of the facts that returns a `Finding` or None; a new check is one more in `CHECKS`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from prospect.evaluation.winrate import proportion
from prospect.report.facts import Curve, Facts, dig, is_number
from prospect.report.wording import count, number, percent
from prospect.training.alarms import REWARD_STEPS


class Finding(NamedTuple):
    """One thing to know about a run; `worry` where somebody should act."""

    worry: bool
    title: str
    text: str


def findings(facts: Facts) -> list[Finding]:
    """Return all that the checks found, worries first."""
    found = [finding for check in CHECKS if (finding := check(facts))]
    return sorted(found, key=lambda finding: not finding.worry)


def both_rewards_fall(facts: Facts) -> Finding | None:
    """Both classes become less likely than under the reference, and still fall: the step is too large."""
    ends = [_ends(facts.curve(f"rewards/{name}")) for name in ("chosen", "rejected")]
    if not all(end and end.last < end.first and end.last < -max(0.02, 2 * end.error) for end in ends):
        return None
    means = " and ".join(number(end.last, 2) for end in ends if end)
    if facts.feedback == "paired":
        return Finding(
            False,
            "Chosen and rejected both became less likely",
            f"Mean rewards over the last quarter are {means}. A paired loss sees only their difference,"
            " so this is common; check in the samples that completions have not grown long or strange.",
        )
    return Finding(
        True,
        "The rewards of both classes fall together",
        f"Over the last quarter of the run they are {means}: the policy moves away from good completions too."
        " The usual cause is a learning rate that is too high. Try a third of it.",
    )


def rewards_fell_for_a_while(facts: Facts) -> Finding | None:
    """Training saw both rewards fall, and the whole run does not show it."""
    raised = facts.alarms("rewards")
    if not raised or both_rewards_fall(facts):
        return None
    return Finding(
        True,
        f"The rewards of both classes fell together at step {count(raised[0][0])}",
        f"In the {count(REWARD_STEPS)} steps before, {raised[0][1]}",
    )


def samples_repeat_themselves(facts: Facts) -> Finding | None:
    """Samples have begun to say the same over and over."""
    return _sample_alarm(facts, "repetition", "Samples repeat themselves", "Samples repeated themselves for a while")


def samples_changed_length(facts: Facts) -> Finding | None:
    """Samples have become much longer or shorter, away from what was good."""
    return _sample_alarm(facts, "length", "Samples changed in length", "Samples changed in length for a while")


def _sample_alarm(facts: Facts, kind: str, lasting: str, passing: str) -> Finding | None:
    raised = facts.alarms(kind)
    if not raised:
        return None
    (first, _), (last, text) = raised[0], raised[-1]
    over = bool(facts.steps_sampled) and last < facts.steps_sampled[-1]
    when = f"At step {count(last)}" + (f", and first at step {count(first)}" if first < last else "")
    after = " Later samples do not show it." if over else ""
    return Finding(not over, passing if over else lasting, f"{when}: {text}{after}")


def rewards_not_separated(facts: Facts) -> Finding | None:
    """The mean margin at the end is not above zero."""
    end = _ends(facts.curve("rewards/margins"))
    if not end or end.last > 2 * end.error:
        return None
    return Finding(
        True,
        "The two classes were not told apart",
        f"The reward margin over the last quarter is {number(end.last, 2)}, no more than its noise."
        " The labels may say nothing that can be learnt, or the run is too short, or its steps too small.",
    )


def clamped(facts: Facts) -> Finding | None:
    """z0 sat at zero for much of the run."""
    share = clamped_share(facts)
    if share is None or share < 0.25:
        return None
    return Finding(
        False,
        f"The reference point z0 was clamped to 0 on {percent(share)} of the steps",
        "That is normal when most of them lie at the start, where policy and reference are still the same."
        " When it lasts, KTO measures gains from the reference itself, as if z0 were fixed at 0.",
    )


def clamped_share(facts: Facts) -> float | None:
    """The share of steps whose z0 estimate was 0 or less before the clamp."""
    raw = facts.curve("kl_raw") or facts.curve("kl")
    return float(np.mean(raw.values <= 0)) if raw else None


def held_out_not_improving(facts: Facts) -> Finding | None:
    """The held-out score ends no higher than it began."""
    name, score = _held_out_score(facts)
    if len(score.steps) < 2 or score.last - score.first >= 0.01:
        return None
    return Finding(
        True,
        f"Held-out {name} did not improve",
        f"It was {number(score.first)} at step {count(score.steps[0])} and is {number(score.last)} at step"
        f" {count(score.steps[-1])}. What was learnt does not carry over to feedback the model has not seen.",
    )


def past_the_best(facts: Facts) -> Finding | None:
    """The held-out score was clearly higher earlier in the run."""
    name, score = _held_out_score(facts)
    if len(score.steps) < 3:
        return None
    best = int(score.values.argmax())
    if score.values[best] - score.last <= 0.03 * max(1.0, abs(score.first)):
        return None
    return Finding(
        True,
        f"Held-out {name} was better earlier",
        f"It was best at step {count(score.steps[best])} ({number(score.values[best])}) and ends at"
        f" {number(score.last)}: fewer steps or a lower learning rate would have served.",
    )


def loss_rises(facts: Facts) -> Finding | None:
    """The held-out loss of demonstrations is not lower than it was."""
    loss = facts.curve("eval_loss")
    if facts.feedback != "demonstration" or len(loss.steps) < 2 or loss.last < loss.values[:-1].min() * 1.02:
        return None
    return Finding(
        True,
        "The held-out loss rises",
        f"It was {number(loss.values[:-1].min())} and ends at {number(loss.last)}: the model repeats its"
        " training data rather than learning from it. Train fewer epochs.",
    )


def cut_completions(facts: Facts) -> Finding | None:
    """Completions that max_length cuts never teach the model how to end."""
    train = facts.train_data
    cut, limit = train.get("cut"), facts.recipe("data", "max_length")
    completions = sum(n for n in (train.get("desirable"), train.get("undesirable")) if is_number(n))
    if not is_number(cut) or completions < 1:
        return None
    share = cut / completions
    if share < 0.01:
        return None
    at = f" at {count(limit)} tokens" if is_number(limit) else ""
    return Finding(
        share >= 0.05,
        f"{percent(share)} of the completions were cut{at}",
        "The model saw how they begin and not how they end. Raise data.max_length if memory allows.",
    )


def dropped_rows(facts: Facts) -> Finding | None:
    """Records that could not be used."""
    train = facts.train_data
    dropped, rows = train.get("dropped"), train.get("rows")
    if not is_number(dropped) or not is_number(rows) or dropped < 0.01 * (rows + dropped) or dropped == 0:
        return None
    share = dropped / (rows + dropped)
    return Finding(
        share >= 0.05,
        f"{percent(share)} of the records were dropped",
        f"{count(dropped, 'record')} could not be used.",
    )


def rare_class(facts: Facts) -> Finding | None:
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
    return Finding(
        not made_up,
        f"Only {percent(min(up, down) / (up + down))} of the thumbs are {name}",
        f"{count(up)} desirable against {count(down)} undesirable; weighted, they stand {weighted:.2g} to 1. {advice}",
    )


def many_epochs(facts: Facts) -> Finding | None:
    """More passes over the data than these methods are used with."""
    epochs = facts.origin("epochs")
    if not is_number(epochs) or epochs <= 3 or facts.in_progress:
        return None
    return Finding(
        False,
        f"The data was seen {epochs:.3g} times",
        "One pass is usual for preference methods; with more, watch the held-out curves for a turn.",
    )


def too_few_to_tell(facts: Facts) -> Finding | None:
    """The evaluation is too small for its interval to say much."""
    compared, rows = facts.comparison, facts.origin("data", "eval", "rows")
    n = compared.after.n if compared else rows
    if not is_number(n) or n >= 100 or (facts.feedback == "demonstration" and not compared):
        return None
    half = (proportion(n / 2, int(n)).high - 0.5) if n >= 1 else 0.5
    return Finding(
        True,
        f"The evaluation counts only {count(n, 'row')}",
        f"A share of a half would be known to ±{100 * half:.0f} points only. 400 give ±5, 100 give ±10.",
    )


def nothing_held_out(facts: Facts) -> Finding | None:
    """A finished run that measured nothing on unseen feedback."""
    measured = facts.comparison or facts.other_rates() or any("eval_loss" in row for row in facts.metrics)
    if measured or facts.in_progress or not facts.metrics:
        return None
    return Finding(
        True,
        "Nothing was held out",
        "Training rewards always rise; they do not show that the model got better. Keep some feedback apart"
        " (data.eval).",
    )


def length_changed(facts: Facts) -> Finding | None:
    """Completions grew or shrank a lot, which raters often mistake for quality."""
    words = (
        [dig(facts.comparison.details, "mean_words", when) for when in ("before", "after")] if facts.comparison else []
    )
    if not words or not all(is_number(mean) and mean > 0 for mean in words) or 2 / 3 <= words[1] / words[0] <= 1.5:
        return None
    grew = "longer" if words[1] > words[0] else "shorter"
    return Finding(
        True,
        f"Completions became much {grew}",
        f"From {number(words[0])} to {number(words[1])} words on average: part of any change may be length.",
    )


CHECKS: tuple[Callable[[Facts], Finding | None], ...] = (
    samples_repeat_themselves,
    both_rewards_fall,
    rewards_fell_for_a_while,
    samples_changed_length,
    rewards_not_separated,
    held_out_not_improving,
    past_the_best,
    loss_rises,
    length_changed,
    too_few_to_tell,
    nothing_held_out,
    cut_completions,
    dropped_rows,
    rare_class,
    clamped,
    many_epochs,
)


class _Ends(NamedTuple):
    """Means of the first and last quarter of a curve, and the standard error of the last."""

    first: float
    last: float
    error: float


def _ends(curve: Curve) -> _Ends | None:
    quarter = len(curve.steps) // 4
    if quarter < 5:  # a spread from fewer values says too little to warn anyone
        return None
    first, last = curve.values[:quarter], curve.values[-quarter:]
    return _Ends(float(first.mean()), float(last.mean()), float(last.std(ddof=1) / np.sqrt(quarter)))


def _held_out_score(facts: Facts) -> tuple[str, Curve]:
    auroc = facts.curve("eval_rewards/auroc")
    return ("AUROC", auroc) if auroc else ("accuracy", facts.curve("eval_rewards/accuracies"))
