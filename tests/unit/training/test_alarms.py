"""Alarms ring for texts and rewards that collapse, and stay quiet for those that do not."""

from __future__ import annotations

import random
from typing import Any

import pytest

from prospect.results.run import Alarm, SampleRow
from prospect.training.alarms import (
    REWARD_STEPS,
    Watch,
    length_alarm,
    repetition,
    repetition_alarm,
    rewards_alarm,
)

NATURAL = (
    "Dear Ada, we are sorry that the desk lamp of order 48213 came with a broken switch. We will replace it at no "
    "cost; the new one leaves our house on Monday. Please keep the old lamp until it has come."
)
LIST = (
    "Three ways:\n- take the morning train\n- take the night train\n- take the bus to the coast and walk from there\n"
)
REFRAIN = "Row, row, row your boat, gently down the stream. Merrily, merrily, merrily, merrily, life is but a dream."
CHINESE = "您好,我们很抱歉您的台灯开关坏了。我们会在星期一免费给您寄出一盏新的台灯,请您先保留旧的,谢谢您的来信。"


def samples(texts: list[str], tokens: list[int] | None = None, step: int = 0) -> list[SampleRow]:
    counts = tokens or [len(text) // 4 for text in texts]
    return [
        SampleRow(step=step, prompt=f"p{i}", completion=text, tokens=count)
        for i, (text, count) in enumerate(zip(texts, counts, strict=True))
    ]


def pictures(step: int, count: int = 8, **changes: Any) -> list[SampleRow]:
    """Images that have nothing in common, with what is changed of the first of them."""
    rows = []
    for i in range(8):
        seen = {"likeness": f"{i:x}" * 16, "spread": 60.0, "saturated": 0.1, **(changes if i < count else {})}
        rows.append(SampleRow(step=step, prompt=f"p{i}", completion="", image=f"{step}-{i}.png", **seen))
    return rows


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"spread": 0.4}, "4 of 8 have one colour all over"),
        ({"saturated": 0.9}, "4 of 8 are black, white or of full colours"),
        ({"likeness": "0123456789abcdef"}, "4 of 8 look alike, whatever was asked"),
    ],
)
def test_images_that_have_collapsed_since_the_first_step_ring(changes: Any, said: str) -> None:
    def seen(before: list[SampleRow], after: list[SampleRow]) -> list[Alarm]:
        watch = Watch(rewards_beta=None, errors=True)
        assert watch.see_samples(before) == []
        return watch.see_samples(after)

    (alarm,) = seen(pictures(0), pictures(5, 4, **changes))
    assert alarm.kind == "pictures" and said in alarm.text
    assert seen(pictures(0), pictures(5, 3, **changes)) == []
    assert seen(pictures(0, 4, **changes), pictures(5, 7, **changes)) == []


@pytest.mark.parametrize("text", [NATURAL, LIST, REFRAIN, CHINESE])
def test_natural_text_does_not_count_as_repeated(text: str) -> None:
    share = repetition(text)
    assert share is not None and share < 0.3


@pytest.mark.parametrize("text", ["a" * 60, "thank you " * 8, "\n" * 50, "谢谢您的来信。" * 9, NATURAL + " very" * 60])
def test_a_loop_counts_as_repeated(text: str) -> None:
    share = repetition(text)
    assert share is not None and share > 0.5


def test_a_period_of_k_characters_has_k_distinct_windows() -> None:
    assert repetition("abcd" * 20) == pytest.approx(1 - 4 / 69)


def test_a_short_text_says_nothing() -> None:
    assert repetition("no no no no no no no no no no") is None
    assert repetition("") is None


@pytest.mark.parametrize(
    ("count", "looping", "rings"), [(4, 2, False), (4, 3, True), (8, 3, False), (8, 4, True), (2, 2, False)]
)
def test_repetition_rings_from_half_of_the_samples_and_three(count: int, looping: int, rings: bool) -> None:
    first, now = samples([NATURAL] * count), samples(["dog " * 30] * looping + [NATURAL] * (count - looping))
    assert bool(repetition_alarm(first, now)) is rings


@pytest.mark.parametrize(("repeated", "rings"), [(100, False), (140, True)])
def test_a_text_loops_where_more_than_half_of_it_was_said_before(repeated: int, rings: bool) -> None:
    """120 windows that are new, and 45 or 54 % of all that are not."""
    text = "".join(map(chr, range(0x4E00, 0x4E00 + 120))) * 3
    text = text[: 120 + repeated + 11]
    assert repetition(text) == pytest.approx(repeated / (120 + repeated))
    assert bool(repetition_alarm(samples([NATURAL] * 4), samples([text] * 4))) is rings


def test_a_model_that_looped_from_the_start_is_not_blamed_on_training() -> None:
    loops = samples(["dog " * 30] * 8)
    assert repetition_alarm(loops, loops) is None
    assert repetition_alarm(samples([NATURAL] * 8), loops).text.startswith("8 of 8 samples")  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("before", "after", "wanted", "rings"),
    [
        ([20] * 4, [60] * 4, None, True),
        ([20] * 4, [60, 60, 60, 20], None, False),  # three of four are chance
        ([20] * 8, [60] * 6 + [20] * 2, None, True),
        ([20] * 4, [38] * 4, None, False),  # not doubled
        ([60] * 4, [2] * 4, 30, True),  # past the aim
        ([64] * 4, [20] * 4, 18, False),  # it has learnt to end
        ([20] * 4, [60] * 4, 60, False),
        ([20] * 4, [60] * 4, 15, True),
        ([20] * 3, [0] * 3, None, False),
    ],
)
def test_length_rings_where_most_samples_leave_the_aim(
    before: list[int], after: list[int], wanted: float | None, rings: bool
) -> None:
    first, now = (samples(["text"] * len(counts), counts) for counts in (before, after))
    assert bool(length_alarm(first, now, wanted)) is rings


def test_samples_of_one_healthy_model_ring_in_few_evaluations() -> None:
    """Lengths of real answers are about log-normal with sigma 0.5; the same model at two times, 4 or 8 samples."""
    draw = random.Random(0)
    for count in (4, 8):
        rung = 0
        for _ in range(2000):
            before, after = ([int(30 * draw.lognormvariate(0, 0.5)) for _ in range(count)] for _ in range(2))
            rung += length_alarm(samples(["x"] * count, before), samples(["x"] * count, after)) is not None
        assert rung <= 20


def steps(chosen: float, rejected: float, noise: float = 0.1, start: float = 0.0) -> list[dict[str, Any]]:
    """Rewards that go on a line from `start` to these values over one window."""
    draw = random.Random(1)

    def at(end: float, i: int) -> float:
        return start + (end - start) * (i + 1) / REWARD_STEPS + draw.gauss(0, noise)

    return [
        {"step": i + 1, "loss": 0.5, "rewards/chosen": at(chosen, i), "rewards/rejected": at(rejected, i)}
        for i in range(REWARD_STEPS)
    ]


@pytest.mark.parametrize(
    ("rows", "rings"),
    [
        (steps(-3, -4), True),
        (steps(1, -4), False),  # they part
        (steps(-0.2, -4), False),  # not well below 0
        (steps(-3, -4)[1:], False),  # too few to say
        (steps(-3, -3, start=-3), False),  # low, and not falling
        (steps(-3, -4, noise=20), False),  # noise
    ],
)
def test_rewards_ring_where_both_fall_far(rows: list[dict[str, Any]], rings: bool) -> None:
    assert bool(rewards_alarm(rows, beta=0.1)) is rings


def test_far_is_measured_in_nats_and_not_in_beta() -> None:
    assert rewards_alarm(steps(-3, -4), beta=1.0) is None
    assert rewards_alarm(steps(-30, -40), beta=1.0) is not None


def test_a_watch_rings_once_a_window_and_after_a_resume_as_if_there_was_none() -> None:
    rows = steps(-3, -4) + steps(-9, -9, start=-3)
    whole = Watch(rewards_beta=0.1)
    rung = [bool(whole.see_step(row)) for row in rows]
    assert sum(rung) == 2 and rung[REWARD_STEPS - 1] and rung[-1]
    resumed = Watch(rewards_beta=0.1)
    resumed.catch_up([{"step": 0, "eval_loss": 1.0}, *rows[:25]], samples([NATURAL] * 4))
    assert [bool(resumed.see_step(row)) for row in rows[25:]] == rung[25:]
    assert [alarm.kind for alarm in resumed.see_samples(samples(["no " * 40] * 4, [45] * 4, step=9))] == ["repetition"]


def test_a_watch_without_rewards_or_beta_is_quiet() -> None:
    assert not any(Watch(rewards_beta=None).see_step(row) for row in steps(-30, -40))
    assert not any(Watch(rewards_beta=0.1).see_step({"step": i, "loss": 1.0}) for i in range(50))


def errors(log_ratio: float, error: float, count: int = REWARD_STEPS) -> list[dict[str, float]]:
    names = ("log_ratios/chosen", "errors/chosen")
    return [{"step": i, "loss": 1.0, **dict(zip(names, (log_ratio, error), strict=True))} for i in range(count)]


@pytest.mark.parametrize(
    ("rows", "rings"),
    [
        (errors(-5.1, 1.06), True),
        (errors(-4.9, 1.06), False),
        (errors(-5.1, 1.04), False),  # 5 nats of a large image are noise
        (errors(-600.0, 3.0, REWARD_STEPS - 1), False),
    ],
)
def test_errors_ring_where_desirable_images_become_less_likely(rows: list[dict[str, float]], rings: bool) -> None:
    watch = Watch(rewards_beta=None, errors=True)
    rung = [alarm.kind for row in rows for alarm in watch.see_step(row)]
    assert rung == (["rewards"] if rings else [])
