"""A small model of pixels whose prompts are words of a short list: no text encoder and no VAE.

Its folder has the layout of diffusers' pipelines, so each part loads with diffusers' own classes:

    model_index.json               _class_name WordPipeline, the two parts by their classes, `words` and `length`
    unet/                          config.json and diffusion_pytorch_model.safetensors of a UNet2DConditionModel
    scheduler/                     scheduler_config.json: betas, prediction type, how DDIM steps through them

The UNet sees pixels in [-1, 1] and attends to the words, as `encode_words` makes vectors of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from diffusers import DDIMScheduler, DiffusionPipeline, UNet2DConditionModel

from prospect.models.diffusion.denoising import denoise
from prospect.models.diffusion.words import encode_words


class WordPipeline(DiffusionPipeline):
    """A UNet that draws what a few words ask for.

    Args:
        unet: its `cross_attention_dim` is the number of words in the list.
        scheduler: of its noise levels.
        words: the list. It has a default because diffusers writes only such values into model_index.json.
        length: how many words a prompt has at most.
    """

    def __init__(
        self, unet: UNet2DConditionModel, scheduler: DDIMScheduler, words: list[str] | None = None, length: int = 0
    ) -> None:
        super().__init__()
        self.register_modules(unet=unet, scheduler=scheduler)
        self.register_to_config(words=words, length=length)

    def encode_prompts(self, prompts: Sequence[str]) -> torch.Tensor:
        """Return what the UNet attends to: float32 (N, L, V)."""
        words, length = self.config["words"], self.config["length"]
        return torch.stack([encode_words(prompt, words, length) for prompt in prompts])

    @torch.no_grad()
    def __call__(
        self,
        prompt: Sequence[str],
        generator: Sequence[torch.Generator],
        num_inference_steps: int = 20,
        output_type: str = "np",
    ) -> tuple[np.ndarray]:
        """Draw an image for each prompt by DDIM (eta 0); the arguments are those of other pipelines.

        Args:
            prompt: N prompts.
            generator: of the first noise of each.
            num_inference_steps: noise levels that are stepped through.
            output_type: only "np" is known.

        Returns:
            float32 (N, H, W, 3) in [0, 1], as the one part of a tuple.
        """
        seen = self.encode_prompts(prompt).to(self.device, self.unet.dtype)
        side = self.unet.config.sample_size
        shape = (len(prompt), self.unet.config.in_channels, side, side)

        def predict(images: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
            predicted: torch.Tensor = self.unet(images, level, encoder_hidden_states=seen).sample
            return predicted

        images = denoise(self, predict, shape, generator, num_inference_steps)
        return ((images / 2 + 0.5).clamp(0, 1).float().permute(0, 2, 3, 1).cpu().numpy(),)
