"""A round's samples judged: scores and thumbs, the judge's comparisons, and all of it prompt by prompt."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

from prospect import progress
from prospect.atomic import write_text
from prospect.errors import UsageError
from prospect.evaluation.answers.asked import Question
from prospect.evaluation.contest.judges.asking import Asking
from prospect.evaluation.contest.judges.base import Candidate, Item, Judge, plain_text, text_key
from prospect.evaluation.contest.judges.names import judge_named
from prospect.evaluation.contest.judges.verdict_cache import VerdictCache
from prospect.feedback.records import Completion, Demonstration, Image
from prospect.results.rounds import Judged
from prospect.rounds.labels import Threshold, answer_in, digest_of, score_completions, to_thumbs
from prospect.rounds.protocols import Asked, Sample
from prospect.rounds.recipe import LabelSettings, RoundsRecipe
from prospect.statistics.means import rate_by_prompt


class Verdicts(NamedTuple):
    """What a judge made of a round.

    Attributes:
        asked: prompt by prompt, each different sample once.
        judged: in numbers; None where nobody was asked.
    """

    asked: list[Asked]
    judged: Judged | None


def make_judge(settings: LabelSettings, name: str) -> Judge:
    """Return a judge by its name, asked as the recipe says."""
    kind = name.partition(":")[0]
    more = {"api_key_env": settings.api_key_env} if settings.api_key_env and kind == "endpoint" else None
    rubric = settings.rubric if kind in ("lm", "endpoint") else None
    return judge_named(name, rubric=rubric, endpoint_settings=more)


def label_judge(recipe: RoundsRecipe) -> Judge | None:
    """Return who labels samples; None where nobody does.

    Raises:
        UsageError: the judge only compares, and the protocol needs scores.
    """
    settings = recipe.rounds.label
    judge = make_judge(settings, settings.judge) if settings.judge else None
    if judge is not None and not judge.gives_scores and not recipe.protocol.compares:
        raise UsageError(
            f"judge {judge.name}: it compares two completions and scores none. Take one that scores, or the protocol "
            "rlaif, which compares."
        )
    return judge


def threshold_of(settings: LabelSettings, judge: Judge, scores: Sequence[float]) -> Threshold:
    """Return which scores are thumbs up: as the recipe says, or as suits the judge."""
    if settings.threshold is None:
        return Threshold.usual(judge, scores)
    return Threshold.parse(str(settings.threshold))


def judge_samples(
    settings: LabelSettings,
    judge: Judge | None,
    questions: Sequence[Question],
    drawn: Sequence[Sequence[Demonstration]],
    teacher: Mapping[str, Sequence[Demonstration]],
    *,
    round_number: int,
    verdicts: Path,
    compares: bool,
) -> Verdicts:
    """Return a round's samples with what the judge says of them; each different one is judged once.

    Args:
        settings: how samples become feedback.
        judge: who says so; None where the protocol needs nobody.
        questions: the round's prompts.
        drawn: what the policy made of each.
        teacher: its answers, by the prompt's key.
        round_number: for the samples' ids.
        verdicts: the file in which verdicts are kept as they come.
        compares: whether samples are compared in pairs, and not scored one by one.
    """
    begun = time.monotonic()
    asked = [
        Asked(one.prompt, _different(some, f"{round_number}-{i}"), teacher.get(one.key, ()))
        for i, (one, some) in enumerate(zip(questions, drawn, strict=True))
    ]
    if judge is None:
        return Verdicts(asked, None)
    if compares:
        return _compared(judge, questions, asked, verdicts, begun)
    return _scored(settings, judge, questions, asked, verdicts, begun)


def _different(rows: Sequence[Demonstration], name: str) -> list[Sample]:
    """Return each different completion of a prompt once; a text that holds nothing and was cut is none."""
    found: dict[str, Sample] = {}
    for place, row in enumerate(rows):
        if not row.finished and not isinstance(row.completion, Image) and not plain_text(row.completion).strip():
            continue
        key = text_key(row.completion)
        known = found.get(key)
        if known is not None:
            found[key] = replace(known, finished=known.finished or row.finished, count=known.count + 1)
            continue
        found[key] = Sample(f"{name}-{place}", row.completion, finished=row.finished)
    return list(found.values())


def candidate(question: Question, completion: Completion) -> Candidate:
    """Return a completion as a judge sees it: without the thoughts before the answer."""
    return Candidate(question.prompt, answer_in(completion), question.target)


def _scored(
    settings: LabelSettings,
    judge: Judge,
    questions: Sequence[Question],
    asked: Sequence[Asked],
    verdicts: Path,
    begun: float,
) -> Verdicts:
    pairs = [(question, sample) for question, one in zip(questions, asked, strict=True) for sample in one.samples]
    to_judge = [i for i, (_, sample) in enumerate(pairs) if settings.cut == "judge" or sample.finished]
    rows = [candidate(pairs[i][0], pairs[i][1].completion) for i in to_judge]
    with progress.phase(f"judging {len(rows)} samples by {judge.name}"):
        scores = score_completions(
            judge, rows, keep=verdicts, progress=lambda done, total: progress.count(done, total, "verdicts")
        )
    threshold = threshold_of(settings, judge, scores)
    thumbs = dict(zip(to_judge, to_thumbs(scores, [row.prompt for row in rows], threshold), strict=True))
    score_of = dict(zip(to_judge, scores, strict=True))
    unread = sum(math.isnan(score) for score in scores)
    samples = []
    for i, (_, sample) in enumerate(pairs):
        score = score_of.get(i, math.nan)
        thumb = thumbs.get(i, False if settings.cut == "undesirable" else None)
        samples.append(replace(sample, score=None if math.isnan(score) else score, desirable=thumb))
    place = iter(samples)
    judged = [replace(one, samples=[next(place) for _ in one.samples]) for one in asked]
    return Verdicts(judged, _summary(judge, str(threshold), judged, unread, begun))


def _summary(judge: Judge, threshold: str, asked: Sequence[Asked], unread: int, begun: float) -> Judged:
    """Return what became of the samples; one that was drawn twice counts twice."""
    drawn = [(i, s.desirable) for i, one in enumerate(asked) for s in one.samples for _ in range(s.count)]
    thumbs = [(i, float(thumb)) for i, thumb in drawn if thumb is not None]
    of_prompt: dict[int, set[float]] = {}
    for i, thumb in thumbs:
        of_prompt.setdefault(i, set()).add(thumb)
    return Judged(
        judge=judge.name,
        identity=digest_of(judge),
        threshold=threshold,
        desirable=sum(thumb == 1 for _, thumb in thumbs),
        undesirable=sum(thumb == 0 for _, thumb in thumbs),
        unread=unread,
        dropped=len(drawn) - len(thumbs),
        rate=rate_by_prompt([thumb for _, thumb in thumbs], [i for i, _ in thumbs]) if thumbs else None,
        all_up=sum(some == {1.0} for some in of_prompt.values()),
        all_down=sum(some == {0.0} for some in of_prompt.values()),
        seconds=round(time.monotonic() - begun, 2),
    )


def _compared(
    judge: Judge, questions: Sequence[Question], asked: Sequence[Asked], verdicts: Path, begun: float
) -> Verdicts:
    """Compare the samples of each prompt two by two, in both orders."""
    places = [(i, pair) for i, one in enumerate(asked) for pair in combinations(range(len(one.samples)), 2)]
    items = []
    for i, (first, second) in places:
        shown = [candidate(questions[i], asked[i].samples[k].completion) for k in (first, second)]
        items.append(Item(shown[0].prompt, shown[0].completion, shown[1].completion, shown[0].target))
    with progress.phase(f"comparing {len(items)} pairs by {judge.name}"), VerdictCache(verdicts) as cache:
        judged, _ = Asking(judge, items, cache=cache).run(lambda done, total: progress.count(done, total, "verdicts"))
    soft: list[dict[tuple[int, int], float]] = [{} for _ in asked]
    unread = 0
    for (i, pair), one in zip(places, judged, strict=True):
        credits = [said.credit for said in one.said]
        if any(credit is None for credit in credits):
            unread += 1
        elif credits:
            soft[i][pair] = sum(credit for credit in credits if credit is not None) / len(credits)
    found = [replace(one, soft=some) for one, some in zip(asked, soft, strict=True)]
    decided = sum(share != 0.5 for some in soft for share in some.values())
    summary = Judged(
        judge=judge.name,
        identity=digest_of(judge),
        threshold="the mean verdict of both orders",
        desirable=decided,
        undesirable=decided,
        unread=unread,
        dropped=len(places) - decided - unread,
        rate=None,
        all_up=0,
        all_down=0,
        seconds=round(time.monotonic() - begun, 2),
    )
    return Verdicts(found, summary)


def write_labels(path: Path, asked: Sequence[Asked]) -> None:
    """Write a line for each different sample: its id, how often it was drawn, its score and its thumb."""
    lines = [
        json.dumps({"id": one.id, "count": one.count, "score": one.score, "label": one.desirable})
        for some in asked
        for one in some.samples
    ]
    write_text(path, "".join(f"{line}\n" for line in lines))
