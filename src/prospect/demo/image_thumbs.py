"""Simulated thumbs on pictures: up where a picture keeps both rules, flipped now and then."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from prospect.demo.customer import Rater
from prospect.demo.image_world import Wish, passes
from prospect.feedback.images.writing import write_image
from prospect.feedback.records import Unpaired


def collect_image_thumbs(
    wishes: Sequence[Wish],
    pictures: Sequence[Sequence[np.ndarray]],
    folder: Path,
    *,
    rater: Rater,
    seed: int = 0,
) -> Iterator[Unpaired]:
    """Write pictures below a folder and yield one thumb on each, in order.

    The thumb on a picture depends on the seed, the rater's noise, the wish and the picture's number alone.

    Args:
        wishes: what was asked for.
        pictures: of each wish, uint8 (H, W, 3).
        folder: where the pictures go, in `images/`; rows that are written there name them.
        rater: who gives thumbs.
        seed: another seed, other flips.
    """
    for wish, drawn in zip(wishes, pictures, strict=True):
        for number, picture in enumerate(drawn):
            flipped = random.Random(f"thumb {seed} {wish.prompt} {number}").random() < rater.noise
            name = f"{wish.prompt.replace(' ', '-')}-{number}"
            yield Unpaired(
                prompt=wish.prompt,
                completion=write_image(picture, folder),
                desirable=passes(picture, wish) != flipped,
                id=name,
                where=f"demo:{name}",
                rater=rater.name,
            )
