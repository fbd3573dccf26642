"""A study in plain sentences: what was asked, what was found, how sure we are, what to worry about."""

from __future__ import annotations

from typing import Any

from prospect.report.comparison.figures import cells, estimate, is_rate, measures_of, names
from prospect.report.page.wording import MINUS, count, duration, number, percent
from prospect.report.run.facts import dig, is_number

ANSWERS = {
    "yes": "the paper's claim holds here",
    "no": "the paper's claim does not hold here",
    "cannot tell": "this study cannot tell whether the claim holds",
}
LONGER = 1.5  # times the start's length: what raters often take for quality


def headline(result: dict[str, Any]) -> str:
    """Return the study and its answer in one line."""
    title = str(result.get("title") or result.get("name") or "A comparison").rstrip(".")
    answer = ANSWERS.get(str(dig(result, "claim", "agrees")))
    return f"{title}: {answer}" if answer else title


def summary(result: dict[str, Any]) -> list[tuple[str, list[str]]]:
    """Return titles with sentences; sections without any are left out."""
    parts = [
        ("What was asked", _asked(result)),
        ("What was found", _found(result)),
        ("How sure we are", _sure(result)),
    ]
    return [part for part in parts if part[1]]


def worries(result: dict[str, Any]) -> list[str]:
    """Return what speaks against relying on the numbers."""
    said = [str(f["text"]) for f in _findings(result) if dig(f, "kind") == "worry" and dig(f, "text")]
    of_seeds = any("seed" in text for text in said)
    failed = dig(result, "runs", "failed")
    if is_number(failed) and failed:
        said.append(f"{count(failed, 'run')} failed; the cells that lack them rest on fewer seeds.")
    if result.get("complete") is False:
        done, wanted = dig(result, "runs", "done"), dig(result, "runs", "wanted")
        some = f"{count(done)} of {count(wanted)} runs" if is_number(done) and is_number(wanted) else "some runs"
        said.append(f"The study is not complete: {some} are done. The numbers are of what there is.")
    seeds = result.get("seeds")
    if isinstance(seeds, list) and len(seeds) == 1 and not of_seeds:
        said.append("One seed: the intervals know about other prompts and not about another training run.")
    return said + _lengths(result)


def difference(result: dict[str, Any], value: float, measure: str) -> str:
    """Return a difference with its sign: points where the measure is a share."""
    text = f"{abs(100 * value):.1f}" if is_rate(result, measure) else number(abs(float(value)))
    sign = "+" if value > 0 else MINUS if value < 0 else ""
    return f"{sign}{text}"


def measured(result: dict[str, Any], value: float, measure: str) -> str:
    """Return a value as its measure is written."""
    return percent(value) if is_rate(result, measure) else number(float(value))


def baseline_of(comparison: Any) -> str:
    """Return what a comparison is with."""
    other = dig(comparison, "baseline")
    if isinstance(other, dict):
        return " · ".join(str(name) for name in (other.get("method"), other.get("condition")) if name is not None)
    return str(other or "the start")


def _asked(result: dict[str, Any]) -> list[str]:
    said = [str(text) for text in (result.get("question"), dig(result, "world", "says")) if text]
    claim, source = dig(result, "claim", "text"), dig(result, "claim", "source")
    if claim:
        text = str(claim).rstrip(".")
        said.append(f"The claim{f' ({source})' if source else ''}: {text}.")
    return said


def _found(result: dict[str, Any]) -> list[str]:
    said = []
    agrees, why = str(dig(result, "claim", "agrees")), dig(result, "claim", "why")
    if agrees in ANSWERS:
        answer = ANSWERS[agrees]
        said.append(f"{answer[0].upper()}{answer[1:]}.")
    if why:
        said.append(str(why))
    texts = [str(f["text"]) for f in _findings(result) if dig(f, "kind") != "worry" and dig(f, "text")]
    return said + [text for text in texts if not why or str(why) not in text]


def _sure(result: dict[str, Any]) -> list[str]:
    prompts, seeds, level = dig(result, "world", "prompts"), result.get("seeds"), result.get("level")
    said = []
    if is_number(prompts) and isinstance(seeds, list) and seeds:
        of = f"{count(prompts, 'held-out prompt')} and {count(len(seeds), 'seed')}"
        said.append(f"Every cell is scored on {of}; both are taken as draws.")
    if is_number(level):
        said.append(f"Intervals cover {100 * level:g}%.")
    comparisons = result.get("comparisons")
    if isinstance(comparisons, list) and comparisons:
        known = [word for entry in comparisons if (word := dig(entry, "verdict"))]
        words = {word: sum(w == word for w in known) for word in ("better", "worse", "no difference shown")}
        found = ", ".join(f"{n} {word}" for word, n in words.items() if n)
        many = count(len(comparisons), "comparison")
        said.append(f"Of {many} with the baseline, after Holm's correction over all of them: {found}.")
    seconds = result.get("seconds")
    if is_number(seconds):
        said.append(f"Training and scoring took {duration(seconds)} in all.")
    return said


def _findings(result: dict[str, Any]) -> list[Any]:
    found = result.get("findings")
    return found if isinstance(found, list) else []


def _lengths(result: dict[str, Any]) -> list[str]:
    """Cells whose completions have become much longer than the start's."""
    said = []
    for measure in measures_of(result):
        start = estimate(dig(result, "start", measure))
        if (
            dig(result, "measures", measure, "unit") not in ("words", "tokens", "characters")
            or not start
            or not start[0]
        ):
            continue
        longer = [
            _cell_name(result, cell)
            for cell in cells(result)
            if (found := estimate(dig(cell, "estimates", measure))) and found[0] > LONGER * start[0]
        ]
        if longer:
            more = f" and {len(longer) - 4} more" if len(longer) > 4 else ""
            said.append(
                f"Completions became more than {LONGER:g} times as long as the start's in {', '.join(longer[:4])}{more}"
                ": part of a change may be length."
            )
    return said


def _cell_name(result: dict[str, Any], cell: dict[str, Any]) -> str:
    method, condition = str(cell.get("method")), str(cell.get("condition"))
    return method if len(names(result, "conditions")) <= 1 else f"{method} · {condition}"
