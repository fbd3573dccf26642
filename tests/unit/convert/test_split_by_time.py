"""Held-out files: by prompt as in training, by time, and no prompt on both sides."""

import json
from datetime import UTC, datetime

import pytest

from prospect.errors import ConfigError, DataError
from prospect.feedback import load_feedback, split_by_prompt
from prospect.feedback.convert.split_files import split_files
from prospect.feedback.files.shared_prompts import Openings, without_answer


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def thumb(prompt, day, **more):
    time = None if day is None else f"2026-01-{day:02d}T12:00:00Z"
    return {"prompt": prompt, "completion": "c", "label": True, "time": time, **more}


@pytest.fixture
def split(tmp_path):
    """Splits rows; returns ids of both sides and the tally."""

    def run(rows, **options):
        source = write(tmp_path / "in.jsonl", [{"id": i, **row} for i, row in enumerate(rows)])
        sides = tmp_path / "train.jsonl", tmp_path / "eval.jsonl"
        tally = split_files(source, *sides, **options)
        return *([int(row.id) for row in load_feedback(side)] for side in sides), tally

    return run


@pytest.mark.parametrize("share", [0.3, 2, 0.01])
def test_the_same_prompts_are_held_out_as_in_training(split, tmp_path, share):
    rows = [thumb(f"p{i % 10}", 1, label=i % 3 == 0) for i in range(40)]
    train, held_out, tally = split(rows, share=share, seed=7)
    expected = split_by_prompt(load_feedback(tmp_path / "in.jsonl"), share, seed=7)
    assert [train, held_out] == [[int(row.id) for row in side] for side in expected]
    assert (tally.rows_in, tally.train, tally.held_out) == (40, len(train), len(held_out))
    assert tally.prompts == (10 - len(held_out) // 4, len(held_out) // 4)


def test_what_is_as_late_as_the_time_is_held_out(split):
    rows = [thumb(f"p{i}", day) for i, day in enumerate([5, 1, 3, 4])]
    noon = datetime(2026, 1, 4, 12, tzinfo=UTC)
    assert split(rows, since=noon)[:2] == ([1, 2], [0, 3])


def test_a_late_row_whose_prompt_is_trained_on_is_left_out(split):
    rows = [thumb("p", 1), thumb("q", 9), thumb("p", 9), thumb("q", 8), thumb("r", 2)]
    train, held_out, tally = split(rows, since=datetime(2026, 1, 5, tzinfo=UTC))
    assert (train, held_out) == ([0, 4], [1, 3])
    assert [tuple(left_out)[:2] for left_out in tally.left_out] == [("prompt_in_train", 1)]
    assert tally.prompts == (2, 1)


def test_rows_without_a_time_are_left_out_of_both_sides(split):
    rows = [thumb("p", 1), thumb("q", None), thumb("r", 9), thumb("s", 9, time="yesterday")]
    train, held_out, tally = split(rows, since=datetime(2026, 1, 5, tzinfo=UTC))
    assert (train, held_out) == ([0], [2])
    assert [tuple(left_out)[:2] for left_out in tally.left_out] == [("no_time", 2)]


def test_the_latest_share_is_held_out_and_rows_of_one_time_stay_together(split):
    rows = [thumb(f"p{i}", day) for i, day in enumerate([1, 2, 3, 9, 9, 9, 4, 5, 6, 7])]
    train, held_out, tally = split(rows, since=0.2)
    assert (train, held_out) == ([0, 1, 2, 6, 7, 8, 9], [3, 4, 5])
    assert tally.since == datetime(2026, 1, 9, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("rows", "since", "message"),
    [
        ([thumb("p", 1), thumb("q", 2)], datetime(2027, 1, 1, tzinfo=UTC), "no row is left to evaluate on"),
        ([thumb("p", 1), thumb("q", 2)], datetime(2025, 1, 1, tzinfo=UTC), "no row is left to train on"),
        ([thumb("p", 1), thumb("p", 2)], 0.5, "no row is left to evaluate on"),
        ([thumb("p", None)], 0.5, "not one of 1 rows has a time that can be read"),
        ([thumb("p", 1), thumb("q", 2)], 1.5, "the share to hold out by time is 1.5"),
    ],
)
def test_a_split_with_an_empty_side_is_refused_and_nothing_is_written(split, tmp_path, rows, since, message):
    with pytest.raises(DataError) as caught:
        split(rows, since=since)
    assert str(caught.value).startswith(message)
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_both_sides_cannot_be_one_file(tmp_path):
    source = write(tmp_path / "in.jsonl", [thumb("p", 1)])
    with pytest.raises(ConfigError, match="both sides cannot go to one file"):
        split_files(source, tmp_path / "a.jsonl", tmp_path / "." / "a.jsonl")


# Prompts that are guessed


def test_pairs_whose_guessed_prompt_goes_on_from_another_stay_together(split):
    prompts = [f"What is {i} and {i + 1}?" for i in range(30)]
    rows = []
    for prompt in prompts:
        rows += [
            {"chosen": f"{prompt} It is fine.", "rejected": f"{prompt} No idea."},
            {"chosen": f"{prompt} It is so.", "rejected": f"{prompt} It is not."},  # shares "It is" too
        ]
    train, held_out, tally = split(rows, share=0.5)
    assert not {i // 2 for i in train} & {i // 2 for i in held_out}
    assert (tally.implicit, tally.put_together) == (60, 30)
    assert tally.prompts == (15, 15)


def test_pairs_of_one_transcript_stay_together_whatever_their_answers_share(split):
    rows = []
    for i in range(30):
        prompt = f"\n\nHuman: question {i}\n\nAssistant:"
        rows += [{"chosen": f"{prompt} {word} is a", "rejected": f"{prompt} {word} is b"} for word in ("This", "That")]
    train, held_out, tally = split(rows, share=0.5)
    assert not {i // 2 for i in train} & {i // 2 for i in held_out}
    assert tally.prompts == (15, 15)


def test_a_prompt_of_its_own_is_not_put_with_another(split):
    rows = [{"prompt": prompt, "chosen": " a", "rejected": " b"} for prompt in ("What", "What is", "Who")]
    assert split(rows, share=1)[2].implicit == 0
    assert sum(split(rows, share=1)[2].prompts) == 3


def test_the_shortest_opening_is_found_at_the_end_of_a_word():
    openings = Openings()
    for prompt in ("", "What is", "What is it now", "Wh"):
        openings.add(prompt)
    assert openings.shortest("What is it now") == "What is"
    assert openings.shortest("What isn't") == "What isn't"
    assert openings.shortest("What\n is") == "What\n is"
    assert openings.shortest("") == ""


def test_a_transcript_ends_with_its_last_assistant():
    text = "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: The"
    assert without_answer(text) == text.removesuffix(" The")
    assert without_answer("\n\nAssistant: The") == "\n\nAssistant: The"
    assert without_answer("\n\nHuman: The") == "\n\nHuman: The"
