"""A file of completions -> a file of thumbs by a judge; a run that was killed goes on from `OUTPUT.partial`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from prospect.errors import DataError, ImageError, UsageError
from prospect.evaluation.contest.judges.asking import Price, Progress
from prospect.evaluation.contest.judges.base import Candidate, Grade, Judge
from prospect.evaluation.contest.judges.grading import GradeFile, Grading
from prospect.feedback.files.rows import RowParser, with_own_columns
from prospect.feedback.files.sources import Source, find_places, nothing_in, raw_rows
from prospect.feedback.files.write import encode, write_jsonl
from prospect.feedback.images.opening import decode_image
from prospect.feedback.records import Demonstration, Feedback, Image, Paired, Scored, Text, Unpaired
from prospect.outputs import output_file
from prospect.results.contest import JudgeCalls
from prospect.rounds.labels import Labels, Threshold, answer_in, count_labels, digest_of, to_thumbs

Cut = Literal["judge", "undesirable", "drop"]
_ANSWERED = {
    *("completion", "completions", "chosen", "rejected", "messages"),
    *("image", "images", "chosen_image", "rejected_image"),
}


@dataclass(frozen=True)
class Labelling:
    """How completions are labelled.

    Attributes:
        threshold: how a score becomes a thumb; None takes `Threshold.usual`.
        cut: what becomes of a completion that the limit of tokens cut: it is judged as it stands, it is undesirable
            without a question, or it is left out.
        target: the column with the right answers, for verifiers.
        price: of a million of the judge's tokens.
    """

    threshold: Threshold | None = None
    cut: Cut = "judge"
    target: str = "target"
    price: Price | None = None


class Labelled(NamedTuple):
    """What a file became.

    Attributes:
        labels: how many of what.
        threshold: that was taken.
        cut: completions that the limit cut, and that were not judged for it.
        dropped: whether these were left out; else they are undesirable.
        relabelled: completions whose label in the file said the opposite.
        broken: rows whose images cannot be read, which are left out.
        broken_note: why the first of them cannot; "" where there is none.
        not_judged: completions to which the judge has not come (people only).
        unread_note: what one of the unread answers was, "" where there is none.
        calls: of the judge.
    """

    labels: Labels
    threshold: Threshold
    cut: int
    dropped: bool
    relabelled: int
    broken: int
    broken_note: str
    not_judged: int
    unread_note: str
    calls: JudgeCalls

    def as_dict(self) -> dict[str, Any]:
        """Return the counts as JSON holds them, the rate's fields beside them."""
        counts = self.labels._asdict()
        rate = counts.pop("rate")._asdict()
        more = {name: getattr(self, name) for name in ("cut", "relabelled", "broken", "not_judged")}
        return {**counts, **rate, **more, "threshold": str(self.threshold)}


class Completion(NamedTuple):
    """One completion of a file.

    Attributes:
        row: that holds it, maybe beside others.
        id: of the row that it becomes.
        text: whole, with the thoughts before the answer where it has some; or an image.
        candidate: what the judge looks at: without them.
    """

    row: Feedback
    id: str
    text: Text | Image
    candidate: Candidate


class Completions(NamedTuple):
    """What a file holds.

    Attributes:
        completions: in its order.
        broken: of each row with an image that cannot be read, why.
    """

    completions: list[Completion]
    broken: list[str]


def label_file(
    source: Source,
    judge: Judge,
    output: str | Path,
    *,
    how: Labelling | None = None,
    label_map: Mapping[Any, bool] | None = None,
    announce: Callable[[str], None] | None = None,
    progress: Progress | None = None,
) -> Labelled:
    """Let a judge look at each completion of a file by itself, and write one thumb for each that it could be read of.

    Args:
        source: rows with completions: what `prospect generate` writes, or feedback of any kind. Each completion of a
            pair or of a scored row is one. A label, a score, and who gave them are replaced.
        judge: one that scores.
        output: a .jsonl file; it appears whole or not at all.
        how: see `Labelling`.
        label_map: label -> desirable, for a column of labels that is there.
        announce: gets what the calls will cost, and what they did cost.
        progress: told after each score.

    Raises:
        DataError: nothing to label, a file that cannot be read, a judge's function that fails, or no answer that can
            be read.
        UsageError: the judge only compares, or the output cannot be it.
        EndpointError: the server gives no answer; what it said until then is kept.
    """
    how, path = how or Labelling(), _checked_output(output, source)
    found = read_completions(source, how.target, label_map)
    rows = [one for one in found.completions if one.row.finished or how.cut != "drop"]
    asked = [place for place, one in enumerate(rows) if one.row.finished or how.cut == "judge"]
    for one in rows:  # refused before the judge is asked: images that rows beside the output could not name
        if isinstance(one.text, Image):
            encode(_thumb(one, True, math.nan, judge.name, ""), path.parent)
    partial = path.with_name(f"{path.name}.partial")
    with GradeFile(partial) as kept:
        grading = Grading(judge, [rows[place].candidate for place in asked], kept=kept, price=how.price)
        if announce is not None:
            announce(f"planned: {grading.planned}")
        given, calls = grading.run(progress)
    if announce is not None:
        announce(f"done: {calls}")
    grades = dict(zip(asked, given, strict=True))
    threshold, labels, made = _decide(rows, grades, judge, how)
    made_by = f"prospect label, judge {digest_of(judge)}"
    write_jsonl((_thumb(rows[place], *verdict, judge.name, made_by) for place, verdict in made.items()), path)
    partial.unlink(missing_ok=True)
    return Labelled(
        labels=labels._replace(rows=len(found.completions)),
        threshold=threshold,
        cut=len(found.completions) - len(asked),
        dropped=how.cut == "drop",
        relabelled=sum(
            isinstance(row := rows[place].row, Unpaired) and row.desirable is not up for place, (up, _) in made.items()
        ),
        broken=len(found.broken),
        broken_note=found.broken[0] if found.broken else "",
        not_judged=sum(grade is None for grade in given),
        unread_note=_note(given),
        calls=calls,
    )


def _decide(
    rows: Sequence[Completion], grades: Mapping[int, Grade | None], judge: Judge, how: Labelling
) -> tuple[Threshold, Labels, dict[int, tuple[bool, float]]]:
    """Return the threshold, the counts, and thumb and score by the place of a row; see `label_file` for the rest.

    A row without an entry among the grades was not asked about: the limit cut it, and it is undesirable for that. One
    whose grade is None is not judged at all, and counts nowhere.
    """
    places = [place for place in range(len(rows)) if place not in grades or grades[place] is not None]
    if rows and not places:
        raise DataError(f"{judge.name} has judged none of the {len(rows)} completions. Are the votes of these?")
    scores = [grade.score if (grade := grades.get(place)) else math.nan for place in places]
    prompts = [rows[place].row.prompt for place in places]
    threshold = how.threshold or Threshold.usual(judge, scores)
    thumbs = [
        thumb if place in grades else False
        for place, thumb in zip(places, to_thumbs(scores, prompts, threshold), strict=True)
    ]
    try:
        labels = count_labels(scores, thumbs, prompts)
    except DataError as error:
        note = _note(grades.values())
        raise DataError(f"{judge.name}: {error}" + (f" One answer: {note}" if note else "")) from None
    decided = zip(places, thumbs, scores, strict=True)
    return threshold, labels, {place: (thumb, score) for place, thumb, score in decided if thumb is not None}


def _note(grades: Iterable[Grade | None]) -> str:
    """Return what one of the answers that could not be read was."""
    return next((grade.note for grade in grades if grade is not None and math.isnan(grade.score)), "")


def read_completions(
    source: Source, target: str = "target", label_map: Mapping[Any, bool] | None = None
) -> Completions:
    """Return every completion of a source's rows; what trains on them would refuse an image that is not whole.

    Args:
        source: rows with completions.
        target: the column with the right answers; it may be absent.
        label_map: label -> desirable.

    Raises:
        DataError: a row without a completion, or that cannot be read; no image can be read.
    """
    found, broken = list[Completion](), list[str]()
    for place in find_places(source):
        parser, rows = RowParser(label_map, place=place), 0
        for where, name, row in raw_rows(place):
            columns = with_own_columns(row, where).keys()
            if "prompt" in columns and columns.isdisjoint(_ANSWERED):
                raise DataError(
                    f"{where}: there is a prompt and no completion to label. Let a model answer first: prospect "
                    "generate MODEL --prompts FILE -o COMPLETIONS.jsonl"
                )
            rows += 1
            try:
                parsed = parser.parse(row, where, name)
                made = _completions(parsed)
                for _, completion in made:
                    if isinstance(completion, Image):
                        decode_image(completion, f"{where}: image ({completion.path})")
            except ImageError as error:
                broken.append(str(error))
                continue
            found += [
                Completion(parsed, name, text, Candidate(parsed.prompt, answer_in(text), row.get(target)))
                for name, text in made
            ]
        if not rows:
            raise nothing_in(place)
    if broken and not found:
        raise DataError(f"none of {len(broken)} rows has images that can be read. The first: {broken[0]}")
    return Completions(found, broken)


def _completions(row: Feedback) -> list[tuple[str, Text | Image]]:
    """Return the completions of a row, each with the id of the row that it becomes."""
    if isinstance(row, Paired):
        return [(f"{row.id}/chosen", row.chosen), (f"{row.id}/rejected", row.rejected)]
    if isinstance(row, Scored):
        return [(f"{row.id}/{place}", completion) for place, completion in enumerate(row.completions)]
    assert isinstance(row, Unpaired | Demonstration)
    return [(row.id, row.completion)]


def _thumb(one: Completion, desirable: bool, score: float, rater: str, source: str) -> Unpaired:
    """Return the row of a thumb; of the old row stays what is of the completion, and not what was thought of it."""
    row = one.row
    return Unpaired(
        prompt=row.prompt,
        completion=one.text,
        desirable=desirable,
        id=one.id,
        where=row.where,
        weight=row.weight,
        score=None if math.isnan(score) else score,
        rater=rater,
        tools=row.tools,
        finished=row.finished,
        source=source,
        model=row.model,
    )


def _checked_output(output: str | Path, source: Source) -> Path:
    """Refuse a name that could not be written before the judge is asked."""
    path = output_file(output)
    if path.suffix.lower() not in (".jsonl", ".ndjson"):
        raise UsageError(f"{path}: thumbs are written to .jsonl or .ndjson. Change the name.")
    if any(isinstance(place, Path) and path.exists() and path.samefile(place) for place in find_places(source)):
        raise UsageError(f"{path}: it is read and written. Name another output, so that no completion is lost.")
    return path
