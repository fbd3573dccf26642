"""Rewards, margins, accuracies: sums and counts that may be added up in any grouping."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prospect.data.batch import Batch
from prospect.losses import get_loss
from prospect.losses.reference_point import ReferencePoint
from prospect.training.arguments import Comparison
from prospect.training.metrics import Tally, compare_errors, summarise, tally_rows


def batch_of(desirable: list[bool]) -> Batch:
    nothing = torch.zeros(len(desirable), 2)
    return Batch(
        nothing.long(),
        nothing.bool(),
        nothing.bool(),
        torch.tensor(desirable),
        torch.ones(len(desirable)),
        torch.zeros(len(desirable)),
        (),
    )


def examples_of(loss: str, count: int, size: int | None = None) -> Any:
    """Examples of the right number of rows; what is in them does not matter here."""
    size = size or (2 if loss == "dpo" else 1)
    return [("row",) * size] * (count // size)


def tally_of(loss: str, ratio: list[float], desirable: list[bool], z0: float = 0.0, beta: float = 0.5) -> Tally:
    tally = Tally()
    log_ratio = torch.tensor(ratio)
    compared = Comparison(log_ratio - 10.0, log_ratio)
    tally_rows(tally, get_loss(loss), beta, batch_of(desirable), examples_of(loss, len(ratio)), compared, z0)
    return tally


@settings(deadline=None)
@given(
    rows=st.lists(st.tuples(st.floats(-50, 50, width=32), st.booleans()), min_size=1, max_size=20),
    cuts=st.lists(st.integers(0, 20), max_size=4),
    z0=st.sampled_from([0.0, 0.75]),
)
def test_any_grouping_gives_the_same_metrics(rows: list[tuple[float, bool]], cuts: list[int], z0: float) -> None:
    def tally(groups: list[list[tuple[float, bool]]]) -> Tally:
        total = Tally()
        for group in groups:
            ratio = torch.tensor([value for value, _ in group])
            batch = batch_of([label for _, label in group])
            examples = examples_of("kto", len(group))
            tally_rows(total, get_loss("kto"), 0.1, batch, examples, Comparison(ratio - 3.0, ratio), z0)
            total.add("loss", ratio**2, count=0)
        total.counts["loss"] = len(rows)
        return total

    edges = [0, *sorted(min(cut, len(rows)) for cut in cuts), len(rows)]
    pieces = [rows[a:b] for a, b in pairwise(edges) if a < b]
    whole, grouped = tally([rows]), tally(pieces)
    assert grouped.counts == whole.counts
    assert grouped.rewards == whole.rewards
    ours, theirs = summarise(grouped, None), summarise(whole, None)
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        assert ours[name] == pytest.approx(value, rel=1e-12, abs=1e-12)


def test_a_mean_is_over_everything_and_never_of_means() -> None:
    tally = Tally()
    tally.add("x", torch.tensor([1.0]))
    tally.add("x", torch.tensor([4.0, 4.0, 4.0]))
    tally.add("nothing", torch.tensor([]))
    assert tally.means() == {"x": 3.25}


def test_a_sum_is_taken_in_float64() -> None:
    tally = Tally()
    tally.add("x", torch.full((10_000,), 0.1))
    assert tally.sums["x"] == pytest.approx(10_000 * float(torch.tensor(0.1)), rel=1e-12)


def test_nothing_keeps_a_graph_alive() -> None:
    tally = Tally()
    ratio = torch.ones(2, requires_grad=True)
    compared = Comparison(ratio * 2, ratio * 3)
    tally_rows(tally, get_loss("kto"), 0.1, batch_of([True, False]), examples_of("kto", 2), compared, 0.0)
    assert all(isinstance(value, float) for value in [*tally.sums.values(), *tally.rewards])


def test_rewards_are_beta_times_the_log_ratio_by_class() -> None:
    means = tally_of("kto", [2.0, 4.0, -1.0], [True, True, False]).means()
    assert means["rewards/chosen"] == 1.5
    assert means["rewards/rejected"] == -0.5
    assert means["logps/chosen"] == -7.0
    assert means["logps/rejected"] == -11.0


@pytest.mark.parametrize(
    ("ratio", "desirable", "z0", "accuracy"),
    [
        ([1.0, -1.0], [True, False], 0.0, 1.0),
        ([-1.0, 1.0], [True, False], 0.0, 0.0),
        ([1.0, 1.0], [True, False], 2.0, 0.5),  # both under the reference point: the undesirable one is right
        ([3.0, 3.0], [True, False], 2.0, 0.5),
        ([0.0, 0.0], [True, False], 0.0, 0.5),  # nothing learnt yet: a tie is half right
        ([2.0, -5.0, 1.0], [True, False, True], 1.0, 2.5 / 3),
    ],
)
def test_accuracy_of_thumbs_is_the_right_side_of_the_reference_point(
    ratio: list[float], desirable: list[bool], z0: float, accuracy: float
) -> None:
    assert tally_of("kto", ratio, desirable, z0).means()["rewards/accuracies"] == pytest.approx(accuracy)


@pytest.mark.parametrize(
    ("chosen_and_rejected", "accuracy"),
    [([1.0, 0.0], 1.0), ([-3.0, -4.0], 1.0), ([0.0, 1.0], 0.0), ([2.0, 2.0], 0.5), ([1.0, 0.0, 0.0, 1.0], 0.5)],
)
def test_accuracy_of_pairs_is_the_chosen_side_ahead(chosen_and_rejected: list[float], accuracy: float) -> None:
    desirable = [True, False] * (len(chosen_and_rejected) // 2)
    tally = tally_of("dpo", chosen_and_rejected, desirable)
    assert tally.means()["rewards/accuracies"] == accuracy
    assert tally.counts["rewards/accuracies"] == len(desirable) / 2


@pytest.mark.parametrize(
    ("ratio", "best", "accuracy"),
    [
        ([3.0, 1.0, 2.0, 0.0, 1.0, 0.5], [1, 0, 0, 0, 1, 0], 1.0),
        ([3.0, 1.0, 2.0, 0.0, 1.0, 1.5], [1, 0, 0, 0, 1, 0], 0.5),
        ([2.0, 2.0, 1.0], [1, 0, 0], 0.5),  # a tie is half right
        ([1.0, 5.0, 3.0], [1, 1, 0], 1.0),  # two that were found best: one of them ahead will do
        ([1.0, 5.0, 3.0], [1, 1, 1], 0.5),  # all equally good: nothing can be ranked
    ],
)
def test_accuracy_of_scored_completions_is_a_best_one_ahead(
    ratio: list[float], best: list[int], accuracy: float
) -> None:
    tally = Tally()
    compared = Comparison(torch.tensor(ratio), torch.tensor(ratio))
    batch = batch_of([bool(b) for b in best])
    tally_rows(tally, get_loss("nca"), 0.1, batch, examples_of("nca", len(ratio), size=3), compared, 0.0)
    assert tally.means()["rewards/accuracies"] == accuracy


def test_the_size_of_rewards_is_told_of_losses_with_a_reference() -> None:
    for loss in ("kto", "dpo"):
        assert tally_of(loss, [2.0, -1.0], [True, False], beta=0.5).means()["rewards/magnitude"] == 0.75
    for loss in ("simpo", "ipo"):  # no reference; nats per token
        assert "rewards/magnitude" not in tally_of(loss, [2.0, -1.0], [True, False]).means()


def test_a_reward_model_has_rewards_and_no_log_probs() -> None:
    means = tally_of("bradley_terry", [2.0, -1.0], [True, False], beta=1.0).means()
    assert means == {"rewards/chosen": 2.0, "rewards/rejected": -1.0, "rewards/accuracies": 1.0}


def test_pairs_without_a_reference_have_rewards_that_are_not_ranked_across_prompts() -> None:
    pairs = examples_of("dpo", 2)
    tally = Tally()
    ratio = torch.tensor([-3.0, -4.0])
    tally_rows(tally, get_loss("simpo"), 2.0, batch_of([True, False]), pairs, Comparison(ratio, ratio), 0.0)
    assert tally.means()["rewards/chosen"] == -6.0
    assert tally.means()["rewards/accuracies"] == 1.0
    assert tally.rewards == []


def test_demonstrations_have_log_probs_and_no_rewards() -> None:
    tally = tally_of("sft", [1.0, 2.0], [True, True])
    assert set(tally.means()) == {"logps/chosen"}
    assert tally.rewards == []


def test_one_class_alone_has_no_margin() -> None:
    tally = tally_of("kto", [1.0, 2.0], [True, True])
    tally.add("loss", torch.tensor([1.0]))
    metrics = summarise(tally, None)
    assert "rewards/margins" not in metrics
    assert "rewards/rejected" not in metrics
    assert metrics["rewards/chosen"] == 0.75


def test_summary_holds_the_reference_point_before_and_after_the_clamp() -> None:
    tally = tally_of("kto", [2.0, -1.0], [True, False])
    tally.add("loss", torch.tensor([0.5, 0.25]))
    point: Any = ReferencePoint(*(torch.tensor(v) for v in (0.0, -0.5, 0.125)))
    metrics = summarise(tally, point)
    assert (metrics["kl"], metrics["kl_raw"], metrics["kl_stderr"]) == (0.0, -0.5, 0.125)
    assert metrics["loss"] == 0.375
    assert metrics["rewards/margins"] == metrics["rewards/chosen"] - metrics["rewards/rejected"] == 1.5
    assert all(math.isfinite(value) for value in metrics.values())


def test_errors_compare_the_squared_errors_of_both_models_by_class() -> None:
    """The policy's error is 30 nats where the reference's is 40, so it is less, and the log-ratio 10."""
    metrics = {"rewards/chosen": 5.0, "logps/chosen": -30.0, "rewards/rejected": -1.0, "logps/rejected": -2.0}
    found = compare_errors(metrics, beta=0.5)
    assert found["log_ratios/chosen"] == 10.0 and found["errors/chosen"] == 0.75
    assert found["log_ratios/rejected"] == -2.0 and "errors/rejected" not in found
    assert compare_errors({"logps/chosen": -1.0}, beta=1.0) == {}
