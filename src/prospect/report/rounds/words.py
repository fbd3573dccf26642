"""Rounds in plain sentences: what was done, what changed, why they ended, how sure we are."""

from __future__ import annotations

import re

from prospect.report.page.wording import count, duration, interval, method_name, percent, points, short_path
from prospect.results.rounds import HeldOut, Ledger, Round
from prospect.statistics.comparisons import Difference, Verdict, verdict
from prospect.statistics.rates import Rate

_FOLDERS = re.compile(r"(?:^|(?<=:))[.~]*/(?!/)(?:[^/:]*/)*")
REFERENCES = {"start": "the start as its reference", "previous": "the model before the round as its reference"}
OPTIMIZERS = {"fresh": "a fresh optimizer", "carried": "the optimizer of the round before"}


def headline(ledger: Ledger) -> str:
    """Return the rounds and their outcome in one line."""
    start, kept = start_of(ledger), outcome(ledger)
    if kept is None:
        found = f"the start passes {percent(start.rate.rate)}, and " if start and not ledger.compares else ""
        return f"{ledger.protocol}: {found}no round is evaluated yet"
    last, _ = evaluated(ledger)[-1]
    one, found_now = kept
    after = f"After {count(last.round, 'round')} of {ledger.protocol}"
    if not one.round:
        return f"{after}, no model is better than the start"
    rate, word = percent(found_now.rate.rate), verdict_of(ledger, found_now)
    which = "" if one.round == last.round else f" with the model of {round_name(one)}"
    if ledger.compares:
        unclear = {"better": "", "worse": ": it is worse", "no difference shown": ": no gain shown"}
        return f"{after}, it wins {rate} against the start{which}{unclear[word]}"
    before = percent(start.rate.rate) if start else "not known"
    said = {
        "better": f"up from {before}",
        "worse": f"down from {before}",
        "no difference shown": f"and {before} at the start: no gain shown",
    }
    return f"{after}, {rate} of held-out samples pass{which}, {said[word]}"


def summary(ledger: Ledger) -> list[tuple[str, list[str]]]:
    """Titles with sentences."""
    return [
        ("What was done", what_was_done(ledger)),
        ("What changed", what_changed(ledger)),
        ("Why it stopped" if ledger.stopped else "Where it stands", [where_it_stands(ledger)]),
        ("How sure we are", how_sure(ledger)),
    ]


def what_was_done(ledger: Ledger) -> list[str]:
    """Return what a round does here, and how much was sampled, labelled and trained on."""
    done = [one for one in ledger.rounds if one.trained]
    judged = [one.judged for one in ledger.rounds if one.judged]
    rated = [one for one in judged if one.rate]  # the others compare, and give no thumbs
    imitates = any(one.rows.kind == "demonstration" for one in done if one.rows)  # which needs no reference
    start = "a model that imitates the teacher" if ledger.imitates else short_path(ledger.start)
    steps = ["the model answers prompts", f"{method_name(ledger.loss)} trains on them"]
    if judged or not done:
        steps.insert(1, f"{shown_judge(ledger.judge)} judges the answers")
    said = [
        f"{count(len(done))} of {count(ledger.planned, 'round')} of {ledger.protocol}"
        f" {'was' if len(done) == 1 else 'were'} made from {start}: in each, {', '.join(steps[:-1])} and {steps[-1]},"
        f" with {'' if imitates else f'{REFERENCES[ledger.reference]} and '}{OPTIMIZERS[ledger.optimizer]}."
    ]
    drawn = sum(one.drawn.samples for one in ledger.rounds if one.drawn)
    rows = sum(one.rows.rows for one in done if one.rows)
    up, down = sum(one.desirable for one in rated), sum(one.undesirable for one in rated)
    if drawn:
        thumbs = f" ({count(up)} up, {count(down)} down)" if up + down else ""
        said.append(
            f"In all {count(drawn, 'sample')} were drawn{thumbs}, and {count(rows, 'row')} trained on, in"
            f" {duration(ledger.seconds)}."
        )
    return said


def what_changed(ledger: Ledger) -> list[str]:
    """Return how the model to use does, and of which rounds it is not."""
    kept = outcome(ledger)
    if kept is None:
        return ["No round is evaluated yet, so whether the model got better is not known."]
    one, _ = kept
    said = round_in_words(ledger, one) if one.round else ["The start's model is kept."]
    said += [
        f"{round_name(lost).capitalize()} is worse than the model before it and is not kept:"
        f" {_with_interval(found.rate)}."
        for lost, found in evaluated(ledger)
        if not lost.is_kept
    ]
    if ledger.best.round != one.round:
        said.append(f"The highest rate is that of {round_name(ledger.best)}.")
    return said


def round_in_words(ledger: Ledger, one: Round) -> list[str]:
    """Return what a round's model does on held-out prompts; empty before it is evaluated."""
    found, start = one.held_out, start_of(ledger)
    if found is None:
        return []
    what = "it wins {} against the start" if ledger.compares else "{} of its samples on held-out prompts pass"
    was = f", where {_with_interval(start.rate)} of the start's did" if start and not ledger.compares else ""
    said = [f"After {round_name(one)}, {what.format(_with_interval(found.rate))}{was}: {_told(ledger, found)}."]
    if found.gained or found.lost:
        won = "{} are won, and {} lost" if ledger.compares else "{} began to pass, and {} no longer do"
        if samples_each(ledger) > 1:
            won = "Of {} more samples pass than at the start, and of {} fewer"
        said.append(f"{won.format(count(found.gained, 'prompt'), count(found.lost))}.")
    if found.against_last and one.round > 1:
        said.append(f"Against the model before it, the change is {difference(found.against_last)}.")
    if found.second and ledger.second_judge:
        change = found.second_against_start
        beside = f"; against the start the change is {difference(change)}" if change else ""
        judge = shown_judge(ledger.second_judge)
        said.append(f"By {judge}, which training never sees, {_with_interval(found.second)} pass{beside}.")
    return said


def where_it_stands(ledger: Ledger) -> str:
    """Return why the rounds ended, or what is being done."""
    if ledger.stopped:
        return sentence(ledger.stopped.text)
    last = ledger.rounds[-1] if ledger.rounds else None
    if last is None:
        return "Nothing is done yet."
    if last.round == 0 and not last.held_out:
        return "The start is not evaluated yet."
    if last.held_out:
        return f"{round_name(last).capitalize()} of {count(ledger.planned, 'round')} is done."
    stages = (
        ("sampled", last.drawn),
        ("labelled", last.judged),
        ("its rows made", last.rows),
        ("trained", last.trained),
    )
    done = [name for name, found in stages if found]
    return f"{round_name(last).capitalize()} of {ledger.planned} is under way: {', '.join(done) or 'nothing'} so far."


def how_sure(ledger: Ledger) -> list[str]:
    """Return what the intervals rest on, and what they do not cover."""
    rounds = evaluated(ledger)
    if not rounds and not start_of(ledger):
        return ["Nothing was evaluated, so nothing here carries an interval."]
    each = samples_each(ledger)
    said = [
        f"Intervals are of 95%, over {count(ledger.held_out_prompts, 'held-out prompt')} that no round samples for"
        f" training: {'one sample' if each == 1 else f'{each} samples'} each, with the same random numbers in every"
        f" round, judged by {shown_judge(held_out_judge(ledger))}."
    ]
    if len(rounds) > 1:
        said.append("The best of several rounds is picked by the same numbers, which flatters it a little.")
    return [*said, "The intervals cover the choice of prompts, not another seed of sampling and training."]


def start_of(ledger: Ledger) -> HeldOut | None:
    """Return how the start does on held-out prompts."""
    return next((one.held_out for one in ledger.rounds if one.round == 0), None)


def samples_each(ledger: Ledger) -> int:
    """Return how many samples of each held-out prompt are looked at."""
    start = start_of(ledger)
    return max(1, round(start.rate.n / ledger.held_out_prompts)) if start and ledger.held_out_prompts else 1


def sentence(text: str) -> str:
    """Return a text that was noted, with a capital."""
    return f"{text[:1].upper()}{text[1:]}"


def held_out_judge(ledger: Ledger) -> str:
    """Return who judges held-out samples."""
    return ledger.held_out_judge or ledger.judge


def outcome(ledger: Ledger) -> tuple[Round, HeldOut] | None:
    """Return the round whose model to use, with what was found; None before a round after the start is evaluated.

    It is the last that is not shown to be worse than the model it came from: the start, where all are.
    """
    kept = ledger.kept if evaluated(ledger) else None
    return (kept, kept.held_out) if kept and kept.held_out else None


def evaluated(ledger: Ledger) -> list[tuple[Round, HeldOut]]:
    """Return the rounds after the start that are evaluated, each with what was found."""
    return [(one, one.held_out) for one in ledger.rounds if one.round > 0 and one.held_out]


def verdict_of(ledger: Ledger, found: HeldOut) -> Verdict:
    """Return the word that the intervals allow for a round's model against the start."""
    if found.against_start:
        return found.against_start.verdict
    if ledger.compares:
        return verdict(found.rate)
    return "no difference shown"


def difference(found: Difference) -> str:
    """Return a difference of rates with its interval and its word: +12.0 points (3.1 to 20.9), better."""
    return f"{points(found.value)} points ({points(found.low)} to {points(found.high)}), {found.verdict}"


def round_name(one: Round) -> str:
    """Return what a round is called."""
    return f"round {one.round}" if one.round else "the start"


def shown_judge(judge: str) -> str:
    """Return a judge's name, of a path in it the last part alone; a URL stays."""
    return _FOLDERS.sub("", judge)


def _told(ledger: Ledger, found: HeldOut) -> str:
    if found.against_start and not ledger.compares:
        return difference(found.against_start)
    return verdict_of(ledger, found)


def _with_interval(rate: Rate) -> str:
    return f"{percent(rate.rate)} ({interval(rate.low, rate.high)})"
