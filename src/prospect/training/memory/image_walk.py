"""A step on images with shapes alone: what goes through the denoiser, and what it is told.

The encoders, which are there before training and while samples are drawn, are not looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from prospect.model_source import read_json
from prospect.models.diffusion.denoiser import to_train
from prospect.models.diffusion.noising import Noised, image_logps
from prospect.models.diffusion.pipelines import Pipeline
from prospect.training.prepare import Prepared

_STEPS_SEEN = 50
# Tokens of T5, unless its tokenizer says fewer: as prompts are encoded.
_OF_T5 = {"tokenizer_2": 512, "tokenizer_3": 256}


class ImageShape(NamedTuple):
    """A micro-batch: N images of W x H pixels."""

    rows: int
    width: int
    height: int


def largest_images(prepared: Prepared) -> ImageShape:
    """Return the micro-batch with most pixels of a run's first steps; those of all sizes have about as many."""
    plan = prepared.plan
    steps = [examples for _, examples in plan.steps(0, min(plan.steps_per_epoch, _STEPS_SEEN))]
    groups = [group for examples in steps for group in prepared.groups(examples)]
    shapes = [ImageShape(sum(map(len, group)), *group[0][0].size) for group in groups]
    return max(shapes, key=lambda shape: shape.rows * shape.width * shape.height)


def denoiser_shape(prepared: Prepared, pipeline: Pipeline) -> Any:
    """Return the denoiser as it is trained, without its weights."""
    import diffusers

    config = prepared.config
    with torch.device("meta"):
        model: Any = getattr(diffusers, pipeline.family.denoiser).from_config(dict(pipeline.denoiser))
        model = model.to(getattr(torch, config.model.dtype)).eval().requires_grad_(False)
        return to_train(model, config)


def image_scorer(model: Any, pipeline: Pipeline, shape: ImageShape) -> Callable[[], torch.Tensor]:
    """Return what scores a micro-batch of noise: log-probs (N,)."""
    side = (shape.height // pipeline.cell, shape.width // pipeline.cell)
    noise = torch.zeros(shape.rows, pipeline.channels, *side)
    level = torch.zeros(shape.rows) if pipeline.family.flow else torch.zeros(shape.rows, dtype=torch.int64)
    told = {
        name: torch.zeros(shape.rows, *size, dtype=model.dtype if size else torch.int64)
        for name, size in told_shapes(pipeline).items()
    }

    def score() -> torch.Tensor:
        seen = Noised(noise.to(model.dtype), level, noise)
        return image_logps(noise, pipeline.family.predict(model, seen, told, pipeline.cell))

    return score


def told_shapes(pipeline: Pipeline) -> dict[str, tuple[int, ...]]:
    """Return the sizes of what the denoiser is told of one prompt, by name, as the encoders would make it."""
    listed, denoiser = pipeline.family.vocabulary, pipeline.denoiser
    if listed == "id2label":
        return {"class": ()}
    if listed:
        return {"text": (pipeline.index["length"], len(pipeline.index["words"]))}
    width = denoiser.get("joint_attention_dim") or denoiser["cross_attention_dim"]
    pooled = denoiser.get("pooled_projection_dim") or denoiser.get("projection_class_embeddings_input_dim")
    if not pooled:
        return {"text": (_tokens(pipeline, "tokenizer"), width)}
    if "pooled_projection_dim" not in denoiser:  # SDXL's, beside six numbers of the picture's size
        return {
            "text": (_tokens(pipeline, "tokenizer"), width),
            "pooled": (pooled - 6 * denoiser["addition_time_embed_dim"],),
        }
    if pipeline.family.packed:
        return {"text": (_tokens(pipeline, "tokenizer_2"), width), "pooled": (pooled,)}
    clip = _tokens(pipeline, "tokenizer")
    has_t5 = (pipeline.folder / "tokenizer_3").is_dir()
    return {"text": (clip + (_tokens(pipeline, "tokenizer_3") if has_t5 else clip), width), "pooled": (pooled,)}


def _tokens(pipeline: Pipeline, part: str) -> int:
    """Return the tokens that a prompt is made of by a tokenizer."""
    longest = int(read_json(pipeline.folder / part / "tokenizer_config.json")["model_max_length"])
    of_t5 = part in _OF_T5 and pipeline.family.flow
    return min(_OF_T5[part], longest) if of_t5 else longest
