"""Can a judge be trusted? Its verdicts on pairs that people judged before, and what its liking of a position costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from prospect.errors import DataError
from prospect.evaluation.contest.judges.asking import Asking, Calls, Price, Progress
from prospect.evaluation.contest.judges.base import MIRRORED, Choice, Item, Judge
from prospect.evaluation.contest.judges.verdict_cache import VerdictCache
from prospect.feedback.records import Paired
from prospect.feedback.split import prompt_key
from prospect.statistics.agreement import measure_agreement
from prospect.statistics.bootstrap import RESAMPLES, Estimate
from prospect.statistics.means import rate_by_prompt
from prospect.statistics.rates import Rate

_CREDIT: dict[Choice, float | None] = {"first": 1.0, "second": 0.0, "tie": 0.5, "unparsed": None}


class JudgeQuality(NamedTuple):
    """A judge beside people.

    Attributes:
        judge: its name.
        agreement: share of pairs on which it prefers what people preferred, over both orders; a tie (orders that
            disagree among them) counts half, an unparsed verdict is no agreement. 50 % is what a coin gets.
        kappa: Cohen's kappa of its single verdicts with people's, "first" and "second" as they were shown; 0 is chance.
        chosen_first: agreement of its single verdicts where people's choice was shown first.
        chosen_second: where it was shown second. Far apart, the judge looks at the position.
        position_flips: pairs on which its two orders disagreed.
        ties: pairs it called a tie in every order.
        unparsed: pairs with a verdict that could not be read.
        n: pairs.
        calls: what was asked, and the cost.
    """

    judge: str
    agreement: Rate
    kappa: Estimate | None
    chosen_first: Rate
    chosen_second: Rate
    position_flips: int
    ties: int
    unparsed: int
    n: int
    calls: Calls

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        fields = {k: v._asdict() if isinstance(v, Rate | Estimate) else v for k, v in self._asdict().items()}
        return {**fields, "calls": dict(vars(self.calls))}


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
        agreement=rate_by_prompt([_CREDIT[one.choice] for one in judged], names, **draws),
        kappa=by_call.kappa,
        chosen_first=first,
        chosen_second=second,
        position_flips=sum(one.flipped for one in judged),
        ties=sum(one.choice == "tie" and not one.flipped for one in judged),
        unparsed=sum(one.choice == "unparsed" for one in judged),
        n=len(items),
        calls=calls,
    )
