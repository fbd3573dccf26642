"""Kinds of pipelines: how each encodes prompts, and how its denoiser is called. One entry a kind, by diffusers' name.

Letters: N images, C channels, H x W latent pixels, L tokens of a prompt, E numbers to a token.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from prospect.errors import DataError
from prospect.models.diffusion.noising import Noised
from prospect.models.diffusion.words import encode_words, knows_words

Conditions = Mapping[str, torch.Tensor]

# Sigma of flow models counts from 0 to 1, and SD3's denoiser takes it in thousandths.
_THOUSAND = 1000.0
# What a guidance-distilled Flux is told: 1 asks for the plain prediction, as its trainers do.
_GUIDANCE = 1.0


@dataclass(frozen=True)
class Family:
    """One kind of pipeline.

    Attributes:
        part: where its denoiser lies: unet or transformer.
        denoiser: diffusers' class of it.
        encode: what the denoiser is told of a prompt, by name, without the dimension of rows; from the pipeline with
            its text encoders, or from model_index.json where it has none.
        predict: what the denoiser predicts, (N, C, H, W), from images with noise, their levels and `encode`'s tensors;
            the last argument is the pixels to a latent's side.
        flow: whether it predicts flow; others predict epsilon or v, as their scheduler says.
        has_vae: whether its images are latents.
        vocabulary: the entry of model_index.json that says which prompts it knows: id2label or words; empty where it
            has a text encoder, which reads any.
        knows: whether it knows a prompt, by model_index.json.
        guided: whether it is trained without a prompt now and then, so that the prompt's part can be scaled.
        packed: whether the denoiser takes 2 x 2 latent pixels as one.
        old_scaling: whether folders without a scaling factor are of Stable Diffusion's.
        side: of its images, in latent pixels, where the configuration does not say.
        unused: parts that training has no use for, which are not loaded.
    """

    part: str
    denoiser: str
    encode: Callable[[Any, str], dict[str, torch.Tensor]]
    predict: Callable[[Any, Noised, Conditions, int], torch.Tensor]
    flow: bool = False
    has_vae: bool = True
    vocabulary: str = ""
    knows: Callable[[Mapping[str, Any], str], bool] = lambda index, prompt: True
    guided: bool = True
    packed: bool = False
    old_scaling: bool = False
    side: int = 0
    unused: tuple[str, ...] = ("safety_checker", "feature_extractor", "image_encoder")


def _encode_sd(pipe: Any, prompt: str) -> dict[str, torch.Tensor]:
    embedded, _ = pipe.encode_prompt(prompt, pipe.device, 1, do_classifier_free_guidance=False)
    return {"text": embedded[0]}


def _predict_sd(model: Any, noised: Noised, told: Conditions, cell: int) -> torch.Tensor:
    return _first(model(noised.sample, noised.level, encoder_hidden_states=told["text"], return_dict=False))


def _encode_sdxl(pipe: Any, prompt: str) -> dict[str, torch.Tensor]:
    """Encode; no prompt is zeros where the pipeline's sampling takes zeros for it."""
    embedded, _, pooled, _ = pipe.encode_prompt(prompt, device=pipe.device, do_classifier_free_guidance=False)
    told = {"text": embedded[0], "pooled": pooled[0]}
    if not prompt and pipe.config.force_zeros_for_empty_prompt:
        return {name: torch.zeros_like(value) for name, value in told.items()}
    return told


def _predict_sdxl(model: Any, noised: Noised, told: Conditions, cell: int) -> torch.Tensor:
    """Tell the size that is asked for in sampling: whole, and not cropped."""
    height, width = (cell * side for side in noised.sample.shape[2:])
    ids = torch.tensor([height, width, 0, 0, height, width]).to(told["pooled"])
    added = {"text_embeds": told["pooled"], "time_ids": ids.expand(len(noised.sample), -1)}
    return _first(
        model(
            noised.sample,
            noised.level,
            encoder_hidden_states=told["text"],
            added_cond_kwargs=added,
            return_dict=False,
        )
    )


def _encode_sd3(pipe: Any, prompt: str) -> dict[str, torch.Tensor]:
    longest = _longest(pipe.tokenizer_3, 256)
    embedded, _, pooled, _ = pipe.encode_prompt(
        prompt, None, None, device=pipe.device, do_classifier_free_guidance=False, max_sequence_length=longest
    )
    return {"text": embedded[0], "pooled": pooled[0]}


def _predict_sd3(model: Any, noised: Noised, told: Conditions, cell: int) -> torch.Tensor:
    return _first(
        model(
            noised.sample,
            timestep=_THOUSAND * noised.level,
            encoder_hidden_states=told["text"],
            pooled_projections=told["pooled"],
            return_dict=False,
        )
    )


def _longest(tokenizer: Any, usual: int) -> int:
    """Return how many tokens T5 gets: as in sampling, unless its tokenizer says fewer; SD3 may be without T5."""
    return usual if tokenizer is None else min(usual, tokenizer.model_max_length)


def _encode_flux(pipe: Any, prompt: str) -> dict[str, torch.Tensor]:
    longest = _longest(pipe.tokenizer_2, 512)
    embedded, pooled, _ = pipe.encode_prompt(prompt, device=pipe.device, max_sequence_length=longest)
    return {"text": embedded[0], "pooled": pooled[0]}


def _predict_flux(model: Any, noised: Noised, told: Conditions, cell: int) -> torch.Tensor:
    """Pack 2 x 2 latent pixels into one token, with its place, and unpack what is predicted."""
    count, channels, height, width = noised.sample.shape
    rows, columns = height // 2, width // 2
    packed = noised.sample.view(count, channels, rows, 2, columns, 2).permute(0, 2, 4, 1, 3, 5)
    places = torch.zeros(rows, columns, 3, device=packed.device, dtype=packed.dtype)
    places[..., 1] += torch.arange(rows, device=packed.device)[:, None]
    places[..., 2] += torch.arange(columns, device=packed.device)
    guided = getattr(model.config, "guidance_embeds", False)
    predicted = _first(
        model(
            packed.reshape(count, rows * columns, 4 * channels),
            timestep=noised.level,
            guidance=torch.full_like(noised.level, _GUIDANCE) if guided else None,
            pooled_projections=told["pooled"],
            encoder_hidden_states=told["text"],
            txt_ids=places.new_zeros(told["text"].shape[1], 3),
            img_ids=places.view(-1, 3),
            return_dict=False,
        )
    )
    unpacked = predicted.view(count, rows, columns, channels, 2, 2).permute(0, 3, 1, 4, 2, 5)
    return unpacked.reshape(count, channels, height, width)


def class_of(index: Mapping[str, Any], prompt: str) -> int | None:
    """Return the class that a prompt names among those of `id2label`; None where there is none."""
    for number, labels in index["id2label"].items():
        if prompt.strip() in (label.strip() for label in str(labels).split(",")):
            return int(number)
    return None


def _knows_class(index: Mapping[str, Any], prompt: str) -> bool:
    return class_of(index, prompt) is not None


def encode_class(index: Mapping[str, Any], prompt: str) -> dict[str, torch.Tensor]:
    """Return the class that a prompt names, int64 (), as `class`.

    Raises:
        DataError: it names none.
    """
    found = class_of(index, prompt)
    if found is None:
        known = "; ".join(str(labels) for labels in index["id2label"].values())
        raise DataError(f'prompt "{prompt}": no class of the model has that name. It knows {known[:400]}.')
    return {"class": torch.tensor(found)}


def _predict_class(model: Any, noised: Noised, told: Conditions, cell: int) -> torch.Tensor:
    """Predict; a DiT that predicts its variance too has that in further channels."""
    predicted = _first(model(noised.sample, noised.level, class_labels=told["class"], return_dict=False))
    return predicted[:, : noised.sample.shape[1]]


def _knows_words(index: Mapping[str, Any], prompt: str) -> bool:
    return knows_words(prompt, index["words"], index["length"])


def _encode_listed_words(index: Mapping[str, Any], prompt: str) -> dict[str, torch.Tensor]:
    return {"text": encode_words(prompt, index["words"], index["length"])}


def _first(found: Any) -> torch.Tensor:
    return found[0]


FAMILIES: Mapping[str, Family] = {
    "StableDiffusionPipeline": Family("unet", "UNet2DConditionModel", _encode_sd, _predict_sd, old_scaling=True),
    "StableDiffusionXLPipeline": Family("unet", "UNet2DConditionModel", _encode_sdxl, _predict_sdxl),
    "StableDiffusion3Pipeline": Family("transformer", "SD3Transformer2DModel", _encode_sd3, _predict_sd3, flow=True),
    "FluxPipeline": Family(
        "transformer", "FluxTransformer2DModel", _encode_flux, _predict_flux, flow=True, packed=True, side=128
    ),
    "DiTPipeline": Family(
        "transformer",
        "DiTTransformer2DModel",
        encode_class,
        _predict_class,
        old_scaling=True,
        vocabulary="id2label",
        knows=_knows_class,
    ),
    "DDPMPipeline": Family(
        "unet",
        "UNet2DModel",
        encode_class,
        _predict_class,
        has_vae=False,
        vocabulary="id2label",
        knows=_knows_class,
        guided=False,
    ),
    "WordPipeline": Family(
        "unet",
        "UNet2DConditionModel",
        _encode_listed_words,
        _predict_sd,
        has_vae=False,
        vocabulary="words",
        knows=_knows_words,
        guided=False,
    ),
}
