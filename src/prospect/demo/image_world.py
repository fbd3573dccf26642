"""A world of small pictures: a prompt asks for one shape in one colour in one corner of a page.

This is the world of `prospect demo --images`. A picture has 8x8 pixels; a shape fills one of its four corners. The old
drawings from which the base model learnt are blotted more often than not: black spots lie where nothing should be.

    blue ring top left        a clean page      a blotted page
                              .oo.....          .oo.....
                              o..o....          o..o..##
                              o..o....          o..o..##
                              .oo.....          .oo.....
                              ........          ........
                              ........          ..##....
                              ........          ..##....
                              ........          ........

A thumb up asks for both: the shape in its corner as it was asked for, and a page that is empty everywhere else.
Prompts that are held out combine words that training has in other combinations only.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

SIDE, CORNER, BLOT = 8, 4, 2  # pixels: of a picture, of a shape, of a blot
BLOTTED = 0.7
"""Share of the old drawings that have blots; about as many of the base model's pictures have some."""
MOST_BLOTS = 3
TOLERANCE = 48
"""How far a channel of a pixel may be from what was asked, of 255: less than half of what parts any two colours."""

PAGE, INK = (240, 240, 240), (0, 0, 0)
COLOURS = {"red": (220, 40, 40), "green": (30, 150, 60), "blue": (40, 80, 220), "orange": (250, 160, 20)}
SHAPES = {
    "square": ("####", "####", "####", "####"),
    "ring": (".##.", "#..#", "#..#", ".##."),
    "cross": ("#..#", ".##.", ".##.", "#..#"),
    "stripes": ("####", "....", "####", "...."),
}
PLACES = {"top left": (0, 0), "top right": (0, CORNER), "bottom left": (CORNER, 0), "bottom right": (CORNER, CORNER)}


@dataclass(frozen=True, slots=True)
class Wish:
    """What a prompt asks for: a key of COLOURS, of SHAPES and of PLACES."""

    colour: str
    shape: str
    place: str

    @property
    def prompt(self) -> str:
        """The prompt: four words."""
        return f"{self.colour} {self.shape} {self.place}"


WISHES = tuple(Wish(*words) for words in product(COLOURS, SHAPES, PLACES))
"""All 64."""
WORDS = tuple(dict.fromkeys(word for wish in WISHES for word in wish.prompt.split()))
"""The twelve words of prompts."""
PROMPT_WORDS = 4


def is_held_out(wish: Wish) -> bool:
    """Whether a prompt is kept for evaluation: one in four, in which every word and every two words have their turn."""
    numbers = (list(COLOURS).index(wish.colour), list(SHAPES).index(wish.shape), list(PLACES).index(wish.place))
    return sum(numbers) % 4 == 0


def training_wishes() -> list[Wish]:
    """Return the 48 wishes that thumbs are given on."""
    return [wish for wish in WISHES if not is_held_out(wish)]


def held_out_wishes() -> list[Wish]:
    """Return the 16 wishes kept for evaluation: never drawn for the base model, never trained on."""
    return [wish for wish in WISHES if is_held_out(wish)]


def clean(wish: Wish) -> np.ndarray:
    """Return the picture that was asked for, uint8 (SIDE, SIDE, 3)."""
    picture = np.full((SIDE, SIDE, 3), PAGE, dtype=np.uint8)
    filled = np.array([[mark == "#" for mark in line] for line in SHAPES[wish.shape]])
    corner(picture, wish)[filled] = COLOURS[wish.colour]
    return picture


def corner(picture: np.ndarray, wish: Wish) -> np.ndarray:
    """Return a view of the part of a picture that a wish is about."""
    row, column = PLACES[wish.place]
    return picture[row : row + CORNER, column : column + CORNER]


def old_drawing(wish: Wish, rng: np.random.Generator) -> np.ndarray:
    """Return a drawing as the base model saw them, uint8 (SIDE, SIDE, 3): blotted or clean."""
    picture = clean(wish)
    if rng.random() < BLOTTED:
        free = [spot for spot in product(range(0, SIDE, BLOT), repeat=2) if not _in_corner(spot, wish)]
        for row, column in rng.permutation(free)[: rng.integers(1, MOST_BLOTS + 1)]:
            picture[row : row + BLOT, column : column + BLOT] = INK
    return picture


def _in_corner(spot: tuple[int, ...], wish: Wish) -> bool:
    return all(start <= at < start + CORNER for at, start in zip(spot, PLACES[wish.place], strict=True))


def check(picture: np.ndarray, wish: Wish) -> dict[str, bool]:
    """Return which rules a picture, uint8 (SIDE, SIDE, 3), keeps: `drawn` in its corner, `empty` elsewhere."""
    close = np.abs(picture.astype(int) - clean(wish)).max(axis=2) <= TOLERANCE
    drawn = bool(corner(close, wish).all())
    corner(close, wish)[:] = True
    return {"drawn": drawn, "empty": bool(close.all())}


def passes(picture: np.ndarray, wish: Wish) -> bool:
    """Whether a picture keeps both rules."""
    return all(check(picture, wish).values())
