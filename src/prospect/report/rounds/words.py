"""Rounds in plain sentences: what was done, what changed, why they ended, how sure we are."""

from __future__ import annotations

from prospect.report.page.wording import count, duration, interval, method_name, percent, points, short_path
from prospect.results.rounds import HeldOut, Ledger, Round
from prospect.statistics.comparisons import Difference, Verdict, verdict
from prospect.statistics.rates import Rate

REFERENCES = {"start": "the start as its reference", "previous": "the model of the round before as its reference"}
OPTIMIZERS = {"fresh": "a fresh optimizer", "carried": "the optimizer of the round before"}


def headline(ledger: Ledger) -> str:
    """Return the rounds and their outcome in one line."""
    start, rounds = start_of(ledger), evaluated(ledger)
    if not rounds:
        found = f"the start passes {percent(start.rate.rate)}, and " if start and not ledger.compares else ""
        return f"{ledger.protocol}: {found}no round is evaluated yet"
    last, held_out = rounds[-1]
    after, rate = f"After {count(last.round, 'round')} of {ledger.protocol}", percent(held_out.rate.rate)
    word = verdict_of(ledger, held_out)
    if ledger.compares:
        unclear = {"better": "", "worse": ": it is worse", "no difference shown": ": no gain shown"}
        return f"{after}, it wins {rate} against the start{unclear[word]}"
    before = percent(start.rate.rate) if start else "not known"
    said = {
        "better": f"up from {before}",
        "worse": f"down from {before}",
        "no difference shown": f"and {before} at the start: no gain shown",
    }
    return f"{after}, {rate} of held-out samples pass, {said[word]}"


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
    rounds = f"{count(len(done))} of {count(ledger.planned, 'round')} of {ledger.protocol}"
    said = [
        f"{rounds} {'was' if len(done) == 1 else 'were'} made from {short_path(ledger.start)}: in each the model"
        f" answers prompts, {shown_judge(ledger.judge)} judges the answers, and {method_name(ledger.loss)} trains on"
        f" them, with {REFERENCES[ledger.reference]} and {OPTIMIZERS[ledger.optimizer]}."
    ]
    drawn, judged = [one.drawn for one in done if one.drawn], [one.judged for one in done if one.judged]
    rows = sum(one.rows.rows for one in done if one.rows)
    if drawn:
        thumbs = (
            f"{count(sum(one.desirable for one in judged))} up, {count(sum(one.undesirable for one in judged))} down"
        )
        said.append(
            f"In all {count(sum(one.samples for one in drawn), 'sample')} were drawn ({thumbs}), and"
            f" {count(rows, 'row')} trained on, in {duration(ledger.seconds)}."
        )
    return said


def what_changed(ledger: Ledger) -> list[str]:
    """Return the last evaluated round against the start and the round before, and which round was best."""
    rounds = evaluated(ledger)
    if not rounds:
        return ["No round is evaluated yet, so whether the model got better is not known."]
    last, _ = rounds[-1]
    said = round_in_words(ledger, last)
    if ledger.best.round != last.round:
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
        said.append(f"{count(found.gained, 'prompt')} began to pass, and {count(found.lost)} no longer do.")
    if found.against_last and one.round > 1:
        said.append(f"Against the round before, the change is {difference(found.against_last)}.")
    if found.second and ledger.second_judge:
        change = found.second_against_start
        beside = f"; against the start the change is {difference(change)}" if change else ""
        judge = shown_judge(ledger.second_judge)
        said.append(f"By {judge}, which training never sees, {_with_interval(found.second)} pass{beside}.")
    return said


def where_it_stands(ledger: Ledger) -> str:
    """Return why the rounds ended, or what is being done."""
    if ledger.stopped:
        return ledger.stopped.text
    last = ledger.rounds[-1] if ledger.rounds else None
    if last is None:
        return "Nothing is done yet."
    if last.round == 0 and not last.held_out:
        return "The start is not evaluated yet."
    if last.held_out:
        return f"{round_name(last).capitalize()} is done; the next of {count(ledger.planned, 'round')} has not begun."
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
    said = [
        f"Intervals are of 95%, over {count(ledger.held_out_prompts, 'held-out prompt')} that no round samples for"
        " training: one sample each, with the same random numbers in every round."
    ]
    if len(rounds) > 1:
        said.append("The best of several rounds is picked by the same numbers, which flatters it a little.")
    return [*said, "The intervals cover the choice of prompts, not another seed of sampling and training."]


def start_of(ledger: Ledger) -> HeldOut | None:
    """Return how the start does on held-out prompts."""
    return next((one.held_out for one in ledger.rounds if one.round == 0), None)


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
    """Return a judge's name, of a path the last part alone."""
    kind, colon, rest = judge.partition(":")
    return f"{kind}{colon}{short_path(rest)}" if rest.startswith(("/", ".", "~")) else judge


def _told(ledger: Ledger, found: HeldOut) -> str:
    if found.against_start and not ledger.compares:
        return difference(found.against_start)
    return verdict_of(ledger, found)


def _with_interval(rate: Rate) -> str:
    return f"{percent(rate.rate)} ({interval(rate.low, rate.high)})"
