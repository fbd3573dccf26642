"""Rows whose completion is an image, and such rows side by side. Letters: N rows, C channels, H x W latent pixels."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch

from prospect.data.batch import mismatched_partners
from prospect.data.draw import Draw
from prospect.feedback.records import Image

EVALUATION = Draw(seed=0, step=0)


@dataclass(frozen=True, eq=False)
class ImageRow:
    """One image for one prompt; its latents are looked up by what it is.

    Attributes:
        prompt: as the text encoders get it.
        image: the picture.
        size: width and height in pixels that it is brought to.
        prompt_key: see `AnyRow`, as for `id`, `desirable`, `weight` and `score`.
        example: hash of the rows that are compared with one another, such as a pair's two: those see one noise level
            and one noise. Empty for a row by itself.
        key: begins with the size, so that rows in the order of their keys have neighbours of their own size; then a
            hash of prompt and image.
    """

    prompt: str
    image: Image
    size: tuple[int, int]
    prompt_key: str
    id: str
    desirable: bool
    weight: float = 1.0
    score: float = 0.0
    example: bytes = b""
    key: bytes = field(init=False)

    def __post_init__(self) -> None:
        size = b"".join(side.to_bytes(4, "big") for side in self.size)
        content = hashlib.blake2b(f"{self.image.sha256} {self.prompt}".encode(), digest_size=16).digest()
        object.__setattr__(self, "key", size + content)

    @property
    def noise_key(self) -> bytes:
        """Names the row's noise among those of a pass."""
        return self.example or self.key


def size_of(row: ImageRow) -> tuple[int, int]:
    """Return what images that go through the model together have in common."""
    return row.size


def as_example(rows: Sequence[ImageRow]) -> tuple[ImageRow, ...]:
    """Return rows that are compared with one another, so that they see the same noise."""
    if len(rows) == 1:
        return tuple(rows)
    key = hashlib.blake2b(b"".join(row.key for row in rows), digest_size=16).digest()
    return tuple(replace(row, example=key) for row in rows)


def mismatched_images(rows: Sequence[ImageRow], seed: int) -> list[ImageRow]:
    """Give each row's prompt with the image that `mismatched_partners` chose."""
    return [
        replace(row, image=rows[j].image, size=rows[j].size, example=b"", id=f"{row.id} × {rows[j].id}")
        for row, j in zip(rows, mismatched_partners(rows, seed), strict=True)
    ]


@dataclass(frozen=True)
class ImageBatch:
    """Rows of one size side by side; those of one example are neighbours.

    Attributes:
        rows: the N rows.
        images: latents, or pixels in [-1, 1] without a VAE, float32 (N, C, H, W).
        conditions: what the denoiser is told of each prompt, by name: (N, ...).
        desirable: bool (N,).
        weight: float32 (N,).
        score: float32 (N,).
        draw: names the noise; by default that of evaluations.
    """

    rows: tuple[ImageRow, ...]
    images: torch.Tensor
    conditions: Mapping[str, torch.Tensor]
    desirable: torch.Tensor
    weight: torch.Tensor
    score: torch.Tensor
    draw: Draw = EVALUATION

    def to(self, device: torch.device) -> ImageBatch:
        """Return the same batch on a device."""
        conditions = {name: value.to(device, non_blocking=True) for name, value in self.conditions.items()}
        own = {name: getattr(self, name).to(device) for name in ("desirable", "weight", "score")}
        return replace(self, images=self.images.to(device, non_blocking=True), conditions=conditions, **own)
