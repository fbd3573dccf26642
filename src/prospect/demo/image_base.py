"""The base model of the demo with images: where it is, how it is loaded and how it is asked."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from prospect.demo.image_world import Wish
from prospect.model_source import find_model

STEPS = 20  # of DDIM; more change no verdict of this world
BATCH = 128  # images drawn together: a model this small is fastest so

IMAGE_BASE = Path(str(files("prospect.demo"))) / "image_base"
"""A folder of a WordPipeline; `tools/make_image_base.py` writes it."""


def load_image_base(path: Path = IMAGE_BASE) -> Any:
    """Return the base model, or one that was aligned from it: a WordPipeline in float32.

    Raises:
        ModelError: it cannot be loaded, or the extra `diffusion` is not installed.
    """
    from prospect.models.diffusion.sampling import load_pipeline

    return load_pipeline(find_model(path))


def draw_images(pipeline: Any, wishes: Sequence[Wish], count: int, seed: int) -> list[list[np.ndarray]]:
    """Draw `count` pictures of every wish, each uint8 (H, W, 3)."""
    from prospect.models.diffusion.sampling import ImageSampling, sample_images

    images = sample_images(
        pipeline,
        [wish.prompt for wish in wishes],
        ImageSampling(steps=STEPS),
        samples_per_prompt=count,
        seed=seed,
        batch_size=BATCH,
    )
    return [list(islice(images, count)) for _ in wishes]
