"""Two sides answer the prompts of a file, and a judge says who answers better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from prospect.errors import DataError
from prospect.evaluation.answers.subject import find_subject
from prospect.evaluation.answers.writers import Tell
from prospect.evaluation.contest.contest import hold_contest
from prospect.evaluation.contest.judges.base import Item, Judge, plain_text
from prospect.evaluation.contest.judges.verdict_cache import VerdictCache
from prospect.evaluation.contest.median import median_items
from prospect.evaluation.contest.sides import Judging, Watch, gather_sides, kept_file, remove_partial
from prospect.feedback.files.sources import Source
from prospect.feedback.images.writing import copy_image
from prospect.feedback.records import Completion, Image
from prospect.results.contest import (
    Contest,
    ContestData,
    ContestPictures,
    ContestResult,
    ContestSample,
    Entry,
    HowDrawn,
    HowWritten,
)
from prospect.results.evaluated import Named

SAMPLES = 20  # prompts with what both sides have, for people to read or to look at
PAIRS = 4  # of images of one prompt


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
    subjects = [find_subject(side, images=True) for side in (model, against) if side is not None]
    if any(subject.makes_images for subject in subjects):
        judge.require_eyes("the sides make images")
    sides = gather_sides(
        model, data, against, limit=limit, label_map=label_map, how=how, announce=announce, watch=watch
    )
    if sides.left_out and announce is not None:
        announce(f"{sides.left_out} prompts are left out: one side has no completion of them")
    items = median_items(sides.items, judge) if how.median else sides.items
    with VerdictCache(kept_file(how.keep, "verdicts.jsonl")) as cache:
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
    of_images = isinstance(items[0].first, Image)
    remove_partial(how.keep)
    return ContestResult(
        model=Named(name=str(model), kind=subjects[0].kind),
        against=None if against is None else Named(name=str(against), kind=subjects[1].kind),
        data=ContestData(source=sides.source, left_out=sides.left_out),
        generation=HowWritten(**asdict(how.generation), request=dict(how.service.request)),
        drawing=HowDrawn(**asdict(how.drawing)) if how.drawing is not None else None,
        level=0.95,
        **vars(contest),
        samples=[] if of_images else _samples(items),
        pictures=_pictures([item for item in items if judge.covers(item)], contest, how.keep) if of_images else [],
    )


def _samples(items: Sequence[Item]) -> list[ContestSample]:
    return [
        ContestSample(prompt=plain_text(item.prompt), theirs=plain_text(item.second), ours=plain_text(item.first))
        for item in items[:SAMPLES]
    ]


def _pictures(items: Sequence[Item], contest: Contest, keep: Path | None) -> list[ContestPictures]:
    """Return the first pairs of the first prompts, copied to where the result goes."""

    def file(image: Completion) -> str:
        assert isinstance(image, Image), "of one medium"
        if keep is None:
            return str(image.path)
        return copy_image(image, keep.parent, str(image.path)).name

    of_prompt: dict[str, list[tuple[Item, Entry]]] = {}
    for item, entry in zip(items, contest.entries, strict=True):
        of_prompt.setdefault(plain_text(item.prompt), []).append((item, entry))
    return [
        ContestPictures(
            prompt=prompt,
            ours=[file(item.first) for item, _ in pairs[:PAIRS]],
            theirs=[file(item.second) for item, _ in pairs[:PAIRS]],
            verdicts=[entry.verdict for _, entry in pairs[:PAIRS]],
        )
        for prompt, pairs in list(of_prompt.items())[:SAMPLES]
    ]


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
