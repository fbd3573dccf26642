"""What a study shows, in plain sentences made of its numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

from prospect.results.study import StudyResult
from prospect.results.study_cells import CellDifference, Place, Pooled, StudyCell
from prospect.results.study_entries import StudyFinding
from prospect.statistics.comparisons import Comparison
from prospect.studies.trained import EXERCISED, REFERENCE_POINT, VALUE_FUNCTION

LONGER = 1.2
"""From here on a mean length is called another: a fifth more than the start's, or less by as much."""
MOST_NAMES = 6
"""Cells that a sentence names; the others are counted, and the table has them."""
CEILING = 0.05
"""Within this share of a measure's range from its best end, nothing is left to be told apart."""
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
    found += [*_tuned(result), *_ceiling(result), *_not_tested(result), *_seeds(result), *_failures(result)]
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


def _tuned(result: StudyResult) -> Iterator[tuple[Kind, str]]:
    for one in result.tuning.methods if result.tuning else []:
        if one.at_edge:
            yield (
                "worry",
                f"{one.method} was tuned to the edge of what was tried, and may do better beyond it: "
                f"{settings_text({key: one.chosen[key] for key in one.at_edge})}.",
            )


def settings_text(settings: Mapping[str, Any]) -> str:
    """Return tuned settings in one line."""
    return ", ".join(f"{key} {value}" for key, value in settings.items())


def _not_tested(result: StudyResult) -> Iterator[tuple[Kind, str]]:
    """Cells whose runs cannot tell about a part of their method."""
    trained = [(place_name(result, cell), cell.training) for cell in result.cells if cell.training]
    flat = {name: one.reward_magnitude for name, one in trained if VALUE_FUNCTION in one.not_tested}
    if flat:
        yield (
            "worry",
            "The value function was not exercised, so that losses which differ in its bend alone learn alike: at the "
            f"end the mean of abs(beta log-ratio) was {_ends(flat.values(), '.2f')}, below {EXERCISED}: "
            f"{_some(list(flat))}.",
        )
    held = {name: 100 * (one.z0_clamped or 0.0) for name, one in trained if REFERENCE_POINT in one.not_tested}
    if held:
        yield (
            "worry",
            "z0 was not tested: it was estimated below 0 and held at 0 in "
            f"{_ends(held.values(), '.0f')} % of the steps: {_some(list(held))}.",
        )


def _ends(values: Iterable[float | None], form: str) -> str:
    known = [value for value in values if value is not None]
    return " to ".join(dict.fromkeys(f"{end:{form}}" for end in (min(known), max(known))))


def _ceiling(result: StudyResult) -> Iterator[tuple[Kind, str]]:
    """Name the start and the cells where there is hardly anything left to gain."""
    about = result.about
    if about.bounds is None:
        return
    low, high = about.bounds
    limit, floor = (low, high) if about.better == "lower" else (high, low)
    places = [("the start", result.start), *((place_name(result, cell), cell.estimates) for cell in result.cells)]
    near = {
        name: estimates[result.primary].mean
        for name, estimates in places
        if result.primary in estimates and abs(limit - estimates[result.primary].mean) <= CEILING * abs(limit - floor)
    }
    if near:
        names = [f"{name} ({number(mean, about.unit)})" for name, mean in near.items()]
        yield (
            "worry",
            f'Ceiling: so near {number(limit, about.unit)} in "{about.label}" that differences from there on cannot '
            f"show: {_some(names)}.",
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
