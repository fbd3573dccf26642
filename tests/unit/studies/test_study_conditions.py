"""Data conditions: what is flipped, dropped and paired, and that it follows from the rows and the seed alone."""

from __future__ import annotations

from typing import Any

import pytest

from prospect.errors import ConfigError, DataError
from prospect.feedback.records import Demonstration, Paired, Unpaired
from prospect.studies.conditions import apply_condition, count, describe, flip
from prospect.studies.sections import Condition


def thumbs(prompts: int, each: int = 4) -> list[Unpaired]:
    return [
        Unpaired(prompt=f"p{i}", completion=f"c{i} {j}", desirable=j % 2 == 0, id=f"{i}-{j}", where=f"x:{i}:{j}")
        for i in range(prompts)
        for j in range(each)
    ]


def pairs(count: int) -> list[Paired]:
    return [Paired(prompt=f"p{i}", chosen=f"good {i}", rejected=f"bad {i}", id=f"{i}", where="x") for i in range(count)]


def applied(rows: Any, seed: int = 0, **settings: Any) -> list[Any]:
    return apply_condition(rows, Condition(**settings), seed)


def test_without_settings_nothing_happens() -> None:
    rows = thumbs(5)
    assert applied(rows) == rows


@pytest.mark.parametrize("share", [0.1, 0.4])
def test_so_many_verdicts_are_turned_round(share: float) -> None:
    rows = thumbs(500)
    turned = sum(a.desirable != b.desirable for a, b in zip(rows, flip(rows, share, 0), strict=True))
    assert turned / len(rows) == pytest.approx(share, abs=0.04)
    assert all(a.completion == b.completion for a, b in zip(rows, flip(rows, share, 0), strict=True))


def test_more_flips_turn_further_verdicts_and_leave_the_others() -> None:
    rows = thumbs(100)
    few, many = ({row.id for row, was in zip(flip(rows, s, 1), rows, strict=True) if row != was} for s in (0.1, 0.3))
    assert few < many
    assert flip(rows, 0.1, 1) != flip(rows, 0.1, 2)
    assert [row.desirable for row in flip(rows, 1.0, 0)] == [not row.desirable for row in rows]


def test_a_flip_does_not_depend_on_the_order_of_rows_nor_of_sides() -> None:
    rows = pairs(200)
    turned = {row.id for row in flip(rows, 0.3, 0) if row.chosen.startswith("bad")}
    assert 30 < len(turned) < 90
    assert {row.id for row in flip(rows[::-1], 0.3, 0) if row.chosen.startswith("bad")} == turned
    other_way = flip([Paired(**{**vars(r), "chosen": r.rejected, "rejected": r.chosen}) for r in rows], 0.3, 0)
    assert {row.id for row in other_way if row.chosen.startswith("good")} == turned


def test_a_share_of_a_class_is_kept_and_five_percent_are_among_ten() -> None:
    rows = thumbs(500)
    ten, five = applied(rows, keep_desirable=0.1), applied(rows, keep_desirable=0.05)
    assert sum(not row.desirable for row in ten) == 1000
    assert sum(row.desirable for row in ten) == pytest.approx(100, abs=30)
    assert {row.id for row in five} < {row.id for row in ten}


def test_one_y_per_x_leaves_one_row_of_each_prompt_of_either_class() -> None:
    rows = applied(thumbs(100), one_per_prompt=True)
    assert sorted({row.prompt for row in rows}) == sorted(row.prompt for row in rows)
    assert len(rows) == 100
    assert 25 < sum(row.desirable for row in rows) < 75


def test_thumbs_become_pairs() -> None:
    rows = applied(thumbs(10), pairing="all")
    assert len(rows) == 40
    assert all(isinstance(row, Paired) for row in rows)


@pytest.mark.parametrize(
    ("rows", "settings", "message"),
    [
        (pairs(3), {"keep_desirable": 0.5}, "the row is paired; keep_desirable"),
        (pairs(3), {"pairing": "all"}, "the row is paired"),
        (thumbs(3, 1), {"keep_desirable": 0.0}, "none of 3 rows is left"),
        ([Demonstration(prompt="p", completion="c", id="1", where="x:1")], {"flip": 0.5}, "no verdict to turn round"),
    ],
)
def test_what_a_condition_cannot_do_is_refused(rows: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        applied(rows, **settings)


def test_counts_are_of_what_a_loss_learns_from() -> None:
    rows = [*thumbs(3), *thumbs(4, 1)[3:]]
    assert count(rows, "unpaired") == {"desirable": 7, "undesirable": 6}
    assert count(rows, "paired") == {"desirable": 7, "undesirable": 6, "pairs": 6, "rows left out": 1}
    assert count(pairs(3), "unpaired") == {"desirable": 3, "undesirable": 3}
    demonstrations = [Demonstration(prompt="p", completion="c", id="1", where="x:1")]
    assert count(demonstrations, "demonstration") == {"rows": 1}


def test_a_condition_is_described_in_a_sentence() -> None:
    assert describe(Condition()) == "The feedback as it is"
    assert describe(Condition(keep_desirable=0.01)) == "1 % of the desirable rows are kept"
    assert describe(Condition(flip=0.2, one_per_prompt=True)) == (
        "20 % of the verdicts are turned round, one row of each prompt is kept"
    )


def test_raters_whose_taste_goes_round_spoil_half_of_their_share_of_pairs() -> None:
    from prospect.demo.study_world import DemoWorld, _pairs
    from prospect.demo.world import training_prompts
    from prospect.models.sampling import Generated

    asked = training_prompts(150, 0)
    good = "Hello {name}, we are sorry. I have looked at order {order}. Yours, the desk"
    replies = [
        [Generated(good.format(name=one.name, order=one.order), 9, True), Generated("Stop complaining.", 4, True)]
        for one in asked
    ]
    chosen = [[row.chosen[0].content for row in _pairs(asked, replies, share, 0)] for share in (0, 1)]
    right = [sum(text != "Stop complaining." for text in texts) for texts in chosen]
    assert right[0] == 150
    assert 50 < right[1] < 100
    tied = [[one, one] for one, _ in replies]
    assert _pairs(asked, tied, 0.0, 0) == []
    with pytest.raises(ConfigError, match="even number"):
        DemoWorld({"kind": "demo", "feedback": "pairs", "replies": 3})
