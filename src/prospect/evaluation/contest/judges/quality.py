"""Can a judge be trusted? Its agreement with people on pairs that they judged before, and its bias for a position."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from prospect.errors import DataError, UsageError
from prospect.evaluation.contest.judges.asking import Asking, Judged, Price, Progress
from prospect.evaluation.contest.judges.base import CREDIT, MIRRORED, Item, Judge
from prospect.evaluation.contest.judges.verdict_cache import VerdictCache
from prospect.feedback.files.sources import Source, load_feedback
from prospect.feedback.records import Paired
from prospect.feedback.split import prompt_key
from prospect.results.contest import JudgeQuality, JudgeResult, PairsOfPeople
from prospect.statistics.agreement import measure_agreement
from prospect.statistics.bootstrap import RESAMPLES
from prospect.statistics.means import rate_by_prompt
from prospect.statistics.rates import Rate


def judge_quality(
    judge: Judge,
    pairs: Sequence[Paired],
    *,
    cache: VerdictCache | None = None,
    price: Price | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
    progress: Progress | None = None,
) -> JudgeQuality:
    """Return how well a judge agrees with the people behind pairs of chosen and rejected completions.

    Each pair is judged in both orders, so people's choice is shown first and second equally often, and a judge that
    always names one position has a kappa of 0. Intervals draw prompts, so the two orders of a pair are one observation.

    Args:
        judge: any judge but people themselves.
        pairs: what people preferred; pairs of the same text are refused.
        cache: verdicts from before.
        price: of a million tokens.
        resamples: number of draws.
        seed: of the draws.
        progress: told after each verdict.

    Raises:
        DataError: there are no pairs, or one whose completions are the same.
    """
    items = [Item(pair.prompt, pair.chosen, pair.rejected) for pair in pairs]
    if not items:
        raise DataError("there are no pairs that people judged; expected at least one.")
    same = next((pair for pair, item in zip(pairs, items, strict=True) if item.identical), None)
    if same is not None:
        raise DataError(f"{same.where}: chosen and rejected are the same, so nobody can agree. Remove the pair.")
    judged, calls = Asking(judge, items, seed=seed, cache=cache, price=price).run(progress)
    names = [prompt_key(pair.prompt) for pair in pairs]
    draws: dict[str, Any] = {"resamples": resamples, "seed": seed}
    # What people preferred is shown first, and then second; a judge that sees no order is asked once.
    orders = [one.said[0].meant for one in judged], [MIRRORED[one.said[-1].meant] for one in judged]
    people = ["first"] * len(items) + ["second"] * len(items)
    by_call = measure_agreement([*orders[0], *orders[1]], people, [*names, *names], **draws)
    first, second = (
        rate_by_prompt([float(said == meant) for said in side], names, **draws)
        for side, meant in zip(orders, ("first", "second"), strict=True)
    )
    return JudgeQuality(
        judge=judge.name,
        agreement=rate_by_prompt([CREDIT[one.choice] for one in judged], names, **draws),
        kappa=by_call.kappa,
        chosen_first=first,
        chosen_second=second,
        shown_first=None if judge.position_free else shown_first(judged, names, **draws),
        position_flips=sum(one.flipped for one in judged),
        ties=sum(one.choice == "tie" and not one.flipped for one in judged),
        unparsed=sum(one.choice == "unparsed" for one in judged),
        n=len(items),
        calls=calls,
    )


def shown_first(judged: Sequence[Judged], prompt_ids: Sequence[str], *, resamples: int, seed: int) -> Rate | None:
    """Return how often a verdict that could be read is for the completion shown first, a tie counting half."""
    rows = [(name, CREDIT[said.choice]) for name, one in zip(prompt_ids, judged, strict=True) for said in one.said]
    parsed = [row for row in rows if row[1] is not None]  # what cannot be read chose no place
    if not parsed:
        return None
    names, chosen = zip(*parsed, strict=True)
    return rate_by_prompt(chosen, names, seed=seed, resamples=resamples)


def check_judge(
    judge: Judge,
    pairs: Source,
    *,
    limit: int | None = None,
    label_map: Mapping[Any, bool] | None = None,
    keep: Path | None = None,
    price: Price | None = None,
    seed: int = 0,
    announce: Callable[[str], None] | None = None,
    progress: Progress | None = None,
) -> JudgeResult:
    """Return `judge_quality` on the pairs of a file.

    Args:
        judge: is checked.
        pairs: feedback, each row a chosen and a rejected completion of a prompt.
        limit: take this many pairs at most, the first.
        label_map: label -> desirable, for verdicts in words.
        keep: file of verdicts; a run that was killed goes on from it.
        price: of a million tokens.
        seed: of the intervals' draws.
        announce: gets what the calls cost.
        progress: told after each verdict.

    Raises:
        DataError: the file holds other feedback than pairs, or nothing to compare.
        UsageError: limit is below 1.
    """
    if limit is not None and limit < 1:
        raise UsageError(f"limit is {limit}; expected at least 1.")
    found = load_feedback(pairs, label_map=label_map)
    rows = [row for row in found if isinstance(row, Paired)]
    if len(rows) < len(found):
        other = next(row for row in found if not isinstance(row, Paired))
        raise DataError(
            f"{other.where}: the row is {other.kind}; a judge is checked on pairs of chosen and rejected completions. "
            "Make them with prospect data convert FILE --to paired."
        )
    with VerdictCache(keep) as cache:
        quality = judge_quality(judge, rows[:limit], cache=cache, price=price, seed=seed, progress=progress)
    if announce is not None:
        announce(f"done: {quality.calls}")
    return JudgeResult(data=PairsOfPeople(source=str(pairs)), level=0.95, **dict(quality))
