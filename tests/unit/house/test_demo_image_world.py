"""The demo's pictures: what is asked for, what a thumb is given for, and the base model that draws them."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import numpy as np
import PIL.Image
import pytest

from prospect.demo.image_base import IMAGE_BASE, draw_images, load_image_base
from prospect.demo.image_rounds_world import keeps_both_rules
from prospect.demo.image_world import (
    BLOTTED,
    COLOURS,
    CORNER,
    INK,
    PAGE,
    PROMPT_WORDS,
    SIDE,
    TOLERANCE,
    WISHES,
    WORDS,
    Wish,
    check,
    clean,
    held_out_wishes,
    old_drawing,
    passes,
    training_wishes,
)

RING = Wish("blue", "ring", "top left")


def test_a_picture_is_what_its_prompt_asks_for():
    picture = clean(RING)
    assert (picture == COLOURS["blue"]).all(axis=2).tolist() == [
        *([mark == "o" for mark in line] for line in (".oo.....", "o..o....", "o..o....", ".oo.....")),
        *[[False] * SIDE] * CORNER,
    ]
    assert (picture == PAGE).all(axis=2).sum() == SIDE * SIDE - 8


def test_each_clean_picture_passes_for_its_own_prompt_alone():
    for asked in WISHES:
        assert [wish for wish in WISHES if passes(clean(asked), wish)] == [asked]


@pytest.mark.parametrize(
    ("row", "column", "value", "broken"),
    [
        (0, 1, COLOURS["red"], "drawn"),
        (0, 0, COLOURS["blue"], "drawn"),
        (0, 4, INK, "empty"),
        (7, 7, INK, "empty"),
        (7, 7, [PAGE[0] - TOLERANCE] * 3, None),
        (7, 7, [PAGE[0], PAGE[1], PAGE[2] - TOLERANCE - 1], "empty"),
    ],
)
def test_one_pixel_decides_which_rule_is_broken(row, column, value, broken):
    picture = clean(RING)
    picture[row, column] = value
    assert [rule for rule, kept in check(picture, RING).items() if not kept] == ([broken] if broken else [])


def test_no_tolerance_makes_one_colour_another():
    for one, other in combinations([PAGE, INK, *COLOURS.values()], 2):
        assert np.abs(np.subtract(one, other)).max() > 2 * TOLERANCE


def test_held_out_prompts_are_new_combinations_of_words_that_are_trained():
    asked, trained = held_out_wishes(), training_wishes()
    assert len(asked) == 16
    assert set(asked) | set(trained) == set(WISHES)
    assert not set(asked) & set(trained)
    for part in ("colour", "shape", "place"):
        assert set(Counter(getattr(wish, part) for wish in asked).values()) == {4}
    for parts in combinations(("colour", "shape", "place"), 2):
        assert {tuple(getattr(wish, part) for part in parts) for wish in trained} == {
            tuple(getattr(wish, part) for part in parts) for wish in WISHES
        }


def test_prompts_are_of_the_words_of_the_list():
    assert {word for wish in WISHES for word in wish.prompt.split()} == set(WORDS)
    assert {len(wish.prompt.split()) for wish in WISHES} == {PROMPT_WORDS}


def test_old_drawings_are_blotted_as_often_as_it_says_and_never_where_the_shape_is():
    rng = np.random.default_rng(0)
    drawings = [(wish, old_drawing(wish, rng)) for wish in WISHES for _ in range(20)]
    assert all(check(picture, wish)["drawn"] for wish, picture in drawings)
    blotted = np.mean([not passes(picture, wish) for wish, picture in drawings])
    assert abs(blotted - BLOTTED) < 3 * np.sqrt(BLOTTED * (1 - BLOTTED) / len(drawings))


@pytest.fixture(scope="module")
def base():
    return load_image_base()


def test_the_base_model_is_small_and_knows_the_worlds_words(base):
    assert sum(file.stat().st_size for file in IMAGE_BASE.rglob("*") if file.is_file()) <= 2_500_000
    assert base.config["words"] == list(WORDS)
    assert base.config["length"] == PROMPT_WORDS


def test_the_base_model_draws_new_combinations_right_and_blots_most_pages(base):
    wishes = held_out_wishes()
    pictures = draw_images(base, wishes, 4, seed=0)
    kept = [check(picture, wish) for wish, each in zip(wishes, pictures, strict=True) for picture in each]
    assert np.mean([one["drawn"] for one in kept]) > 0.9
    assert 0.15 < np.mean([all(one.values()) for one in kept]) < 0.45


def test_the_judge_of_rounds_says_what_the_rules_say() -> None:
    rng = np.random.default_rng(0)
    for wish in WISHES[:8]:
        for picture in (clean(wish), *(old_drawing(wish, rng) for _ in range(4))):
            assert keeps_both_rules(wish.prompt, PIL.Image.fromarray(picture)) is passes(picture, wish)
    assert not keeps_both_rules(WISHES[0].prompt, PIL.Image.fromarray(clean(WISHES[1])))
