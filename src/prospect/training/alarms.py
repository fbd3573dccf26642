"""Signs of collapse while a run goes on: samples that loop or look alike, lengths that run away, rewards that fall.

What is found depends on the rows of the run directory alone, so a resumed run finds what an uninterrupted one does.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

from prospect.feedback.images.alike import alike_groups
from prospect.results.run import Alarm, MetricsRow, SampleRow

# A window of text, in characters: longer than most words, so that a natural text of some sentences seldom holds one
# twice, and short enough that any loop of a phrase does. Characters, because not every language has spaces.
WINDOW = 12
# Texts with fewer windows say nothing: one repeated phrase would be half of them.
LEAST_WINDOWS = 24
# More than half of the text has been said before in it. Natural answers, lists and refrains included, stay far below.
LOOPS = 0.5
# Lengths count as different from this factor on: two samples of one model to one prompt differ by less in most cases.
LENGTH_FACTOR = 1.5
# Steps looked at for falling rewards: enough for a standard error, few enough to warn in time.
REWARD_STEPS = 20
# "Well below 0", in nats of the mean log-ratio: a good answer has become e^5 = 150 times less likely.
FALLEN = -5.0
# How much larger than the reference's the error on desirable images may be, as a share of it.
ERROR_GROWN = 0.05
# An image whose values spread less, of 255, has one colour all over.
FLAT = 2.0
# Above this share of values at their limits an image is burnt out; drawings on white have more, before training too.
BURNT = 0.5
_OF_REWARDS, _OF_ERRORS = ("rewards/chosen", "rewards/rejected"), ("log_ratios/chosen", "errors/chosen")


def repetition(text: str) -> float | None:
    """Return the share of a text's windows that it has held before: 1 - distinct / all windows of 12 characters.

    It is seq-rep-n (Welleck et al. 2020, arXiv 1908.04319) over characters, near 0 for natural text and near 1 for a
    character or phrase over and over.

    Returns:
        None where the text is too short to say.
    """
    windows = [text[i : i + WINDOW] for i in range(len(text) - WINDOW + 1)]
    return 1 - len(set(windows)) / len(windows) if len(windows) >= LEAST_WINDOWS else None


def repetition_alarm(first: Sequence[SampleRow], now: Sequence[SampleRow]) -> Alarm | None:
    """Many samples loop that did not before the first step.

    Half of the samples, and at least 3, must have begun to loop (less those that have stopped). If a healthy model's
    sample looped one time in ten, that happened in 1 evaluation of 200, with 4 samples or with 8; with fewer than 3
    samples nothing can be said.
    """
    pairs = _paired(first, now)
    loops = [(_loops(before), _loops(after)) for before, after in pairs]
    begun = sum(after - before for before, after in loops)
    if begun < max(3, math.ceil(len(pairs) / 2)):
        return None
    count, earlier = sum(after for _, after in loops), sum(before for before, _ in loops)
    return Alarm(
        "repetition",
        f"{count} of {len(pairs)} samples repeat themselves; before the first step {_of(earlier)} did. The usual cause "
        "is a learning rate that is too high, or a beta that is too low.",
    )


def length_alarm(first: Sequence[SampleRow], now: Sequence[SampleRow], wanted: float | None = None) -> Alarm | None:
    """Sample have become much longer or shorter, and not towards the length of good completions.

    Three quarters of the samples, and at least 4, must have changed by half or more in the same direction, and their
    (geometric) mean must have doubled or halved. Two samples of a healthy model differ so much in one given direction
    about one time in four: all of 4 do by chance in 0.4 % of evaluations, 6 of 8 in the same 0.4 %. A sample is cut at
    `train.sample_tokens`, so growth beyond it is not seen.

    Args:
        first: samples before the first step.
        now: samples of the same prompts.
        wanted: mean length of desirable completions, tokens; a model that moves towards it does what it should.
    """
    pairs = [(_length(before), _length(after)) for before, after in _paired(first, now)]
    if not pairs:
        return None
    changes = [math.log(after / before) for before, after in pairs]
    mean, needed = sum(changes) / len(changes), max(4, math.ceil(0.75 * len(pairs)))
    same = sum(math.copysign(1, mean) * change >= math.log(LENGTH_FACTOR) for change in changes)
    if same < needed or abs(mean) < math.log(2):
        return None
    before, after = (math.exp(sum(math.log(pair[side]) for pair in pairs) / len(pairs)) for side in (0, 1))
    if wanted and abs(math.log(after / wanted)) <= abs(math.log(before / wanted)):
        return None
    aim = f"; good completions have {wanted:.0f}" if wanted else ""
    return Alarm(
        "length",
        f"samples went from {before:.0f} to {after:.0f} tokens (typical of {len(pairs)} samples, cut ones included"
        f"{aim}). Read them: a raised beta or a lower learning rate keeps the length.",
    )


def rewards_alarm(rows: Sequence[MetricsRow], beta: float) -> Alarm | None:
    """Both classes' rewards are well below 0 and fall, over the last `REWARD_STEPS` logged steps.

    Falling means that the second half's mean is below the first half's by two standard errors of the difference; well
    below 0, that it is below `FALLEN` nats times beta.
    """
    window = list(rows)[-REWARD_STEPS:]
    if len(window) < REWARD_STEPS:
        return None
    ends = [_halves([float(row[name]) for row in window]) for name in _OF_REWARDS]
    if not all(later < FALLEN * beta and later < earlier - 2 * error for earlier, later, error in ends):
        return None
    means = " and ".join(f"{later:.2f}" for _, later, _ in ends)
    return Alarm(
        "rewards",
        f"the rewards of both classes fall together and are {means} (desirable, undesirable): the policy moves away "
        "from good completions too. The usual cause is a learning rate that is too high; try a third of it.",
    )


def errors_alarm(rows: Sequence[MetricsRow]) -> Alarm | None:
    """Desirable images have become less likely, over the last `REWARD_STEPS` logged steps.

    Their mean log-ratio is below `FALLEN` nats, and the error on them above the reference's by `ERROR_GROWN` of it: a
    large image has thousands of nats, of which 5 are noise.
    """
    window = list(rows)[-REWARD_STEPS:]
    if len(window) < REWARD_STEPS:
        return None
    log_ratio, error = (sum(float(row[name]) for row in window) / len(window) for name in _OF_ERRORS)
    if log_ratio >= FALLEN or error <= 1 + ERROR_GROWN:
        return None
    return Alarm(
        "rewards",
        f"desirable images have a log-ratio of {log_ratio:.1f} nats and {error:.2f} times the reference's error: "
        "the model forgets how to make them. Look at the class balance (data.desirable_share), lower the learning "
        "rate to a third, or raise beta.",
    )


def pictures_alarm(first: Sequence[SampleRow], now: Sequence[SampleRow]) -> Alarm | None:
    """Many images are of one colour, burnt out or alike that were not before the first step.

    Half of the samples, and at least 3, must have become so: prompts and seeds differ, and their images with them.
    """
    pairs = [(before, after) for before, after in _paired(first, now) if before.image and after.image]
    needed = max(3, math.ceil(len(pairs) / 2))
    befores, afters = [before for before, _ in pairs], [after for _, after in pairs]
    seen = {
        "have one colour all over": [sum((row.spread or 0) < FLAT for row in rows) for rows in (befores, afters)],
        "are black, white or of full colours for the most part": [
            sum((row.saturated or 0) > BURNT for row in rows) for rows in (befores, afters)
        ],
        "look alike, whatever was asked": [_alike(rows) for rows in (befores, afters)],
    }
    found = [f"{after} of {len(pairs)} {what}" for what, (before, after) in seen.items() if after - before >= needed]
    if not found:
        return None
    return Alarm(
        "pictures",
        f"of the sampled images {' and '.join(found)}; before the first step that was not so. Look at them. The usual "
        "cause is a learning rate that is too high, or undesirable images that pull more than desirable ones.",
    )


class Watch:
    """Follows one run and says when something looks like collapse.

    Args:
        rewards_beta: beta of the logged rewards, where both falling is a sign: losses on thumbs with a reference. A
            loss on pairs sees the difference alone, and both often fall in good runs. None looks at no rewards.
        wanted_length: mean length of desirable completions, tokens.
        errors: whether completions are images: then the error on desirable ones is looked at, and samples as images.
    """

    def __init__(self, *, rewards_beta: float | None, wanted_length: float | None = None, errors: bool = False) -> None:
        self._beta, self._wanted, self._errors = rewards_beta, wanted_length, errors
        self._rows: deque[MetricsRow] = deque(maxlen=REWARD_STEPS)
        self._first: list[SampleRow] = []

    def see_step(self, metrics: MetricsRow) -> list[Alarm]:
        """Told every logged step. After an alarm it is quiet for `REWARD_STEPS` steps."""
        names = _OF_ERRORS if self._errors else _OF_REWARDS
        if (self._beta is None and not self._errors) or not metrics.keys() >= {*names}:
            return []
        self._rows.append(metrics)
        rows = list(self._rows)
        alarm = errors_alarm(rows) if self._beta is None else rewards_alarm(rows, self._beta)
        if alarm is None:
            return []
        self._rows.clear()
        return [alarm]

    def see_samples(self, samples: Sequence[SampleRow]) -> list[Alarm]:
        """Told the samples of every evaluation; the first are what later ones are compared with."""
        if not self._first:
            self._first = list(samples)
            return []
        if self._errors:
            found = [pictures_alarm(self._first, samples)]
        else:
            found = [repetition_alarm(self._first, samples), length_alarm(self._first, samples, self._wanted)]
        return [alarm for alarm in found if alarm is not None]

    def catch_up(self, metrics: Sequence[MetricsRow], samples: Sequence[SampleRow]) -> None:
        """Bring it, in a resumed run, to where the run stood."""
        self._first = [row for row in samples if row.step == 0]
        for row in metrics:
            if "loss" in row:
                self.see_step(row)


def _paired(first: Sequence[SampleRow], now: Sequence[SampleRow]) -> list[tuple[SampleRow, SampleRow]]:
    """Sample of the same prompts, before and now."""
    before = {repr(row.prompt): row for row in first}
    return [(before[repr(row.prompt)], row) for row in now if repr(row.prompt) in before]


def _alike(samples: Sequence[SampleRow]) -> int:
    """Return how many look like one another, the most of them; a single one is like no other."""
    groups = alike_groups([int(row.likeness or "0", 16) for row in samples]) if samples else []
    return max(map(len, groups), default=0)


def _loops(sample: SampleRow) -> bool:
    share = repetition(sample.completion)
    return share is not None and share > LOOPS


def _length(sample: SampleRow) -> int:
    """Tokens; characters in runs that did not count tokens. An empty answer counts as 1."""
    return max(1, len(sample.completion) if sample.tokens is None else sample.tokens)


def _halves(values: Sequence[float]) -> tuple[float, float, float]:
    """Means of the first and the second half, and the standard error of their difference."""
    half = len(values) // 2
    parts = (values[:half], values[half:])
    first, second = (sum(part) / len(part) for part in parts)
    squares = sum(
        sum((v - mean) ** 2 for v in part) / (len(part) - 1) / len(part)
        for part, mean in zip(parts, (first, second), strict=True)
    )
    return first, second, math.sqrt(squares)


def _of(count: int) -> str:
    return "none" if count == 0 else str(count)
