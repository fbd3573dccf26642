"""Protocols: what becomes of a round's samples, one short function each; one's own too, in their files.

Letters: K samples of a prompt.
"""

from __future__ import annotations

import difflib
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any, Literal, NamedTuple

from prospect.errors import ConfigError
from prospect.feedback.records import Completion, Demonstration, Feedback, Paired, Text, Unpaired
from prospect.user_code import import_file, is_own


@dataclass(frozen=True)
class Sample:
    """A different completion that the policy made for a prompt.

    Attributes:
        id: of its row.
        completion: a text or an image.
        score: what the judge gave it; None where its verdict could not be read, or nobody was asked.
        desirable: the thumb; None where there is none.
        finished: false where the limit cut it.
        count: how often it was drawn.
    """

    id: str
    completion: Completion
    score: float | None = None
    desirable: bool | None = None
    finished: bool = True
    count: int = 1


@dataclass(frozen=True)
class Asked:
    """A prompt of a round.

    Attributes:
        prompt: its text.
        samples: what the policy made, each different completion once.
        teacher: a teacher's answers to it, or real images.
        soft: of pairs of its samples, by their places, the share of verdicts for the first; where a judge compared.
    """

    prompt: Text
    samples: Sequence[Sample]
    teacher: Sequence[Demonstration] = ()
    soft: dict[tuple[int, int], float] = field(default_factory=dict)


@dataclass(frozen=True)
class Gathered:
    """All that a round has, for a protocol to make rows of.

    Attributes:
        asked: prompt by prompt.
        round: its number, from 1.
        source: what its rows name as their source.
        model: who made the samples.
        judge: who judged them.
        positives: whose desirable rows are wanted.
        pairs: which pairs are wanted.
        seed: of what a protocol draws.
    """

    asked: Sequence[Asked]
    round: int
    source: str
    model: str
    judge: str | None = None
    positives: Literal["both", "teacher", "own"] = "both"
    pairs: Literal["best_worst", "random", "all"] = "best_worst"
    seed: int = 0

    def thumb(self, prompt: Text, sample: Sample, desirable: bool, weight: float = 1.0) -> Unpaired:
        """Return a thumb on a sample, its weight times as often as it was drawn."""
        return Unpaired(
            prompt=prompt,
            completion=sample.completion,
            desirable=desirable,
            id=sample.id,
            where=sample.id,
            weight=weight * sample.count,
            score=sample.score,
            rater=self.judge,
            finished=sample.finished,
            source=self.source,
            model=self.model,
        )

    def pair(self, prompt: Text, chosen: Sample, rejected: Sample, weight: float = 1.0) -> Paired:
        """Return a pair of samples."""
        return Paired(
            prompt=prompt,
            chosen=chosen.completion,
            rejected=rejected.completion,
            id=f"{chosen.id}>{rejected.id}",
            where=f"{chosen.id}>{rejected.id}",
            weight=weight,
            rater=self.judge,
            finished=chosen.finished and rejected.finished,
            source=self.source,
            model=self.model,
        )


class Made(NamedTuple):
    """Rows of a round.

    Attributes:
        rows: of one kind.
        ties: comparisons without a winner, which make no row.
    """

    rows: list[Feedback]
    ties: int = 0


@dataclass(frozen=True)
class Protocol:
    """A way to make rows of samples.

    Attributes:
        make: the function.
        name: what recipes call it.
        loss: what is trained with where the recipe names no loss.
        needs_judge: whether samples are judged one by one.
        compares: whether a judge compares samples of one prompt, in both orders.
        needs_teacher: whether a teacher's answers are needed.
        sft_first: whether sft on those comes first.
        least_samples: of a prompt.
        defaults: keys of the `rounds` section where the recipe says nothing.
        of_texts: of a protocol that texts alone can have, what to take for images; else empty.
    """

    make: Callable[[Gathered], Made | list[Feedback]]
    name: str
    loss: str
    needs_judge: bool = True
    compares: bool = False
    needs_teacher: bool = False
    sft_first: bool = False
    least_samples: int = 1
    defaults: Mapping[str, Any] = field(default_factory=dict)
    of_texts: str = ""

    def rows(self, gathered: Gathered) -> Made:
        """Return a round's rows."""
        made = self.make(gathered)
        return made if isinstance(made, Made) else Made(list(made))


_PROTOCOLS: dict[str, Protocol] = {}
Maker = Callable[[Gathered], Made | list[Feedback]]


def protocol(loss: str, **traits: Any) -> Callable[[Maker], Protocol]:
    """Register a function `(Gathered) -> Made`, or a list of rows, as a protocol.

    Args:
        loss: what is trained with by default.
        **traits: further fields of `Protocol`.
    """

    def register(make: Maker) -> Protocol:
        made = Protocol(make, make.__name__, loss, **traits)
        if make.__module__ == __name__:  # one's own is named by its file
            _PROTOCOLS[made.name] = made
        return made

    return register


def all_protocols() -> dict[str, Protocol]:
    """Return the protocols that come along, by name."""
    return dict(_PROTOCOLS)


def get_protocol(name: str) -> Protocol:
    """Find a protocol by its name, or by `file.py:name` for one's own.

    Raises:
        ConfigError: unknown, with the nearest name suggested.
    """
    if is_own(name):
        file, _, attribute = name.rpartition(":")
        found = getattr(import_file(Path(file).expanduser()), attribute, None)
        if isinstance(found, Protocol):
            return found
        raise ConfigError(f"{name}: is no protocol. Decorate the function with @protocol (docs/rounds.md).")
    if name in _PROTOCOLS:
        return _PROTOCOLS[name]
    near = difflib.get_close_matches(name, _PROTOCOLS, n=1)
    meant = f'did you mean "{near[0]}"?' if near else f"known: {', '.join(_PROTOCOLS)}; or FILE.py:NAME of your own."
    raise ConfigError(f'protocol "{name}" is unknown; {meant}')


@protocol("kto")
def online_kto(gathered: Gathered) -> list[Feedback]:
    """Make a thumb of every sample that has one."""
    return [
        gathered.thumb(one.prompt, sample, sample.desirable)
        for one in gathered.asked
        for sample in one.samples
        if sample.desirable is not None
    ]


@protocol(
    "kto",
    sft_first=True,
    needs_teacher=True,
    of_texts="spin, which holds real images against the model's own, or online_kto, whose judge gives thumbs",
)
def orca_math(gathered: Gathered) -> list[Feedback]:
    """Thumbs on own samples and a thumb up for each of the teacher's answers, which count once, not K times.

    `positives` says whose desirable rows are taken. Source: Orca-Math, arXiv 2402.14830, section 4.
    """
    rows: list[Feedback] = []
    for one in gathered.asked:
        if gathered.positives != "own":
            rows += _teacher_thumbs(gathered, one)
        for sample in one.samples:
            wanted = gathered.positives != "teacher" or sample.desirable is False
            if sample.desirable is not None and wanted:
                rows.append(gathered.thumb(one.prompt, sample, sample.desirable))
    return rows


@protocol("dpo", least_samples=2)
def online_dpo(gathered: Gathered) -> Made:
    """Pair a better with a worse sample of each prompt by their scores; equal scores are ties and make no pair."""
    rows: list[Feedback] = []
    ties = 0
    for one in gathered.asked:
        scored = [sample for sample in one.samples if sample.score is not None]
        for first, second, weight in _chosen_pairs(gathered, scored):
            assert first.score is not None and second.score is not None, "else it was left out above"
            if first.score == second.score:
                ties += 1
                continue
            chosen, rejected = (first, second) if first.score > second.score else (second, first)
            rows.append(gathered.pair(one.prompt, chosen, rejected, weight))
    return Made(rows, ties)


@protocol(
    "dpo",
    needs_judge=False,
    needs_teacher=True,
    defaults={
        "reference": "previous",
        "replay": 1.0,
        "temperature": 1.0,
        "top_p": 1.0,
        "samples_per_prompt": 1,
    },
)
def spin(gathered: Gathered) -> Made:
    """Hold the teacher's answer against own samples; one that is the teacher's own text is a tie.

    The rows of the round before are used once more. Source: SPIN, arXiv 2401.01335, algorithm 1.
    """
    rows: list[Feedback] = []
    ties = 0
    for one in gathered.asked:
        for answer in one.teacher:
            for sample in one.samples:
                if sample.completion == answer.completion:
                    ties += 1
                    continue
                real = Sample(answer.id, answer.completion, finished=answer.finished)
                rows.append(gathered.pair(one.prompt, real, sample, float(sample.count)))
    return Made(rows, ties)


@protocol("sft")
def rft(gathered: Gathered) -> list[Feedback]:
    """Imitate the desirable samples, each different one once: expert iteration.

    Source: rejection sampling fine-tuning, arXiv 2308.01825; each different solution once, as there.
    """
    return [
        Demonstration(
            prompt=one.prompt,
            completion=sample.completion,
            id=sample.id,
            where=sample.id,
            score=sample.score,
            rater=gathered.judge,
            finished=sample.finished,
            source=gathered.source,
            model=gathered.model,
        )
        for one in gathered.asked
        for sample in one.samples
        if sample.desirable
    ]


@protocol(
    "dpo", needs_judge=True, compares=True, least_samples=2, of_texts="online_dpo, with a judge that scores images"
)
def rlaif(gathered: Gathered) -> Made:
    """Pairs with soft labels: a judge compares in both orders, and p is its mean verdict for the first.

    Each comparison becomes two rows, first over second with weight p and second over first with weight 1 - p, so that
    the loss is the cross-entropy with the soft label; p = 1/2 is a tie and makes none.

    Source: RLAIF, arXiv 2309.00267, section 3.
    """
    rows: list[Feedback] = []
    ties = 0
    for one in gathered.asked:
        for (i, j), share in one.soft.items():
            if share == 0.5:
                ties += 1
                continue
            first, second = one.samples[i], one.samples[j]
            for chosen, rejected, part in ((first, second, share), (second, first, 1 - share)):
                if part > 0:
                    rows.append(gathered.pair(one.prompt, chosen, rejected, part * first.count * second.count))
    return Made(rows, ties)


def _teacher_thumbs(gathered: Gathered, asked: Asked) -> Iterator[Unpaired]:
    for answer in asked.teacher:
        yield Unpaired(
            prompt=asked.prompt,
            completion=answer.completion,
            desirable=True,
            id=f"teacher-{answer.id}",
            where=f"teacher-{answer.id}",
            weight=answer.weight,
            rater="teacher",
            finished=answer.finished,
            source="teacher",
            model=answer.model,
        )


def _chosen_pairs(gathered: Gathered, samples: Sequence[Sample]) -> Iterator[tuple[Sample, Sample, float]]:
    """Yield the pairs of a prompt that are wanted, and how many pairs of drawn samples each stands for."""
    if len(samples) < 2:
        return
    if gathered.pairs == "all":
        for one, other in combinations(samples, 2):
            yield one, other, float(one.count * other.count)
    elif gathered.pairs == "random":
        drawn = [one for one in samples for _ in range(one.count)]
        first, second = random.Random(f"{gathered.seed}|{gathered.round}|{samples[0].id}").sample(drawn, 2)
        yield first, second, 1.0
    else:
        ordered = sorted(samples, key=lambda one: one.score or 0.0)
        yield ordered[-1], ordered[0], 1.0
