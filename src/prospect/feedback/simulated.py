"""Simulated raters: thumbs and preferences whose truth is known, to test losses and advice against.

A rater has a utility, and what makes real verdicts differ from it: a threshold, a dread of losses, a liking for length,
wavering, slips, silence, and tastes that go in circles. Each is a setting with a closed form, so that its effect can be
measured; docs/simulated-raters.md has them in one table.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from prospect.errors import ConfigError, DataError
from prospect.feedback.records import Paired, Text, Unpaired
from prospect.feedback.split import prompt_key

Utility = Callable[[Text, Text], float]
"""(prompt, completion) -> how good the completion is, on any scale."""

SOURCE = "simulated"


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedRater:
    """Somebody who judges completions.

    z = utility + length_bias * words - threshold,  v(z) = z if z >= 0 else loss_aversion * z
    P(felt good)     = s(v(z) / temperature)                 s = sigmoid; at temperature 0: z >= 0
    P(a preferred)   = s((v(z_a) - v(z_b)) / temperature)    at temperature 0: the larger, of equals a coin toss
    P(thumb is up)   = (1 - noise) P(felt good) + noise (1 - P(felt good))

    Attributes:
        name: goes into the feedback as `rater`.
        utility: (prompt, completion) -> a finite number.
        share: how often this rater is the one who judges, relative to the others' shares.
        noise: probability that the verdict is the opposite of what was felt, a slip of the hand, 0 to 1.
        temperature: of the logistic choice, in units of utility; 0 is a rater who never wavers.
        threshold: the reference point: utility from which on an outcome is felt as good. For thumbs; and a loss lies
            below it.
        loss_aversion: how much heavier a loss is felt than a gain, above 0; about 2.25 in people. It needs a
            temperature: without, a weight cannot change a sign.
        length_bias: utility added for each word of the completion.
        rates_good: probability that an outcome felt as good is rated at all. With `rates_bad` the source of imbalance.
        rates_bad: the same of an outcome felt as bad.
        intransitive: share of the comparisons that are made by a taste that goes round. Every completion has its place
            on a circle and is preferred to those on the half circle after it, so a quarter of all triples of
            completions go in a circle; thumbs are as they were.

    Source: the value function's kink is that of Tversky and Kahneman, J. Risk and Uncertainty 5 (1992), 297-323.
    Departure: straight on both sides of it, and outcomes are certain.
    """

    name: str
    utility: Utility
    share: float = 1.0
    noise: float = 0.0
    temperature: float = 0.0
    threshold: float = 0.0
    loss_aversion: float = 1.0
    length_bias: float = 0.0
    rates_good: float = 1.0
    rates_bad: float = 1.0
    intransitive: float = 0.0

    def __post_init__(self) -> None:
        if not callable(self.utility):
            raise ConfigError(f"rater {self.name}: utility is {self.utility!r}; expected a function.")
        for key in ("noise", "rates_good", "rates_bad", "intransitive"):
            self._require(key, 0 <= getattr(self, key) <= 1, "a probability, 0 to 1")
        for key in ("threshold", "length_bias"):
            self._require(key, math.isfinite(getattr(self, key)), "a finite number")
        self._require("temperature", 0 <= self.temperature < math.inf, "a number of at least 0")
        for key in ("share", "loss_aversion"):
            self._require(key, 0 < getattr(self, key) < math.inf, "a number above 0")
        if self.loss_aversion != 1 and self.temperature == 0:
            raise ConfigError(
                f"rater {self.name}: loss_aversion is {self.loss_aversion}, and temperature is 0, where it changes "
                "nothing: a loss stays a loss, however heavy. Set a temperature."
            )

    def _require(self, key: str, good: bool, expected: str) -> None:
        if not good:
            raise ConfigError(f"rater {self.name}: {key} is {getattr(self, key)}; expected {expected}.")

    def value(self, prompt: Text, completion: Text) -> float:
        """Return v(z), what the completion is worth to the rater, in units of utility.

        Refuses a utility that is not finite.
        """
        utility = float(self.utility(prompt, completion))
        if not math.isfinite(utility):
            raise DataError(
                f"rater {self.name}: utility of the completion {_words_of(completion)[:60]!r} is {utility}; expected a "
                "finite number. Mend the utility"
            )
        z = utility + self.length_bias * len(_words_of(completion).split()) - self.threshold
        return z if z >= 0 else self.loss_aversion * z

    def chance_good(self, prompt: Text, completion: Text) -> float:
        """Return P(felt good), before any slip."""
        value = self.value(prompt, completion)
        return _logistic(value, self.temperature) if self.temperature else float(value >= 0)

    def chance_preferred(self, prompt: Text, a: Text, b: Text) -> float:
        """Return P(a is felt to be better than b) by utility, before any slip or habit."""
        difference = self.value(prompt, a) - self.value(prompt, b)
        if self.temperature:
            return _logistic(difference, self.temperature)
        return 0.5 if difference == 0 else float(difference > 0)

    def habit_prefers(self, prompt: Text, a: Text, b: Text) -> bool:
        """Return whether the taste that goes round prefers a to b."""
        return (self._place(prompt, b) - self._place(prompt, a)) % 1.0 < 0.5

    def _place(self, prompt: Text, completion: Text) -> float:
        return _stream("place", self.name, prompt_key(prompt), prompt_key(completion)).random()


def by_completion(utility: Callable[[str], float]) -> Utility:
    """Return a utility that looks at the completion's text alone."""
    return lambda prompt, completion: utility(_words_of(completion))


def rate(
    prompts: Sequence[Text],
    completions: Sequence[Text],
    raters: Sequence[SimulatedRater],
    *,
    seed: int = 0,
    votes: int = 1,
) -> list[Unpaired]:
    """Return the thumbs that simulated raters give, in the order of the completions.

    A thumb depends on the seed, the raters, the prompt and the completion, and on nothing else: not on what else is
    rated, nor in which order. Each draw has a random number of its own, so that more noise flips further thumbs and
    leaves the others as they were.

    Args:
        prompts: one for each completion.
        completions: what is judged.
        raters: drawn by their shares, for every vote another one.
        seed: another seed, other draws.
        votes: how many raters judge each completion; some may not rate it (`rates_good`, `rates_bad`).

    Refuses prompts and completions that differ in number, no rater, two of one name, and more votes than raters.
    """
    _check(prompts, completions, "completions", raters, votes)
    keys = _occurrences((prompt_key(p), prompt_key(c)) for p, c in zip(prompts, completions, strict=True))
    rows: list[Unpaired] = []
    for prompt, completion, key in zip(prompts, completions, keys, strict=True):
        for vote, (rater, draw) in enumerate(_draw_raters(raters, votes, seed, key)):
            good = draw.random() < rater.chance_good(prompt, completion)
            flipped, speaks = draw.random() < rater.noise, draw.random()
            if speaks < (rater.rates_good if good else rater.rates_bad):
                fields = _provenance(key, vote, rater)
                rows.append(Unpaired(prompt=prompt, completion=completion, desirable=good != flipped, **fields))
    return rows


def compare(
    prompts: Sequence[Text],
    pairs: Sequence[tuple[Text, Text]],
    raters: Sequence[SimulatedRater],
    *,
    seed: int = 0,
    votes: int = 1,
) -> list[Paired]:
    """Return the preferences of simulated raters, in the order of the pairs.

    A preference depends on the seed, the raters, the prompt and the two completions; not on their order in the pair,
    nor on that of the pairs. `rates_good` and `rates_bad` are about thumbs alone.

    Args:
        prompts: one for each pair.
        pairs: two completions each, which must differ.
        raters: drawn by their shares, for every vote another one.
        seed: another seed, other draws.
        votes: how many raters judge each pair.

    Refuses what `rate` refuses, and a pair of equal completions.
    """
    _check(prompts, pairs, "pairs", raters, votes)
    ordered = [_in_order(row, pair) for row, pair in enumerate(pairs)]
    keys = _occurrences(
        (prompt_key(p), prompt_key(a), prompt_key(b)) for p, (a, b) in zip(prompts, ordered, strict=True)
    )
    rows: list[Paired] = []
    for prompt, (a, b), key in zip(prompts, ordered, keys, strict=True):
        for vote, (rater, draw) in enumerate(_draw_raters(raters, votes, seed, key)):
            prefers_a = draw.random() < rater.chance_preferred(prompt, a, b)
            flipped = draw.random() < rater.noise
            if draw.random() < rater.intransitive:
                prefers_a = rater.habit_prefers(prompt, a, b)
            chosen, rejected = (a, b) if prefers_a != flipped else (b, a)
            rows.append(Paired(prompt=prompt, chosen=chosen, rejected=rejected, **_provenance(key, vote, rater)))
    return rows


def _draw_raters(
    raters: Sequence[SimulatedRater], votes: int, seed: int, key: Hashable
) -> Iterator[tuple[SimulatedRater, random.Random]]:
    """Yield the raters of one row, all different, each with random numbers of its own."""
    left = list(raters)
    draw = _stream("raters", seed, key)
    for vote in range(votes):
        (rater,) = draw.choices(left, [rater.share for rater in left])
        left.remove(rater)
        yield rater, _stream("verdict", seed, key, vote)


def _occurrences(keys: Iterator[Hashable]) -> list[tuple[Hashable, int]]:
    """Each key with how often it came before: rows that are equal are judged one by one."""
    seen: Counter[Hashable] = Counter()
    numbered = []
    for key in keys:
        numbered.append((key, seen[key]))
        seen[key] += 1
    return numbered


def _in_order(row: int, pair: tuple[Text, Text]) -> tuple[Text, Text]:
    a, b = sorted(pair, key=prompt_key)
    if prompt_key(a) == prompt_key(b):
        raise DataError(
            f"pair {row}: both completions are {_words_of(a)[:60]!r}; expected two that differ. Leave it out"
        )
    return a, b


def _provenance(key: Hashable, vote: int, rater: SimulatedRater) -> dict[str, Any]:
    name = f"{hashlib.blake2b(repr(key).encode(), digest_size=8).hexdigest()}-{vote}"
    return {"id": name, "where": f"{SOURCE}:{name}", "rater": rater.name, "source": SOURCE}


def _stream(*parts: Hashable) -> random.Random:
    return random.Random(repr(parts))


def _logistic(difference: float, temperature: float) -> float:
    return 0.5 * (1 + math.tanh(difference / temperature / 2))  # no overflow, however large


def _words_of(text: Text) -> str:
    return text if isinstance(text, str) else " ".join(message.content for message in text)


def _check(
    prompts: Sequence[Text], judged: Sequence[Any], name: str, raters: Sequence[SimulatedRater], votes: int
) -> None:
    if len(prompts) != len(judged):
        raise DataError(f"there are {len(prompts)} prompts and {len(judged)} {name}; expected one prompt for each")
    if not raters:
        raise ConfigError("raters is empty; expected at least one SimulatedRater.")
    counts = Counter(rater.name for rater in raters)
    twice = [rater for rater, count in counts.items() if count > 1]
    if twice:
        raise ConfigError(f"two raters are called {twice[0]!r}; expected a name for each, for verdicts are told by it.")
    if not 1 <= votes <= len(raters):
        raise ConfigError(f"votes is {votes}; expected 1 to {len(raters)}, the number of raters, who judge once each.")
