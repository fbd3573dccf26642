"""What became of a canary: a model that answers a share of the conversations."""

from __future__ import annotations

from typing import Annotated, Literal

from prospect.results.evaluated import RateObject
from prospect.results.stored import AS_OBJECT, Part
from prospect.statistics.bootstrap import Estimate
from prospect.statistics.sequential import Gap

CanaryVerdict = Literal["too early", "uneven arms", "worse", "not shown", "equal", "better"]
"""`worse` is rolled back; `equal` (not worse by the margin) and `better` may be promoted; with the others one waits."""

GapObject = Annotated[Gap, AS_OBJECT]


class ArmCounts(Part):
    """What one model was asked since the canary began, and what people said of it."""

    model: str
    conversations: int
    turns: int
    """Answers that were shown."""
    errors: int
    """Requests that the server behind the proxy failed on; not among the turns."""
    voted: int
    """Turns with a vote."""
    downed: int
    """Turns with a vote down."""
    up: int
    """Votes up."""
    down: int
    """Votes down."""
    timed: int
    """Answers that came whole, with their time."""
    p95_ms: float | None
    """Milliseconds within which 95 % of those came; null without any."""

    @property
    def votes(self) -> int:
        """Votes of either kind."""
        return self.up + self.down


class CanaryResult(Part):
    """A canary beside the current model. Differences are the canary's less the current model's."""

    verdict: CanaryVerdict
    reasons: list[str]
    """Why, in words."""
    since: str
    share: float
    margin: float
    """How much lower the canary's up-share may be."""
    level: float
    """Chance that none of the intervals ever misses the truth, at whatever looks."""
    current: ArmCounts
    canary: ArmCounts
    up_share: GapObject | None
    """Votes up among votes."""
    down_turns: GapObject | None
    """Turns with a vote down among turns shown."""
    errors: GapObject | None
    """Errors among requests."""
    slow: RateObject | None
    """Canary's answers that took longer than `slow_ms`."""
    slow_ms: float | None
    conversations: RateObject | None
    """Conversations that were the canary's, which should be `share`."""
    by_rater: Annotated[Estimate, AS_OBJECT] | None
    """Up-shares' difference with an interval by draws of raters, for one look; null where it was not asked for."""
