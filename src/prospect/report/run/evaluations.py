"""The files in `evaluation/` as sections of a page.

What evaluators of ours write has figures of its own; of any other file all numbers with an interval are drawn and
listed, and the rest is listed as it is, so a new evaluator needs no change here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import JsonValue

from prospect.report.charts.drawing import Figure
from prospect.report.page.parts import MOST_SAMPLES, PageSample, PageTable, SampleSide, compare_sample, flat
from prospect.report.page.pictures import picture_side
from prospect.report.page.wording import count
from prospect.report.run.evaluation_figures import evaluation_figures
from prospect.report.run.facts import RunFacts, dig
from prospect.report.run.measured import MeasuredNumber, number_table, numbers_of, without_numbers
from prospect.results.benchmarks import BenchmarksResult
from prospect.results.contest import ContestResult, Outcome
from prospect.results.evaluation import AnyEvaluation
from prospect.results.feedback import FeedbackResult
from prospect.results.stored import Stored

_LEFT_OUT = frozenset(
    {"examples", "samples", "pictures", "disagreements", "entries", "sentence", "notes", "evaluation", "format"}
)
# The two completions of a sample: keys as evaluators write them, with the words for the reader.
_SIDES = (
    (("before", "after"), ("Before", "After")),
    (("reference", "policy"), ("Reference", "Policy")),
    (("start", "completion"), ("Start", "Trained")),
    (("theirs", "ours"), ("Other side", "This model")),
    (("baseline", "completion"), ("Baseline", "This model")),
)


class Part(NamedTuple):
    """One section of the page."""

    title: str
    note: str
    sentences: Sequence[str]
    figures: Sequence[Figure]
    table: PageTable | None
    samples: Sequence[PageSample]
    of_images: bool
    rest: Sequence[tuple[str, str]]


def evaluation_parts(facts: RunFacts) -> list[Part]:
    """Return a section for every evaluation that the page does not show as its result."""
    found = [(name, one) for name, one in facts.evaluations.items() if one and one is not facts.comparison]
    folder = facts.path / "evaluation"
    return [evaluation_part(name, one, folder) for name, one in sorted(found, key=lambda entry: _order(entry[1]))]


def plain_tree(result: AnyEvaluation | JsonValue) -> Any:
    """Return an evaluation as JSON holds it."""
    return result.as_dict() if isinstance(result, Stored) else result


_KINDS: tuple[tuple[type[Stored], str, str], ...] = (
    (ContestResult, "Contest", "Completions to the same prompts, compared two by two."),
    (
        FeedbackResult,
        "Held-out feedback, measured",
        "Whether the model tells what people liked from what they did not. No judge is asked.",
    ),
    (
        BenchmarksResult,
        "Benchmarks",
        "Public tasks with known answers, against the reference where it was run too.",
    ),
)


def _order(result: AnyEvaluation | JsonValue) -> int:
    return next((i for i, (kind, _, _) in enumerate(_KINDS) if isinstance(result, kind)), len(_KINDS))


def evaluation_part(name: str, result: AnyEvaluation | JsonValue, folder: Path) -> Part:
    """Return the section of one evaluation.

    Args:
        name: of its file, without the ending.
        result: what is in it.
        folder: where it is, and the pictures that it names.
    """
    of_images = isinstance(result, ContestResult) and bool(result.pictures)
    tree, at = plain_tree(result), _order(result)
    found = list(numbers_of(tree))
    own = name.replace("_", " ").replace("-", " ").strip().capitalize() or name
    _, title, note = _KINDS[at] if at < len(_KINDS) else (Stored, own, "An evaluation of this run.")
    return Part(
        title=title,
        note=f"{note} From {folder.name}/{name}.json.",
        sentences=_sentences(tree, found),
        figures=evaluation_figures(result, found),
        table=number_table(found),
        samples=_look(result, folder) if isinstance(result, ContestResult) and of_images else _read(tree),
        of_images=of_images,
        rest=flat(without_numbers(tree), leave_out=_LEFT_OUT),
    )


def _sentences(result: Any, found: Sequence[MeasuredNumber]) -> list[str]:
    """Return what the file says in words, and what follows from its verdicts."""
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


def _look(result: ContestResult, folder: Path) -> list[PageSample]:
    """Return the pictures in the file: those of both sides, pair by pair."""

    def side(title: str, names: Sequence[str], verdicts: Sequence[Outcome], won: Outcome) -> SampleSide:
        return picture_side(title, f"{verdicts.count(won)} of {len(names)} preferred", folder, names)

    return [
        PageSample(
            one.prompt,
            [
                side("Other side", one.theirs, one.verdicts, "loss"),
                side("This model", one.ours, one.verdicts, "win"),
            ],
        )
        for one in result.pictures[:MOST_SAMPLES]
    ]


def _read(result: Any) -> list[PageSample]:
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
