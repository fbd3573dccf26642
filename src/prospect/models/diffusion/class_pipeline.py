"""A pipeline of classes as one of prompts: DiTPipeline and DDPMPipeline, whose index lists the prompts of each class.

diffusers' own loops take numbers of classes (and always 1000 as that of no class), or no class at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, DiffusionPipeline, DiTTransformer2DModel, SchedulerMixin, UNet2DModel

from prospect.models.diffusion.denoising import denoise
from prospect.models.diffusion.families import encode_class

GUIDANCE = 4.0  # as DiTPipeline has it


class ClassPipeline(DiffusionPipeline):
    """Draw what a prompt's class is.

    Args:
        scheduler: of its noise levels.
        unet: a denoiser of pixels.
        transformer: or one of latents, which was trained without a class now and then.
        vae: of the latents.
        id2label: number of a class -> its prompts, with commas between them.
    """

    _optional_components = ["unet", "transformer", "vae"]  # noqa: RUF012  as diffusers declares them

    def __init__(
        self,
        scheduler: SchedulerMixin,
        unet: UNet2DModel | None = None,
        transformer: DiTTransformer2DModel | None = None,
        vae: AutoencoderKL | None = None,
        id2label: dict[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.register_modules(scheduler=scheduler, unet=unet, transformer=transformer, vae=vae)
        self.register_to_config(id2label=id2label)

    @torch.no_grad()
    def __call__(
        self,
        prompt: Sequence[str],
        generator: Sequence[torch.Generator],
        num_inference_steps: int = 50,
        guidance_scale: float | None = None,
        output_type: str = "np",
    ) -> tuple[np.ndarray]:
        """Draw an image for each prompt; the arguments are those of other pipelines.

        prediction = none + guidance (class - none), where there is a transformer

        Args:
            prompt: N prompts.
            generator: of the noise of each.
            num_inference_steps: noise levels that are stepped through.
            guidance_scale: 1 for none; None for that of DiTPipeline.
            output_type: only "np" is known.

        Returns:
            float32 (N, H, W, 3) in [0, 1], as the one part of a tuple.
        """
        model: Any = self.unet if self.transformer is None else self.transformer
        classes = torch.stack([encode_class(self.config, one)["class"] for one in prompt]).to(self.device)
        guidance = 1.0 if self.transformer is None else GUIDANCE if guidance_scale is None else guidance_scale
        guided, channels = guidance != 1, model.config.in_channels

        def predict(images: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
            if not guided:
                return self._ask(model, images, level, classes)
            nothing = torch.full_like(classes, model.config.num_embeds_ada_norm)
            asked = self._ask(model, torch.cat([images, images]), level, torch.cat([classes, nothing]))
            told, untold = asked.chunk(2)
            return untold + guidance * (told - untold)

        shape = (len(prompt), channels, model.config.sample_size, model.config.sample_size)
        images = denoise(self, predict, shape, generator, num_inference_steps)
        if self.vae is not None:
            images = self.vae.decode(images / self.vae.config.scaling_factor).sample
        return ((images / 2 + 0.5).clamp(0, 1).float().permute(0, 2, 3, 1).cpu().numpy(),)

    def _ask(self, model: Any, images: torch.Tensor, level: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        """Return the prediction; a DiT that predicts its variance too has that in further channels."""
        levels = level.to(images.device).expand(len(images))
        predicted: torch.Tensor = model(images, levels, class_labels=classes, return_dict=False)[0]
        return predicted[:, : images.shape[1]]
