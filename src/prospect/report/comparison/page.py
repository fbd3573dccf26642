"""The comparison page: a study's result as one page that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from prospect.atomic import write_text
from prospect.report.comparison import words
from prospect.report.comparison.figures import cell_figures, label_of, sweep_figures
from prospect.report.page.pages import render_page
from prospect.report.page.parts import FIRST_SAMPLES, KeyNumber, PageSample, PageTable, flat, read_sides
from prospect.report.page.wording import MINUS, count, duration, percent, plain
from prospect.results.study import StudyResult
from prospect.results.study_cells import Pooled, SeenExample, StudyCell

MOST_SIDES = 6  # completions read side by side
MOST_EXAMPLES = 12  # prompts
_SHOWN_ELSEWHERE = frozenset(
    {"cells", "comparisons", "findings", "claim", "methods", "conditions", "measures", "axes"} | {"tuning"}
)


def write_comparison_page(result: StudyResult, path: Path) -> None:
    """Write the page for the result of `prospect compare`.

    Args:
        result: the study's result.
        path: where the page goes; what was there is replaced in one go.
    """
    write_text(path, render_comparison_page(result))


def render_comparison_page(result: StudyResult) -> str:
    """Return the page for the result of `prospect compare`."""
    return render_page(
        "comparison.html.j2",
        kind="Prospect comparison",
        footer="Made by prospect compare from the study's result.json alone.",
        byline=_byline(result),
        headline=words.headline(result),
        summary=words.summary(result),
        worries=words.worries(result),
        cards=_cards(result),
        rules=_rule_table(result),
        sweeps=sweep_figures(result),
        figures=cell_figures(result),
        comparisons=_comparison_table(result),
        cell_table=_cell_table(result),
        training_table=_training_table(result),
        tuning_table=_tuning_table(result),
        samples=_samples(result),
        first_samples=FIRST_SAMPLES,
        recipe=_recipe(result),
        runs=_run_table(result),
        rest=flat(result.as_dict(), leave_out=_SHOWN_ELSEWHERE),
    )


def _byline(result: StudyResult) -> list[str]:
    hashes = {"digest": result.digest, "protocol": result.protocol}
    parts = [result.name, result.file, *(f"{name} {value[:12]}" for name, value in hashes.items() if value)]
    return [part for part in (*parts, "" if result.complete else "not complete") if part]


def _cards(result: StudyResult) -> list[KeyNumber]:
    done, wanted = result.runs.done, result.runs.wanted
    found = [KeyNumber("runs", count(done), f"of {count(wanted)} wanted" if wanted != done else "all that were wanted")]
    for noun, entries in (("method", result.methods), ("condition", result.conditions)):
        names = [entry.name for entry in entries]
        note = ", ".join(names) if len(names) < 4 else ""
        found.append(KeyNumber(_plural(noun, names), count(len(names)), note))
    found.append(KeyNumber(_plural("seed", result.seeds), count(len(result.seeds)), "each a training run of its own"))
    found.append(KeyNumber("held-out prompts", count(result.world.prompts), "each run is scored on them"))
    found.append(KeyNumber("training and scoring", duration(result.seconds), "one process after another"))
    return found


def _plural(noun: str, things: Sequence[object]) -> str:
    return noun if len(things) == 1 else f"{noun}s"


def _rule_table(result: StudyResult) -> PageTable | None:
    if not result.claim:
        return None
    rows = [(rule.text, ", ".join([rule.agrees, *rule.not_tested]), rule.found) for rule in result.claim.rules]
    return PageTable("The claim, rule by rule", ("what the claim means here", "holds", "what was found"), rows)


def _comparison_table(result: StudyResult) -> PageTable | None:
    """Each cell against its baseline, with the only word that its interval allows."""
    rows = []
    for one in result.comparisons:
        value, low, high = (words.difference(result, end, one.measure) for end in (one.value, one.low, one.high))
        p = "< 0.001" if one.p_holm < 0.001 else f"{one.p_holm:.3f}"
        what = f"{one.method} · {one.condition}"
        power = MINUS if one.detectable is None else words.difference(result, one.detectable, one.measure).lstrip("+")
        rows.append((what, words.baseline_of(one), value, f"{low} to {high}", p, one.verdict, power))
    unit = "points" if result.about.kind == "rate" else "difference"
    head = ("what", "against", unit, "interval", "p (Holm)", "in a word", "80% power from")
    title = f"Differences in {label_of(result, result.primary)}, on the same prompts and seeds"
    return PageTable(title, head, rows) if rows else None


def _cell_table(result: StudyResult) -> PageTable | None:
    measures = result.varied()
    places = [("the start", result.start)]
    places += [(f"{cell.method} · {cell.condition}", cell.estimates) for cell in result.cells]
    rows = [
        (name, *(_estimate(result, measure, estimates.get(measure)) for measure in measures))
        for name, estimates in places
        if estimates
    ]
    head = ("method and condition", *(label_of(result, measure) for measure in measures))
    return PageTable("Every measure with its interval", head, rows) if rows else None


def _estimate(result: StudyResult, measure: str, found: Pooled | None) -> str:
    if not found:
        return MINUS
    value, low, high = (words.measured(result, end, measure) for end in (found.mean, found.low, found.high))
    return f"{value} ({low} to {high})"


def _training_table(result: StudyResult) -> PageTable | None:
    """Return how far each cell was trained, and what such runs say nothing of."""
    rows = [
        (
            f"{cell.method} · {cell.condition}",
            MINUS if one.reward_magnitude is None else f"{one.reward_magnitude:.2f}",
            MINUS if one.z0_clamped is None else percent(one.z0_clamped),
            count(round(one.steps)),
            MINUS if one.tokens is None else count(round(one.tokens)),
            ", ".join(one.not_tested),
        )
        for cell in result.cells
        if (one := cell.training)
    ]
    head = ("method and condition", "mean abs(beta r) at the end", "z0 held at 0", "steps", "tokens", "not tested")
    return PageTable("How far each was trained", head, rows) if rows else None


def _tuning_table(result: StudyResult) -> PageTable | None:
    """Return what was tried for each method, the chosen settings marked."""
    if result.tuning is None:
        return None
    rows = [
        (
            one.method,
            ", ".join(f"{key} {value}" for key, value in tried.settings.items()),
            f"failed: {tried.error}" if tried.error else _estimate(result, result.primary, tried.estimate),
            "" if tried.settings != one.chosen else "chosen, at the edge" if one.at_edge else "chosen",
        )
        for one in result.tuning.methods
        for tried in one.tries
    ]
    title = f"Tuned on {result.tuning.prompts} other held-out prompts"
    return PageTable(title, ("method", "tried", label_of(result, result.primary), ""), rows)


def _samples(result: StudyResult) -> list[PageSample]:
    """Return the first prompts with each method's completions, of the first condition and the first seed done."""
    written: dict[str, tuple[Any, list[tuple[str, Any]]]] = {}
    for cell in result.cells:
        if cell.condition != result.conditions[0].name:
            continue
        for example in _examples(cell):
            _, sides = written.setdefault(plain(example.prompt, 4000), (example.prompt, []))
            if not sides and example.start is not None:
                sides.append(("the start", example.start))
            sides.append((cell.method, example.completion))
    shown = list(written.values())[:MOST_EXAMPLES]
    return [read_sides(prompt, [(*side, None) for side in sides[:MOST_SIDES]]) for prompt, sides in shown]


def _examples(cell: StudyCell) -> list[SeenExample]:
    return next((run.examples for run in cell.runs if run.examples), [])


def _recipe(result: StudyResult) -> str:
    parts = result.model_dump(mode="json", include={"methods", "conditions", "seeds"})
    return yaml.safe_dump(parts, sort_keys=False, allow_unicode=True).strip()


def _run_table(result: StudyResult) -> PageTable | None:
    rows = [
        (
            f"{cell.method} · {cell.condition} · seed {run.seed}",
            run.status,
            count(run.steps) if run.steps is not None else "",
            duration(run.seconds) if run.seconds is not None else "",
            run.error or run.folder or "",
        )
        for cell in result.cells
        for run in cell.runs
    ]
    return PageTable("Runs", ("run", "status", "steps", "time", "folder or error"), rows) if rows else None
