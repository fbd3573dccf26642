"""A few images while a model that makes them trains: the same prompts and seeds at every evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from torch.distributed.fsdp import FSDPModule

from prospect.data.image_dataset import GOOD
from prospect.feedback.images.looks import look_at
from prospect.feedback.images.writing import write_image
from prospect.models.diffusion.denoiser import Denoiser
from prospect.models.diffusion.sampling import ImageSampling, load_pipeline, sample_images
from prospect.results.run import SampleRow
from prospect.run_dir import RunDir
from prospect.training.prepare import Prepared

# Drawn together: what the VAE makes pixels of at once is bounded.
_TOGETHER = 4


def image_prompts(prepared: Prepared, count: int) -> list[str]:
    """Return the first distinct prompts of the held-out feedback, or of the training feedback where none is."""
    dataset = prepared.held_out or prepared.train
    return [str(prompt) for prompt in dict.fromkeys(record.prompt for record in dataset.records)][:count]


def draw_image_samples(run: RunDir | None, prepared: Prepared, policy: Denoiser, step: int) -> list[SampleRow]:
    """Draw one image of each of `train.samples` prompts; text encoders and VAE are loaded for as long as it takes.

    Args:
        run: where the images go; None on a process that only takes part.
        prepared: says which prompts, how many noise levels, and the seed.
        policy: as it is.
        step: how many steps it has made.
    """
    settings = prepared.config.train
    prompts = image_prompts(prepared, settings.samples)
    if not prompts:
        return []
    said = GOOD if prepared.loss.control_tokens else ""
    model = policy.model.get_base_model() if policy.has_adapter else policy.model
    with policy.arithmetic(), _whole_root(policy.model):
        drawn = sample_images(
            load_pipeline(prepared.source, denoiser=model),
            [said + prompt for prompt in prompts],
            ImageSampling(steps=settings.sample_steps),
            seed=settings.seed,
            batch_size=_TOGETHER,
        )
        images = list(drawn)
    if run is None:
        return []
    return [_kept(run, step, prompt, pixels) for prompt, pixels in zip(prompts, images, strict=True)]


def _kept(run: RunDir, step: int, prompt: str, pixels: np.ndarray) -> SampleRow:
    """Write an image beside the run, and return its row."""
    image = write_image(pixels, run.samples_path.parent)
    limits = (pixels == 0) | (pixels == 255)
    return SampleRow(
        step=step,
        prompt=prompt,
        completion="",
        image=image.name,
        likeness=f"{look_at(image, 0, None, image.name).likeness:016x}",
        spread=round(float(pixels.std()), 3),
        saturated=round(float(limits.mean()), 4),
    )


@contextmanager
def _whole_root(model: Any) -> Iterator[None]:
    """Put together what the root of a model in parts holds itself: pipelines pass PEFT's wrapper by."""
    if not isinstance(model, FSDPModule):
        yield
        return
    model.unshard()
    try:
        yield
    finally:
        model.reshard()
