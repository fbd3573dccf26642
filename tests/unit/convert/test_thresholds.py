"""From scores to verdicts."""

import math
import random

import pytest

from prospect.errors import ConfigError, DataError
from prospect.feedback import Demonstration, Message, Paired, Scored, Unpaired
from prospect.feedback.convert.thresholds import ByScore, Threshold, to_unpaired_by_score
from prospect.feedback.files.rowstore import Rows


def scored(prompt, *scores, **more):
    completions = tuple(f"{prompt}{i}" for i in range(len(scores)))
    return Scored(prompt=prompt, completions=completions, scores=scores, id=prompt, where=f"f:{prompt}", **more)


def thumb(prompt, completion, score, desirable=True):
    return Unpaired(
        prompt=prompt, completion=completion, desirable=desirable, score=score, id=completion, where=f"f:{completion}"
    )


def labels(rows, rule, **more):
    return [row.desirable for row in to_unpaired_by_score(rows, Threshold(rule, **more))]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (2.0, [False, True, True, False]),  # a score at the threshold is desirable
        (2.1, [False, False, True, False]),
        ("mean", [False, False, True, False]),  # 3.5
        ("median", [False, True, True, False]),  # (1 + 2) / 2
    ],
)
def test_a_score_of_at_least_the_threshold_is_desirable(rule, expected):
    assert labels([scored("p", 1.0, 2.0), scored("q", 10.0, 1.0)], rule) == expected


@pytest.mark.parametrize(
    ("rule", "expected"),
    [("mean", [False, False, True, False, True]), ("median", [False, True, True, False, True])],
)
def test_per_prompt_the_threshold_is_that_of_the_prompts_own_scores(rule, expected):
    rows = [scored("p", 1.0, 2.0, 9.0), scored("q", 100.0, 101.0), scored("tied", 5.0, 5.0), thumb("alone", "x", 1.0)]
    maker = ByScore(Rows(rows), Threshold(rule, per_prompt=True))
    assert [verdict.desirable for verdict in maker] == expected
    assert (maker.undecided, maker.without_score) == (3, 0)
    assert labels(rows, rule, per_prompt=True) == expected


def test_the_rows_of_a_prompt_are_taken_together_wherever_they_are():
    rows = [thumb("p", "a", 1.0), scored("q", 5.0, 7.0), thumb("p", "b", 3.0), thumb("p", "c", 2.5)]
    assert labels(rows, "mean", per_prompt=True) == [False, False, True, True, True]


@pytest.mark.parametrize("per_prompt", [False, True])
def test_the_mean_is_rounded_once(per_prompt):
    assert labels([scored("p", 0.1, 0.2, 0.3)], "mean", per_prompt=per_prompt) == [False, True, True]


def test_a_verdict_keeps_its_row_and_its_score():
    rows = [
        scored("p", 1.0, 2.0, weight=0.5, rater="ann", model="m"),
        thumb("q", "x", 2.0, desirable=False),
        Demonstration(prompt="r", completion="y", score=0.5, id="d", where="f:d"),
    ]
    made = to_unpaired_by_score(rows, Threshold(2.0))
    assert [(row.id, row.completion, row.score, row.desirable) for row in made] == [
        ("p/0", "p0", 1.0, False),
        ("p/1", "p1", 2.0, True),
        ("x", "x", 2.0, True),
        ("d", "y", 0.5, False),
    ]
    assert (made[0].weight, made[0].rater, made[0].model) == (0.5, "ann", "m")
    assert all(type(row) is Unpaired for row in made)


def test_rows_without_a_score_and_labels_that_change_are_counted():
    rows = [thumb("p", "a", None), thumb("p", "b", 1.0), thumb("p", "c", 3.0)]
    maker = ByScore(Rows(rows), Threshold(2.0))
    assert [verdict.id for verdict in maker] == ["b", "c"]
    assert (maker.without_score, maker.relabelled) == (1, 1)


def test_bernoulli_draws_by_the_score_between_lowest_and_highest():
    rows = [scored(str(i), 0.0, 0.25, 0.75, 1.0) for i in range(1000)]
    drawn = labels(rows, "bernoulli", seed=4)
    shares = [sum(drawn[i::4]) / 1000 for i in range(4)]
    assert shares[0] == 0
    assert shares[3] == 1
    assert shares[1:3] == pytest.approx([0.25, 0.75], abs=4 * math.sqrt(0.25 * 0.75 / 1000))
    assert labels(rows, "bernoulli", seed=5) != drawn


@pytest.mark.parametrize("per_prompt", [False, True])
@pytest.mark.parametrize("rule", ["mean", "median", "bernoulli"])
def test_the_order_of_rows_does_not_matter(rule, per_prompt):
    draw = random.Random(0)
    rows = [thumb(f"p{i % 7}", f"c{i}", draw.choice([0.1, 0.2, 0.3, draw.random()])) for i in range(200)]
    shuffled = draw.sample(rows, len(rows))
    threshold = Threshold(rule, per_prompt=per_prompt)
    found = [{row.id: row.desirable for row in to_unpaired_by_score(order, threshold)} for order in (rows, shuffled)]
    assert found[0] == found[1]


@pytest.mark.parametrize("rule", ["mean", "median", "bernoulli"])
@pytest.mark.parametrize("per_prompt", [False, True])
def test_the_largest_scores_that_a_float_holds_do_not_overflow(rule, per_prompt):
    assert labels([scored("p", -1.7e308, 1.7e308, 1.7e308)], rule, per_prompt=per_prompt) == [False, True, True]


def test_conversations_are_labelled_like_text():
    turn = (Message("assistant", "hi"),)
    rows = [Scored(prompt=(Message("user", "p"),), completions=(turn, turn), scores=(0.0, 1.0), id="1", where="f:1")]
    assert labels(rows, "bernoulli", per_prompt=True) == [False, True]


@pytest.mark.parametrize(
    ("rows", "rule", "per_prompt", "message"),
    [
        ([thumb("p", "a", None)], 1.0, False, "not one of 1 rows has a score; expected scored rows"),
        ([thumb("p", "a", None)], "mean", True, "not one of 1 rows has a score"),
        ([thumb("p", "a", None)], "mean", False, "not one of 1 rows has a score"),
        ([thumb("p", "a", 0.1)] * 3, "mean", False, "all 3 scores are 0.1, so none is better than another"),
        (
            [thumb("p", "a", 0.1), thumb("q", "b", 2.0)],
            "median",
            True,
            "no prompt of 2 completions with a score has two",
        ),
        (
            [Paired(prompt="p", chosen="a", rejected="b", id="1", where="f:1")],
            1.0,
            False,
            "f:1: the row is a pair, which says itself which side is desirable",
        ),
    ],
)
def test_what_no_threshold_can_label_is_refused(rows, rule, per_prompt, message):
    with pytest.raises(DataError) as caught:
        labels(rows, rule, per_prompt=per_prompt)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("rule", "per_prompt", "message"),
    [
        ("max", False, 'threshold is "max"; expected a number, mean, median, bernoulli'),
        (math.nan, False, "threshold is nan; expected a finite number"),
        (0.5, True, "threshold is 0.5, the same for every prompt"),
    ],
)
def test_a_threshold_that_is_none_is_refused(rule, per_prompt, message):
    with pytest.raises(ConfigError) as caught:
        Threshold(rule, per_prompt=per_prompt)
    assert str(caught.value).startswith(message)
