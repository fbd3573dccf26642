"""Images from pipelines.

An image depends on the model, the seed, the prompt and the image's number, and on nothing else: not on its batch, nor
on other prompts. Batches of another size add up in another order, which moves a value by rounding alone.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from prospect.errors import ConfigError, ModelError
from prospect.model_source import LORA_WEIGHTS, ModelSource
from prospect.models.device import default_device
from prospect.models.diffusion.library import reading, require_diffusers
from prospect.models.diffusion.pipelines import read_pipeline
from prospect.models.modes import evaluating


def load_pipeline(source: ModelSource, adapter: Path | None = None, *, denoiser: Any = None) -> Any:
    """Return a pipeline whole, with encoders and VAE, where models go by default: in float32, or as its denoiser.

    Args:
        source: the pipeline.
        adapter: the folder of weights that are put on it.
        denoiser: in place of its own.

    Raises:
        ModelError: it cannot be loaded.
    """
    require_diffusers()
    import diffusers

    from prospect.models.diffusion.class_pipeline import ClassPipeline
    from prospect.models.diffusion.word_pipeline import WordPipeline

    found = read_pipeline(source)
    name = str(found.index["_class_name"])
    own = {"id2label": ClassPipeline, "words": WordPipeline}.get(found.family.vocabulary)
    with reading(source.name, "pipeline"):
        kind: Any = own or getattr(diffusers, name)
        loaded = kind.from_pretrained(
            found.folder,
            dtype=torch.float32 if denoiser is None else denoiser.dtype,
            use_safetensors=True,
            local_files_only=True,
            **{part: None for part in found.family.unused if part in found.index},
            **({} if denoiser is None else {found.family.part: denoiser}),
        )
    if adapter is not None:
        with reading(str(adapter), "adapter"):
            loaded.load_lora_weights(adapter, weight_name=LORA_WEIGHTS, local_files_only=True)
    return loaded.to(default_device())


@dataclass(frozen=True, slots=True)
class ImageSampling:
    """How an image is drawn; None leaves it to the pipeline.

    Attributes:
        steps: noise levels that the scheduler steps through.
        guidance: scale of classifier-free guidance.
    """

    steps: int | None = None
    guidance: float | None = None

    def __post_init__(self) -> None:
        if self.steps is not None and self.steps < 1:
            raise ConfigError(f"steps is {self.steps}; expected at least 1, such as 20.")
        if self.guidance is not None and not 0 <= self.guidance < math.inf:
            raise ConfigError(f"guidance is {self.guidance}; expected a number from 0 on, such as 7.5.")

    def arguments(self) -> dict[str, Any]:
        """Return what is set, as pipelines call it."""
        named = {"num_inference_steps": self.steps, "guidance_scale": self.guidance}
        return {name: value for name, value in named.items() if value is not None}


def sample_images(
    pipeline: Any,
    prompts: Sequence[str],
    sampling: ImageSampling,
    *,
    samples_per_prompt: int = 1,
    seed: int = 0,
    batch_size: int = 64,
) -> Iterator[np.ndarray]:
    """Yield `samples_per_prompt` images of every prompt, in the prompts' order, as uint8 (H, W, 3).

    Args:
        pipeline: a pipeline of diffusers, or a WordPipeline. Its models are put into eval mode, and given back in
            the mode they had.
        prompts: what is asked for. Two equal prompts of one call get equal images.
        sampling: how an image is drawn.
        samples_per_prompt: images of each prompt.
        seed: another seed, other images.
        batch_size: images that are drawn together: what bounds the memory.

    Raises:
        ModelError: an image is not finite.
    """
    pipeline.set_progress_bar_config(disable=True)
    modules = [part for part in pipeline.components.values() if isinstance(part, torch.nn.Module)]
    asked = list(product(prompts, range(samples_per_prompt)))
    for start in range(0, len(asked), batch_size):
        batch = asked[start : start + batch_size]
        with ExitStack() as modes:
            for module in modules:
                modes.enter_context(evaluating(module))
            images = pipeline(
                prompt=[prompt for prompt, _ in batch],
                generator=[image_generator(seed, prompt, number) for prompt, number in batch],
                output_type="np",
                **sampling.arguments(),
            )[0]
        for (prompt, number), image in zip(batch, images, strict=True):
            if not np.isfinite(image).all():
                raise ModelError(
                    f'image {number + 1} of prompt "{prompt}" is not finite: weights or arithmetic overflow. '
                    "Take a model from before its training went wrong, or float32."
                )
            yield (255 * image).round().astype(np.uint8)


def image_generator(seed: int, prompt: str, number: int) -> torch.Generator:
    """Return the random numbers of one image: a function of the seed, the prompt and the image's number alone."""
    digest = hashlib.blake2b(f"{seed}|{number}|{prompt}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little", signed=True))
