"""What a study shows, in plain sentences made of its numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from prospect.results.study import CellDifference, Place, Pooled, StudyCell, StudyFinding, StudyResult
from prospect.statistics.comparisons import Comparison

LONGER = 1.2
"""From here on a mean length is called another: a fifth more than the start's, or less by as much."""
MOST_NAMES = 6
"""Cells that a sentence names; the others are counted, and the table has them."""
CLAMPED = 0.5
"""From this share of steps on it is said that z0 was held at 0: what depends on z0 then hardly shows."""
REPEATS = 0.05
"""Repetition that has risen by this much is a worry; the demo's base model has a few thousandths."""


Kind = Literal["good", "bad", "plain", "worry"]


def find(result: StudyResult) -> list[StudyFinding]:
    """Return the findings of a result."""
    found = [
        *_claim(result),
        *_verdicts(result),
        *_best(result),
        *_below_start(result),
        *_lengths(result),
        *_repetition(result),
    ]
    found += [*_clamped(result), *_seeds(result), *_failures(result)]
    return [StudyFinding(kind=kind, text=text) for kind, text in found]


def place_name(result: StudyResult, place: StudyCell | CellDifference | Place | str) -> str:
    """Return a cell in words; the condition only where there are several."""
    if isinstance(place, str):
        return "the start"
    return f"{place.method} ({place.condition})" if len(result.conditions) > 1 else str(place.method)


def number(value: float, unit: str, *, sign: bool = False) -> str:
    """Return a number in its unit: shares in percent."""
    plus = "+" if sign else ""
    return f"{100 * value:{plus}.1f}" if unit == "share" else f"{value:{plus}.2f}"


def estimate_text(estimate: Pooled | Comparison, unit: str) -> str:
    """Return a mean with its interval, such as `71.2 (65.0 to 76.9)`."""
    mean = estimate.rate if isinstance(estimate, Comparison) else estimate.mean
    return f"{number(mean, unit)} ({number(estimate.low, unit)} to {number(estimate.high, unit)})"


def _claim(result: StudyResult) -> Iterator[tuple[Kind, str]]:
    if result.claim:
        kinds: dict[str, Kind] = {"yes": "good", "no": "bad", "cannot tell": "plain"}
        yield kinds[result.claim.agrees], f"Agrees with the claim: {result.claim.agrees}. {result.claim.why}"


def _verdicts(result: StudyResult) -> Iterator[tuple[Kind, str]]:
    label = result.about.label
    same = {str(one.baseline) for one in result.comparisons}
    kinds: dict[str, Kind] = {"better": "good", "worse": "bad"}
    for word, kind in kinds.items():
        shown = [one for one in result.comparisons if one.verdict == word]
        if shown:
            than = place_name(result, shown[0].baseline) if len(same) == 1 else "their baselines"
            names = _some([place_name(result, one) for one in shown])
            yield kind, f'Shown to be {word} than {than} on "{label}": {names}.'
    open_ones = [one for one in result.comparisons if one.verdict == "no difference shown"]
    if open_ones:
        names = _some([place_name(result, one) for one in open_ones])
        yield "plain", f"No difference shown, which does not mean that there is none: {names}."


def _best(result: StudyResult) -> Iterator[tuple[Kind, str]]:
    measure = result.about
    cells = [(cell, cell.estimates[result.primary]) for cell in result.cells if result.primary in cell.estimates]
    if len(cells) < 2:
        return
    sign = -1 if measure.better == "lower" else 1
    ordered = sorted(cells, key=lambda entry: -sign * entry[1].mean)
    texts = [
        f"{place_name(result, cell)} with {estimate_text(estimate, measure.unit)}"
        for cell, estimate in (ordered[0], ordered[-1])
    ]
    unit = " %" if measure.unit == "share" else ""
    ends = ("Lowest", "highest") if sign < 0 else ("Highest", "lowest")
    yield "plain", f'{ends[0]} in "{measure.label}" is {texts[0]}{unit}, {ends[1]} {texts[1]}{unit}.'


def _lengths(result: StudyResult) -> Iterator[tuple[Kind, str]]:
    start = result.start.get("words")
    if not start or not start.mean:
        return
    for cell in result.cells:
        words = cell.estimates.get("words")
        if words and (words.low > LONGER * start.mean or words.high < start.mean / LONGER):
            yield (
                "worry",
                f"{place_name(result, cell)} writes {'longer' if words.mean > start.mean else 'shorter'} completions: "
                f"{words.mean:.1f} words, the start {start.mean:.1f}.",
            )


def _repetition(result: StudyResult) -> Iterator[tuple[Kind, str]]:
    start = result.start.get("repetition")
    for cell in result.cells:
        repeated = cell.estimates.get("repetition")
        if start and repeated and repeated.low > start.mean + REPEATS:
            yield (
                "worry",
                f"{place_name(result, cell)} repeats itself: {repeated.mean:.0%} of windows of 12 characters "
                f"were there before, the start {start.mean:.0%}.",
            )


def _clamped(result: StudyResult) -> Iterator[tuple[Kind, str]]:
    """Cells in which the loss saw z0 = 0 most of the time, whatever z0 was."""
    shares = {}
    for cell in result.cells:
        found = [run.z0_clamped for run in cell.runs if run.z0_clamped is not None]
        if found and sum(found) >= CLAMPED * len(found):
            shares[place_name(result, cell)] = sum(found) / len(found)
    if shares:
        ends = " to ".join(dict.fromkeys(f"{100 * end:.0f}" for end in (min(shares.values()), max(shares.values()))))
        yield (
            "plain",
            f"z0 was estimated below 0 and held at 0 in {ends} % of the steps, so it mattered little: "
            f"{_some(list(shares))}.",
        )


def _below_start(result: StudyResult) -> Iterator[tuple[Kind, str]]:
    """Cells that lose to the model that nothing was done to."""
    names = [place_name(result, cell) for cell in result.cells if cell.wins and cell.wins.verdict == "worse"]
    if names:
        yield "worry", f"Worse than the start, which nothing was done to: {_some(names)}."


def _some(names: Sequence[str]) -> str:
    """Return the first names, and how many more there are."""
    more = len(names) - MOST_NAMES
    return ", ".join(names) if more <= 1 else f"{', '.join(names[:MOST_NAMES])} and {more} more"


def _seeds(result: StudyResult) -> Iterator[tuple[Kind, str]]:
    """Name the cell whose seeds differ most: an interval over prompts alone would not show it."""
    widest: tuple[float, StudyCell, float, float] | None = None
    for cell in result.cells:
        values = [run.measures[result.primary] for run in cell.runs if run.status == "done"]
        if len(values) > 1 and (widest is None or max(values) - min(values) > widest[0]):
            widest = max(values) - min(values), cell, min(values), max(values)
    if widest and widest[0] > 0:
        low, high = (number(value, result.about.unit) for value in widest[2:])
        yield "plain", f"Seeds differ most in {place_name(result, widest[1])}: from {low} to {high}."
    elif len(result.seeds) == 1:
        yield "worry", "There is one seed: the intervals say nothing about others."


def _failures(result: StudyResult) -> Iterator[tuple[Kind, str]]:
    for cell in result.cells:
        failed = [run for run in cell.runs if run.status == "failed"]
        if failed:
            seeds = ", ".join(str(run.seed) for run in failed)
            yield "worry", f"{place_name(result, cell)} could not be run with seed {seeds}: {failed[0].error}"
    missing = result.runs.wanted - result.runs.done - result.runs.failed
    if missing:
        yield "worry", f"{missing} of {result.runs.wanted} runs are not done yet; the numbers are of the others."
