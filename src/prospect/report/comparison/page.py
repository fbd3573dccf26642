"""The comparison page: a study's result as one page that needs nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from markupsafe import escape

from prospect.atomic import write_text
from prospect.report.comparison import words
from prospect.report.comparison.figures import (
    cell_figures,
    cells,
    estimate,
    label_of,
    measures_of,
    names,
    sweep_figures,
)
from prospect.report.page.pages import render_page
from prospect.report.page.parts import (
    COMPLETION_LIMIT,
    FIRST_SAMPLES,
    PROMPT_LIMIT,
    KeyNumber,
    PageTable,
    SampleRow,
    SampleSide,
    flat,
)
from prospect.report.page.wording import MINUS, count, differences, duration, plain
from prospect.report.run.facts import dig, is_number

MOST_SIDES = 6  # completions read side by side
MOST_EXAMPLES = 12  # prompts
_SHOWN_ELSEWHERE = frozenset({"cells", "comparisons", "findings", "claim", "methods", "conditions", "measures", "axes"})


def write_comparison_page(result: dict[str, Any], path: Path) -> None:
    """Write the page for the result of `prospect compare`.

    Args:
        result: the object that `prospect.studies.table` describes; what is absent is left out.
        path: where the page goes; what was there is replaced in one go.
    """
    write_text(path, render_comparison_page(result))


def render_comparison_page(result: dict[str, Any]) -> str:
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
        samples=_samples(result),
        first_samples=FIRST_SAMPLES,
        recipe=_recipe(result),
        runs=_run_table(result),
        rest=flat(result, leave_out=_SHOWN_ELSEWHERE),
    )


def _byline(result: dict[str, Any]) -> list[str]:
    digest = str(result.get("digest") or "")
    parts = [str(result.get("name") or ""), str(result.get("file") or ""), f"digest {digest[:12]}" if digest else ""]
    return [part for part in (*parts, "not complete" if result.get("complete") is False else "") if part]


def _cards(result: dict[str, Any]) -> list[KeyNumber]:
    done, wanted, seconds = dig(result, "runs", "done"), dig(result, "runs", "wanted"), result.get("seconds")
    prompts, seeds = dig(result, "world", "prompts"), result.get("seeds")
    methods, conditions = names(result, "methods"), names(result, "conditions")
    found = []
    if is_number(done):
        note = f"of {count(wanted)} wanted" if is_number(wanted) and wanted != done else "all that were wanted"
        found.append(KeyNumber("runs", count(done), note))
    if methods:
        found.append(
            KeyNumber(_plural("method", methods), count(len(methods)), ", ".join(methods) if len(methods) < 4 else "")
        )
    if conditions:
        found.append(
            KeyNumber(
                _plural("condition", conditions),
                count(len(conditions)),
                ", ".join(conditions) if len(conditions) < 4 else "",
            )
        )
    if isinstance(seeds, list) and seeds:
        found.append(KeyNumber(_plural("seed", seeds), count(len(seeds)), "each a training run of its own"))
    if is_number(prompts):
        found.append(KeyNumber("held-out prompts", count(prompts), "each run is scored on them"))
    if is_number(seconds):
        found.append(KeyNumber("training and scoring", duration(seconds), "one process after another"))
    return found


def _plural(noun: str, things: list[Any]) -> str:
    return noun if len(things) == 1 else f"{noun}s"


def _rule_table(result: dict[str, Any]) -> PageTable | None:
    rules = dig(result, "claim", "rules")
    rows = [
        (str(dig(rule, "text") or ""), str(dig(rule, "agrees") or ""), str(dig(rule, "found") or ""))
        for rule in (rules if isinstance(rules, list) else [])
        if isinstance(rule, dict)
    ]
    head = ("what the claim means here", "holds", "what was found")
    return PageTable("The claim, rule by rule", head, rows) if rows else None


def _comparison_table(result: dict[str, Any]) -> PageTable | None:
    """Each cell against its baseline, with the only word that its interval allows."""
    found = result.get("comparisons")
    rows = []
    for entry in found if isinstance(found, list) else []:
        value, low, high = (dig(entry, key) for key in ("value", "low", "high"))
        if not is_number(value):
            continue
        measure = str(dig(entry, "measure") or result.get("primary"))
        ends = [words.difference(result, end, measure) for end in (low, high) if is_number(end)]
        rows.append(
            (
                " · ".join(str(entry[key]) for key in ("method", "condition") if dig(entry, key) is not None),
                words.baseline_of(entry),
                words.difference(result, value, measure),
                " to ".join(ends) if len(ends) == 2 else MINUS,
                _p(dig(entry, "p_holm")),
                str(dig(entry, "verdict") or ""),
            )
        )
    primary = str(result.get("primary") or "")
    unit = "points" if dig(result, "measures", primary, "kind") == "rate" else "difference"
    head = ("what", "against", unit, "interval", "p (Holm)", "in a word")
    name = label_of(result, primary) if primary else "the measure"
    return PageTable(f"Differences in {name}, on the same prompts and seeds", head, rows) if rows else None


def _p(value: Any) -> str:
    if not is_number(value):
        return MINUS
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _cell_table(result: dict[str, Any]) -> PageTable | None:
    measures = measures_of(result)
    rows = []
    for cell in cells(result):
        estimates = [estimate(dig(cell, "estimates", measure)) for measure in measures]
        if any(estimates):
            texts = [_estimate(result, m, e) for m, e in zip(measures, estimates, strict=True)]
            rows.append((f"{cell.get('method')} · {cell.get('condition')}", *texts))
    start = [estimate(dig(result, "start", measure)) for measure in measures]
    if any(start):
        rows.insert(0, ("the start", *(_estimate(result, m, e) for m, e in zip(measures, start, strict=True))))
    head = ("method and condition", *(label_of(result, measure) for measure in measures))
    return PageTable("Every measure with its interval", head, rows) if rows else None


def _estimate(result: dict[str, Any], measure: str, found: tuple[float, float, float] | None) -> str:
    if not found:
        return MINUS
    value, low, high = (words.measured(result, end, measure) for end in found)
    return f"{value} ({low} to {high})"


def _samples(result: dict[str, Any]) -> list[SampleRow]:
    """Return the first prompts with each method's completions, of the first condition and the first seed done."""
    conditions = names(result, "conditions")
    written: dict[str, tuple[Any, list[tuple[str, Any]]]] = {}
    for cell in cells(result):
        if conditions and str(cell.get("condition")) != conditions[0]:
            continue
        for example in _examples(cell):
            _, sides = written.setdefault(plain(example.get("prompt"), 4000), (example.get("prompt"), []))
            if not sides and example.get("start") is not None:
                sides.append(("the start", example["start"]))
            sides.append((str(cell.get("method")), example.get("completion", "")))
    return [_sample(prompt, sides) for prompt, sides in list(written.values())[:MOST_EXAMPLES]]


def _examples(cell: dict[str, Any]) -> list[dict[str, Any]]:
    runs = cell.get("runs")
    for run in runs if isinstance(runs, list) else []:
        examples = dig(run, "examples")
        if isinstance(examples, list) and examples:
            return [example for example in examples if isinstance(example, dict)]
    return []


def _sample(prompt: Any, sides: list[tuple[str, Any]]) -> SampleRow:
    """Mark the words that the first side does not have."""
    texts = [(title, plain(text, COMPLETION_LIMIT)) for title, text in sides[:MOST_SIDES]]
    (first_title, first), others = texts[0], texts[1:]
    marked = [SampleSide(title, differences(first, text)[1]) for title, text in others]
    return SampleRow(plain(prompt, PROMPT_LIMIT), [SampleSide(first_title, escape(first)), *marked])


def _recipe(result: dict[str, Any]) -> str:
    parts = {key: result[key] for key in ("methods", "conditions", "seeds") if isinstance(result.get(key), list)}
    return yaml.safe_dump(parts, sort_keys=False, allow_unicode=True).strip() if parts else ""


def _run_table(result: dict[str, Any]) -> PageTable | None:
    rows = [
        (
            f"{cell.get('method')} · {cell.get('condition')} · seed {dig(run, 'seed')}",
            str(dig(run, "status") or ""),
            count(run["steps"]) if is_number(dig(run, "steps")) else "",
            duration(run["seconds"]) if is_number(dig(run, "seconds")) else "",
            str(dig(run, "error") or dig(run, "folder") or ""),
        )
        for cell in cells(result)
        for run in (cell["runs"] if isinstance(cell.get("runs"), list) else [])
    ]
    return PageTable("Runs", ("run", "status", "steps", "time", "folder or error"), rows) if rows else None
