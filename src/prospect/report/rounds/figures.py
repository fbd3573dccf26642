"""Figures of rounds: each a quantity by round, with its interval where it has one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from prospect.report.charts.drawing import Figure
from prospect.report.charts.plots import Line, sweep_chart
from prospect.report.rounds.words import held_out_judge, shown_judge, start_of
from prospect.results.rounds import HeldOut, Ledger, Round
from prospect.statistics.bootstrap import Estimate
from prospect.statistics.comparisons import Difference
from prospect.statistics.rates import Rate

Dot = tuple[float, float, float]
"""A value and the ends of its interval, which are the value itself where it has none."""


def outcome_figures(ledger: Ledger) -> list[Figure]:
    """Return rates, what was gained, and how far the model has gone from the start for it."""
    found = (_rates(ledger), _gains(ledger), _kl(ledger), _mean_score(ledger))
    return [figure for figure in found if figure]


def round_figures(ledger: Ledger) -> list[Figure]:
    """Return what the rounds learnt from, and what the model's samples look like."""
    found = (_thumbs(ledger), _lengths(ledger), _sameness(ledger))
    return [figure for figure in found if figure]


def _rates(ledger: Ledger) -> Figure | None:
    start = start_of(ledger)
    what = "win rate against the start" if ledger.compares else "samples that pass"
    level = "At the dashed 50% there is no difference." if ledger.compares else "The dashed line is the start."
    second = ledger.second_judge
    lines = [
        _held_out(ledger, shown_judge(held_out_judge(ledger)), "s0", lambda one: one.rate),
        _held_out(ledger, f"{shown_judge(second)}, not trained on", "s1", lambda one: one.second) if second else None,
    ]
    return _by_round(
        lines,
        title=f"{what.capitalize()}, by round",
        reading=f"Held-out prompts; the band is the 95% interval. {level}",
        y_label=what,
        guide=0.5 if ledger.compares else start.rate.rate if start else None,
        shares=True,
    )


def _gains(ledger: Ledger) -> Figure | None:
    def in_points(found: Difference | None) -> Dot | None:
        return (100 * found.value, 100 * found.low, 100 * found.high) if found else None

    def against_start(one: Round) -> Dot | None:
        return in_points(one.held_out.against_start) if one.held_out else None

    def against_last(one: Round) -> Dot | None:
        return in_points(one.held_out.against_last) if one.held_out else None

    return _by_round(
        [
            _line(ledger.rounds, "against the start", "s0", against_start),
            _line(ledger.rounds, "against the model before", "s1", against_last),
        ],
        title="Gain, by round",
        reading="Differences on the same prompts; the band is the 95% interval. Where it reaches the dashed 0, no"
        " difference is shown.",
        y_label="points",
        guide=0.0,
    )


def _mean_score(ledger: Ledger) -> Figure | None:
    return _by_round(
        [_held_out(ledger, "mean score", "s0", lambda one: one.mean_score)],
        title="Mean score, by round",
        reading="The judge's score of held-out samples; the band is the 95% interval.",
        y_label="score",
    )


def _kl(ledger: Ledger) -> Figure | None:
    def kl(one: Round) -> Dot | None:
        return _plain(0.0) if one.round == 0 else _dot(one.held_out.kl) if one.held_out else None

    return _by_round(
        [_line(ledger.rounds, "KL from the start", "s0", kl)],
        title="KL from the start, by round",
        reading="Mean log-ratio of the model's own samples to the start; the band is the 95% interval. What a gain"
        " costs: the further, the more of the start may be lost.",
        y_label="nats a sample",
    )


def _thumbs(ledger: Ledger) -> Figure | None:
    def trained_on(one: Round) -> Dot | None:
        up, down = (one.rows.desirable, one.rows.undesirable) if one.rows else (0, 0)
        return _plain(up / (up + down)) if up + down else None

    return _by_round(
        [
            _line(ledger.rounds, "samples", "s0", lambda one: _dot(one.judged.rate) if one.judged else None),
            _line(ledger.rounds, "rows trained on", "s1", trained_on),
        ],
        title="Thumbs up, by round",
        reading="The share of the round's samples that got a thumb up, with its 95% interval, and the share of the rows"
        " that it trained on, where rows of earlier rounds were added or some left out.",
        y_label="share of thumbs up",
        shares=True,
    )


def _lengths(ledger: Ledger) -> Figure | None:
    return _by_round(
        [
            _held_out(ledger, "held-out samples", "s0", lambda one: one.words),
            _line(ledger.rounds, "the round's samples", "s1", lambda one: _dot(one.drawn.words) if one.drawn else None),
        ],
        title="Length, by round",
        reading="Mean length of a sample. Judges often take length for quality.",
        y_label="words",
    )


def _sameness(ledger: Ledger) -> Figure | None:
    return _by_round(
        [
            _held_out(ledger, "different pairs of words", "s0", lambda one: one.distinct_2),
            _held_out(ledger, "repeated within a sample", "s1", lambda one: one.repetition),
        ],
        title="Diversity and repetition, by round",
        reading="Held-out samples. Different pairs of neighbouring words, of all pairs (distinct 2-grams): where the"
        " share falls, samples grow alike. The mean share of a sample that has been said before in it is near 0 in"
        " natural text.",
        y_label="share",
        shares=True,
    )


def _held_out(
    ledger: Ledger, label: str, look: str, value: Callable[[HeldOut], Rate | Estimate | float | None]
) -> Line | None:
    return _line(ledger.rounds, label, look, lambda one: _dot(value(one.held_out)) if one.held_out else None)


def _dot(found: Rate | Estimate | float | None) -> Dot | None:
    if isinstance(found, Rate):
        return found.rate, found.low, found.high
    if isinstance(found, Estimate):
        return found.value, found.low, found.high
    return None if found is None else _plain(found)


def _plain(value: float) -> Dot:
    return value, value, value


def _line(rounds: Iterable[Round], label: str, look: str, dot: Callable[[Round], Dot | None]) -> Line | None:
    """Return a line over the rounds that have the value, None where none has."""
    points = [(one.round, *found) for one in rounds if (found := dot(one))]
    if not points:
        return None
    x, y, low, high = np.array(points, float).T
    known = bool((high > low).any())
    return Line(label, look, x, y, low if known else None, high if known else None, dots=True)


def _by_round(lines: Sequence[Line | None], *, title: str, **words: Any) -> Figure | None:
    """Return lines over rounds, None before they have two rounds to show."""
    found = [line for line in lines if line]
    if len({x for line in found for x in line.x}) < 2:
        return None
    return sweep_chart(found, title=title, x_label="round (0 is the start)", log=False, height=240, **words)
