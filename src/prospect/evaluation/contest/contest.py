"""Two sets of completions of the same prompts, and a judge -> a win rate with everything that it depends on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np

from prospect.errors import DataError
from prospect.evaluation.contest.judges.asking import Asking, Judged, Price, Progress
from prospect.evaluation.contest.judges.base import CREDIT, Choice, Item, Judge, plain_text
from prospect.evaluation.contest.judges.quality import shown_first
from prospect.evaluation.contest.judges.verdict_cache import VerdictCache
from prospect.evaluation.contest.text_measures import measure_texts
from prospect.feedback.records import Completion, Image, Text
from prospect.feedback.split import prompt_key
from prospect.results.contest import Contest, Entry, JudgeScores, Outcome, VerdictGiven
from prospect.statistics.bootstrap import RESAMPLES
from prospect.statistics.comparisons import compare_outcomes
from prospect.statistics.estimates import Intervals, mean_of
from prospect.statistics.length_control import length_controlled_win_rate
from prospect.statistics.means import rate_by_prompt
from prospect.statistics.planning import plan
from prospect.statistics.rates import Rate, win_rate

_WORDS: dict[Choice, Outcome] = {"first": "win", "second": "loss", "tie": "tie", "unparsed": "unparsed"}


def hold_contest(
    prompts: Sequence[Text],
    ours: Sequence[Completion],
    theirs: Sequence[Completion],
    judge: Judge,
    *,
    targets: Sequence[Any] | None = None,
    prompt_ids: Sequence[Hashable] | None = None,
    names: tuple[str, str] = ("ours", "theirs"),
    both_orders: bool = True,
    seed: int = 0,
    cache: VerdictCache | None = None,
    price: Price | None = None,
    resamples: int = RESAMPLES,
    announce: Callable[[str], None] | None = None,
    progress: Progress | None = None,
) -> Contest:
    """Return who wins, how sure that is, and what else could explain it.

    Args:
        prompts: one for each comparison; they may repeat.
        ours: our completions of them, texts or images.
        theirs: the other side's.
        judge: who says which is better.
        targets: the right answers, for verifiers.
        prompt_ids: names of the prompts, in the result; a hash of the prompt where none are given. Comparisons of the
            same id are alike, and are drawn together.
        names: what the two sides are called.
        both_orders: ask with each completion first, and call it a tie where the two verdicts disagree. Else one order,
            drawn for each comparison by the seed.
        seed: of that draw, and of the bootstrap.
        cache: verdicts from before, and where new ones go at once, so that a killed run goes on.
        price: of a million tokens.
        resamples: number of draws of prompts.
        announce: gets, before the run, what it can show and what it will cost, and after it what it did cost.
        progress: told after each verdict.

    Raises:
        DataError: the sides are not of one length, texts meet images, there is nothing to compare, or the judge has
            judged nothing.
        UsageError: the judge reads text, and the completions are images.
    """
    items, ids = _items(prompts, ours, theirs, targets), _ids(prompts, prompt_ids)
    kept = [i for i, item in enumerate(items) if judge.covers(item)]
    if not kept:
        raise DataError(
            f"{judge.name} has judged none of the {len(items)} comparisons. Are the votes of these completions?"
        )
    left_out = len(items) - len(kept)
    items, ids = [items[i] for i in kept], [ids[i] for i in kept]
    different = len(set(ids))
    # How alike the verdicts of one prompt are is not known before: the plan takes each prompt for one comparison.
    planned = plan(len(items), design_effect=len(items) / different)
    asking = Asking(judge, items, both_orders=both_orders, seed=seed, cache=cache, price=price)
    if announce is not None:
        announce(str(planned))
        announce(f"planned: {asking.planned}")
    judged, calls = asking.run(progress)
    if announce is not None:
        announce(f"done: {calls}")
    orders = 1 if judge.position_free or not both_orders else 2
    found = _score(items, ids, judged, seed, resamples)
    return Contest(
        judge=judge.name,
        ours=names[0],
        theirs=names[1],
        not_judged=left_out,
        orders=orders,
        prompts=different,
        shown_first=None if judge.position_free else shown_first(judged, ids, seed=seed, resamples=resamples),
        plan=planned,
        planned_calls=asking.planned,
        calls=calls,
        **found,
    )


def _score(items: list[Item], ids: list[str], judged: list[Judged], seed: int, resamples: int) -> dict[str, Any]:
    outcomes, counts = [CREDIT[one.choice] for one in judged], Counter(one.choice for one in judged)
    drawn: dict[str, Any] = {"resamples": resamples, "seed": seed}
    tally = {"wins": counts["first"], "losses": counts["second"], "ties": counts["tie"], "unparsed": counts["unparsed"]}
    different = len(set(ids))
    repeats = different < len(ids)
    comparison = compare_outcomes(outcomes, ids, **drawn)
    controlled, ours, theirs = None, None, None
    if not isinstance(items[0].first, Image):
        sides = [[plain_text(item.first) for item in items], [plain_text(item.second) for item in items]]
        if different > 1:
            ours, theirs = (measure_texts(side, ids, **drawn) for side in sides)
        if counts["unparsed"] < len(items):
            lengths = [[len(text) for text in side] for side in sides]
            controlled = length_controlled_win_rate(outcomes, lengths[0], lengths[1], ids)
    return {
        **tally,
        "n": len(items),
        "position_flips": sum(one.flipped for one in judged),
        "identical": sum(not one.said for one in judged),
        "win_rate": Rate(comparison.rate, comparison.low, comparison.high, comparison.n),
        "win_rate_90": rate_by_prompt(outcomes, ids, level=0.9, **drawn),
        "win_rate_by_rows": win_rate(**tally) if repeats else None,
        "comparison": comparison,
        "length_controlled": controlled,
        "our_texts": ours,
        "their_texts": theirs,
        "scores": _scores(ids, judged, Intervals(resamples=resamples, seed=seed)),
        "entries": [_entry(*row) for row in zip(ids, items, judged, strict=True)],
    }


def _scores(ids: list[str], judged: list[Judged], how: Intervals) -> JudgeScores | None:
    found = [(name, one.said[0]) for name, one in zip(ids, judged, strict=True) if one.said]
    scored = [(name, one.scores[::-1] if one.swapped else one.scores) for name, one in found if one.scores]
    if not scored:
        return None
    names, values = [name for name, _ in scored], np.array([scores for _, scores in scored])
    ours, theirs = values.T
    return JudgeScores(
        ours=mean_of(ours, names, how), theirs=mean_of(theirs, names, how), change=mean_of(ours - theirs, names, how)
    )


def _entry(prompt_id: str, item: Item, one: Judged) -> Entry:
    said = [VerdictGiven(verdict=_WORDS[each.meant], ours_first=not each.swapped, note=each.note) for each in one.said]
    ours, theirs = (str(each.path) if isinstance(each, Image) else None for each in (item.first, item.second))
    return Entry(
        prompt_id=prompt_id,
        verdict=_WORDS[one.choice],
        flipped=one.flipped,
        identical=not one.said,
        said=said,
        our_image=ours,
        their_image=theirs,
    )


def _items(
    prompts: Sequence[Text], ours: Sequence[Completion], theirs: Sequence[Completion], targets: Sequence[Any] | None
) -> list[Item]:
    wanted = targets if targets is not None else [None] * len(prompts)
    for name, side in (("ours", ours), ("theirs", theirs), ("targets", wanted)):
        if len(side) != len(prompts):
            raise DataError(
                f"{name} has {len(side)} entries and there are {len(prompts)} prompts; expected one for each."
            )
    if not prompts:
        raise DataError("there are no prompts, so there is nothing to compare.")
    if len({isinstance(completion, Image) for completion in (*ours, *theirs)}) > 1:
        raise DataError("some completions are texts and some are images; expected one or the other.")
    return [Item(*row) for row in zip(prompts, ours, theirs, wanted, strict=True)]


def _ids(prompts: Sequence[Text], given: Sequence[Hashable] | None) -> list[str]:
    if given is None:
        return [prompt_key(prompt) for prompt in prompts]
    if len(given) != len(prompts):
        raise DataError(
            f"prompt_ids has {len(given)} entries and there are {len(prompts)} prompts; expected one for each."
        )
    return [str(one) for one in given]
