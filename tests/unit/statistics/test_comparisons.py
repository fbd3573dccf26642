from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binomtest

from prospect.errors import DataError
from prospect.statistics.comparisons import (
    compare_counts,
    compare_outcomes,
    compare_paired,
    correct_for_many,
    holm,
    mcnemar,
    verdict,
)
from prospect.statistics.rates import Rate, win_rate


def both_orders(first: str, second: str) -> float:
    """A comparison shown in both orders, ours as A and then as B: won only if it is preferred both times."""
    return (float(first == "A") + float(second == "B")) / 2


@pytest.mark.parametrize(("wins", "losses"), [(300, 212), (256, 256), (0, 7), (7, 0), (1, 0), (55, 45), (5, 60)])
def test_p_is_that_of_the_binomial_test_and_agrees_with_the_interval(wins: int, losses: int) -> None:
    found = compare_counts(wins, losses)
    assert found.p == pytest.approx(binomtest(wins, wins + losses).pvalue, rel=1e-9)
    assert found[:4] == win_rate(wins, losses)
    assert (found.p < 0.05) == (found.verdict != "no difference shown")


@pytest.mark.parametrize(
    ("counts", "word"),
    [
        ((300, 212), "better"),
        ((212, 300), "worse"),
        ((260, 252), "no difference shown"),
        ((0, 0, 50), "no difference shown"),
        ((5, 0), "no difference shown"),  # five of five happens by chance too
        ((6, 0), "better"),
        ((60, 30, 10, 0), "better"),
        ((0, 0, 0, 40), "no difference shown"),
    ],
)
def test_the_word_is_the_one_the_interval_allows(counts: tuple[int, ...], word: str) -> None:
    assert compare_counts(*counts).verdict == word
    outcomes = [o for o, n in zip((1.0, 0.0, 0.5, None), (*counts, 0, 0), strict=False) for _ in range(n)]
    assert compare_outcomes(outcomes)[:5] == pytest.approx(compare_counts(*counts)[:5])
    assert compare_outcomes(outcomes).verdict == word


def test_a_judge_that_cannot_be_read_makes_nobody_worse() -> None:
    found = compare_counts(30, 30, unparsed=60)
    assert found.high < 0.5  # and yet the other side's rate is as low
    assert found.verdict == "no difference shown"
    assert compare_counts(2, 60, unparsed=20).verdict == "worse"
    outcomes = ([1.0] * 30 + [0.0] * 30 + [None] * 60) * 2
    assert compare_outcomes(outcomes, [i % 60 for i in range(240)]).verdict == "no difference shown"


def test_a_judge_that_always_says_a_gives_a_half() -> None:
    outcomes = [both_orders("A", "A") for _ in range(200)]
    found = compare_outcomes(outcomes)
    assert (found.rate, found.verdict) == (0.5, "no difference shown")
    assert found.low < 0.44 and found.high > 0.56


def test_identical_policies_get_a_half_with_the_interval_around_it() -> None:
    texts = [f"completion {i}" for i in range(300)]
    # A judge with a taste of its own: of two equal texts it cannot prefer one in both orders.
    outcomes = [both_orders(said, said) for said in ("A" if len(text) % 2 else "B" for text in texts)]
    for prompts in (None, [i % 100 for i in range(300)]):
        found = compare_outcomes(outcomes, prompts)
        assert found.rate == 0.5
        assert found.low < 0.5 < found.high
        assert found.verdict == "no difference shown"


def test_repeated_prompts_can_take_the_word_back() -> None:
    outcomes = [1.0] * 60 + [0.0] * 36
    assert compare_outcomes(outcomes).verdict == "better"
    found = compare_outcomes(outcomes, [i // 8 for i in range(96)])  # twelve prompts, eight equal outcomes each
    assert found.verdict == "no difference shown"
    assert found.p > 0.05


def test_holm_is_that_of_statsmodels() -> None:
    # multipletests([.01, .04, .03, .005, .5, .04], method="holm")[1] of statsmodels 0.15.0
    assert holm([0.01, 0.04, 0.03, 0.005, 0.5, 0.04]) == pytest.approx([0.05, 0.12, 0.12, 0.03, 0.5, 0.12])
    assert holm([]) == []
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_holm_takes_back_what_many_comparisons_find_by_chance() -> None:
    found = {"a": compare_counts(290, 222), "b": compare_counts(281, 231), "c": compare_counts(250, 262)}
    assert [one.verdict for one in found.values()] == ["better", "better", "no difference shown"]
    corrected = correct_for_many(found)
    assert [one.verdict for one in corrected.values()] == ["better", "no difference shown", "no difference shown"]
    assert corrected["a"].p_holm == pytest.approx(3 * found["a"].p)
    assert corrected["b"][:5] == found["b"][:5]
    assert correct_for_many({"a": found["a"]}) == {"a": found["a"]}


def test_mcnemar_is_that_of_statsmodels() -> None:
    # mcnemar([[30, 12], [5, 40]], exact=True).pvalue of statsmodels 0.15.0
    assert mcnemar(12, 5) == mcnemar(5, 12) == pytest.approx(0.143463134765625, rel=1e-12)
    assert mcnemar(1, 0) == mcnemar(0, 0) == mcnemar(7, 7) == 1.0


def test_prompts_that_are_hard_for_both_cancel() -> None:
    random = np.random.default_rng(0)
    easy = random.random(200)
    first = (random.random(200) < easy).astype(float)
    second = np.where(random.random(200) < 0.12, 0.0, first)
    paired = compare_paired(first.tolist(), second.tolist())
    unpaired = compare_paired(first.tolist(), random.permutation(second).tolist())
    assert paired.value == pytest.approx(unpaired.value)
    assert paired.high - paired.low < 0.6 * (unpaired.high - unpaired.low)
    assert (paired.verdict, unpaired.verdict) == ("better", "no difference shown")


def test_a_paired_comparison_turned_round_is_mirrored() -> None:
    random = np.random.default_rng(1)
    first, second = random.choice([0.0, 0.5, 1.0], (2, 90)).tolist()
    names = [i // 3 for i in range(90)]
    one, other = compare_paired(first, second, names), compare_paired(second, first, names)
    assert (one.value, one.low, one.high) == pytest.approx((-other.value, -other.high, -other.low), abs=1e-9)
    assert one.p == pytest.approx(other.p, abs=1e-9)


def test_the_same_scores_twice_show_no_difference() -> None:
    scores = np.random.default_rng(2).random(50).tolist()
    found = compare_paired(scores, scores)
    assert found.low < found.value == 0.0 < found.high
    assert (found.p, found.verdict) == (1.0, "no difference shown")


def test_unparsed_verdicts_of_one_policy_make_it_no_worse() -> None:
    second = [1.0, 0.0] * 50
    first = [None if i % 2 else value for i, value in enumerate(second[::-1])]
    found = compare_paired(first, second)
    assert found.verdict == "no difference shown"


def test_scores_without_bounds_are_compared_too() -> None:
    random = np.random.default_rng(3)
    second = random.normal(size=60) * 5
    found = compare_paired((second + 1 + random.normal(size=60)).tolist(), second.tolist(), bounds=None)
    assert found.verdict == "better"
    assert compare_paired([2.0, 2.0, 3.0], [1.0, 1.0, 2.0], bounds=None).verdict == "no difference shown"  # no spread


@pytest.mark.parametrize(
    ("low", "high", "null", "word"),
    [
        (0.51, 0.6, 0.5, "better"),
        (0.4, 0.49, 0.5, "worse"),
        (0.5, 0.6, 0.5, "no difference shown"),  # touching is not above
        (0.4, 0.5, 0.5, "no difference shown"),
        (-0.2, -0.1, 0.0, "worse"),
        (0.1, 0.2, 0.0, "better"),
    ],
)
def test_better_needs_the_whole_interval(low: float, high: float, null: float, word: str) -> None:
    assert verdict(Rate((low + high) / 2, low, high, 10), null=null) == word


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: compare_counts(0, 0), "n = 0"),
        (lambda: compare_counts(-1, 3), "wins is -1"),
        (lambda: compare_outcomes([]), "outcomes is empty"),
        (lambda: compare_outcomes([math.nan]), r"outcomes\[0\] is nan"),
        (lambda: compare_paired([1.0], [1.0, 0.0]), "second has 2 entries; expected 1"),
        (lambda: compare_paired([1.0], [3.0]), r"second\[0\] is 3.0"),
        (lambda: compare_paired([9.0], [3.0], bounds=(0, 5)), "first goes from 9.0 to 9.0; expected 0 to 5"),
        (lambda: compare_paired([1.0, None], [3.0, 1.0], bounds=None), r"first\[1\] is None"),
        (lambda: mcnemar(-1, 2), "only_first is -1"),
        (lambda: mcnemar(1, 2.5), "only_second is 2.5"),
        (lambda: holm([0.1, 1.5]), "from 0.1 to 1.5"),
        (lambda: correct_for_many({}, level=5), "level is 5"),
    ],
)
def test_what_cannot_be_compared_is_refused(call, message) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DataError, match=message):
        call()
