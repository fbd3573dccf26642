"""HALOs (the code of the KTO paper): a JSON array of feedback on samples, one by one or in pairs.

Shapes: `binary_feedback` with label 0 or 1, and `pairwise_feedback` whose label is 1 where output A is the better one.
Prompt and output are turns, or text in older files (`instruction`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from prospect.feedback.files.others.layouts import number_of
from prospect.feedback.importers import importer
from prospect.feedback.importers.shapes.base import ANSWER, USER, Cell, Dropped, Item, Options, Preference, Sample, Vote
from prospect.feedback.importers.shapes.joining import NO_COMPLETION, NO_PROMPT, Cells, name_of
from prospect.feedback.importers.shapes.payloads import completion_of, turns_of
from prospect.feedback.importers.shapes.reading import each_row

_BINARY, _PAIRWISE = "binary_feedback", "pairwise_feedback"


def _recognises(samples: Sequence[Sample]) -> bool:
    return bool(samples) and all(one.rows and all(map(_is_feedback, one.rows)) for one in samples)


def _is_feedback(row: Any) -> bool:
    return row.get("type") in (_BINARY, _PAIRWISE) and not {"output", "output_A"}.isdisjoint(row)


@importer(
    "halos",
    title="HALOs",
    recognises=_recognises,
    polarity={"1": True, "0": False, "true": True, "false": False},
    example={
        "samples.json": [
            {"prompt_id": 5, "prompt": [USER], "output": [ANSWER], "label": 1, "reward": 0.5, "type": "binary_feedback"}
        ]
    },
)
def _read(paths: Sequence[Path], options: Options) -> Iterator[Item]:
    return each_row(paths, _items)


def _items(where: str, row: Cells) -> Iterator[Item]:
    prompt = _prompt(row)
    if prompt is None:
        yield Dropped(where=where, reason=NO_PROMPT)
    elif row.get("type") == _PAIRWISE:
        yield _preference(where, row, prompt)
    elif row.get("type") == _BINARY or ("output" in row and "label" in row):
        yield _vote(where, row, prompt)
    else:
        yield Dropped(where=where, reason="row is neither binary nor pairwise feedback")


def _vote(where: str, row: Cells, prompt: Cell) -> Item:
    completion = _output(row.get("output"), prompt)
    if completion is None:
        return Dropped(where=where, reason=NO_COMPLETION)
    if row.get("label") is None:
        return Dropped(where=where, reason="no label")
    return Vote(
        where=where,
        prompt=prompt,
        completion=completion,
        verdict=row["label"],
        source_id=_source_id(row),
        score=number_of(row.get("reward")),
    )


def _preference(where: str, row: Cells, prompt: Cell) -> Item:
    sides = [_output(row.get(key), prompt) for key in ("output_A", "output_B")]
    if sides[0] is None or sides[1] is None:
        return Dropped(where=where, reason=NO_COMPLETION)
    label = row.get("label")
    if label not in (0, 1):
        return Dropped(where=where, reason="label of a pair is neither 0 nor 1")
    chosen, rejected = (sides[0], sides[1]) if label else (sides[1], sides[0])
    return Preference(where=where, prompt=prompt, chosen=chosen, rejected=rejected, source_id=_source_id(row))


def _prompt(row: Cells) -> Cell | None:
    found = row.get("prompt", row.get("instruction"))
    if found == []:  # nothing came before the answer
        return ""
    return found if isinstance(found, str) else turns_of(found)


def _output(value: Any, prompt: Cell) -> Cell | None:
    # An empty answer is one that was judged, here where nothing else can be meant by it.
    return value if isinstance(value, str) else completion_of(value, prompt)


def _source_id(row: Cells) -> str | None:
    names = [name_of(row.get(key)) for key in ("prompt_id", "sample_id")]
    return "/".join(name for name in names if name) or None
