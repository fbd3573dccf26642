from __future__ import annotations

import pytest

from prospect.errors import DataError
from prospect.statistics.agreement import measure_agreement, measure_raters
from prospect.statistics.rates import proportion

TABLE = [[25, 4, 3], [6, 30, 5], [2, 7, 18]]
NAMES = ["loss", "tie", "win"]
PEOPLE = [NAMES[i] for i in range(3) for j in range(3) for _ in range(TABLE[i][j])]
JUDGE = [NAMES[j] for i in range(3) for j in range(3) for _ in range(TABLE[i][j])]


def test_kappa_is_that_of_statsmodels() -> None:
    # cohens_kappa(TABLE): kappa, kappa_low, kappa_upp of statsmodels 0.15.0
    found = measure_agreement(JUDGE, PEOPLE)
    assert found.kappa is not None
    assert found.kappa[:3] == pytest.approx((0.588477366255144, 0.4557391249712591, 0.7212156075390289), abs=1e-12)
    assert found.rate == proportion(73, 100)
    assert found.labels == ("loss", "tie", "win")
    assert [list(row) for row in found.table] == TABLE


def test_who_is_called_the_judge_does_not_matter_to_kappa() -> None:
    one, other = measure_agreement(JUDGE, PEOPLE), measure_agreement(PEOPLE, JUDGE)
    assert one.kappa is not None and other.kappa is not None
    assert one.kappa[:3] == pytest.approx(other.kappa[:3], abs=1e-12)
    assert [list(column) for column in zip(*other.table, strict=True)] == TABLE


def test_a_judge_that_always_says_the_same_has_kappa_0() -> None:
    found = measure_agreement(["win"] * 40, ["win"] * 30 + ["loss"] * 10)
    assert found.rate.rate == 0.75
    assert found.kappa is not None
    assert found.kappa.value == pytest.approx(0.0, abs=1e-12)


def test_full_agreement_is_not_certainty() -> None:
    found = measure_agreement([True, False] * 10, [True, False] * 10)
    assert found.kappa is not None
    assert found.kappa.value == 1.0 == found.kappa.high
    assert found.kappa.low == pytest.approx(2 * proportion(20, 20).low - 1)
    against = measure_agreement([True, False] * 10, [False, True] * 10).kappa
    assert against is not None
    assert (against.value, against.low) == (-1.0, -1.0)
    assert against.high < -0.5


def test_where_only_one_label_is_ever_said_chance_explains_everything() -> None:
    found = measure_agreement(["tie"] * 9, ["tie"] * 9)
    assert found.kappa is None
    assert found.rate == proportion(9, 9)


def test_repeated_prompts_widen_the_interval() -> None:
    names = [str(i) for i in range(100)]
    once, tenfold = measure_agreement(JUDGE, PEOPLE), measure_agreement(JUDGE * 10, PEOPLE * 10, names * 10)
    blind = measure_agreement(JUDGE * 10, PEOPLE * 10)
    assert once.kappa is not None and tenfold.kappa is not None and blind.kappa is not None
    assert tenfold.kappa.value == pytest.approx(once.kappa.value)
    width, seeing = once.kappa.high - once.kappa.low, tenfold.kappa.high - tenfold.kappa.low
    assert seeing == pytest.approx(width, rel=0.08)
    assert blind.kappa.high - blind.kappa.low < 0.4 * width
    assert tenfold.kappa.prompts == 100


@pytest.mark.parametrize("prompts", [3, 20])
def test_a_single_disagreement_among_few_prompts_still_has_an_interval(prompts: int) -> None:
    judge = ["loss"] + ["win"] * 39
    found = measure_agreement(judge, ["win"] * 40, [i % prompts for i in range(40)]).kappa
    assert found is not None
    assert found.low <= found.value <= found.high


def test_an_unparsed_verdict_is_a_disagreement() -> None:
    found = measure_agreement(["win", "unparsed", "loss"], ["win", "win", "loss"])
    assert found.rate.rate == pytest.approx(2 / 3)
    assert "unparsed" in found.labels


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: measure_agreement([], []), "no labels to compare"),
        (lambda: measure_agreement(["a"], ["a", "b"]), "people has 2 entries; expected 1"),
        (lambda: measure_agreement(["a", None], ["a", "b"]), r"judge\[1\] is None"),
        (lambda: measure_agreement(["a"], ["a"], level=0), "level is 0"),
    ],
)
def test_what_cannot_agree_is_refused(call, message) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DataError, match=message):
        call()


# Ten items, fourteen people, five labels: the example of Fleiss' paper as it is worked out on Wikipedia.
FLEISS = [
    [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
    [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
]  # fmt: skip


def test_kappa_of_several_people_is_that_of_the_textbook() -> None:
    found = measure_raters(FLEISS)
    assert found is not None and found.kappa is not None
    assert found.rate.rate == pytest.approx(0.378, abs=5e-4) and found.rate.n == 10
    assert found.kappa.value == pytest.approx(0.210, abs=5e-4)
    assert found.kappa.low < found.kappa.value < found.kappa.high
    assert found.verdicts == 140


def test_items_may_have_any_number_of_verdicts_and_one_is_none() -> None:
    # p_o = (1 + 1/3 + 0) / 3, p_+ = 4/7: p_e = (16 + 9) / 49
    found = measure_raters([[2, 0], [1, 2], [1, 1], [1, 0], [0, 0]])
    assert found is not None and found.kappa is not None
    assert (found.rate.n, found.verdicts) == (3, 7)
    assert found.kappa.value == pytest.approx((4 / 9 - 25 / 49) / (24 / 49))
    assert measure_raters([[1, 0], [0, 1]]) is None and measure_raters([]) is None


def test_where_all_say_the_same_chance_explains_it() -> None:
    same = measure_raters([[2, 0]] * 20)
    assert same is not None and same.kappa is None and same.rate == proportion(20, 20)
    full = measure_raters([[2, 0], [0, 2]] * 10)
    assert full is not None and full.kappa is not None and full.kappa.value == 1
    assert full.kappa.low < 0.9, "full agreement is not certainty"
