"""Two sides of a contest: what each answered to the same prompts, written or drawn now, or found in files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prospect import progress
from prospect.endpoint.client import origin_of
from prospect.errors import DataError, UsageError
from prospect.evaluation.answers.answered import Completions
from prospect.evaluation.answers.answers import Thoughts, count_answers
from prospect.evaluation.answers.asked import read_held_out_questions
from prospect.evaluation.answers.generate import as_rows
from prospect.evaluation.answers.rendering import RenderingOptions
from prospect.evaluation.answers.subject import ENDPOINT, Subject, find_subject
from prospect.evaluation.answers.writers import Generation, Service, Tell, collect_answers, find_writer
from prospect.evaluation.contest.judges.asking import Price, Progress
from prospect.evaluation.contest.judges.base import Item
from prospect.feedback.convert.verdicts import to_demonstrations
from prospect.feedback.files.questions import Question, read_questions
from prospect.feedback.files.sources import Source, load_feedback
from prospect.feedback.files.write import write_jsonl
from prospect.feedback.records import Completion, Demonstration, Unpaired

if TYPE_CHECKING:
    from prospect.models.diffusion.sampling import ImageSampling

DATA_SIDE = "the completions of the data"
Watch = Callable[[str], Progress]
"""The name of what begins to something that is told how far it is."""


@dataclass(frozen=True)
class Judging:
    """How a contest is held.

    Attributes:
        generation: how both sides answer: the same settings, and the same random numbers prompt by prompt. Of sides
            that make images, the seed and the samples of each prompt.
        drawing: how images are drawn; None leaves it to the pipelines.
        service: how a server is asked for completions.
        thoughts: strip or keep what a model thought before its answer.
        batch_size: completions generated at once; speed and memory, never the result.
        both_orders: ask the judge with each completion first.
        median: of several completions of a prompt, let only those of median score meet.
        price: of a million of its tokens.
        target: the column with the right answers, for verifiers.
        keep: where answers and verdicts are kept, so that a killed run goes on: the beginning of the files' names.
            Images that are drawn go into `images/` beside them.
        seed: of the order of completions, and of the intervals' draws.
        rendering: how models from disk get their prompts.
    """

    generation: Generation = field(default_factory=Generation)
    drawing: ImageSampling | None = None
    service: Service = field(default_factory=Service)
    thoughts: Thoughts = "strip"
    batch_size: int = 64
    both_orders: bool = True
    median: bool = False
    price: Price | None = None
    target: str = "target"
    keep: Path | None = None
    seed: int = 0
    rendering: RenderingOptions = field(default_factory=RenderingOptions)


@dataclass(frozen=True)
class Sides:
    """What is compared, row by row.

    Attributes:
        items: prompt, our completion, theirs, and the right answer where the data has one.
        names: what the two sides are called.
        left_out: prompts that one side has not answered.
        source: where the prompts come from.
    """

    items: list[Item]
    names: tuple[str, str]
    left_out: int
    source: str


def gather_sides(
    model: str | Path,
    data: Source | None,
    against: str | Path | None = None,
    *,
    limit: int | None = None,
    label_map: Mapping[Any, bool] | None = None,
    how: Judging | None = None,
    announce: Tell | None = None,
    watch: Watch | None = None,
) -> Sides:
    """Return both sides' completions, side by side; arguments and refusals are those of `judge_completions`.

    Where the sides have several completions of a prompt, the first meets the first, the second the second. Against the
    data's own, each of ours meets each of those.

    With `how.keep`, what a model wrote is found again by the next call, until `remove_partial` is called: verdicts are
    known by the texts, and a server may write others when it is asked again.
    """
    how = how or Judging()
    _check_key(model, against, how.service)
    if limit is not None and limit < 1:
        raise UsageError(f"limit is {limit}; expected at least 1.")
    data = prompts_of(model, against) if data is None else data
    if data is None:
        questions, feedback, source = read_held_out_questions(
            find_subject(model, images=True), target=how.target, label_map=label_map
        )
    else:
        questions, source = read_questions(data, target=how.target, label_map=label_map), str(data)
        feedback = [] if against is not None else load_feedback(data, label_map=label_map)
    found = len(questions)
    # What is written already comes first: nobody is asked for what has nothing to be held against.
    theirs = Completions(to_demonstrations(feedback)) if against is None else _written(against)
    ours = _written(model)
    _check_media(model, ours, against, theirs)
    for side in (ours, theirs):
        questions = [question for question in questions if side is None or question.prompt in side]
    left_out = found - len(questions)
    questions = questions[:limit]
    if ours is None:
        ours = _answers(model, against, questions, how, "ours", announce, watch)
    if theirs is None:
        assert against is not None, "else the data's own are theirs"
        theirs = _answers(against, model, questions, how, "theirs", announce, watch)
    asked = len(questions)
    questions = [one for one in questions if one.prompt in ours and one.prompt in theirs]
    left_out += asked - len(questions)  # a chat template could not render them
    items = [
        Item(question.prompt, mine, other, question.target)
        for question in questions
        for mine, other in _meet(ours[question.prompt], theirs[question.prompt], crossed=against is None)
    ]
    if not items:
        raise DataError(
            f"{model} and {against or DATA_SIDE} have no prompt in common among the {found} of {source}. Are "
            "these the completions of these prompts, letter by letter?"
        )
    names = (str(model), DATA_SIDE if against is None else str(against))
    return Sides(items, names, left_out, source)


def prompts_of(model: str | Path, against: str | Path | None) -> str | Path | None:
    """Return the file of completions with a contest's prompts, where no data is named; None where a run has them."""
    if against is None or find_subject(model, images=True).kind == "run":
        return None
    sides = (model, against)
    return next((side for side in sides if find_subject(side, images=True).kind == "completions"), None)


def remove_partial(keep: Path | None) -> None:
    """Remove what a killed contest would go on from, once its result is there; the completions stay."""
    for name in ("ours", "theirs"):
        partial = kept_file(keep, f"{name}.partial")
        if partial is not None:
            partial.unlink(missing_ok=True)


def _check_key(model: str | Path, against: str | Path | None, service: Service) -> None:
    """Both sides are asked with the same settings, and a key is for one host."""
    servers = (str(side) for side in (model, against) if str(side).startswith(ENDPOINT))
    hosts = {origin_of(server.removeprefix(ENDPOINT)) for server in servers}
    if service.api_key_env is not None and len(hosts) > 1:
        raise UsageError(
            f"api_key_env {service.api_key_env}: the two sides are at {' and '.join(sorted(hosts))}, and a key goes to "
            "one host only. Let one of them answer first (prospect generate), and name the file that it wrote."
        )


def _check_media(
    model: str | Path, ours: Completions | None, against: str | Path | None, theirs: Completions | None
) -> None:
    """Refuse texts that would meet images, before either are made."""
    media = {
        str(side or DATA_SIDE): find_subject(side, images=True).makes_images if found is None and side else found
        for side, found in ((model, ours and ours.are_images), (against, theirs and theirs.are_images))
    }
    images, texts = ([side for side, found in media.items() if found is kind] for kind in (True, False))
    if images and texts:
        raise DataError(
            f"{images[0]} has images and {texts[0]} has texts, which cannot be compared. Name two sides of one kind."
        )


def _meet(
    ours: Sequence[Completion], theirs: Sequence[Completion], *, crossed: bool
) -> list[tuple[Completion, Completion]]:
    if crossed:
        return [(mine, other) for mine in ours for other in theirs]
    return list(zip(ours, theirs, strict=False))


def _answers(
    side: str | Path,
    other: str | Path | None,
    questions: Sequence[Question],
    how: Judging,
    name: str,
    announce: Tell | None,
    watch: Watch | None,
) -> Completions:
    """Return a model's completions by prompt, generated and kept."""
    subject = find_subject(side, images=True)
    if subject.makes_images:
        return _images(subject, questions, how, name, announce)
    prompts = [question.prompt for question in questions]
    beside = None if other is None else find_subject(other)
    rendering = how.rendering.for_writing(subject, beside)
    writer = find_writer(side, batch_size=how.batch_size, service=how.service, rendering=rendering, announce=announce)
    partial = kept_file(how.keep, f"{name}.partial")
    progress = watch(f"completions of {side}") if watch is not None else None
    answers = collect_answers(
        writer, prompts, how.generation, thoughts=how.thoughts, partial=partial, progress=progress
    )
    if announce is not None:
        announce(f"{side}: {count_answers(answers)}")
    rows = as_rows(prompts, answers)
    kept = kept_file(how.keep, f"{name}.jsonl")
    if kept is not None:
        write_jsonl(rows, kept)
    return Completions(rows)


def _images(
    subject: Subject, questions: Sequence[Question], how: Judging, name: str, announce: Tell | None
) -> Completions:
    """Return a pipeline's images by prompt, drawn and kept."""
    from prospect.evaluation.answers.images import Painter, as_text, check_sampling, image_rows
    from prospect.models.diffusion.pipelines import read_pipeline
    from prospect.models.diffusion.sampling import ImageSampling

    if how.keep is None:
        raise UsageError(f"{subject.name}: the images that it makes need a folder. Say where the result goes: -o FILE.")
    assert subject.source is not None, "it makes images"
    painter = Painter(subject.source, subject.lora, how.drawing or ImageSampling(), how.batch_size)
    check_sampling(read_pipeline(subject.source), painter.sampling, "--")
    prompts = [as_text(question.prompt, number) for number, question in enumerate(questions, start=1)]
    partial = how.keep.with_name(f"{how.keep.name}.{name}.partial")
    with progress.phase(f"images of {subject.name}"):
        drawn = painter.draw(prompts, how.generation.samples_per_prompt, how.generation.seed, how.keep.parent, partial)
    rows = [*image_rows(prompts, drawn)]
    write_jsonl(rows, how.keep.with_name(f"{how.keep.name}.{name}.jsonl"))
    if announce is not None:
        announce(f"{subject.name}: {len(rows)} images")
    return Completions(rows)


def _written(side: str | Path) -> Completions | None:
    """Return the completions of a file; None of a model, which has yet to write them."""
    if find_subject(side, images=True).kind != "completions":
        return None
    file, rows = side, load_feedback(side)
    written = [row for row in rows if isinstance(row, Demonstration | Unpaired)]
    if len(written) < len(rows):
        raise DataError(f"{file}: holds {rows[0].kind} rows; expected completions, rows of prompt and completion.")
    return Completions(written)


def kept_file(keep: Path | None, ending: str) -> Path | None:
    """Return one of the files that a contest keeps; None where it keeps none."""
    return None if keep is None else keep.with_name(f"{keep.name}.{ending}")
