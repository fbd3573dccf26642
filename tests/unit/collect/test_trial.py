"""When a canary is worse, when it may be promoted, and when nothing can be said yet."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from prospect.collect.arms import Arms, RaterVotes
from prospect.collect.trial import Rules, as_check, judge
from prospect.results.canary import ArmCounts, CanaryResult
from prospect.statistics.sequential import confidence_sequence, sequential_gap

SINCE = "2026-11-30T12:00:00.000+00:00"


def arm(model: str, **counts: Any) -> ArmCounts:
    """An arm with 80 % of its votes up, on a tenth of its turns, and no errors."""
    turns = counts.pop("turns", 10_000)
    down = counts.pop("down", turns // 50)
    usual = {
        "conversations": turns // 2, "turns": turns, "errors": 0, "voted": turns // 10, "downed": down,
        "up": turns // 10 - down, "down": down, "timed": turns, "p95_ms": 900.0,
    }  # fmt: skip
    return ArmCounts(model=model, **{**usual, **counts})


def raters(current: ArmCounts, canary: ArmCounts, each: int = 5) -> list[RaterVotes]:
    """Raters who cast `each` votes on one of the arms."""
    rows = []
    for name, one in (("current", current), ("canary", canary)):
        votes = np.random.default_rng(0).permutation([1] * one.up + [0] * one.down)
        for number, start in enumerate(range(0, len(votes), each)):
            part = votes[start : start + each]
            rows.append(RaterVotes(f"{name}{number}", name, int(part.sum()), int(len(part) - part.sum())))
    return rows


def seen(
    rules: Rules | None = None, *, share: float = 0.5, slow: int = 0, old: dict[str, Any] | None = None, **new: Any
) -> CanaryResult:
    current, canary = arm("old", **(old or {})), arm("new", **new)
    return judge(Arms(current, canary, slow, 1350.0, raters(current, canary)), SINCE, share, rules or Rules())


def test_a_canary_with_many_more_thumbs_down_is_worse() -> None:
    found = seen(down=450)
    assert found.verdict == "worse" and len(found.reasons) == 2
    assert found.reasons[0].startswith("its up-share is -25.0 (") and "margin of 5.0 points" in found.reasons[0]
    assert found.reasons[1].startswith("turns voted down are +2.5 (") and "margin of 0.50 points" in found.reasons[1]


def test_each_of_the_four_rules_has_a_fourth_of_the_risk() -> None:
    found = seen(down=150, errors=7)
    level = 1 - 0.05 / 4
    assert found.up_share == sequential_gap((850, 1000), (800, 1000), level)
    assert found.down_turns == sequential_gap((150, 10_000), (200, 10_000), level)
    assert found.errors == sequential_gap((7, 10_007), (0, 10_000), level)
    assert found.slow == confidence_sequence(0, 10_000, level)


def test_thumbs_that_are_withheld_are_seen_in_the_turns_voted_down() -> None:
    # The same up-share, but ten times as many votes of both kinds.
    found = seen(voted=9_000, up=7_200, down=1_800, downed=1_800)
    assert found.verdict == "worse" and [reason[:12] for reason in found.reasons] == ["turns voted "]


def test_fewer_than_fifty_votes_on_an_arm_decide_nothing() -> None:
    few = {"turns": 490, "up": 0, "down": 49, "downed": 49, "voted": 49}
    assert seen(**few, share=0.05).verdict == "too early"
    assert "49 votes on it and 1,000 on the current model; 50 on each" in seen(**few, share=0.05).reasons[0]
    one_more = {**few, "turns": 500, "down": 50, "downed": 50, "voted": 50}
    assert seen(**one_more, share=0.05).verdict == "worse"


def test_errors_and_slow_answers_need_no_votes_to_be_worse() -> None:
    quiet = {"up": 0, "down": 0, "downed": 0, "voted": 0}
    errors = seen(**quiet, errors=400)
    assert errors.verdict == "worse" and errors.reasons[0].startswith("requests fail +3.8 (")
    slow = seen(**quiet, slow=800)
    assert slow.verdict == "worse" and "take longer than 1350 ms, which is 1.5 times" in slow.reasons[0]
    # 5 % of answers are beyond the 95th percentile by its definition, and so may be the canary's.
    assert seen(**quiet, slow=500).verdict == "too early"
    assert seen(**quiet, errors=90).verdict == "too early"


def test_an_equal_canary_may_be_promoted_when_enough_votes_show_it() -> None:
    small, large = seen(), seen(old={"turns": 200_000}, turns=200_000)
    assert small.verdict == "not shown" and not as_check(small).passed
    assert "that it is not worse by 5.0 points is not shown yet" in small.reasons[0]
    assert large.verdict == "equal" and as_check(large).passed
    assert seen(Rules(margin=0.2)).verdict == "equal"


def test_a_better_canary_is_called_better() -> None:
    found = seen(down=20)
    assert found.verdict == "better" and as_check(found).passed
    assert found.up_share is not None and found.up_share.low > 0


def test_a_few_raters_cannot_carry_a_canary_over() -> None:
    current, canary = arm("old"), arm("new", down=20)
    few = raters(current, canary, each=500)
    found = judge(Arms(current, canary, 0, None, few), SINCE, 0.5, Rules())
    assert found.verdict == "not shown" and "of too few raters" in found.reasons[0]
    # Ten on each, of whom some only vote up and some only down.
    of_one_mind = [
        RaterVotes(f"{name}{number}", name, *((100, 0) if number < kept else (0, 100)))
        for name, kept in (("current", 8), ("canary", 9))
        for number in range(10)
    ]
    found = judge(Arms(current, arm("new", down=100), 0, None, of_one_mind), SINCE, 0.5, Rules())
    assert found.verdict == "not shown" and "where raters are drawn in place of votes" in found.reasons[0]


def test_arms_of_another_size_than_planned_say_nothing_about_votes() -> None:
    found = seen(down=20, conversations=6_000)
    assert (
        found.verdict == "uneven arms" and "54.5% of 11,000 conversations where 50.0% were planned" in found.reasons[0]
    )
    # A deviation that chance would hardly give at one look, but may well at one of many.
    assert seen(down=20, conversations=5_450).verdict == "better"
    # A worse canary goes all the same.
    assert seen(down=450, conversations=6_000).verdict == "worse"


def test_a_canary_that_the_server_does_not_have_is_worse_after_a_while() -> None:
    nothing = dict.fromkeys(("conversations", "turns", "voted", "downed", "up", "down", "timed"), 0)
    early, late = (seen(share=0.05, old={"turns": turns}, **nothing) for turns in (200, 1000))
    assert early.verdict == "too early"
    assert late.verdict == "worse" and late.reasons == [
        "it answered in none of 500 conversations. Does the server have new?"
    ]


def test_a_canary_that_nobody_has_met_is_too_early() -> None:
    nothing = dict.fromkeys(("conversations", "turns", "voted", "downed", "up", "down", "timed"), 0)
    found = judge(Arms(arm("old", **nothing), arm("new", **nothing), 0, None, []), SINCE, 0.05, Rules())
    assert found.verdict == "too early" and found.up_share is None and found.slow is None
    assert CanaryResult.model_validate(found.as_dict()).as_dict() == found.as_dict()


@pytest.mark.parametrize("margin", [0.05, 0.0])
def test_an_equal_canary_that_is_looked_at_every_day_is_seldom_rolled_back(margin: float) -> None:
    random, sent_back = np.random.default_rng(1), 0
    for _ in range(60):
        votes = np.cumsum(random.random((2, 20, 100)) < 0.8, axis=1).sum(axis=2)
        for day in range(20):
            old, new = (
                arm(
                    name, turns=1000 * (day + 1), voted=100 * (day + 1), up=int(up), down=100 * (day + 1) - int(up),
                    downed=100 * (day + 1) - int(up),
                )
                for name, up in zip(("old", "new"), votes[:, day], strict=True)
            )  # fmt: skip
            found = judge(Arms(old, new, 0, None, []), SINCE, 0.5, Rules(margin=margin), by_rater=False)
            if found.verdict == "worse":
                sent_back += 1
                break
    assert sent_back <= 3  # 5 % of 60
