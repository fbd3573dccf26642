"""A run in plain sentences: what was done, what changed, how sure we are; no claim without an interval."""

from __future__ import annotations

from prospect.report.page.wording import big, count, duration, interval, number, percent, short_path
from prospect.report.rounds import words
from prospect.report.run.evaluation_words import contest_headline, evaluations_are_sure, evaluations_in_words
from prospect.report.run.facts import RunFacts
from prospect.results.before_after import BeforeAfterResult
from prospect.statistics.rates import Rate, overlap, proportion

NOUNS = {
    "paired": "preference pair",
    "demonstration": "demonstration",
    "unpaired": "thumb",
    "scored": "scored prompt",
}
RANKINGS = {
    "paired": "a chosen completion above a rejected one",
    "unpaired": "a desirable completion above an undesirable one",
    "scored": "a best completion above the others",
}


def headline(facts: RunFacts) -> str:
    """Return the run in one line."""
    method, compared = facts.method or "training", facts.comparison
    if not compared and (contests := contest_headline(facts)):
        return contests
    if not compared:
        data = facts.train_data.source or facts.recipe("data", "train")
        return (
            f"{facts.method or 'A run'} on {short_path(data)}" if data else f"{facts.method} run {facts.name}".strip()
        )
    before, after = percent(compared.before.rate), percent(compared.after.rate)
    if overlap(compared.before, compared.after):
        return f"After {method}, {after} of completions pass; before, {before}: no clear change"
    direction = "up" if _gain(compared.before, compared.after) > 0 else "down"
    return f"After {method}, {after} of completions pass, {direction} from {before}"


def what_was_done(facts: RunFacts) -> list[str]:
    """Return what was trained on what, for how long."""
    model = short_path(facts.model or "a model")
    first = f"{facts.method or 'This run'} trained {model}{_size(facts)}{_on_data(facts)}."
    noise = facts.comparison.noise if facts.comparison else None
    flipped = f"{percent(noise)} of the thumbs were flipped on purpose." if noise else ""
    return [part for part in (first, _reference(facts), flipped, _effort(facts)) if part]


def what_changed(facts: RunFacts) -> list[str]:
    """Return what is different after training, by the best evidence that the run holds."""
    compared = facts.comparison
    parts = [*_changed_rates(compared), *_changed_rules(compared)] if compared else []
    parts += evaluations_in_words(facts) or _changed_held_out(facts)
    if facts.round_of:
        parts += words.round_in_words(*facts.round_of)
    return parts or ["The run holds no evaluation, so whether the model got better is not known."]


def how_sure(facts: RunFacts) -> list[str]:
    """Return the intervals, and what they do and do not cover."""
    measured = evaluations_are_sure(facts)
    parts = _sure_rates(facts.comparison) if facts.comparison else [] if measured else _sure_held_out(facts)
    parts += measured
    if facts.round_of and facts.round_of.round.held_out:
        return [*parts, *words.how_sure(facts.round_of.ledger)]
    if not parts:
        return ["No outcome was counted on held-out data, so nothing here carries an interval. Read the samples."]
    return [*parts, "The intervals cover the choice of prompts and samples, not another seed of training."]


def _size(facts: RunFacts) -> str:
    total, trained = facts.provenance.policy.parameters, facts.provenance.policy.trainable_parameters
    if total is None:
        return ""
    part = "" if trained is None or trained >= total else f", {percent(trained / total)} of them trained"
    return f" ({big(total)} parameters{part})"


def _reference(facts: RunFacts) -> str:
    """Where rewards start, for a reference that is not the model that the run starts from."""
    reference = facts.provenance.reference
    if reference is None or reference.start is None:
        return ""
    start, rows, named = reference.start["log_ratio"], reference.start["rows"], reference.name_or_path
    other = short_path(named) if named else "the model without its adapter"
    return (
        f"It is compared with {other}, which is not the model that it started from: before the first step the mean "
        f"log-ratio was {number(start)} nats over {count(rows, 'row')}, so rewards do not start at 0."
    )


def _on_data(facts: RunFacts) -> str:
    train = facts.train_data
    if train.rows is None:
        return ""
    text = f" on {count(train.rows, NOUNS.get(str(train.kind), 'record'))}"
    if train.kind == "prompts":
        return f" on its own answers to {count(train.rows, 'prompt')}, scored by {facts.recipe('online', 'judge')}"
    if train.kind == "paired" and facts.feedback == "unpaired":
        text += ", each read as one thumb up and one thumb down"
    elif facts.class_counts:
        up, down = facts.class_counts
        text += f", {count(up)} up and {count(down)} down"
    return text + (f", over {count(train.prompts, 'prompt')}" if train.prompts is not None else "")


def _effort(facts: RunFacts) -> str:
    if facts.in_progress:
        planned = facts.provenance.steps
        of = f" of {count(planned)}" if planned is not None and planned > facts.steps_done else ""
        return f"Training has not finished: {count(facts.steps_done)}{of} steps so far."
    if not facts.steps_done:
        return ""
    epochs, seconds = facts.provenance.epochs, facts.provenance.seconds
    passes = f", {epochs:.3g} pass{'es' if epochs != 1 else ''} over the data" if epochs is not None else ""
    time = f", in {duration(seconds)}" if seconds is not None else ""
    return f"It took {count(facts.steps_done, 'step')}{passes}{time}."


def _changed_rates(compared: BeforeAfterResult) -> list[str]:
    before, after, win = compared.before, compared.after, compared.win_rate
    if overlap(before, after):
        verb, verdict = "went", ", which is no clear change"
    else:
        verb, verdict = "rose" if _gain(before, after) > 0 else "fell", ""
    change = f"{verb} from {percent(before.rate)} to {percent(after.rate)}{verdict}"
    parts = [f"On held-out prompts the share of completions that pass {change}."]
    if win:
        share = percent(win.rate)
        parts.append(f"Side by side with its start, the trained model wins {share} of the time, a tie counting half.")
    return parts


def _changed_rules(compared: BeforeAfterResult) -> list[str]:
    rules = {name: (rule.before, rule.after) for name, rule in compared.rules.items()}
    clear = {name: pair for name, pair in rules.items() if not overlap(*pair)}
    ordered = sorted(clear, key=lambda name: _gain(*clear[name]))
    told = []
    if ordered and _gain(*clear[ordered[-1]]) > 0:
        told.append(_told("largest gain", ordered[-1], *clear[ordered[-1]]))
    if ordered and _gain(*clear[ordered[0]]) < 0:
        told.append(_told("largest loss", ordered[0], *clear[ordered[0]]))
    return told


def _told(what: str, name: str, before: Rate, after: Rate) -> str:
    return f"The {what} is in “{name}”, from {percent(before.rate)} to {percent(after.rate)}."


def _gain(before: Rate, after: Rate) -> float:
    return after.rate - before.rate


def _changed_held_out(facts: RunFacts) -> list[str]:
    auroc, loss = facts.curve("eval_rewards/auroc"), facts.curve("eval_loss")
    if auroc:
        was = f", from {auroc.first:.2f} at first" if len(auroc.steps) > 1 else ""
        ranking = RANKINGS.get(facts.feedback, RANKINGS["unpaired"])
        return [f"On held-out feedback it ranks {ranking} with AUROC {auroc.last:.2f}{was}; 0.50 is a coin toss."]
    if len(loss.steps) > 1:
        return [f"The loss on held-out data went from {number(loss.first)} to {number(loss.last)}."]
    return []


def _sure_rates(compared: BeforeAfterResult) -> list[str]:
    before, after, win = compared.before, compared.after, compared.win_rate
    over = f"over {count(after.n, 'completion')} each" if before.n == after.n else f"over {before.n} and {after.n}"
    ranges = f"{interval(before.low, before.high)} before and {interval(after.low, after.high)} after, {over}"
    if overlap(before, after):
        verdict = "They overlap, so this run does not show a difference."
    else:
        verdict = "They do not touch, so chance alone does not explain the difference."
    parts = [f"The 95% intervals are {ranges}. {verdict}"]
    if win:
        side = "above 50%" if win.low > 0.5 else "below 50%" if win.high < 0.5 else "on both sides of 50%"
        parts.append(f"The win rate lies in {interval(win.low, win.high)}, {side}.")
    return parts


def _sure_held_out(facts: RunFacts) -> list[str]:
    accuracy, rows = facts.curve("eval_rewards/accuracies"), facts.held_out.rows
    if not accuracy or not rows:
        return []
    rate = proportion(min(1.0, max(0.0, accuracy.last)) * rows, rows)
    was = f" ({percent(accuracy.first)} at first)" if len(accuracy.steps) > 1 else ""
    does = "draws" if facts.provenance.images is not None else "writes"
    return [
        f"Held-out accuracy is {percent(rate.rate)}{was} over {count(rows, 'row')}, with a 95% interval of"
        f" {interval(rate.low, rate.high)}. It says how well it tells good from bad, not how it {does}."
    ]
