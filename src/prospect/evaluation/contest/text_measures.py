"""What goes wrong with texts while a win rate goes up: length, repetition, and fewer different words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence

from prospect.errors import DataError
from prospect.results.contest import TextMeasures
from prospect.statistics.bootstrap import RESAMPLES, Estimate
from prospect.statistics.means import mean_by_prompt, rate_by_prompt
from prospect.training.alarms import LOOPS, repetition

Split = Callable[[str], Sequence[str]]


def measure_texts(
    texts: Sequence[str],
    prompts: Sequence[Hashable] | None = None,
    *,
    split: Split = str.split,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> TextMeasures:
    """Return length, repetition and distinct words of completions.

    Args:
        texts: completions.
        prompts: the prompt of each; None where every one is of its own.
        split: text -> words; at white space unless told otherwise.
        level: coverage of the intervals.
        resamples: number of draws of prompts.
        seed: of the draws.

    Raises:
        DataError: there are no texts, or all are of one prompt, which gives no interval.
    """
    texts, names = list(texts), None if prompts is None else list(prompts)
    words = [list(split(text)) for text in texts]

    def mean(values: Sequence[float], of: Sequence[Hashable] | None = names) -> Estimate:
        found = mean_by_prompt(values, of, level=level, resamples=resamples, seed=seed)
        return found._replace(low=max(0.0, found.low))  # Student's t of a few texts knows of no least length

    repeated = [(i, share) for i, text in enumerate(texts) if (share := repetition(text)) is not None]
    shares = [share for _, share in repeated]
    of = None if names is None else [names[i] for i, _ in repeated]
    looping = [float(share > LOOPS) for share in shares]
    return TextMeasures(
        characters=mean([len(text) for text in texts]),
        words=mean([len(text) for text in words]),
        empty=sum(not text for text in words),
        repetition=mean_by_prompt(shares, of, bounds=(0.0, 1.0), level=level, resamples=resamples, seed=seed)
        if shares
        else None,
        looping=rate_by_prompt(looping, of, level=level, resamples=resamples, seed=seed) if shares else None,
        distinct_1=distinct_ngrams(words, 1),
        distinct_2=distinct_ngrams(words, 2),
        n=len(texts),
    )


def repeated_ngrams(words: Sequence[str], size: int = 4) -> float | None:
    """Return the share of a text's n-grams of words that it has held before: seq-rep-n.

    1 - distinct n-grams / all n-grams

    Returns:
        None where the text has fewer words than an n-gram.

    Source: Welleck et al. 2020, arXiv 1908.04319. `prospect.training.alarms.repetition` is the same over characters,
    for languages without spaces.
    """
    grams = _ngrams(words, size)
    return 1 - len(grams) / grams.total() if grams else None


def distinct_ngrams(texts: Sequence[Sequence[str]], size: int) -> float | None:
    """Return different n-grams / all n-grams over a set of texts, each a list of words: distinct-n.

    Returns:
        None where no text is as long as an n-gram.

    Source: Li et al. 2016, arXiv 1510.03055.
    """
    grams: Counter[tuple[str, ...]] = Counter()
    for words in texts:
        grams.update(_ngrams(words, size))
    return len(grams) / grams.total() if grams else None


def _ngrams(words: Sequence[str], size: int) -> Counter[tuple[str, ...]]:
    if not (size >= 1 and float(size).is_integer()):
        raise DataError(f"size of n-grams is {size}; expected a whole number of at least 1.")
    return Counter(tuple(words[i : i + size]) for i in range(len(words) - size + 1))
