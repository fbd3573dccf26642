"""The file of a contest."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

from pydantic import Field, JsonValue, computed_field

from prospect.results.evaluated import Evaluation, Named, NumberObject, RateObject
from prospect.results.stored import AS_OBJECT, Part
from prospect.statistics.bootstrap import Estimate
from prospect.statistics.comparisons import Comparison
from prospect.statistics.length_control import LengthControlled
from prospect.statistics.planning import ContestPlan
from prospect.statistics.rates import Rate

Outcome = Literal["win", "loss", "tie", "unparsed"]
"""Of a comparison, for our side."""


class TextMeasures(NamedTuple):
    """Of a set of completions.

    Attributes:
        characters: mean length in characters.
        words: mean length in words.
        empty: how many completions hold no word at all.
        repetition: mean share of windows of 12 characters that the text has held before; None where every text is
            too short to say.
        looping: share of texts of which more than half has been said before in them, of those long enough to say;
            None likewise.
        distinct_1: different words / all words, over the whole set.
        distinct_2: the same of pairs of neighbouring words. Both fall as texts grow, so compare sets of like size.
        n: completions.
    """

    characters: Estimate
    words: Estimate
    empty: int
    repetition: Estimate | None
    looping: Rate | None
    distinct_1: float | None
    distinct_2: float | None
    n: int


class VerdictGiven(Part):
    """What the judge answered in one order."""

    verdict: Outcome
    ours_first: bool
    note: str


class Entry(Part):
    """What became of one comparison."""

    prompt_id: str
    verdict: Outcome
    """Ours."""
    flipped: bool
    """Whether the judge disagreed with itself when the completions changed places."""
    identical: bool
    """Whether both completions are the same; the judge was not asked."""
    said: list[VerdictGiven]
    """The judge's own words, order by order."""
    our_image: str | None = None
    """The file that was looked at; null for texts."""
    their_image: str | None = None


class JudgeCalls(Part):
    """How often the judge is asked, and what that costs."""

    questions: int
    """Items in the orders asked for, each different one once."""
    cached: int
    calls: int
    prompt_tokens: int
    completion_tokens: int
    cost: float | None
    """Null without a price."""
    estimated: bool
    """Whether tokens and cost are an estimate."""

    def __str__(self) -> str:
        text = f"{self.calls:,} {'call' if self.calls == 1 else 'calls'} of the judge"
        if self.cached:
            text += f" ({self.cached:,} of {self.questions:,} verdicts were kept from before)"
        about = "about " if self.estimated else ""
        if self.prompt_tokens or self.completion_tokens:
            text += f", {about}{self.prompt_tokens:,} tokens read and {self.completion_tokens:,} written"
        if self.cost is not None:
            text += (
                f", cost {about}{self.cost:.2f}"
                if self.cost >= 0.1 or not self.cost
                else f", cost {about}{self.cost:.2g}"
            )
        return text


class JudgeScores(Part):
    """What a judge that scores gave both sides, over the comparisons that it was asked about."""

    ours: NumberObject
    theirs: NumberObject
    change: NumberObject
    """Ours less theirs, comparison by comparison."""


class Contest(Part):
    """The result of a contest."""

    judge: str
    ours: str
    """What our side is called."""
    theirs: str
    n: int
    """Comparisons, unparsed verdicts among them."""
    wins: int
    losses: int
    ties: int
    """Without a winner; orders that disagree and identical completions among them."""
    unparsed: int
    """Verdicts that could not be read; they stay in n."""
    position_flips: int
    """Comparisons on which the two orders disagreed."""
    identical: int
    """Comparisons of the same text, which are ties without a question."""
    not_judged: int
    """Comparisons to which the judge has not come (people only); they are not in n."""
    orders: int
    """How often the judge was asked about each comparison."""
    prompts: int
    win_rate: RateObject
    """At 95 %: exact where no prompt repeats, else by draws of prompts."""
    win_rate_90: RateObject
    win_rate_by_rows: RateObject | None
    """Exact, as if no prompt repeated; null where none does."""
    comparison: Annotated[Comparison, AS_OBJECT]
    """The win rate with its p value and the only words it allows."""
    length_controlled: Annotated[LengthControlled, AS_OBJECT] | None
    """The win rate at equal length, in characters; null where no verdict could be read, and for images."""
    our_texts: Annotated[TextMeasures, AS_OBJECT] | None
    """Length and repetition of our completions; null for fewer than two prompts, and for images."""
    their_texts: Annotated[TextMeasures, AS_OBJECT] | None
    scores: JudgeScores | None = None
    """Null for a judge that compares, and where nothing was asked."""
    shown_first: RateObject | None
    """How often the judge chose the completion it saw first, a tie counting half; null for a judge that sees one
    completion at a time, and where nothing could be read."""
    plan: Annotated[ContestPlan, AS_OBJECT]
    """What so many comparisons can show, known before the run."""
    planned_calls: JudgeCalls
    calls: JudgeCalls
    entries: list[Entry]
    """Comparison by comparison."""

    @computed_field  # type: ignore[prop-decorator]  # in the file too, for those who read it without us
    @property
    def sentence(self) -> str:
        """The result in words; "better" and "worse" only where the interval allows them."""
        said = self.comparison.verdict
        text = (
            f"{self.ours} wins {self.wins}, loses {self.losses} and ties {self.ties} of {self.n} comparisons with "
            f"{self.theirs}, judged by {self.judge}: win rate {_range(self.win_rate)}. "
        )
        text += "No difference is shown." if said == "no difference shown" else f"{self.ours} is {said}."
        if self.prompts < self.n:
            text += f" The comparisons are of {self.prompts} prompts, and the interval knows it."
        if self.unparsed:
            text += f" {self.unparsed} verdicts could not be read; they count for nobody and stay in the denominator."
        if self.not_judged:
            text += f" {self.not_judged} more comparisons have not been judged."
        if self.position_flips:
            share = self.position_flips / self.n
            text += (
                f" On {self.position_flips} ({share:.0%}) the judge contradicted itself in the other order; these tie."
            )
        return text + self._of_length()

    def _of_length(self) -> str:
        found = self.length_controlled
        if found is None or found.note:
            return ""
        text = f" At equal length the win rate would be {_range(found)}"
        if self.comparison.verdict == "better" and found.low <= 0.5:
            return f"{text}: that it is better may be a matter of length."
        return f"{text}."


def _range(rate: Rate | LengthControlled) -> str:
    return f"{rate.rate:.1%} (95 % interval {rate.low:.1%} to {rate.high:.1%}, n = {rate.n})"


class ContestData(Part):
    """The prompts of a contest."""

    source: str
    left_out: int
    """Prompts that one side has not answered."""


class HowWritten(Part):
    """How both sides answered."""

    samples_per_prompt: int
    max_new_tokens: int
    temperature: float
    top_p: float
    seed: int
    request: dict[str, JsonValue] = Field(default_factory=dict)
    """Further fields of requests to a server."""


class ContestSample(Part):
    """Both sides of a comparison, to read."""

    prompt: str
    theirs: str
    ours: str


class HowDrawn(Part):
    """How both sides made images; null is a pipeline's own."""

    steps: int | None
    guidance: float | None


class ContestPictures(Part):
    """Images of a prompt by both sides, pair by pair, to look at."""

    prompt: str
    ours: list[str]
    """Files, from the folder of the result."""
    theirs: list[str]
    verdicts: list[Outcome]
    """Ours, of each pair."""


class ContestResult(Evaluation, Contest):
    """A contest with what it is about."""

    format: str = "prospect.contest/1.1"
    evaluation: Literal["contest"] = "contest"
    model: Named
    against: Named | None
    """Null for the data's own completions."""
    data: ContestData
    generation: HowWritten
    drawing: HowDrawn | None = None
    level: float
    samples: list[ContestSample]
    pictures: list[ContestPictures] = Field(default_factory=list)
    """Where the sides are images; samples are of texts."""


class JudgeQuality(Part):
    """A judge beside people."""

    judge: str
    agreement: RateObject
    """Share of pairs on which it prefers what people preferred, over both orders; a tie (orders that disagree among
    them) counts half, an unparsed verdict is no agreement. 50 % is what a coin gets."""
    kappa: Annotated[Estimate, AS_OBJECT] | None
    """Cohen's kappa of its single verdicts with people's, "first" and "second" as they were shown; 0 is chance."""
    chosen_first: RateObject
    """Agreement of its single verdicts where people's choice was shown first."""
    chosen_second: RateObject
    """The same where it was shown second. Far apart, the judge looks at the position."""
    shown_first: RateObject | None
    """Of its verdicts that could be read, the share for the completion shown first, a tie counting half; 50 % is no
    bias. Null for a judge that sees no position, and where nothing could be read."""
    position_flips: int
    """Pairs on which its two orders disagreed."""
    ties: int
    """Pairs it called a tie in every order."""
    unparsed: int
    """Pairs with a verdict that could not be read."""
    n: int
    """Pairs."""
    calls: JudgeCalls


class PairsOfPeople(Part):
    """The pairs that a judge was checked on."""

    source: str


class JudgeResult(Evaluation, JudgeQuality):
    """A judge checked on pairs that people judged."""

    format: str = "prospect.judge/1"
    evaluation: Literal["judge"] = "judge"
    data: PairsOfPeople
    level: float
