"""The studies of rounds: the stricter judge, and the tables that are made of what was run."""

from pathlib import Path
from typing import Any

import pytest

from prospect.user_code import import_file

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
tables = import_file(BENCHMARKS / "rounds_tables.py")
desk = import_file(BENCHMARKS / "strict_desk.py")

ADA = {"name": "Ada", "order": "1234", "product": "lamp", "problem": "late"}
GOOD = "Hello Ada, we are sorry for the trouble. This is about order 1234. We are tracing the parcel with the lamp. "


@pytest.mark.parametrize(
    ("reply", "kept"),
    [
        (GOOD + "Yours, the support desk", True),
        (GOOD + "Kind regards, your support desk", False),
        (
            GOOD.replace("we are sorry for the trouble", "thank you for writing to us") + "Yours, the support desk",
            False,
        ),
        (GOOD.replace("1234", "1235") + "Yours, the support desk", False),
    ],
)
def test_the_strict_judge_wants_an_apology_and_a_signature_beside_the_five_rules(reply: str, kept: bool) -> None:
    assert desk.keeps_seven_rules(None, reply, ADA) is kept


def cell(*shares: float, judged: tuple[int, int] = (3, 5)) -> dict[str, Any]:
    """A line of two hundred customers, of whom the first ones pass."""
    return {
        "rounds": [
            {
                "passed": [float(i < 200 * share) for i in range(200)],
                "tokens": 100 * (number > 0),
                "steps": 15 * (number > 0),
                "judged": list(judged) if number else None,
                "clamped": 0.5 if number else None,
            }
            for number, share in enumerate(shares)
        ]
    }


def test_arms_are_compared_after_the_round_that_the_question_names_and_over_the_seeds_that_all_have() -> None:
    cells = {("a", seed): cell(0.1, 0.2, 0.3, 0.9) for seed in range(3)}
    cells |= {("b", seed): cell(0.1, 0.2, 0.5) for seed in range(2)}
    text = "\n".join(tables.show(tables.Question("", {"first": "a", "second": "b"}), cells))
    assert "+20.0 (" in text and "better" in text and "seeds 0, 1;" in text
    assert "90.0" not in text
    assert "| 200 | 30 | 50.0 |" in text


def test_a_longer_run_is_compared_after_its_last_round() -> None:
    cells = {("a", seed): cell(0.1, 0.2, 0.9) for seed in range(2)} | {("b", seed): cell(0.1, 0.5) for seed in range(2)}
    lines = tables.show(tables.Question("", {"first": "a", "second": "b"}, upto=None), cells)
    assert "-40.0 (" in lines[3] and "worse" in lines[3]


def test_equal_arms_show_no_difference() -> None:
    cells = {(arm, seed): cell(0.1, 0.4) for arm in "ab" for seed in range(2)}
    assert "no difference shown" in tables.show(tables.Question("", {"first": "a", "second": "b"}), cells)[3]


def test_a_question_that_was_not_run_says_so() -> None:
    question = tables.Question("", {"first": "a", "second": "b"})
    assert tables.show(question, {}) == ["Not run."]
    assert tables.show(question, {("a", 0): cell(0.1, 0.4)}) == ["Not run."]
