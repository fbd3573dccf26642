"""A study in plain sentences: what was asked, what was found, how sure we are, what to worry about."""

from __future__ import annotations

from prospect.report.page.wording import count, duration, number, percent, points
from prospect.results.study import StudyResult
from prospect.results.study_cells import CellDifference
from prospect.statistics.comparisons import Verdict

ANSWERS = {
    "yes": "the paper's claim holds here",
    "no": "the paper's claim does not hold here",
    "cannot tell": "this study cannot tell whether the claim holds",
}
VERDICTS: tuple[Verdict, ...] = ("better", "worse", "no difference shown")
LONGER = 1.5  # times the start's length: what raters often take for quality


def headline(result: StudyResult) -> str:
    """Return the study and its answer in one line."""
    title = result.title.rstrip(".")
    return f"{title}: {ANSWERS[result.claim.agrees]}" if result.claim else title


def summary(result: StudyResult) -> list[tuple[str, list[str]]]:
    """Titles with sentences; what has nothing to say is left out."""
    parts = [
        ("What was asked", _asked(result)),
        ("What was found", _found(result)),
        ("How sure we are", _sure(result)),
    ]
    return [part for part in parts if part[1]]


def worries(result: StudyResult) -> list[str]:
    """Return what speaks against relying on the numbers."""
    said = [found.text for found in result.findings if found.kind == "worry"]
    of_seeds = any("seed" in text for text in said)
    if result.runs.failed:
        said.append(f"{count(result.runs.failed, 'run')} failed; the cells that lack them rest on fewer seeds.")
    if not result.complete:
        some = f"{count(result.runs.done)} of {count(result.runs.wanted)} runs"
        said.append(f"The study is not complete: {some} are done. The numbers are of what there is.")
    if len(result.seeds) == 1 and not of_seeds:
        said.append("One seed: the intervals know about other prompts and not about another training run.")
    return said + _lengths(result)


def difference(result: StudyResult, value: float, measure: str) -> str:
    """Return a difference with its sign: points where the measure is a share."""
    if result.measures[measure].kind == "rate":
        return points(value)
    return ("+" if value > 0 else "") + number(value)


def measured(result: StudyResult, value: float, measure: str) -> str:
    """Return a value as its measure is written."""
    return percent(value) if result.measures[measure].kind == "rate" else number(value)


def baseline_of(comparison: CellDifference) -> str:
    """Return what a comparison is with."""
    other = comparison.baseline
    if isinstance(other, str):
        return "the start"
    return " · ".join(name for name in (other.method, other.condition) if name is not None)


def _asked(result: StudyResult) -> list[str]:
    said = [text for text in (result.question, result.world.says) if text]
    if result.claim:
        said.append(f"The claim ({result.claim.source}): {result.claim.text.rstrip('.')}.")
    return said


def _found(result: StudyResult) -> list[str]:
    texts = [found.text for found in result.findings if found.kind != "worry"]
    if not result.claim:
        return texts
    answer, why = ANSWERS[result.claim.agrees], result.claim.why
    return [f"{answer[0].upper()}{answer[1:]}.", why, *(text for text in texts if why not in text)]


def _sure(result: StudyResult) -> list[str]:
    of = f"{count(result.world.prompts, 'held-out prompt')} and {count(len(result.seeds), 'seed')}"
    said = [
        f"Every cell is scored on {of}; both are taken as draws.",
        f"Intervals cover {100 * result.level:g}%.",
    ]
    if result.comparisons:
        known = [one.verdict for one in result.comparisons]
        found = ", ".join(f"{n} {word}" for word in VERDICTS if (n := known.count(word)))
        many = count(len(known), "comparison")
        said.append(f"Of {many} with the baseline, after Holm's correction over all of them: {found}.")
    same = [entry.label for name, entry in result.measures.items() if name not in result.varied()]
    if same:
        said.append(f"The same everywhere, and shown nowhere: {', '.join(same)}.")
    beside = ", the tries of tuning not counted" if result.tuning else ""
    said.append(f"Training and scoring took {duration(result.seconds)} in all{beside}.")
    return said


def _lengths(result: StudyResult) -> list[str]:
    """Cells whose completions have become much longer than the start's."""
    said = []
    for measure in result.varied():
        start = result.start.get(measure)
        if result.measures[measure].unit not in ("words", "tokens", "characters") or not start or not start.mean:
            continue
        longer = [
            cell.method if len(result.conditions) <= 1 else f"{cell.method} · {cell.condition}"
            for cell in result.cells
            if (found := cell.estimates.get(measure)) and found.mean > LONGER * start.mean
        ]
        if longer:
            more = f" and {len(longer) - 4} more" if len(longer) > 4 else ""
            said.append(
                f"Completions became more than {LONGER:g} times as long as the start's in {', '.join(longer[:4])}{more}"
                ": part of a change may be length."
            )
    return said
