"""Two sides answer the prompts of a file, and a judge says who answers better."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from prospect.endpoint.client import origin_of
from prospect.errors import DataError, UsageError
from prospect.evaluation.answers.answered import Completions
from prospect.evaluation.answers.answers import Thoughts, count_answers
from prospect.evaluation.answers.asked import read_held_out_questions
from prospect.evaluation.answers.generate import as_rows
from prospect.evaluation.answers.rendering import RenderingOptions
from prospect.evaluation.answers.subject import ENDPOINT, find_subject
from prospect.evaluation.answers.writers import Generation, Service, Tell, collect_answers, find_writer
from prospect.evaluation.contest.contest import hold_contest
from prospect.evaluation.contest.judges.asking import Price, Progress
from prospect.evaluation.contest.judges.base import Item, Judge, plain_text
from prospect.evaluation.contest.judges.verdict_cache import VerdictCache
from prospect.evaluation.contest.median import median_items
from prospect.feedback.convert.verdicts import to_demonstrations
from prospect.feedback.files.questions import Question, read_questions
from prospect.feedback.files.sources import Source, load_feedback
from prospect.feedback.files.write import write_jsonl
from prospect.feedback.records import Completion, Demonstration, Image, Unpaired
from prospect.results.contest import Contest, ContestData, ContestResult, ContestSample, HowWritten
from prospect.results.evaluated import Named

SAMPLES = 20  # of both sides, for people to read
DATA_SIDE = "the completions of the data"
Watch = Callable[[str], Progress]
"""The name of what begins to something that is told how far it is."""


@dataclass(frozen=True)
class Judging:
    """How a contest is held.

    Attributes:
        generation: how both sides answer: the same settings, and the same random numbers prompt by prompt.
        service: how a server is asked for completions.
        thoughts: strip or keep what a model thought before its answer.
        batch_size: completions generated at once; speed and memory, never the result.
        both_orders: ask the judge with each completion first.
        median: of several completions of a prompt, let only those of median score meet.
        price: of a million of its tokens.
        target: the column with the right answers, for verifiers.
        keep: where answers and verdicts are kept, so that a killed run goes on: the beginning of the files' names.
        seed: of the order of completions, and of the intervals' draws.
        rendering: how models from disk get their prompts.
    """

    generation: Generation = field(default_factory=Generation)
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


def judge_completions(
    model: str | Path,
    data: Source | None,
    judge: Judge,
    against: str | Path | None = None,
    *,
    limit: int | None = None,
    label_map: Mapping[Any, bool] | None = None,
    how: Judging | None = None,
    announce: Tell | None = None,
    watch: Watch | None = None,
) -> ContestResult:
    """Let two sides answer the prompts of a file, and a judge compare them.

    Args:
        model: a run directory, a model, an endpoint:URL#NAME, or a file of completions (rows prompt, completion).
        data: feedback, or rows with a prompt; None takes what the run held out, or the prompts of a side that is a
            file. Each different prompt is asked once.
        judge: see `prospect.evaluation.contest.judges`.
        against: the other side, as `model`; None takes what the data holds to be good: desirable, chosen, best or
            demonstrated completions.
        limit: take this many prompts at most, the first.
        label_map: label -> desirable.
        how: see `Judging`.
        announce: gets what became of each side's completions, and before the judge is asked, what so many comparisons
            can show and what they cost.
        watch: see `Watch`.

    Returns:
        The contest with what it is about.

    Raises:
        DataError: nothing to compare, files that cannot be read, a side without any answer, or no verdict that can be
            read.
        UsageError, ModelError, EndpointError: a side that cannot answer, or two servers and one key.
    """
    how = how or Judging()
    sides = gather_sides(
        model, data, against, limit=limit, label_map=label_map, how=how, announce=announce, watch=watch
    )
    if sides.left_out and announce is not None:
        announce(f"{sides.left_out} prompts are left out: one side has no completion of them")
    items = median_items(sides.items, judge) if how.median else sides.items
    with VerdictCache(_file(how.keep, "verdicts.jsonl")) as cache:
        contest = hold_contest(
            [item.prompt for item in items],
            [item.first for item in items],
            [item.second for item in items],
            judge,
            targets=[item.target for item in items],
            names=sides.names,
            both_orders=how.both_orders,
            seed=how.seed,
            cache=cache,
            price=how.price,
            announce=announce,
            progress=watch("verdicts") if watch is not None else None,
        )
    _check_verdicts(contest, announce)
    remove_partial(how.keep)
    return ContestResult(
        model=Named(name=str(model), kind=find_subject(model).kind),
        against=None if against is None else Named(name=str(against), kind=find_subject(against).kind),
        data=ContestData(source=sides.source, left_out=sides.left_out),
        generation=HowWritten(**asdict(how.generation), request=dict(how.service.request)),
        level=0.95,
        **vars(contest),
        samples=[
            ContestSample(prompt=plain_text(item.prompt), theirs=_shown(item.second), ours=_shown(item.first))
            for item in items[:SAMPLES]
        ],
    )


def _shown(completion: Completion) -> str:
    """Return a text, or the name of an image's file."""
    return str(completion.path) if isinstance(completion, Image) else plain_text(completion)


def _check_verdicts(contest: Contest, announce: Tell | None) -> None:
    """Refuse a result that rests on no verdict; show one of those that could not be read."""
    if not contest.unparsed:
        return
    notes = (said.note for entry in contest.entries for said in entry.said if said.verdict == "unparsed")
    example = f"One of them: {next(notes)}"
    if contest.unparsed + contest.identical == contest.n:
        raise DataError(
            f"{contest.judge}: no verdict on {contest.unparsed} comparisons could be read, so there is no win rate. "
            f"{example}. Give this judge more room, or ask another."
        )
    if announce is not None:
        announce(f"{contest.unparsed} of {contest.n} verdicts could not be read. {example}")


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
            find_subject(model), target=how.target, label_map=label_map
        )
    else:
        questions, source = read_questions(data, target=how.target, label_map=label_map), str(data)
        feedback = [] if against is not None else load_feedback(data, label_map=label_map)
    found = len(questions)
    # What is written already comes first: nobody is asked for what has nothing to be held against.
    theirs = Completions(to_demonstrations(feedback)) if against is None else _written(against)
    ours = _written(model)
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
    if against is None or find_subject(model).kind == "run":
        return None
    return next((side for side in (model, against) if find_subject(side).kind == "completions"), None)


def remove_partial(keep: Path | None) -> None:
    """Remove what a killed contest would go on from, once its result is there; the completions stay."""
    for name in ("ours", "theirs"):
        partial = _file(keep, f"{name}.partial")
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
    prompts = [question.prompt for question in questions]
    beside = None if other is None else find_subject(other)
    rendering = how.rendering.for_writing(find_subject(side), beside)
    writer = find_writer(side, batch_size=how.batch_size, service=how.service, rendering=rendering, announce=announce)
    partial = _file(how.keep, f"{name}.partial")
    progress = watch(f"completions of {side}") if watch is not None else None
    answers = collect_answers(
        writer, prompts, how.generation, thoughts=how.thoughts, partial=partial, progress=progress
    )
    if announce is not None:
        announce(f"{side}: {count_answers(answers)}")
    rows = as_rows(prompts, answers)
    kept = _file(how.keep, f"{name}.jsonl")
    if kept is not None:
        write_jsonl(rows, kept)
    return Completions(rows)


def _written(side: str | Path) -> Completions | None:
    """Return the completions of a file; None of a model, which has yet to write them."""
    if find_subject(side).kind != "completions":
        return None
    file, rows = side, load_feedback(side)
    written = [row for row in rows if isinstance(row, Demonstration | Unpaired)]
    if len(written) < len(rows):
        raise DataError(f"{file}: holds {rows[0].kind} rows; expected completions, rows of prompt and completion.")
    return Completions(written)


def _file(keep: Path | None, ending: str) -> Path | None:
    return None if keep is None else keep.with_name(f"{keep.name}.{ending}")
