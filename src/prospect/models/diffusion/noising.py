"""Noise levels, noised images, what a denoiser is to predict of them, and how far it is off.

Letters: N images, C channels, H x W latent pixels (or pixels, without a VAE), T discrete noise levels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch

from prospect.data.draw import Draw

Target = Literal["epsilon", "v_prediction", "flow"]

# Passes of an evaluation, at noise levels spread over all of them: the curve then moves only when the model does.
STRATA = 8


class Noised(NamedTuple):
    """Images with noise.

    Attributes:
        sample: what the denoiser sees, float32 (N, C, H, W).
        level: the noise level as the denoiser takes it, (N,): 0 to T - 1, or sigma in [0, 1] where the target is flow.
        target: what it is to predict, float32 (N, C, H, W).
    """

    sample: torch.Tensor
    level: torch.Tensor
    target: torch.Tensor


@dataclass(frozen=True)
class Shift:
    """How far a scheduler moves the noise levels of a flow model up: a level s becomes a s / (1 + (a - 1) s).

    Attributes:
        factor: a, where it is one for all images.
        slope: of log a over the tokens of an image, where it depends on them.
        start: log a of no tokens; with `slope`.
        patch: latent pixels to a token's side.

    Source: arXiv 2403.03206, equation 23; the line over tokens is Flux's.
    """

    factor: float = 1.0
    slope: float | None = None
    start: float = 0.0
    patch: int = 2

    def of(self, shape: Sequence[int]) -> float:
        """Return a for latents (..., H, W)."""
        if self.slope is None:
            return self.factor
        return math.exp(self.start + self.slope * (shape[-2] * shape[-1] // self.patch**2))


@dataclass(frozen=True)
class Noising:
    """How a model was trained to see noise.

    Attributes:
        target: epsilon, the noise; v_prediction, signal * noise - spread * image; flow, noise - image.
        signal: float32 (T,), the factor of the image at each level; the spread of the noise is sqrt(1 - signal^2).
            None where the target is flow, whose image and noise are mixed as (1 - sigma) and sigma.
        shift: of a flow model's levels, which are logit-normal then (mean 0, deviation 1); None draws all alike.
    """

    target: Target
    signal: torch.Tensor | None = None
    shift: Shift | None = None

    def noised(self, images: torch.Tensor, place: torch.Tensor, noise: torch.Tensor) -> Noised:
        """Add noise to images.

        Args:
            images: float32 (N, C, H, W).
            place: where among all noise levels, (N,) in [0, 1).
            noise: float32 (N, C, H, W).
        """
        if self.signal is None:
            level = self._sigma(place, images.shape).to(images)
            sigma = level[:, None, None, None]
            return Noised((1 - sigma) * images + sigma * noise, level, noise - images)
        level = (place * len(self.signal)).long()
        signal = self.signal.to(images.device)[level.to(images.device)].to(images.dtype)[:, None, None, None]
        spread = (1 - signal.square()).sqrt()
        target = noise if self.target == "epsilon" else signal * noise - spread * images
        return Noised(signal * images + spread * noise, level.to(images.device), target)

    def _sigma(self, place: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
        """Return sigma at a place among all levels: the quantile of how they are drawn."""
        if self.shift is None:
            return place
        level, factor = torch.sigmoid(torch.special.ndtri(place)), self.shift.of(shape)
        return factor * level / (1 + (factor - 1) * level)


def draw_noise(
    draw: Draw, keys: Sequence[bytes], shape: Sequence[int], stratum: int | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw the noise level and the noise of each row.

    Args:
        draw: names the random numbers.
        keys: of the N rows; two rows with one key get the same.
        shape: C, H, W.
        stratum: which of the `STRATA` parts of all levels is drawn from; None draws from all.

    Returns:
        places, float64 (N,) in [0, 1), and noise, float32 (N, C, H, W), on the CPU.
    """
    places, noises = [], []
    for key in keys:
        generator = draw.generator(key if stratum is None else key + bytes([stratum]))
        place = torch.rand((), generator=generator, dtype=torch.float64)
        places.append(place if stratum is None else (place + stratum) / STRATA)
        noises.append(torch.randn(tuple(shape), generator=generator))
    return torch.stack(places), torch.stack(noises)


def image_logps(target: torch.Tensor, prediction: torch.Tensor) -> torch.Tensor:
    """Return log-probs of images: -1/2 sum (target - prediction)^2, up to a constant that a log-ratio does not have.

    It is the log-density of a unit Gaussian around the prediction. The log-ratio of two models at the same noise level
    and noise is what Diffusion-DPO and Diffusion-KTO call the difference of errors, in nats and not per pixel.

    Args:
        target: (N, ...), float32 or better.
        prediction: of the same shape, in any arithmetic.

    Returns:
        float64 (N,) nats.

    Source: arXiv 2311.12908, equation 14, and 2404.04465, equation 8, with the sum in place of their mean.
    """
    error = target - prediction.to(target.dtype)
    return -0.5 * error.square().flatten(1).sum(1, dtype=torch.float64)
