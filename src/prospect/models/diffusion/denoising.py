"""From noise to an image, for pipelines that diffusers has no loop for: one step of the scheduler a noise level."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from diffusers.utils.torch_utils import randn_tensor

Predict = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Images with noise, (N, C, H, W), and their noise level to what the denoiser predicts."""


def denoise(
    pipeline: Any, predict: Predict, shape: tuple[int, ...], generator: Sequence[torch.Generator], steps: int
) -> torch.Tensor:
    """Return images or latents, (N, C, H, W), as the pipeline's scheduler makes them of noise.

    Args:
        pipeline: with a scheduler and a progress bar.
        predict: its denoiser.
        shape: N, C, H, W.
        generator: of the noise of each: the first, and that of a scheduler that adds some in every step.
        steps: noise levels that are stepped through.
    """
    scheduler, drawn = pipeline.scheduler, list(generator)
    images = randn_tensor(shape, generator=drawn, device=pipeline.device, dtype=pipeline.dtype)
    scheduler.set_timesteps(steps)
    images = images * scheduler.init_noise_sigma
    more = {"generator": drawn} if "generator" in inspect.signature(scheduler.step).parameters else {}
    for level in pipeline.progress_bar(scheduler.timesteps):
        predicted = predict(scheduler.scale_model_input(images, level), level)
        images = scheduler.step(predicted, level, images, **more).prev_sample
    return images
