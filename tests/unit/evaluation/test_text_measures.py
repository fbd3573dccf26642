from __future__ import annotations

import sys

import pytest

import prospect.evaluation
from prospect.errors import DataError
from prospect.evaluation.contest.text_measures import distinct_ngrams, measure_texts, repeated_ngrams
from prospect.training.alarms import repetition

NATURAL = "Thank you for writing. Your parcel left our house on Monday and should be with you tomorrow."
LOOP = "I am sorry, I am sorry, I am sorry, I am sorry, I am sorry, I am sorry."


@pytest.mark.parametrize(
    ("text", "size", "share"),
    [
        ("a b c d e f", 4, 0.0),
        ("a a a a a a", 4, 2 / 3),  # three windows, one different
        ("a b a b a b", 2, 1 - 2 / 5),
        ("a b c", 4, None),
        ("", 1, None),
    ],
)
def test_repeated_ngrams_by_hand(text: str, size: int, share: float | None) -> None:
    assert repeated_ngrams(text.split(), size) == (share if share is None else pytest.approx(share))


def test_distinct_ngrams_are_counted_over_the_whole_set() -> None:
    assert distinct_ngrams([["a", "b"], ["a", "b"]], 1) == 0.5
    assert distinct_ngrams([["a", "b"], ["a", "b"]], 2) == 0.5
    assert distinct_ngrams([["a", "b"], ["b", "a"]], 2) == 1.0  # no pair reaches from one text into the next
    assert distinct_ngrams([["a"], []], 2) is None


def test_measures_of_natural_and_of_looping_texts() -> None:
    found = measure_texts([NATURAL, LOOP, ""] * 5)
    assert found.n == 15
    assert found.empty == 5
    assert found.characters.value == pytest.approx((len(NATURAL) + len(LOOP)) / 3)
    assert found.words.value == pytest.approx((17 + 18) / 3)
    assert found.looping is not None and found.repetition is not None
    assert (found.looping.rate, found.looping.n) == (0.5, 10)
    shares = repetition(NATURAL), repetition(LOOP)
    assert shares[0] is not None and shares[1] is not None
    assert found.repetition.value == pytest.approx(sum(s for s in shares if s is not None) / 2)
    assert found.distinct_1 is not None and found.distinct_1 < 0.5


def test_short_texts_do_not_repeat_and_lengths_are_never_below_0() -> None:
    found = measure_texts(["yes", "", "a word " * 2])
    assert (found.repetition, found.looping) == (None, None)
    assert found.characters.low == 0.0


def test_repeated_prompts_are_one() -> None:
    texts = [NATURAL[: 10 + i] for i in range(20)]
    once = measure_texts(texts, range(20))
    often = measure_texts(texts * 4, list(range(20)) * 4)
    assert often.characters[:3] == pytest.approx(once.characters[:3])
    assert (often.characters.n, often.characters.prompts) == (80, 20)


def test_what_has_no_measure_is_refused() -> None:
    with pytest.raises(DataError, match="is empty"):
        measure_texts([])
    with pytest.raises(DataError, match="all rows are of one prompt"):
        measure_texts([NATURAL, LOOP], ["a", "a"])
    with pytest.raises(DataError, match="size of n-grams is 0"):
        repeated_ngrams(["a"], 0)


def test_every_public_name_of_evaluation_is_there() -> None:
    for name in prospect.evaluation.__all__:
        assert getattr(prospect.evaluation, name) is not None
        # a name that is a module's too would be hidden by it once the module is imported
        assert f"prospect.evaluation.{name}" not in sys.modules
    assert dir(prospect.evaluation) == sorted(prospect.evaluation.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'winrat'"):
        prospect.evaluation.winrat  # noqa: B018
