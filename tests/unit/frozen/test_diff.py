"""What changed between two sets of feedback is found by id and by text, whatever the order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from conftest import pairs, thumbs, write_rows
from prospect.feedback.frozen.diff import FeedbackDifference, diff_feedback
from prospect.feedback.frozen.freeze import freeze


def compare(folder: Path, before: list[dict[str, Any]], after: list[dict[str, Any]]) -> FeedbackDifference:
    return diff_feedback(write_rows(folder / "before.jsonl", before), write_rows(folder / "after.jsonl", after))


def counts(found: FeedbackDifference) -> tuple[int, int, int, int]:
    return found.added, found.removed, found.changed, found.same


def test_order_and_place_are_no_change(tmp_path: Path) -> None:
    rows = thumbs(9)
    found = compare(tmp_path, rows, rows[::-1])
    assert not found and counts(found) == (0, 0, 0, 9)


def test_rows_come_and_go(tmp_path: Path) -> None:
    rows = thumbs(9)
    found = compare(tmp_path, rows[:7], rows[2:])
    assert found and counts(found) == (2, 2, 0, 5)
    assert found.examples == {
        "added": [f"{tmp_path}/after.jsonl:{n}" for n in (6, 7)],
        "removed": [f"{tmp_path}/before.jsonl:{n}" for n in (1, 2)],
    }


def test_a_row_that_is_there_twice_counts_twice(tmp_path: Path) -> None:
    rows = thumbs(2)
    assert counts(compare(tmp_path, [rows[0], rows[0], rows[1]], [rows[0], rows[1], rows[1]])) == (1, 1, 0, 2)


def test_another_label_is_a_flip_and_another_weight_is_none(tmp_path: Path) -> None:
    rows = thumbs(6)
    after = [{**rows[0], "label": False}, {**rows[1], "label": True}, {**rows[2], "weight": 2}, *rows[3:]]
    found = compare(tmp_path, rows, after)
    assert counts(found) == (0, 0, 3, 3)
    assert found.columns == {"label": 2, "weight": 1}
    assert found.flips == {"to_desirable": 1, "to_undesirable": 1}
    assert found.examples["flipped"] == [f"{tmp_path}/after.jsonl:{n}" for n in (1, 2)]
    assert found.classes == {"before": {"desirable": 3, "undesirable": 3}, "after": {"desirable": 3, "undesirable": 3}}


def test_a_swapped_pair_is_a_flip(tmp_path: Path) -> None:
    rows = pairs(3)
    swapped = {**rows[0], "chosen": rows[0]["rejected"], "rejected": rows[0]["chosen"]}
    found = compare(tmp_path, rows, [swapped, *rows[1:]])
    assert counts(found) == (0, 0, 1, 2)
    assert found.flips == {"swapped": 1} and found.columns == {"chosen": 1, "rejected": 1}


def test_a_mended_text_is_the_same_row_by_its_id(tmp_path: Path) -> None:
    rows = [{**row, "id": f"chat-{i}"} for i, row in enumerate(thumbs(4))]
    found = compare(tmp_path, rows, [{**rows[0], "completion": " mended"}, *rows[1:]])
    assert counts(found) == (0, 0, 1, 3)
    assert found.columns == {"completion": 1} and found.examples == {"changed": ["chat-0"]} and not found.flips


@pytest.mark.parametrize(
    ("before", "after", "columns"),
    [
        # Equal texts: the same rater is taken before any other, the same id before the same rater.
        ([("a", 1), ("b", 0)], [("b", 1), ("a", 1)], {"label": 1}),
        ([("a", 1), ("b", 1)], [("c", 1), ("b", 1)], {"rater": 1}),
    ],
)
def test_of_equal_texts_the_closest_is_the_same_row(
    tmp_path: Path, before: list[Any], after: list[Any], columns: dict[str, int]
) -> None:
    def rows(votes: list[Any]) -> list[dict[str, Any]]:
        return [{"prompt": "p", "completion": "c", "rater": rater, "label": label} for rater, label in votes]

    found = compare(tmp_path, rows(before), rows(after))
    assert counts(found) == (0, 0, 1, 1) and found.columns == columns


def test_an_id_stays_with_its_text_before_it_goes_to_another(tmp_path: Path) -> None:
    texts = [{"prompt": "p", "completion": c, "label": True} for c in ("one", "two", "three")]
    before = [{**row, "id": f"old.jsonl:{i}"} for i, row in enumerate(texts[:2])]
    after = [{**row, "id": f"old.jsonl:{i}"} for i, row in enumerate(texts[1:])]
    found = compare(tmp_path, before, after)
    assert counts(found) == (1, 1, 1, 0) and found.columns == {"id": 1}
    assert found.examples["changed"] == ["old.jsonl:0"]


def test_a_new_text_with_another_verdict_is_no_flip(tmp_path: Path) -> None:
    row = {**thumbs(1)[0], "id": "chat-0"}
    found = compare(tmp_path, [row], [{**row, "completion": " worse", "label": False}])
    assert found.columns == {"completion": 1, "label": 1} and found.flips == {}


def test_kinds_have_nothing_in_common(tmp_path: Path) -> None:
    found = compare(tmp_path, thumbs(3), pairs(2))
    assert counts(found) == (2, 3, 0, 0)
    assert found.classes == {"before": {"desirable": 2, "undesirable": 1}, "after": {"paired": 2}}


def test_a_frozen_folder_is_like_the_file_it_was_made_of(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.jsonl", [{**row, "label": "up"} for row in thumbs(4)])
    freeze(source, tmp_path / "frozen", label_map={"up": True})
    assert not diff_feedback(tmp_path / "frozen", source, label_map={"up": True})


def test_examples_are_few(tmp_path: Path) -> None:
    assert len(compare(tmp_path, thumbs(1), thumbs(40)).examples["added"]) == 5
