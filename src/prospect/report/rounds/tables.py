"""Tables of rounds: a measure in each row, a round in each column."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from prospect.report.page.parts import PageTable
from prospect.report.page.wording import count, duration, interval, number, percent
from prospect.report.rounds.words import difference, round_name, samples_each
from prospect.results.rounds import Drawn, HeldOut, Judged, Ledger, Round, Rows, Trained
from prospect.statistics.bootstrap import Estimate
from prospect.statistics.rates import Rate

Part = TypeVar("Part")
Measure = tuple[str, Callable[[Part], str]]


def outcome_table(ledger: Ledger) -> PageTable | None:
    """Return rates, differences and KL on held-out prompts."""
    rate = "win rate against the start" if ledger.compares else "samples that pass"
    more, fewer = ("prompts won", "prompts lost") if ledger.compares else ("began to pass", "no longer pass")
    if samples_each(ledger) > 1:
        more, fewer = "prompts of which more samples pass", "prompts of which fewer pass"
    measures: list[Measure[HeldOut]] = [
        (rate, lambda one: _rate(one.rate)),
        ("mean score", lambda one: _estimate(one.mean_score)),
        ("against the start", lambda one: difference(one.against_start) if one.against_start else ""),
        ("against the model before", lambda one: difference(one.against_last) if one.against_last else ""),
        (more, lambda one: _some(one.gained)),
        (fewer, lambda one: _some(one.lost)),
        ("second judge", lambda one: _rate(one.second)),
        (
            "second judge, against the start",
            lambda one: difference(one.second_against_start) if one.second_against_start else "",
        ),
        (
            "second judge, against the model before",
            lambda one: difference(one.second_against_last) if one.second_against_last else "",
        ),
        ("judges agree", lambda one: _share(one.agreement)),
        ("KL from the start (nats)", lambda one: _estimate(one.kl)),
        ("words", lambda one: _number(one.words)),
        ("tokens", lambda one: _number(one.tokens)),
        ("cut by the limit", lambda one: _some(one.cut)),
        ("repetition", lambda one: _share(one.repetition)),
        ("distinct 2-grams", lambda one: _share(one.distinct_2)),
    ]
    return _table(
        "On held-out prompts", ledger.rounds, lambda rounds: _lines(rounds, lambda one: one.held_out, measures)
    )


def round_table(ledger: Ledger) -> PageTable | None:
    """Return what each round sampled, labelled and trained on."""
    drawn: list[Measure[Drawn]] = [
        ("prompts", lambda one: count(one.prompts)),
        ("samples", lambda one: count(one.samples)),
        ("different ones", lambda one: count(one.distinct)),
        ("cut by the limit", lambda one: _some(one.cut)),
        ("empty", lambda one: _some(one.empty)),
        ("words", lambda one: _number(one.words)),
        ("repetition", lambda one: _share(one.repetition)),
        ("distinct 2-grams", lambda one: _share(one.distinct_2)),
    ]
    judged: list[Measure[Judged]] = [
        ("thumbs up", lambda one: count(one.desirable) if one.rate else ""),
        ("thumbs down", lambda one: count(one.undesirable) if one.rate else ""),
        ("pairs with a winner", lambda one: "" if one.rate else _some(one.desirable)),
        ("share of thumbs up", lambda one: _rate(one.rate)),
        ("threshold", lambda one: one.threshold),
        ("verdicts not read", lambda one: _some(one.unread)),
        ("without a thumb", lambda one: _some(one.dropped)),
        ("prompts with thumbs up only", lambda one: _some(one.all_up)),
        ("prompts with thumbs down only", lambda one: _some(one.all_down)),
    ]
    rows: list[Measure[Rows]] = [
        ("rows trained on", lambda one: f"{count(one.rows)} ({one.kind})"),
        ("desirable", lambda one: _some(one.desirable)),
        ("undesirable", lambda one: _some(one.undesirable)),
        ("ties, left out", lambda one: _some(one.ties)),
        ("repeated, as a weight", lambda one: _some(one.repeated)),
        ("of the teacher", lambda one: _some(one.teacher)),
        ("of earlier rounds", lambda one: _some(one.replayed)),
        ("left out for balance", lambda one: _some(one.left_out)),
        ("class weights", _weights),
    ]
    trained: list[Measure[Trained]] = [
        ("steps", lambda one: count(one.steps)),
        ("learning rate", lambda one: number(one.learning_rate)),
        ("loss", lambda one: number(one.loss) if one.loss is not None else ""),
        ("z0 before the clamp (nats)", lambda one: number(one.kl_raw) if one.kl_raw is not None else ""),
        ("steps with z0 clamped", lambda one: _share(one.clamped)),
        ("alarms", lambda one: _some(len(one.alarms))),
    ]

    def lines(rounds: Sequence[Round]) -> list[tuple[str, ...]]:
        return [
            *_lines(rounds, lambda one: one.drawn, drawn),
            *_lines(rounds, lambda one: one.judged, judged),
            *_lines(rounds, lambda one: one.rows, rows),
            *_lines(rounds, lambda one: one.trained, trained),
            ("time", *map(_time, rounds)),
        ]

    return _table("Sampled, labelled, trained on", [one for one in ledger.rounds if one.drawn], lines)


def _table(
    title: str, rounds: Sequence[Round], lines: Callable[[Sequence[Round]], list[tuple[str, ...]]]
) -> PageTable | None:
    """Return a table without the measures that no round has; None without any."""
    rows = [line for line in lines(rounds) if any(line[1:])]
    return PageTable(title, ("", *map(round_name, rounds)), rows) if rows else None


def _lines(
    rounds: Sequence[Round], part: Callable[[Round], Part | None], measures: Sequence[Measure[Part]]
) -> list[tuple[str, ...]]:
    found = [part(one) for one in rounds]
    return [(name, *("" if one is None else written(one) for one in found)) for name, written in measures]


def _weights(rows: Rows) -> str:
    said = " : ".join(number(weight) for weight in rows.weights.values())
    return f"{said}, capped" if said and rows.capped else said


def _time(one: Round) -> str:
    stages = (one.drawn, one.judged, one.trained, one.held_out)
    return duration(sum(stage.seconds for stage in stages if stage))


def _some(value: int) -> str:
    return count(value) if value else ""


def _number(value: float | None) -> str:
    return "" if value is None else number(value)


def _share(value: float | None) -> str:
    return "" if value is None else percent(value)


def _rate(found: Rate | None) -> str:
    return f"{percent(found.rate)} ({interval(found.low, found.high)})" if found else ""


def _estimate(found: Estimate | None) -> str:
    return f"{number(found.value)} ({number(found.low)} to {number(found.high)})" if found else ""
