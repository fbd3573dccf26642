"""Images as a medium: rows are pictures with prompts, each scored as a whole at a noise level of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from prospect.data.draw import Draw
from prospect.data.image_rows import ImageBatch, ImageRow, mismatched_images, size_of
from prospect.models.diffusion.denoiser import Denoiser
from prospect.models.diffusion.encodings import Encodings
from prospect.models.reference import Reference
from prospect.training.medium import BothLogps


@dataclass(frozen=True)
class ImageMedium:
    """Completions that are images. A log-prob is at the noise level and noise that a draw names.

    Attributes:
        encodings: latents and embeddings of all rows; of no prompt too, where some are left out.
        prompt_dropout: share of the examples whose prompt neither model is told in a step.
    """

    encodings: Encodings
    prompt_dropout: float = 0.0

    def collate(self, rows: Sequence[ImageRow]) -> ImageBatch:
        """Look up latents and embeddings, and lay them side by side."""
        told = [self.encodings.conditions(row.prompt) for row in rows]
        return ImageBatch(
            rows=tuple(rows),
            images=torch.stack([self.encodings.image(row) for row in rows]),
            conditions={name: torch.stack([one[name] for one in told]) for name in told[0]},
            desirable=torch.tensor([row.desirable for row in rows]),
            weight=torch.tensor([row.weight for row in rows], dtype=torch.float32),
            score=torch.tensor([row.score for row in rows], dtype=torch.float32),
        )

    def cost(self, row: ImageRow) -> int:
        """Return 1: images of all sizes have about as many pixels."""
        return 1

    def shape(self, row: ImageRow) -> tuple[int, int]:
        """Return the size of the image."""
        return size_of(row)

    def scored_units(self, row: ImageRow) -> int:
        """Return 1: an image is scored as a whole."""
        return 1

    def mismatched(self, rows: Sequence[ImageRow], seed: int) -> list[ImageRow]:
        """Return each prompt with another prompt's image."""
        return mismatched_images(rows, seed)

    def sample(self, policy: Denoiser, asked: Sequence[Any], longest: int, draw: Draw) -> list[ImageRow]:
        """Refuse: the policy's own images have no log-prob that is another's KL."""
        raise TypeError("z0 is not sampled from images")

    def compare(
        self, policy: Denoiser, reference: Reference, batch: ImageBatch, draw: Draw, *, by_unit: bool = False
    ) -> BothLogps:
        """Score a batch with both models, at the same noise levels and noise."""
        assert not by_unit, "an image has no units"
        drawn = replace(batch, draw=draw, conditions=self._told(batch, draw))
        logps = policy.logps(drawn)
        return BothLogps(logps, reference.logps(drawn).to(logps.device))

    def _told(self, batch: ImageBatch, draw: Draw) -> Mapping[str, torch.Tensor]:
        """Return what both models are told: nothing of some prompts, others in each step; of all in evaluations."""
        if not self.prompt_dropout or draw.step == 0:
            return batch.conditions
        silent = [draw.share(b"prompt " + row.noise_key) < self.prompt_dropout for row in batch.rows]
        told, nothing = dict(batch.conditions), self.encodings.conditions("")
        for name, value in told.items():
            rows = torch.tensor(silent, device=value.device).view(-1, *[1] * (value.ndim - 1))
            told[name] = torch.where(rows, nothing[name].to(value), value)
        return told
