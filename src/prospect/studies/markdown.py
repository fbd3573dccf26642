"""A study's result as a page of Markdown: what is claimed, what was found, and one table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from prospect.results.study import StudyResult
from prospect.results.study_cells import Pooled, StudyCell
from prospect.results.study_entries import (
    ClaimAnswer,
    MeasureEntry,
    RuleAnswer,
    StudyTuning,
    TriedSettings,
    TunedMethod,
)
from prospect.studies.findings import estimate_text, number, place_name, settings_text

TRAINING = {
    "reward_magnitude": ("mean abs(beta r)", ".2f"),
    "z0_clamped": ("z0 held at 0", ".0%"),
    "steps": ("steps", ",.0f"),
    "tokens": ("tokens", ",.0f"),
}
"""What says how far a cell was trained: its column's head, and how a number is written."""


def as_markdown(result: StudyResult) -> str:
    """Return the whole: claim, rules, findings, table."""
    parts = [[f"**{result.title}** {result.question}".strip()], [result.world.says]]
    if result.claim:
        parts += [_claim(result.claim), rules_table(result, result.claim)]
    parts += [[f"- {one.text}" for one in result.findings], [*table(result)], [_foot(result)]]
    if result.tuning:
        parts += [[*tuning_table(result, result.tuning)], [_tuning_foot(result.tuning)]]
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def _claim(claim: ClaimAnswer) -> list[str]:
    return [f"Claim: {claim.text} ({claim.source})", "", f"Agrees with the claim: **{claim.agrees}**."]


def rules_table(result: StudyResult, claim: ClaimAnswer) -> list[str]:
    """Return the claim's rules, each with what was found."""
    level = f"{result.level:.0%}".replace("%", " %")
    lines = [f"| rule | found ({level}) | holds |", "|---|---|---|"]
    return lines + [f"| {rule.text} | {rule.found} | {rule_answer(rule)} |" for rule in claim.rules]


def rule_answer(rule: RuleAnswer) -> str:
    """Return whether a rule holds, and what its cells cannot tell about."""
    return f"{rule.agrees} ({', '.join(rule.not_tested)})" if rule.not_tested else rule.agrees


def table(result: StudyResult) -> Iterator[str]:
    """Yield the table of cells; the start is its first row. Columns without a text are left out."""
    shown = [(head, texts) for head, texts in _columns(result) if any(texts)]
    yield "| " + " | ".join(head for head, _ in shown) + " |"
    yield "|" + "---|" * len(shown)
    for row in zip(*(texts for _, texts in shown), strict=True):
        yield "| " + " | ".join(row) + " |"


def _columns(result: StudyResult) -> list[tuple[str, list[str]]]:
    """Return heads, each with its texts: of the start where there is one, then of each cell."""
    cells = result.cells

    def column(head: str, texts: Iterable[str], start: str = "") -> tuple[str, list[str]]:
        return head, [*([start] if result.start else []), *texts]

    def measured(name: str) -> tuple[str, list[str]]:
        texts = (_cell(result, cell.estimates, name) for cell in cells)
        return column(_head(result.measures[name]), texts, _cell(result, result.start, name))

    unit = "points" if result.about.unit == "share" else result.about.unit
    first, *others = result.varied()
    return [
        column("method", (cell.method for cell in cells), "start"),
        *([column("condition", (cell.condition for cell in cells))] if len(result.conditions) > 1 else []),
        measured(first),
        column(f"less {_baseline_name(result)}", (_difference(result, cell) for cell in cells)),
        column("wins against the start, %", (_wins(cell) for cell in cells)),
        *(measured(name) for name in others),
        column(f"80 % power from, {unit}", (_power(result, cell) for cell in cells)),
        *(column(head, texts) for head, texts in _training(result).items() if not _are_alike(texts)),
        column("not tested", (", ".join(cell.training.not_tested) if cell.training else "" for cell in cells)),
        column("trained on", map(_data, cells)),
    ]


def tuning_table(result: StudyResult, tuning: StudyTuning) -> Iterator[str]:
    """Yield a row for each method that was tuned: what was tried, what was found in the same order, what was chosen."""
    yield f"| tuned | tried | {_head(result.about)} | chosen |"
    yield "|---|---|---|---|"
    for one in tuning.methods:
        *_, last = one.chosen
        lines: dict[str, list[str]] = {}
        for tried in one.tries:  # the last setting's values change fastest
            before = settings_text({key: value for key, value in tried.settings.items() if key != last})
            lines.setdefault(before, []).append(_found(result, one, tried))
        values = {key: dict.fromkeys(str(tried.settings[key]) for tried in one.tries) for key in one.chosen}
        settings = "; ".join(f"{key} {', '.join(texts)}" for key, texts in values.items())
        edge = ", at the edge" if one.at_edge else ""
        found = " / ".join(" ".join(line) for line in lines.values())
        yield f"| {one.method} | {settings} | {found} | {settings_text(one.chosen)}{edge} |"


def _found(result: StudyResult, one: TunedMethod, tried: TriedSettings) -> str:
    text = number(tried.estimate.mean, result.about.unit) if tried.estimate else "failed"
    return f"**{text}**" if tried.settings == one.chosen else text


def _tuning_foot(tuning: StudyTuning) -> str:
    seeds = ", ".join(map(str, tuning.seeds))
    where = f'under "{tuning.condition}" on {tuning.prompts} held-out prompts and seeds {seeds}'
    order = "; of two settings the second changes from number to number"
    several = any(len(one.chosen) > 1 for one in tuning.methods)
    return f"Tuned {where}, none of them used above{order if several else ''}."


def _head(measure: MeasureEntry) -> str:
    unit = "%" if measure.unit == "share" else measure.unit
    return measure.label if measure.label == unit else f"{measure.label}, {unit}"


def _cell(result: StudyResult, estimates: dict[str, Pooled], name: str) -> str:
    return estimate_text(estimates[name], result.measures[name].unit) if name in estimates else ""


def _baseline_name(result: StudyResult) -> str:
    found = {str(one.baseline): one.baseline for one in result.comparisons}
    if len(found) == 1:
        return place_name(result, next(iter(found.values())))
    baseline = result.baseline
    if isinstance(baseline, str):
        return "the start"
    return " ".join(filter(None, [baseline.method, baseline.condition]))


def _difference(result: StudyResult, cell: StudyCell) -> str:
    one, unit = result.difference_of(cell), result.about.unit
    if one is None:
        return ""
    value, low, high = (number(end, unit, sign=True) for end in (one.value, one.low, one.high))
    return f"{value} ({low} to {high}), {one.verdict}"


def _power(result: StudyResult, cell: StudyCell) -> str:
    one = result.difference_of(cell)
    return number(one.detectable, result.about.unit) if one and one.detectable is not None else ""


def _training(result: StudyResult) -> dict[str, list[str]]:
    """Return the heads of `TRAINING`, each with a text for every cell."""
    return {head: [_trained(cell, name, form) for cell in result.cells] for name, (head, form) in TRAINING.items()}


def _trained(cell: StudyCell, name: str, form: str) -> str:
    value = getattr(cell.training, name, None)
    return "" if value is None else f"{value:{form}}".replace("%", " %")


def _are_alike(texts: Sequence[str]) -> bool:
    """Return whether several cells have the same text, so that it is said once and has no column."""
    return len(texts) > 1 and len(set(texts)) == 1


def _wins(cell: StudyCell) -> str:
    return estimate_text(cell.wins, "share") if cell.wins else ""


def _data(cell: StudyCell) -> str:
    """Return what the first run that is done was trained on."""
    for run in cell.runs:
        if run.status == "done":
            return ", ".join(f"{count} {name}" for name, count in run.data.items() if count or name != "rows left out")
    return "failed" if any(run.status == "failed" for run in cell.runs) else "not run"


def _foot(result: StudyResult) -> str:
    level = f"{result.level:.0%}".replace("%", " %")
    seeds = ", ".join(map(str, result.seeds))
    trained = "trained on: of the first seed. " if len(result.seeds) > 1 else ""
    return (
        f"{level} intervals in brackets, over {result.world.prompts} held-out prompts and seeds {seeds}; "
        f"verdicts after Holm's correction. {_left_out(result)}{trained[:1].upper()}{trained[1:]}{result.runs.done} of "
        f"{result.runs.wanted} runs, {_duration(result.seconds)} of computing."
        + (f" Protocol {result.protocol}." if result.protocol else "")
    )


def _left_out(result: StudyResult) -> str:
    """Name the measures, and what there is to say of the training, that have no column."""
    same = {
        name: next(
            (place[name].mean for place in (result.start, *(c.estimates for c in result.cells)) if name in place), None
        )
        for name in result.measures
        if name not in result.varied()
    }
    texts = [
        f"{result.measures[name].label} ({number(value, result.measures[name].unit)})"
        for name, value in same.items()
        if value is not None
    ]
    texts += [f"{head} ({row[0]})" for head, row in _training(result).items() if _are_alike(row) and row[0]]
    return f"The same everywhere, and left out: {', '.join(texts)}. " if texts else ""


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes" if seconds >= 120 else f"{seconds:.0f} seconds"
