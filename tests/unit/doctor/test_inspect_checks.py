"""Each check of the data doctor, on rows that were made to trigger it and on rows that must not."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prospect.feedback.doctor.inspect import inspect_feedback
from prospect.feedback.findings import EXAMPLES, Finding
from prospect.statistics.noise import compare, estimate_noise, sign_test, wilson

Row = dict[str, Any]
Find = Callable[..., dict[str, Finding]]
WORDS = (
    "time",
    "day",
    "hand",
    "part",
    "place",
    "case",
    "week",
    "point",
    "number",
    "home",
    "water",
    "room",
    "area",
    "money",
)


@pytest.fixture
def find(tmp_path: Path) -> Find:
    def inspect(rows: Sequence[Row], held_out: Sequence[Row] | None = None, **options: Any) -> dict[str, Finding]:
        files = {"train.jsonl": rows, "eval.jsonl": held_out or []}
        for name, content in files.items():
            (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in content), encoding="utf-8")
        if held_out:
            options["eval_files"] = tmp_path / "eval.jsonl"
        found = inspect_feedback(tmp_path / "train.jsonl", **options).findings
        return {finding.code: finding for finding in found}

    return inspect


def sentence(rng: random.Random, words: int) -> str:
    return " ".join(rng.choice(WORDS) + str(rng.randrange(1000)) for _ in range(words))


def thumbs(count: int = 200, **columns: Any) -> list[Row]:
    """Thumbs with nothing wrong about them."""
    rng = random.Random(0)
    return [
        {"prompt": sentence(rng, 12), "completion": sentence(rng, 20), "label": rng.random() < 0.5, **columns}
        for _ in range(count)
    ]


def pairs(count: int = 200) -> list[Row]:
    rng = random.Random(1)
    return [
        {"prompt": sentence(rng, 9), "chosen": sentence(rng, 20), "rejected": sentence(rng, 20)} for _ in range(count)
    ]


def groups(count: int = 200, completions: int = 3) -> list[Row]:
    rng = random.Random(2)
    return [
        {
            "prompt": sentence(rng, 9),
            "completions": [sentence(rng, 20) for _ in range(completions)],
            "scores": [rng.random() for _ in range(completions)],
        }
        for _ in range(count)
    ]


@pytest.mark.parametrize("rows", [thumbs(), pairs(), groups()])
def test_nothing_is_found_where_nothing_is_wrong(find: Find, rows: list[Row]) -> None:
    assert find(rows) == {}


CHANGES: dict[str, tuple[str, Callable[[Row], Row], int]] = {
    "empty_prompts": ("note", lambda row: {**row, "prompt": ""}, 3),
    "empty_completions": ("warning", lambda row: {**row, "completion": ""}, 3),
    "blank_completions": ("warning", lambda row: {**row, "completion": " \n"}, 3),
    "zero_weight": ("warning", lambda row: {**row, "weight": 0}, 3),
    "heavy_weights": ("warning", lambda row: {**row, "weight": 1000}, 3),
    "relative_votes": ("warning", lambda row: {**row, "relative": True}, 3),
    "unfinished": ("note", lambda row: {**row, "finished": False}, 3),
    "personal_data": ("warning", lambda row: {**row, "completion": "write to jo.doe@example.com " * 5}, 3),
    "odd_characters_control": ("warning", lambda row: {**row, "completion": row["completion"] + "\x1b[0m"}, 3),
    "odd_characters_nul": ("warning", lambda row: {**row, "completion": row["completion"] + "\0"}, 3),
    "odd_characters_replacement": ("warning", lambda row: {**row, "completion": row["completion"] + "\ufffd"}, 3),
    "other_script": ("note", lambda row: {**row, "completion": "Посылка придёт завтра утром"}, 3),
    "unreadable_rows": ("error", lambda row: {**row, "label": "perhaps"}, 3),
    "repeated_ids": ("note", lambda row: {**row, "id": "one"}, 2),
    "prompts_too_long": ("warning", lambda row: {**row, "prompt": "word " * 3000}, 3),
    "cut_by_max_length": ("note", lambda row: {**row, "completion": "word " * 3000}, 3),
}


@pytest.mark.parametrize("code", CHANGES)
def test_three_odd_rows_are_found_and_named(find: Find, code: str) -> None:
    severity, change, count = CHANGES[code]
    rows = thumbs()
    for place in (4, 50, 120):
        rows[place] = change(rows[place])
    found = find(rows)[code]
    assert (found.severity, found.count) == (severity, count)
    expected = {"train.jsonl:5", "train.jsonl:51", "train.jsonl:121"} if code != "repeated_ids" else {"one"}
    assert set(found.rows) == expected
    assert found.message and found.advice


def test_personal_data_in_a_raters_reason_is_found(find: Find) -> None:
    found = find([*thumbs(), {**thumbs()[0], "prompt": "Another one?", "reason": "ask jo.doe@example.com"}])
    assert found["personal_data"].rows == ("train.jsonl:201",)


def test_examples_are_few(find: Find) -> None:
    found = find(thumbs(relative=True))["relative_votes"]
    assert found.count == 200
    assert len(found.rows) == EXAMPLES


@pytest.mark.parametrize("label", [True, False])
def test_one_class_is_an_error(find: Find, label: bool) -> None:
    found = find([{**row, "label": label} for row in thumbs()])["one_class"]
    assert (found.severity, found.count) == ("error", 200)


def test_five_to_one_is_uneven_and_three_to_one_is_not(find: Find) -> None:
    assert "uneven_classes" in find([{**row, "label": i % 6 > 0} for i, row in enumerate(thumbs())])
    assert "uneven_classes" not in find([{**row, "label": i % 4 > 0} for i, row in enumerate(thumbs())])


def test_demonstrations_have_no_verdict(find: Find) -> None:
    rows = [{"prompt": row["prompt"], "completion": row["completion"]} for row in thumbs()]
    assert set(find(rows)) == {"no_verdicts"}


def test_a_copy_is_an_exact_duplicate_and_a_second_vote_is_not(find: Find) -> None:
    rows = thumbs(rater="a")
    found = find([*rows, {**rows[7], "id": "copy"}])["exact_duplicates"]
    assert (found.count, found.rows) == (1, ("copy",))
    assert "exact_duplicates" not in find([*rows, {**rows[7], "rater": "b"}])


def test_a_changed_word_is_a_near_duplicate(find: Find) -> None:
    rows = thumbs()
    text = sentence(random.Random(5), 80)
    rows += [{"prompt": "p", "completion": f"{text} {end}", "label": end == "x"} for end in "xyz"]
    found = find(rows)["near_duplicates"]
    assert found.count == 3
    assert "carries both labels" in found.message


def test_a_canned_answer_is_found_with_its_share_of_thumbs_down(find: Find) -> None:
    rows = [
        {**row, "completion": "I cannot help.", "label": False} if i % 10 == 0 else row
        for i, row in enumerate(thumbs())
    ]
    found = find(rows)["repeated_completions"]
    assert found.count == 20
    assert "100 % of these completions are undesirable" in found.message


def test_both_labels_on_one_completion_contradict(find: Find) -> None:
    rows = thumbs()
    rows += [{**row, "label": not row["label"]} for row in rows[:4]]
    assert find(rows)["contradictory_labels"].count == 4


def test_the_last_verdict_of_a_rater_counts(find: Find) -> None:
    rows = thumbs(rater="a", time=100)
    late = [{**row, "label": not row["label"], "time": 200} for row in rows[:4]]
    assert "contradictory_labels" not in find([*rows, *late])
    assert find([*rows, *({**row, "rater": "b"} for row in late)])["contradictory_labels"].count == 4


def test_a_pair_in_both_directions_contradicts(find: Find) -> None:
    rows = pairs()
    rows += [{**row, "chosen": row["rejected"], "rejected": row["chosen"]} for row in rows[:3]]
    found = find(rows)
    assert found["contradictory_preferences"].count == 3
    assert "circular_preferences" not in found  # two votes against each other are a tie, not a circle


def circle(order: str) -> list[Row]:
    return [{"prompt": "p", "chosen": f"{a} wins", "rejected": f"{b} wins"} for a, b in pairwise(order)]


@pytest.mark.parametrize(
    ("rows", "is_circle"),
    [
        (circle("abca"), True),
        (circle("abcda"), True),
        (circle("abcd"), False),
        (circle("abca") + circle("ac"), False),  # one vote each way between a and c: they are tied
        (circle("abca") + circle("ac") + circle("ac"), False),  # by majority a is above c
        (circle("abca") + circle("ca") + circle("ac"), True),
    ],
)
def test_circles_are_found_by_majority(find: Find, rows: list[Row], is_circle: bool) -> None:
    assert ("circular_preferences" in find(pairs() + rows)) is is_circle


def test_scores_of_one_prompt_can_go_in_a_circle(find: Find) -> None:
    rows = [
        {"prompt": "p", "completions": [a, b], "scores": [1, 0]}
        for a, b in (("a a", "b b"), ("b b", "c c"), ("c c", "a a"))
    ]
    assert find(groups() + rows)["circular_preferences"].count == 1


@pytest.mark.parametrize("flip", [0.05, 0.3])
def test_the_noise_of_simulated_raters_is_found(find: Find, flip: float) -> None:
    rng = random.Random(3)
    rows = []
    for i in range(800):
        truth = rng.random() < 0.5
        text = sentence(rng, 10)
        rows += [
            {"prompt": f"p{i}", "completion": text, "label": truth ^ (rng.random() < flip), "rater": f"r{k}"}
            for k in range(3)
        ]
    found = find(rows)["label_noise"]
    assert found.severity == ("warning" if flip > 0.2 else "note")
    assert found.count == 2400


def test_raters_who_always_vote_one_way_are_found(find: Find) -> None:
    rows = thumbs(rater="both")
    rows[20:60] = [{**row, "rater": "up", "label": True} for row in rows[20:60]]
    rows[60:100] = [{**row, "rater": "down", "label": False} for row in rows[60:100]]
    rows[100:103] = [{**row, "rater": "three", "label": True} for row in rows[100:103]]  # may well be chance
    found = find(rows)
    assert "up: 40" in found["always_up"].message
    assert "three" not in found["always_up"].message
    assert (found["always_up"].count, found["always_down"].count) == (1, 1)


def test_a_burst_is_ten_votes_of_one_rater_within_seconds(find: Find) -> None:
    rows = [{**row, "rater": f"r{i % 4}", "time": 1_700_000_000 + 60 * i} for i, row in enumerate(thumbs())]
    assert "bursts" not in find(rows)
    rows[50:61] = [{**row, "rater": "fast", "time": 1_700_000_000 + i} for i, row in enumerate(rows[50:61])]
    found = find(rows)["bursts"]
    assert (found.severity, found.count) == ("warning", 11)


def test_equal_times_everywhere_are_a_batch_and_no_burst(find: Find) -> None:
    assert find(thumbs(rater="a", time=1_700_000_000))["bursts"].severity == "note"


def test_a_rater_with_most_of_the_rows_is_found(find: Find) -> None:
    rows = [{**row, "rater": "one" if i % 5 else f"r{i}"} for i, row in enumerate(thumbs())]
    found = find(rows)["dominant_rater"]
    assert found.count == 160
    assert "80 %" in found.message


@pytest.mark.parametrize("times", [(2, 1, 1), (None, 1, 1), (1, 1, 1)])
def test_of_several_votes_of_one_rater_the_latest_counts(find: Find, times: tuple[int | None, ...]) -> None:
    """By time, where a vote without one is the oldest, and by row where times are equal."""
    last_is_first_row = times[0] == 2
    row = {"prompt": "Where is it?", "completion": "On its way.", "rater": "anna"}
    votes = [{**row, "label": last_is_first_row}, {**row, "label": not last_is_first_row}, {**row, "label": True}]
    votes[2]["rater"] = "bob"
    rows = [{**vote, "time": time and 1_700_000_000 + time} for vote, time in zip(votes, times, strict=True)]
    assert "contradictory_labels" not in find([*thumbs(), *rows])
    unknown = [{**vote, "rater": None} for vote in rows]
    assert find([*thumbs(), *unknown])["contradictory_labels"].count == 1


def test_a_rater_against_the_others_is_found(find: Find) -> None:
    rows = [{**row, "rater": name} for row in thumbs(60) for name in ("a", "b")]
    rows += [{**row, "rater": "odd", "label": not row["label"]} for row in thumbs(60)]
    found = find(rows)["contrary_raters"]
    assert "odd: 60" in found.message
    assert found.count == 1


def test_length_that_decides_the_label_is_found(find: Find) -> None:
    rows = [{**row, "completion": row["completion"] * (2 if row["label"] else 1)} for row in thumbs()]
    found = find(rows)["length_and_label"]
    assert found.severity == "warning"
    assert "longer" in found.message
    longer = [{**row, "rejected": row["rejected"] + " and more words"} for row in pairs()]
    assert "shorter" in find(longer)["length_and_label"].message
    best = [{**row, "completions": ["w " * int(100 * score) for score in row["scores"]]} for row in groups()]
    assert "longer" in find(best)["length_and_label"].message


def test_labels_that_change_with_time_are_found(find: Find) -> None:
    rows = [{**row, "time": 1_700_000_000 + 100_000 * row["label"] + i} for i, row in enumerate(thumbs())]
    found = find(rows)
    assert "later" in found["time_and_label"].message
    assert "order_and_label" not in found


def test_rows_sorted_by_label_are_a_note(find: Find) -> None:
    found = find(sorted(thumbs(), key=lambda row: row["label"]))["order_and_label"]
    assert found.severity == "note"


def test_a_first_row_that_is_always_the_better_is_found(find: Find) -> None:
    rows = [
        {**row, "label": label, "completion": f"{row['completion']} {label}"}
        for row in thumbs()
        for label in (True, False)
    ]
    assert "100 %" in find(rows)["first_and_label"].message


def test_a_place_that_always_wins_is_found(find: Find) -> None:
    rows = [{**row, "scores": [0.1, 0.2, 0.9]} if i % 2 else row for i, row in enumerate(groups(400))]
    assert "place 3" in find(rows)["place_of_best"].message


def test_tied_scores_and_equal_sides_are_found(find: Find) -> None:
    tied = [{**row, "scores": [1, 1, 1]} if i < 5 else row for i, row in enumerate(groups())]
    assert find(tied)["tied_scores"].count == 5
    same = [{**row, "chosen": row["rejected"]} if i < 5 else row for i, row in enumerate(pairs())]
    assert (find(same)["same_sides"].count, find(same)["same_sides"].severity) == (5, "error")
    twice = [{**row, "completions": ["a", "a", "b"]} if i < 5 else row for i, row in enumerate(groups())]
    assert find(twice)["repeated_completion"].count == 5


def test_leaks_into_the_files_for_evaluation_are_found(find: Find) -> None:
    train, held_out = thumbs(200), thumbs(240)[200:]
    assert not {"leaked_prompts", "near_leaked_prompts"} & set(find(train, held_out))
    exact = [{**row, "prompt": train[i]["prompt"]} for i, row in enumerate(held_out[:3])]
    found = find(train, exact + held_out[3:])
    assert (found["leaked_prompts"].count, found["leaked_prompts"].severity) == (3, "error")
    assert found["leaked_prompts"].rows == ("eval.jsonl:1", "eval.jsonl:2", "eval.jsonl:3")
    assert "near_leaked_prompts" not in found
    long = sentence(random.Random(8), 80)
    found = find([*train, {**train[0], "prompt": f"{long} one"}], [*held_out, {**held_out[0], "prompt": f"{long} two"}])
    assert found["near_leaked_prompts"].rows == ("eval.jsonl:41",)
    assert "leaked_prompts" not in found


def test_implicit_prompts_that_begin_alike_are_found(find: Find) -> None:
    question = "Human: how do I get from here to the old harbour by bus?"
    ends = (" It is near.", " It is far.")
    rows = [
        {"chosen": f"{question} {more} yes{ends[0]}", "rejected": f"{question} {more} no{ends[1]}"} for more in "ab"
    ]
    assert find(rows)["implicit_prompts"].count == 2
    assert "implicit_prompts" not in find([rows[0], rows[0]])


def test_zero_and_minus_one_in_one_file_are_ambiguous(find: Find) -> None:
    rows = [{**row, "label": (1, 0, -1)[i % 3]} for i, row in enumerate(thumbs())]
    found = find(rows)
    assert found["ambiguous_labels"].severity == "error"
    assert "ambiguous_labels" not in find(rows, label_map={1: True, 0: False, -1: False})


def test_rows_of_another_kind_than_the_first_are_unreadable(find: Find) -> None:
    found = find([*thumbs(), *pairs(3)])["unreadable_rows"]
    assert (found.count, found.rows[0]) == (3, "train.jsonl:201")
    assert "one kind in one file" in found.message


def test_few_rows_are_called_few(find: Find) -> None:
    assert find(thumbs(99))["few_rows"].count == 99


def test_auc_and_its_p_are_those_of_mann_and_whitney() -> None:
    from scipy.stats import mannwhitneyu

    rng = np.random.default_rng(0)
    values, first = rng.integers(0, 20, 300), rng.random(300) < 0.4
    found = compare(values, first)
    expected = mannwhitneyu(values[first], values[~first], use_continuity=False, method="asymptotic")
    assert found is not None
    assert found.auc == pytest.approx(expected.statistic / (first.sum() * (~first).sum()))
    assert found.p == pytest.approx(expected.pvalue)
    assert compare(values[:5], first[:5]) is None
    assert compare(np.ones(40), np.arange(40) < 20).p == 1.0  # type: ignore[union-attr]


def test_the_interval_is_wilsons_and_the_sign_test_binomial() -> None:
    from scipy.stats import binomtest

    assert wilson(0.3, 50) == pytest.approx(binomtest(15, 50).proportion_ci(method="wilson"), abs=1e-6)
    assert wilson(0.0, 0) == (0.0, 1.0)
    found = sign_test(60, 40)
    assert found is not None
    assert found.p == pytest.approx(0.0455, abs=1e-4)  # z = 2
    assert sign_test(5, 5) is None


@pytest.mark.parametrize("votes", [2, 3, 7])
@pytest.mark.parametrize("flip", [0.0, 0.1, 0.35])
def test_the_flip_rate_is_recovered_from_disagreement(votes: int, flip: float) -> None:
    rng = np.random.default_rng(votes)
    truth = rng.random(4000) < 0.5
    ups = (truth[:, None] ^ (rng.random((4000, votes)) < flip)).sum(axis=1)
    found = estimate_noise(np.full(4000, votes), ups)
    assert found is not None
    assert found.flip_rate == pytest.approx(flip, abs=0.02)
    assert found.low <= found.flip_rate <= found.high
    assert (found.items, found.votes) == (4000, 4000 * votes)


@pytest.mark.parametrize("votes", [2, 5])
@pytest.mark.parametrize("flip", [0.05, 0.2])
def test_the_interval_of_the_flip_rate_holds_it_in_about_95_of_100_studies(votes: int, flip: float) -> None:
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(400):
        found = estimate_noise(
            np.full(150, votes), rng.binomial(votes, np.where(rng.random(150) < 0.5, flip, 1 - flip))
        )
        assert found is not None
        held += found.low <= flip <= found.high
    assert 0.92 <= held / 400 <= 0.985


def test_one_vote_says_nothing_about_noise() -> None:
    assert estimate_noise(np.ones(5), np.ones(5)) is None
