"""Numbers of held-out feedback against what can be counted by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from prospect.data.batch import Row
from prospect.evaluation.held_out.feedback_measures import by_class, tell_apart, text_loss
from prospect.statistics.estimates import Intervals, mean_of, ratio_of

HOW = Intervals(resamples=500)


def row(prompt: str, desirable: bool, tokens: int = 2) -> Row:
    ids = np.arange(tokens, dtype=np.int32)
    return Row(ids, ids, prompt, f"{prompt}-{desirable}", desirable)


def thumbs(labels: list[bool]) -> list[tuple[Row, ...]]:
    return [(row(f"p{i}", label),) for i, label in enumerate(labels)]


def test_thumbs_are_counted_against_the_threshold_and_one_on_it_counts_half() -> None:
    examples = thumbs([True, True, False, False])
    found = tell_apart("unpaired", examples, np.array([2.0, 1.0, 1.5, 0.0]), 1.0, HOW, log_odds=True)
    assert found.accuracy.rate == (1 + 0.5 + 0 + 1) / 4 and found.accuracy.n == 4
    assert found.auroc.value == 3 / 4
    assert found.margin.value == pytest.approx(1.5 - 0.75)
    assert found.rewards["desirable"].value == 1.5 and found.rewards["undesirable"].value == 0.75
    logits = [1.0, 0.0, 0.5, -1.0]
    losses = [math.log1p(math.exp(-x if good else x)) for x, good in zip(logits, [1, 1, 0, 0], strict=True)]
    assert found.label_log_loss.value == pytest.approx(sum(losses) / 4)
    assert found.calibration.n == 4 and sum(one.observed.n for one in found.calibration.bins) == 4


def test_pairs_are_counted_by_which_side_leads_whatever_the_threshold() -> None:
    examples = [(row(f"p{i}", True), row(f"p{i}", False)) for i in range(3)]
    rewards = np.array([1.0, 0.0, -5.0, -6.0, 2.0, 4.0])
    found = tell_apart("paired", examples, rewards, 100.0, HOW, log_odds=False)
    assert found.accuracy.rate == pytest.approx(2 / 3) and found.accuracy.n == 3
    assert found.margin.value == 0.0
    assert found.calibration is None and found.label_log_loss is None


def test_of_scored_completions_the_best_must_lead_all_others() -> None:
    example = (row("p", False), row("p", True), row("p", False))
    other = (row("q", True), row("q", False), row("q", False))
    rewards = np.array([0.0, 1.0, 3.0, 5.0, 1.0, 2.0])
    found = tell_apart("scored", [example, other], rewards, 0.0, HOW, log_odds=False)
    assert found.accuracy.rate == 0.5 and found.margin.value == ((1 - 3) + (5 - 2)) / 2


@pytest.mark.parametrize("kind", ["unpaired", "demonstration"])
def test_one_class_alone_gives_no_accuracy_and_no_auroc(kind: str) -> None:
    found = tell_apart(kind, thumbs([True, True]), np.array([1.0, 2.0]), 0.0, HOW, log_odds=True)  # type: ignore[arg-type]
    assert found.accuracy is None and found.auroc is None and found.margin is None


def test_a_single_prompt_has_a_value_and_no_interval() -> None:
    found = tell_apart(
        "unpaired", [(row("p", True),), (row("p", False),)], np.array([1.0, 0.0]), 0.5, HOW, log_odds=True
    )
    for number in (found.margin, found.label_log_loss):
        assert number is not None and number.low is None and number.high is None
    assert mean_of(np.array([1.0, 3.0]), ["p", "p"], HOW).value == 2.0
    assert ratio_of(np.ones(2), np.array([1.0, 3.0]), ["p", "p"], HOW).low is None


def test_loss_on_text_is_nats_over_tokens_of_desirable_rows_only() -> None:
    examples = [(row("a", True, 2),), (row("b", False, 50),), (row("c", True, 6),)]
    found = text_loss(np.array([-4.0, -1000.0, -4.0]), examples, HOW)
    assert found is not None and found.value == (4 + 4) / (2 + 6) and found.n == 2
    assert text_loss(np.array([-1.0]), [(row("a", False),)], HOW) is None


@pytest.mark.parametrize("count", [4, 40])
def test_a_ratio_draws_both_its_sums_with_the_prompts(count: int) -> None:
    # Each prompt's rows have the same ratio, so there is nothing to be unsure of, however long they are.
    below = np.arange(1.0, 2 * count + 1)
    prompts = [f"p{i % count}" for i in range(2 * count)]
    found = ratio_of(3 * below, below, prompts, HOW)
    assert found.value == found.low == found.high == 3 and found.prompts == count
    noisy = ratio_of(3 * below + np.where(np.arange(2 * count) % 3, 1.0, -1.0), below, prompts, HOW)
    assert noisy.low < noisy.value < noisy.high


def test_classes_keep_their_own_rows() -> None:
    found = by_class(np.array([1.0, 10.0, 3.0]), thumbs([True, False, True]), HOW)
    assert found["desirable"].value == 2.0 and found["undesirable"].value == 10.0
    assert found["undesirable"].low is None
