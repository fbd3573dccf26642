"""Thumbs on pictures, and how rates of pictures are counted."""

from __future__ import annotations

import numpy as np
import pytest

from prospect.demo.customer import Rater
from prospect.demo.image_run import RULE_NAMES, compare_pictures, image_recipe
from prospect.demo.image_thumbs import collect_image_thumbs
from prospect.demo.image_world import INK, Wish, clean, held_out_wishes
from prospect.demo.settings import IMAGE_METHODS
from prospect.feedback import load_feedback, write_jsonl
from prospect.feedback.images.pixels import load_image

RING, CROSS = Wish("blue", "ring", "top left"), Wish("red", "cross", "bottom right")


def blotted(wish):
    picture = clean(wish)
    row, column = (6, 6) if wish.place == "top left" else (0, 0)
    picture[row : row + 2, column : column + 2] = INK
    return picture


def thumbs(folder, count=2, noise=0.0, seed=0):
    pictures = [[clean(wish) if n % 2 else blotted(wish) for n in range(count)] for wish in (RING, CROSS)]
    rater = Rater("customer", noise)
    return pictures, list(collect_image_thumbs([RING, CROSS], pictures, folder, rater=rater, seed=seed))


def test_thumbs_say_what_the_rules_say_and_are_read_back_with_their_pixels(tmp_path):
    pictures, rows = thumbs(tmp_path)
    write_jsonl(rows, tmp_path / "feedback.jsonl")
    read = load_feedback(tmp_path / "feedback.jsonl")
    assert [(row.prompt, row.desirable) for row in read] == [
        ("blue ring top left", False),
        ("blue ring top left", True),
        ("red cross bottom right", False),
        ("red cross bottom right", True),
    ]
    flat = [picture for drawn in pictures for picture in drawn]
    for row, picture in zip(read, flat, strict=True):
        assert (load_image(row.completion, (8, 8), row.where) == picture).all()


def test_noise_flips_its_share_of_thumbs_and_the_seed_decides_which(tmp_path):
    truth = [row.desirable for row in thumbs(tmp_path, 400)[1]]
    noisy = [row.desirable for row in thumbs(tmp_path, 400, noise=0.2)[1]]
    again = [row.desirable for row in thumbs(tmp_path, 400, noise=0.2)[1]]
    other = [row.desirable for row in thumbs(tmp_path, 400, noise=0.2, seed=1)[1]]
    assert 0.15 < np.mean(np.array(truth) != noisy) < 0.25
    assert noisy == again != other


def test_rates_are_over_all_pictures_with_prompts_drawn_for_the_interval():
    wishes = held_out_wishes()
    before = [[blotted(wish)] * 3 + [clean(wish)] if n % 2 else [blotted(wish)] * 4 for n, wish in enumerate(wishes)]
    after = [[clean(wish)] * 4 for wish in wishes]
    rates = compare_pictures(wishes, before, after)
    old, new = rates["both"]
    assert (old.rate, old.n, new.rate, new.n) == (8 / 64, 64, 1.0, 64)
    assert old.low < old.rate < old.high
    assert new.low == pytest.approx(0.794, abs=0.001)  # 16 of 16 prompts, not 64 of 64 pictures
    assert [rates[RULE_NAMES[rule]][0].rate for rule in ("drawn", "empty")] == [1.0, 8 / 64]


@pytest.mark.parametrize("method", IMAGE_METHODS)
def test_a_methods_recipe_is_a_recipe(method, tmp_path):
    from prospect.config import Config

    assert Config.model_validate(image_recipe(method, tmp_path, 0)).loss.name == method
