"""Is a canary worse than the current model? Rules that may be asked at any time, as often as one likes.

Every interval holds at all looks (`statistics/sequential.py`). There are four rules, and each has a fourth of the risk:
a canary that is as good as the current model is rolled back in at most 5 % of canaries, however often one looks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from prospect.collect.arms import Arms, RaterVotes, read_arms
from prospect.collect.canary import CANARY
from prospect.collect.database import Database
from prospect.collect.registry import Models
from prospect.errors import DataError, PromotionError
from prospect.results.canary import CanaryResult, CanaryVerdict
from prospect.results.registry import Check
from prospect.statistics.bootstrap import Estimate, resample
from prospect.statistics.rates import Rate
from prospect.statistics.sequential import Gap, confidence_sequence, sequential_gap

RULES = 4  # up-share, turns voted down, errors, times
_SLOW_SHARE = 0.05  # of the answers may be beyond a limit that is made of the 95th percentile
_MISMATCH = 0.999  # level: arms that are drawn as planned are called uneven in one canary of a thousand


@dataclass(frozen=True)
class Rules:
    """When a canary is worse.

    Attributes:
        margin: how much lower its up-share among votes may be: 0.05 is 5 points. Of turns with a vote down it may have
            as many more as that is of the turns that get votes.
        errors: how much more often requests may fail: 0.01 is 1 point.
        slowdown: how many times as long its 95th percentile may be as the current model's.
        fewest: votes on each model before they decide anything.
        level: chance that none of the intervals ever misses the truth.
    """

    margin: float = 0.05
    errors: float = 0.01
    slowdown: float = 1.5
    fewest: int = 50
    level: float = 0.95

    @property
    def level_of_each(self) -> float:
        """Of the interval of one rule."""
        return 1 - (1 - self.level) / RULES


def look(database: Database, models: Models, *, by_rater: bool = True) -> CanaryResult:
    """Return how the canary of a registry does.

    Args:
        database: of the store.
        models: what the registry says.
        by_rater: whether to draw raters for a second opinion, which promotion needs.

    Raises:
        PromotionError: no canary is under way.
    """
    current, canary = models.current, models.canary
    if current is None or canary is None or canary.share is None or canary.margin is None:
        raise PromotionError("no canary is under way. Start one with --canary 5%.")
    rules, since = Rules(margin=canary.margin), datetime.fromisoformat(canary.at)
    arms = read_arms(database, current.model, canary.model, since, rules.slowdown)
    return judge(arms, canary.at, canary.share, rules, by_rater=by_rater)


def judge(arms: Arms, since: str, share: float, rules: Rules, *, by_rater: bool = True) -> CanaryResult:
    """Return what the counts of both arms allow to say."""
    new, old, level = arms.canary, arms.current, rules.level_of_each
    enough = min(new.votes, old.votes) >= rules.fewest
    found = CanaryResult(
        verdict="not shown",
        reasons=[],
        since=since,
        share=share,
        margin=rules.margin,
        level=rules.level,
        current=old,
        canary=new,
        up_share=_gap((new.up, new.votes), (old.up, old.votes), level),
        down_turns=_gap((new.downed, new.turns), (old.downed, old.turns), level),
        errors=_gap((new.errors, new.turns + new.errors), (old.errors, old.turns + old.errors), level),
        slow=_rate(arms.slow, new.timed, level) if old.timed >= rules.fewest else None,
        slow_ms=arms.slow_ms,
        conversations=_rate(new.conversations, new.conversations + old.conversations, _MISMATCH),
        by_rater=_by_rater(arms.raters) if by_rater and enough else None,
    )
    worse = list(_worse(found, rules, enough))
    if worse:
        return found.model_copy(update={"verdict": "worse", "reasons": worse})
    verdict, reason = _of_votes(found, rules, enough, by_rater)
    return found.model_copy(update={"verdict": verdict, "reasons": [reason]})


def as_check(found: CanaryResult) -> Check:
    """Return the canary as something that had to hold before a promotion."""
    return Check(
        name="canary",
        passed=found.verdict in ("equal", "better"),
        found=f"{found.verdict}: {'; '.join(found.reasons)}",
        remedy="wait for more votes, or start it with a larger --canary share",
    )


def _worse(found: CanaryResult, rules: Rules, enough: bool) -> Iterator[str]:
    """Yield the rules by which the canary is worse."""
    up, down, errors, slow, old = found.up_share, found.down_turns, found.errors, found.slow, found.current
    drawn = found.conversations
    if drawn is not None and drawn.rate == 0 and drawn.high < found.share:  # what a server refuses becomes no turn
        yield f"it answered in none of {drawn.n:,} conversations. Does the server have {found.canary.model}?"
    if enough and up is not None and up.high < -rules.margin:
        yield f"its up-share is {_span(up)} points from the current one's, beyond the margin of {_points(rules.margin)}"
    if enough and down is not None:
        margin = rules.margin * old.voted / old.turns
        if down.low > margin:
            yield f"turns voted down are {_span(down)} points more often, beyond the margin of {_points(margin, 2)}"
    if errors is not None and errors.low > rules.errors:
        yield f"requests fail {_span(errors)} points more often, beyond the margin of {_points(rules.errors)}"
    if slow is not None and slow.low > _SLOW_SHARE:
        yield (
            f"{slow.rate:.0%} of its answers ({slow.low:.0%} to {slow.high:.0%}) take longer than {found.slow_ms:.0f} "
            f"ms, which is {rules.slowdown:g} times what 95 % of the current model's stay within"
        )


def _of_votes(found: CanaryResult, rules: Rules, enough: bool, by_rater: bool) -> tuple[CanaryVerdict, str]:
    """Return the verdict where nothing is worse, and why."""
    drawn, up, second = found.conversations, found.up_share, found.by_rater
    if drawn is not None and not drawn.low <= found.share <= drawn.high:
        return "uneven arms", (
            f"it has {drawn.rate:.1%} of {drawn.n:,} conversations where {found.share:.1%} were planned: the arms are "
            "not drawn as they should be. Name conversations in the requests, and look for others who answer"
        )
    if not enough or up is None:
        return "too early", (
            f"{found.canary.votes:,} votes on it and {found.current.votes:,} on the current model; "
            f"{rules.fewest} on each are the least"
        )
    said = f"its up-share is {_span(up)} points from the current model's"
    if up.low <= -rules.margin:
        return "not shown", f"{said}; that it is not worse by {_points(rules.margin)} is not shown yet"
    if by_rater and second is None:
        return "not shown", f"{said}, but of too few raters to say how much they differ among themselves"
    if second is not None and second.low <= -rules.margin:
        return "not shown", (
            f"{said}, but {100 * second.low:+.1f} to {100 * second.high:+.1f} where raters are drawn in place of "
            f"votes: {second.prompts:,} raters are too few, or a few of them decide"
        )
    return ("better", said) if up.low > 0 else ("equal", said)


def _by_rater(votes: Sequence[RaterVotes]) -> Estimate | None:
    """Return the difference of the up-shares with an interval by draws of raters; None where there are too few."""
    new = np.array([row.arm == CANARY for row in votes])
    up = np.array([row.up for row in votes], dtype=float)
    n = np.array([row.up + row.down for row in votes], dtype=float)
    columns = np.stack([up * new, n * new, up * ~new, n * ~new], axis=1)

    def gap(weights: np.ndarray) -> np.ndarray:
        sums = weights @ columns
        with np.errstate(divide="ignore", invalid="ignore"):  # a draw without votes on an arm has no value
            shares = sums[:, ::2] / sums[:, 1::2]
        return shares[:, 0] - shares[:, 1]

    try:
        return resample(gap, len(votes), [row.rater for row in votes]).interval()
    except DataError:  # one rater, or so few that many draws miss an arm
        return None


def _gap(first: tuple[int, int], second: tuple[int, int], level: float) -> Gap | None:
    return sequential_gap(first, second, level) if first[1] and second[1] else None


def _rate(successes: int, n: int, level: float) -> Rate | None:
    return confidence_sequence(successes, n, level) if n else None


def _span(gap: Gap) -> str:
    return f"{100 * gap.value:+.1f} ({100 * gap.low:+.1f} to {100 * gap.high:+.1f})"


def _points(share: float, digits: int = 1) -> str:
    return f"{100 * share:.{digits}f} points"
