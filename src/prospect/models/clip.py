"""CLIP: how close an image is to a text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from prospect.config import ModelSettings
from prospect.errors import ModelError
from prospect.model_source import find_model
from prospect.models.device import default_device
from prospect.models.loading import first_line, load_model_config, load_tokenizer, loading_options


def load_clip(name: str) -> tuple[Any, Any, Any]:
    """Load a CLIPModel in evaluation mode, its tokenizer and its image processor.

    Raises:
        ModelError: there is none, it is another kind of model, or weights are missing.
    """
    from transformers import CLIPImageProcessorPil, CLIPModel

    settings = ModelSettings(name_or_path=name)
    kind = load_model_config(settings).model_type
    if kind != "clip":
        raise ModelError(f"{name}: a model of type {kind}; expected a CLIPModel (type clip), which has two encoders.")
    tokenizer, place = load_tokenizer(settings), find_model(name).place
    try:
        processor = CLIPImageProcessorPil.from_pretrained(place)
        model, told = CLIPModel.from_pretrained(place, **loading_options(settings))
    except Exception as error:
        raise ModelError(
            f"{name}: the CLIP could not be loaded ({first_line(error)}). A folder needs preprocessor_config.json and "
            "safetensors weights beside its tokenizer: save model and processor with save_pretrained(folder)."
        ) from error
    if told["missing_keys"]:
        raise ModelError(
            f"{name}: {len(told['missing_keys'])} weights are missing, such as {min(told['missing_keys'])}."
        )
    return model.eval().to(default_device()), tokenizer, processor


def score_images(model: Any, tokenizer: Any, processor: Any, pairs: Sequence[tuple[str, Any]]) -> list[float]:
    """Return exp(logit_scale) cos(image, text) of each pair of a text and a picture of Pillow."""
    texts, pictures = zip(*pairs, strict=True)
    most = model.config.text_config.max_position_embeddings
    words = tokenizer(list(texts), padding=True, truncation=True, max_length=most, return_tensors="pt")
    pixels = processor(list(pictures), return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        found = model(
            input_ids=words["input_ids"].to(model.device),
            attention_mask=words["attention_mask"].to(model.device),
            pixel_values=pixels.to(model.device, model.dtype),
        )
        # The embeddings have length 1.
        scores = model.logit_scale.exp() * (found.image_embeds * found.text_embeds).sum(-1)
    return [float(score) for score in scores.float().cpu()]
