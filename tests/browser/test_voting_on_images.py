"""The page on which people vote, with pictures, in a real browser: they are seen, and a vote moves on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from browsers import ATTACK, PHONE, wide
from pictures import save_picture
from prospect.evaluation.contest.judges import Item, write_page
from prospect.feedback.images.opening import describe_image, read_bytes
from prospect.feedback.records import Image


def image(path: Path, seed: int, size: tuple[int, int]) -> Image:
    save_picture(path, seed, size)
    return describe_image(read_bytes(path, "x"), "x", path=path)


@pytest.mark.parametrize("size", [(8, 8), (1200, 900)])
def test_both_pictures_are_seen_and_a_vote_shows_the_next(
    tmp_path: Path, visit: Callable[..., Any], size: tuple[int, int]
) -> None:
    sides = [image(tmp_path / f"{seed}.png", seed, size) for seed in range(4)]
    write_page([Item(ATTACK, *sides[:2]), Item("p", *sides[2:])], tmp_path / "page.html")
    page = visit((tmp_path / "page.html").as_uri(), viewport=PHONE)
    shown = page.locator(".sides img")
    assert shown.count() == 2 and wide(page) <= 0
    assert shown.evaluate_all("all => all.every(one => one.complete && one.naturalWidth === 768 && one.width > 200)")
    assert shown.evaluate_all("all => all.map(one => one.alt)") == ["Image A", "Image B"]
    before = shown.first.get_attribute("src")
    page.keyboard.press("1")
    assert shown.count() == 2 and shown.first.get_attribute("src") != before
    assert page.evaluate("window.ran") is None
