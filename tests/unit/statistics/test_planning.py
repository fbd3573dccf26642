from __future__ import annotations

import pytest
from scipy.stats import binom

from prospect.errors import DataError
from prospect.statistics.comparisons import compare_counts
from prospect.statistics.planning import (
    comparisons_for_half_width,
    comparisons_to_detect,
    design_effect,
    detectable_rate,
    plan,
    planned_half_width,
)
from prospect.statistics.rates import proportion


@pytest.mark.parametrize(("n", "points"), [(100, 9.8), (200, 6.9), (512, 4.3), (805, 3.5)])
def test_half_widths_are_those_of_the_literature(n: int, points: float) -> None:
    assert round(100 * planned_half_width(n), 1) == points
    exact = proportion(n / 2, n)
    assert (exact.high - exact.low) / 2 == pytest.approx(planned_half_width(n) + 0.5 / n, abs=0.2 / n)


@pytest.mark.parametrize("n", [1, 7, 100, 512, 805, 12345])
@pytest.mark.parametrize("rate", [0.5, 0.8])
def test_n_for_a_half_width_is_its_inverse(n: int, rate: float) -> None:
    width = planned_half_width(n, rate=rate)
    if width < 0.5:
        assert comparisons_for_half_width(width, rate=rate) == n
        assert comparisons_for_half_width(width * 1.0001, rate=rate) <= n


@pytest.mark.parametrize("n", [6, 50, 200, 512, 2000])
@pytest.mark.parametrize(("level", "power"), [(0.95, 0.8), (0.9, 0.9)])
def test_what_is_detectable_is_called_better_as_often_as_wanted(n: int, level: float, power: float) -> None:
    rate = detectable_rate(n, level=level, power=power)
    assert rate is not None
    called = [k for k in range(n + 1) if compare_counts(k, n - k, level=level).verdict == "better"]
    assert float(binom.pmf(called, n, rate).sum()) == pytest.approx(power, abs=1e-9)


def test_five_comparisons_can_show_nothing() -> None:
    assert detectable_rate(5) is None
    assert "too few" in str(plan(5))


@pytest.mark.parametrize("rate", [0.95, 0.6, 0.55, 0.45, 0.52])
def test_n_to_detect_has_the_power_and_less_has_not(rate: float) -> None:
    n = comparisons_to_detect(rate)
    distance = abs(rate - 0.5)
    for more in (0, 1, 2, 3, 10):
        found = detectable_rate(n + more)
        assert found is not None and found <= 0.5 + distance
    fewer = detectable_rate(max(1, int(0.9 * n) - 2))
    assert fewer is None or fewer > 0.5 + distance


def test_more_comparisons_and_repeated_prompts_need_more() -> None:
    assert comparisons_to_detect(0.6, comparisons=5) > comparisons_to_detect(0.6)
    assert detectable_rate(500, comparisons=5) > detectable_rate(500)
    assert design_effect(4, 0.0) == 1.0
    assert design_effect(4, 1.0) == 4.0  # four equal samples are one
    assert planned_half_width(400, design_effect=4.0) == planned_half_width(100)
    assert detectable_rate(400, design_effect=4.0) == detectable_rate(100)
    assert comparisons_to_detect(0.6, design_effect=2.0) == 2 * comparisons_to_detect(0.6)


@pytest.mark.parametrize(("prompts", "n"), [(7, 9), (11, 25), (13, 35), (15, 23)])
def test_no_prompt_is_lost_to_rounding(prompts: int, n: int) -> None:
    assert int(n / (n / prompts)) == prompts - 1  # as floating point has it
    assert detectable_rate(n, design_effect=n / prompts) == detectable_rate(prompts)


def test_a_plan_is_a_sentence() -> None:
    assert str(plan(512)) == (
        "512 comparisons: the 95% interval will be about ±4.3 points; "
        "a true win rate of 56.2% is shown to be better in 80% of runs."
    )
    assert "first of 3 by Holm" in str(plan(512, comparisons=3))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plan(0), "n is 0"),
        (lambda: plan(10.5), "n is 10.5"),
        (lambda: plan(10, level=95), "level is 95"),
        (lambda: plan(10, power=1.0), "power is 1.0"),
        (lambda: plan(10, comparisons=0), "comparisons is 0"),
        (lambda: plan(10, design_effect=0.5), "design_effect is 0.5"),
        (lambda: planned_half_width(10, rate=1.0), "rate is 1.0"),
        (lambda: comparisons_for_half_width(0.0), "half_width is 0.0"),
        (lambda: comparisons_for_half_width(1e-6), "needs 9.6e"),
        (lambda: comparisons_to_detect(0.5), "cannot be told from 0.5"),
        (lambda: comparisons_to_detect(0.5001), "cannot be told from 0.5"),
        (lambda: design_effect(0.5, 0.1), "samples_per_prompt is 0.5"),
        (lambda: design_effect(4, 1.5), "correlation is 1.5"),
    ],
)
def test_what_cannot_be_planned_is_refused(call, message) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DataError, match=message):
        call()
