from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit
from scipy.stats import mannwhitneyu, norm, ttest_ind

from prospect.errors import DataError
from prospect.statistics.calibration import measure_calibration
from prospect.statistics.discrimination import accuracy, auroc, auroc_delong, class_margin, log_loss
from prospect.statistics.ranking import auroc as area_of
from prospect.statistics.rates import proportion

SCORES = [0.1, 0.4, 0.35, 0.8, 0.4, 0.7, 0.4, 0.9]
LABELS = [False, False, True, True, True, False, False, True]
# Few distinct values, so that ties are common.
ROWS = st.lists(st.tuples(st.sampled_from([-2.0, -0.5, 0.0, 0.25, 3.0]) | st.floats(-9, 9), st.booleans()), max_size=30)
RANDOM = np.random.default_rng(0)
MANY = RANDOM.integers(0, 12, 90).astype(float)
MANY_LABELS = RANDOM.random(90) < expit((MANY - 6) / 3)


def delong_by_definition(scores: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """AUROC and its standard error, from all pairs of a desirable and an undesirable row."""
    good, bad = scores[labels], scores[~labels]
    wins = (good[:, None] > bad[None, :]) + 0.5 * (good[:, None] == bad[None, :])
    variance = wins.mean(axis=1).var(ddof=1) / good.size + wins.mean(axis=0).var(ddof=1) / bad.size
    return float(wins.mean()), math.sqrt(variance)


def test_auroc_is_that_of_scikit_learn() -> None:
    # roc_auc_score(LABELS, SCORES) of scikit-learn 1.9.1, with three scores tied
    assert auroc(SCORES, LABELS).value == 0.6875


def test_auroc_is_that_of_the_rank_test_with_and_without_an_interval() -> None:
    rank_test = mannwhitneyu(MANY[MANY_LABELS], MANY[~MANY_LABELS]).statistic
    area = area_of(MANY, MANY_LABELS)
    assert area == rank_test / (MANY_LABELS.sum() * (~MANY_LABELS).sum())
    assert auroc(MANY.tolist(), MANY_LABELS.tolist()).value == pytest.approx(area, abs=1e-12)


@settings(deadline=None)
@given(rows=ROWS)
def test_auroc_is_the_share_of_pairs_in_the_right_order_ties_half(rows: list[tuple[float, bool]]) -> None:
    above = [score for score, positive in rows if positive]
    below = [score for score, positive in rows if not positive]
    area = area_of([score for score, _ in rows], [positive for _, positive in rows])
    if not above or not below:
        assert area is None
        return
    wins = sum((a > b) + 0.5 * (a == b) for a in above for b in below)
    assert area == pytest.approx(wins / (len(above) * len(below)), abs=1e-12)


@pytest.mark.parametrize(
    ("scores", "positive", "area"),
    [
        ([1.0, 2.0], [False, True], 1.0),
        ([1.0, 2.0], [True, False], 0.0),
        ([0.0] * 5, [True, False, True, False, False], 0.5),
        ([1.0, 1.0, 2.0], [True, False, True], 0.75),
        ([], [], None),
        ([1.0], [True], None),
        ([1.0, 2.0], [False, False], None),
    ],
)
def test_auroc_on_paper_and_none_without_both_classes(
    scores: list[float], positive: list[bool], area: float | None
) -> None:
    assert area_of(scores, positive) == area


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_delongs_interval_is_the_one_of_its_definition(level: float) -> None:
    area, error = delong_by_definition(MANY, MANY_LABELS)
    found = auroc_delong(MANY.tolist(), MANY_LABELS.tolist(), level=level)
    reach = norm.ppf((1 + level) / 2) * error / (area * (1 - area))
    assert found.value == pytest.approx(area, abs=1e-12)
    assert (found.low, found.high) == pytest.approx((expit(logit(area) - reach), expit(logit(area) + reach)), abs=1e-12)
    assert (found.n, found.prompts) == (90, 90)


def test_turning_scores_round_mirrors_the_interval() -> None:
    one = auroc(MANY.tolist(), MANY_LABELS.tolist())
    other = auroc((-MANY).tolist(), MANY_LABELS.tolist())
    assert (one.low, one.high) == pytest.approx((1 - other.high, 1 - other.low), abs=1e-12)


def test_repeated_prompts_widen_the_interval() -> None:
    scores, labels = np.repeat(MANY, 5).tolist(), np.repeat(MANY_LABELS, 5).tolist()
    once = auroc_delong(MANY.tolist(), MANY_LABELS.tolist())
    blind = auroc_delong(scores, labels)
    seeing = auroc(scores, labels, np.repeat(np.arange(90), 5).tolist())
    assert seeing.value == pytest.approx(once.value)
    assert seeing.prompts == 90
    assert blind.high - blind.low < 0.5 * (once.high - once.low)
    assert seeing.high - seeing.low == pytest.approx(once.high - once.low, rel=0.08)


@pytest.mark.parametrize("prompts", [None, [i // 2 for i in range(40)]])
def test_scores_that_are_all_the_same_give_a_half(prompts: list[int] | None) -> None:
    found = auroc([3.0] * 40, [i % 4 < 2 for i in range(40)], prompts)
    assert found.value == 0.5
    assert found.low < 0.3 and found.high > 0.7


@pytest.mark.parametrize("prompts", [None, [i // 2 for i in range(40)]])
def test_perfect_separation_is_not_certainty(prompts: list[int] | None) -> None:
    labels = [i % 4 < 2 for i in range(40)]
    found = auroc([float(label) + i / 100 for i, label in enumerate(labels)], labels, prompts)
    # twenty pairs that share no row, or ten that share no prompt, all in order
    exact = proportion(20, 20) if prompts is None else proportion(10, 10)
    assert found[:3] == exact[:3]


def test_one_row_of_a_class_says_little() -> None:
    found = auroc([0.2, 0.5, 0.1, 0.4], [False, True, False, False])
    assert found[:3] == pytest.approx((1.0, 0.025, 1.0))


def test_few_prompts_or_a_rare_class_still_have_an_interval() -> None:
    labels = [i == 0 for i in range(40)]
    prompts = [i // 2 for i in range(40)]
    rare = auroc([float(i % 7) for i in range(40)], labels, prompts)
    few = auroc(SCORES, LABELS, [1, 1, 2, 2, 3, 3, 4, 4])
    for found in (rare, few):
        assert found.low < 0.15 and found.high > found.value
    margin = class_margin([float(i % 7) for i in range(40)], labels, prompts)
    assert margin.low < margin.value < margin.high


def test_accuracy_is_the_share_on_the_right_side() -> None:
    found = accuracy([1.0, -2.0, 0.0, 3.0, -1.0], [True, False, True, False, True])
    assert found == proportion(2.5, 5)
    assert accuracy([1.0, -2.0, 0.0], [True, False, True], threshold=-0.5).rate == 1.0
    margins = [0.3, -0.1, 0.0, 2.0]
    assert accuracy(margins, [True] * 4).rate == 2.5 / 4
    assert accuracy(margins * 10, [True] * 40, [i % 20 for i in range(40)]).n == 40


def test_the_margin_is_the_difference_of_the_classes_means() -> None:
    found = class_margin(MANY.tolist(), MANY_LABELS.tolist(), resamples=20_000)
    theirs = ttest_ind(MANY[MANY_LABELS], MANY[~MANY_LABELS], equal_var=False)
    assert found.value == pytest.approx(MANY[MANY_LABELS].mean() - MANY[~MANY_LABELS].mean())
    interval = theirs.confidence_interval()
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), abs=0.12)


def test_at_step_0_every_margin_is_0() -> None:
    assert class_margin([0.0] * 40, [i % 2 == 0 for i in range(40)])[:3] == (0.0, 0.0, 0.0)


def test_log_loss_is_that_of_scikit_learn_and_never_overflows() -> None:
    # log_loss(LABELS, sigmoid(SCORES)) of scikit-learn 1.9.1
    assert log_loss(SCORES, LABELS).value == pytest.approx(0.6790331452821912, abs=1e-12)
    assert log_loss([0.0] * 12, [i % 2 == 0 for i in range(12)]).value == pytest.approx(math.log(2))
    assert log_loss([1000.0, -1000.0, -1000.0], [True, False, True]).value == pytest.approx(1000 / 3)


def test_calibration_by_hand() -> None:
    found = measure_calibration([0.9] * 5 + [0.1] * 5, [True] * 4 + [False] * 6)
    assert found.ece == pytest.approx(0.1)  # |0.8 - 0.9| and |0 - 0.1|
    assert found.brier == pytest.approx((4 * 0.01 + 0.81 + 5 * 0.01) / 10)
    assert [(one.predicted, one.observed) for one in found.bins] == [
        (pytest.approx(0.1), proportion(0, 5)),
        (pytest.approx(0.9), proportion(4, 5)),
    ]
    sure = measure_calibration([0.0, 0.95, 1.0], [False, True, True])
    assert [(one.start, one.end, one.observed.n) for one in sure.bins] == [(0.0, 0.1, 1), (0.9, 1.0, 2)]
    assert measure_calibration([0.0, 1.0], [False, True]).ece == 0.0
    assert sum(one.observed.n for one in measure_calibration([0.0, 0.5, 1.0], [True] * 3, bins=2).bins) == 3


def test_calibrated_predictions_have_the_error_that_chance_gives() -> None:
    random = np.random.default_rng(1)
    found = []
    for _ in range(200):
        p = random.random(300)
        found.append(measure_calibration(p.tolist(), (random.random(300) < p).tolist()))
    assert np.mean([one.ece for one in found]) == pytest.approx(np.mean([one.by_chance for one in found]), rel=0.03)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: auroc([0.1, 0.2], [True, True]), "all 2 rows are desirable"),
        (lambda: auroc([0.1, 0.2], [False, False]), "all 2 rows are undesirable"),
        (lambda: class_margin([0.1, 0.2], [True, True]), "all 2 rows are desirable"),
        (lambda: class_margin([0.1, 0.2], [True, False], ["a", "a"]), "all rows are of one prompt"),
        (lambda: auroc([], []), "scores is empty"),
        (lambda: auroc([0.1, math.nan], [True, False]), r"scores\[1\] is nan"),
        (lambda: auroc([0.1], [True, False]), "desirable has 2 entries; expected 1"),
        (lambda: auroc([0.1, 0.2], [True, 2]), r"desirable\[1\] is 2; expected true or false"),  # type: ignore[list-item]
        (lambda: accuracy([0.1], ["good"]), r"desirable\[0\] is 'good'"),  # type: ignore[list-item]
        (lambda: log_loss([math.inf], [True]), r"logits\[0\] is inf"),
        (lambda: measure_calibration([1.2], [True]), r"probabilities\[0\] is 1.2"),
        (lambda: measure_calibration([0.2], [True], bins=0), "bins is 0"),
        (lambda: measure_calibration([], []), "probabilities is empty"),
    ],
)
def test_what_tells_nothing_is_refused(call, message) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DataError, match=message):
        call()
