"""The files in `evaluation/` as sections of a page.

What evaluators of ours write has figures of its own; of any other file all numbers with an interval are drawn and
listed, and the rest is listed as it is, so a new evaluator needs no change here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from prospect.report.charts.drawing import Figure
from prospect.report.page.parts import MOST_SAMPLES, PageTable, SampleRow, compare_sample, flat
from prospect.report.page.wording import count
from prospect.report.run.evaluation_figures import evaluation_figures
from prospect.report.run.facts import RunFacts, dig, is_number
from prospect.report.run.measured import MeasuredNumber, number_table, numbers_of, without_numbers

_LEFT_OUT = frozenset({"examples", "samples", "disagreements", "entries", "sentence", "notes", "evaluation"})
# The two completions of a sample: keys as evaluators write them, with the words for the reader.
_SIDES = (
    (("before", "after"), ("Before", "After")),
    (("reference", "policy"), ("Reference", "Policy")),
    (("start", "completion"), ("Start", "Trained")),
    (("theirs", "ours"), ("Other side", "This model")),
    (("baseline", "completion"), ("Baseline", "This model")),
)


_ORDER = ("contest", "feedback", "benchmarks", "")


class Part(NamedTuple):
    """One section of the page."""

    title: str
    note: str
    sentences: Sequence[str]
    figures: Sequence[Figure]
    table: PageTable | None
    samples: Sequence[SampleRow]
    rest: Sequence[tuple[str, str]]


def evaluation_parts(facts: RunFacts) -> list[Part]:
    """Return a section for every evaluation that the page does not show as its result."""
    found = sorted(results_of(facts), key=lambda entry: _ORDER.index(entry[1]))
    return [_part(name, kind, result) for name, kind, result in found]


def results_of(facts: RunFacts) -> list[tuple[str, str, Any]]:
    """Return (file, kind, result) of each evaluation; a file that holds several gives one for each.

    Kinds are feedback, contest and benchmarks, or empty for any other. What the page shows as its result is left out.
    """
    shown = facts.comparison
    found: list[tuple[str, str, Any]] = []
    for name, result in facts.evaluations.items():
        if not result or (shown is not None and result is shown.details):
            continue
        if kind_of(result) or not isinstance(result, dict):
            found.append((name, kind_of(result), result))
            continue
        parts = {key: value for key, value in result.items() if kind_of(value)}
        found += [(name, kind_of(value), value) for value in parts.values()]
        rest = {key: value for key, value in result.items() if key not in parts}
        if not parts or list(numbers_of(rest)):
            found.append((name, "", rest))
    return found


def kind_of(result: Any) -> str:
    """Which of our evaluators wrote a result; empty where none did."""
    said = dig(result, "evaluation")
    if said in ("feedback", "benchmarks", "contest"):
        return str(said)
    return "contest" if all(is_number(dig(result, key)) for key in ("wins", "losses", "ties")) else ""


def _part(name: str, kind: str, result: Any) -> Part:
    found = list(numbers_of(result))
    title = {"feedback": "Held-out feedback, measured", "contest": "Contest", "benchmarks": "Benchmarks"}.get(kind)
    return Part(
        title=title or name.replace("_", " ").replace("-", " ").strip().capitalize() or name,
        note=f"{_NOTES.get(kind, 'An evaluation of this run.')} From evaluation/{name}.json.",
        sentences=_sentences(result, found),
        figures=evaluation_figures(kind, result, found),
        table=number_table(found),
        samples=_read(result),
        rest=flat(without_numbers(result), leave_out=_LEFT_OUT),
    )


_NOTES = {
    "feedback": "Whether the model tells what people liked from what they did not. No judge is asked.",
    "contest": "Completions to the same prompts, compared two by two.",
    "benchmarks": "Public tasks with known answers, against the reference where it was run too.",
}


def _sentences(result: Any, found: Sequence[MeasuredNumber]) -> list[str]:
    """Return the file's own sentences, and what follows from its verdicts."""
    said = [
        text for key in ("sentence", "says", "summary", "text") if isinstance(text := dig(result, key), str) and text
    ]
    notes = dig(result, "notes")
    said += (
        [str(note)[:1].upper() + str(note)[1:].rstrip(".") + "." for note in notes] if isinstance(notes, list) else []
    )
    if dig(result, "sentence"):
        return said
    for word in ("better", "worse"):
        named = [entry.name for entry in found if entry.verdict == word]
        more = f" and {len(named) - 8} more" if len(named) > 8 else ""
        said += [f"Shown to be {word}: {', '.join(named[:8])}{more}."] if named else []
    unclear = sum(entry.verdict == "no difference shown" for entry in found)
    if unclear:
        said.append(f"No difference is shown in {count(unclear, 'comparison')}; that does not mean there is none.")
    return said


def _read(result: Any) -> list[SampleRow]:
    """Return the samples in the file that have two sides, or one."""
    lists = (dig(result, key) for key in ("examples", "samples", "disagreements"))
    found = []
    for example in next((rows for rows in lists if isinstance(rows, list)), []):
        if not isinstance(example, dict):
            continue
        prompt = example.get("prompt", "")
        sides = next((pair for pair in _SIDES if all(key in example for key in pair[0])), None)
        if sides:
            (first, second), titles = sides
            found.append(compare_sample(prompt, example[first], example[second], titles=titles))
        elif "completion" in example:
            found.append(compare_sample(prompt, example["completion"], None, titles=("Completion", "")))
    return found[:MOST_SAMPLES]
