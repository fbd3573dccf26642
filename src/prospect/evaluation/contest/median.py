"""Of several completions of a prompt, the one of median score: what a side usually does, not its best or worst."""

from __future__ import annotations

import math
from collections.abc import Sequence

from prospect.errors import UsageError
from prospect.evaluation.contest.judges.base import Candidate, Item, Judge, ScoringJudge
from prospect.feedback.records import Completion
from prospect.feedback.split import prompt_key


def median_items(items: Sequence[Item], judge: Judge) -> list[Item]:
    """Return one comparison of each prompt, between the two sides' completions of median score.

    Of an even number the lower one of the two in the middle is taken, of equal scores the first. Completions without a
    score are passed over, unless there is no other.

    Args:
        items: the comparisons, several of a prompt.
        judge: who scores.

    Raises:
        UsageError: the judge does not score completions one by one.

    Source: Diffusion-KTO, Li et al. 2024, arXiv 2404.04465, with five images of each prompt.
    """
    if not isinstance(judge, ScoringJudge):
        raise UsageError(
            f"judge {judge.name}: the median is of scores, and it compares. Take clip:MODEL, scores:FILE, "
            "reward:MODEL, a verifier or a function (prompt, completion); or leave the median out."
        )
    judge.require_sight(items)
    of_prompt: dict[str, list[Item]] = {}
    for item in items:
        of_prompt.setdefault(prompt_key(item.prompt), []).append(item)
    found = []
    for some in of_prompt.values():
        prompt, target = some[0].prompt, some[0].target
        sides = [item.first for item in some], [item.second for item in some]
        ours, theirs = (_median([Candidate(prompt, one, target) for one in side], judge) for side in sides)
        found.append(Item(prompt, ours, theirs, target))
    return found


def _median(rows: Sequence[Candidate], judge: Judge) -> Completion:
    scores = judge.score_many(rows)
    known = sorted((score, place) for place, score in enumerate(scores) if not math.isnan(score))
    return rows[known[(len(known) - 1) // 2][1] if known else 0].completion
