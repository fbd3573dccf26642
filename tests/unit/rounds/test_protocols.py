"""Which rows a protocol makes of a round's samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from prospect.errors import ConfigError
from prospect.feedback.records import Demonstration, Feedback, Paired, Unpaired
from prospect.losses import get_loss
from prospect.rounds.protocols import Asked, Gathered, Sample, all_protocols, get_protocol


def sample(text: str, score: float | None = None, desirable: bool | None = None, count: int = 1) -> Sample:
    return Sample(f"id-{text}", text, score, desirable, count=count)


def answer(text: str) -> Demonstration:
    return Demonstration(prompt="p", completion=text, id=text, where=text)


def gathered(*samples: Sample, teacher: tuple[str, ...] = (), soft: Any = None, **settings: Any) -> Gathered:
    one = Asked("p", samples, [answer(text) for text in teacher], soft or {})
    return Gathered([one], round=1, source="round 1", model="policy", judge="judge", **settings)


def texts(rows: list[Feedback]) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = []
    for row in rows:
        if isinstance(row, Unpaired):
            found.append((row.completion, row.desirable, row.weight, row.source))
        elif isinstance(row, Paired):
            found.append((row.chosen, row.rejected, row.weight))
        else:
            found.append((row.completion,))  # type: ignore[union-attr]
    return found


MIXED = (sample("good", 1, True, count=3), sample("bad", 0, False), sample("unread"))


def test_online_kto_makes_one_row_of_a_repeated_sample_with_its_count_as_weight() -> None:
    made = get_protocol("online_kto").rows(gathered(*MIXED))
    assert texts(made.rows) == [("good", True, 3.0, "round 1"), ("bad", False, 1.0, "round 1")]
    (row, _) = made.rows
    assert (row.rater, row.model, row.score) == ("judge", "policy", 1)


@pytest.mark.parametrize(
    ("positives", "expected"),
    [
        ("both", ["teacher's", "good", "bad"]),
        ("teacher", ["teacher's", "bad"]),
        ("own", ["good", "bad"]),
    ],
)
def test_orca_math_takes_the_positives_that_are_asked_for(positives: Any, expected: list[str]) -> None:
    made = get_protocol("orca_math").rows(gathered(*MIXED, teacher=("teacher's",), positives=positives))
    assert [one[0] for one in texts(made.rows)] == expected
    assert all(one[1] is (one[0] != "bad") for one in texts(made.rows))


def test_a_teachers_answer_counts_once_however_many_samples_there_are() -> None:
    many = [sample(f"s{i}", 0, False, count=4) for i in range(8)]
    rows = texts(get_protocol("orca_math").rows(gathered(*many, teacher=("teacher's",))).rows)
    assert [one for one in rows if one[3] == "teacher"] == [("teacher's", True, 1.0, "teacher")]


SCORED = (sample("a", 3.0, count=2), sample("b", 1.0), sample("c", 3.0), sample("unread"))


def test_online_dpo_pairs_by_score_and_counts_ties() -> None:
    protocol = get_protocol("online_dpo")
    assert texts(protocol.rows(gathered(*SCORED)).rows) == [("c", "b", 1.0)]
    every = protocol.rows(gathered(*SCORED, pairs="all"))
    assert texts(every.rows) == [("a", "b", 2.0), ("c", "b", 1.0)] and every.ties == 1
    tie = protocol.rows(gathered(sample("a", 1.0), sample("b", 1.0)))
    assert tie == ([], 1)
    assert protocol.rows(gathered(sample("a", 1.0))) == ([], 0)


def test_random_pairs_are_drawn_by_how_often_a_sample_was() -> None:
    """Two draws of one text are a tie: 9 of 10 samples are equal, so that most pairs are none."""
    protocol = get_protocol("online_dpo")
    pool = (sample("a", 1.0, count=9), sample("b", 0.0))
    made = [protocol.rows(gathered(*pool, pairs="random", seed=seed)) for seed in range(200)]
    ties = sum(one.ties for one in made)
    assert 140 < ties < 180  # expected 160: P(both are a) = 9/10 * 8/9
    assert {one for each in made for one in texts(each.rows)} == {("a", "b", 1.0)}


def test_spin_holds_the_teacher_against_own_samples_and_its_own_text_is_a_tie() -> None:
    made = get_protocol("spin").rows(gathered(sample("x", count=2), sample("real"), teacher=("real",)))
    assert texts(made.rows) == [("real", "x", 2.0)] and made.ties == 1


def test_rft_imitates_each_desirable_text_once() -> None:
    assert texts(get_protocol("rft").rows(gathered(*MIXED)).rows) == [("good",)]


def test_rlaif_weighs_both_directions_by_the_soft_label() -> None:
    soft = {(0, 1): 0.75, (0, 2): 1.0, (1, 2): 0.5}
    made = get_protocol("rlaif").rows(gathered(sample("a", count=2), sample("b"), sample("c"), soft=soft))
    assert texts(made.rows) == [("a", "b", 1.5), ("b", "a", 0.5), ("a", "c", 2.0)] and made.ties == 1


def test_the_loss_of_rlaifs_rows_is_the_cross_entropy_with_the_soft_labels() -> None:
    labels = {(0, 1): 0.75, (0, 2): 0.1, (1, 2): 0.6}
    samples = [sample(name) for name in "abc"]
    ratios = dict(zip("abc", torch.tensor([0.3, -1.2, 2.5], dtype=torch.float64), strict=True))
    rows = texts(get_protocol("rlaif").rows(gathered(*samples, soft=labels)).rows)
    dpo = get_loss("dpo")
    chosen, rejected = (torch.stack([ratios[row[side]] for row in rows]) for side in (0, 1))
    weights = torch.tensor([row[2] for row in rows], dtype=torch.float64)
    found = (weights * dpo(chosen, rejected, beta=0.1)).sum() / weights.sum()
    by_hand = 0.0
    for (i, j), p in labels.items():
        margin = 0.1 * (ratios["abc"[i]] - ratios["abc"[j]])
        by_hand += -p * torch.nn.functional.logsigmoid(margin) - (1 - p) * torch.nn.functional.logsigmoid(-margin)
    torch.testing.assert_close(found, by_hand / 3, rtol=1e-14, atol=0)


def test_ones_own_protocol_comes_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from prospect.rounds import protocol\n\n"
        '@protocol("kto", least_samples=2)\n'
        "def mine(gathered):\n"
        "    return [gathered.thumb(one.prompt, s, True) for one in gathered.asked for s in one.samples]\n\n"
        "plain = 3\n"
    )
    found = get_protocol(f"{file}:mine")
    assert (found.name, found.loss, found.least_samples) == ("mine", "kto", 2)
    assert len(found.rows(gathered(*MIXED)).rows) == 3
    assert "mine" not in all_protocols()
    with pytest.raises(ConfigError, match=r"is no protocol\. Decorate the function with @protocol"):
        get_protocol(f"{file}:plain")


def test_a_protocol_that_is_misspelt_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r'"online_ktoo" is unknown; did you mean "online_kto"\?'):
        get_protocol("online_ktoo")
