"""Frozen weights held in 8 or 4 bits by bitsandbytes, under an adapter that is trained in full precision."""

from __future__ import annotations

import importlib.util
import logging
from typing import Any

import torch

from prospect.config import Config, ModelSettings
from prospect.errors import ConfigError
from prospect.model_source import ModelSource


def require_bitsandbytes(setting: str, instead: str) -> None:
    """Refuse a setting whose package is not installed, without importing it.

    Args:
        setting: what asks for it, as the beginning of a sentence.
        instead: what to set instead.

    Raises:
        ConfigError: with the command that installs it.
    """
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ConfigError(
            f"{setting}, which needs the package bitsandbytes. Install it (pip install bitsandbytes), or set {instead}."
        )


def check_quantization(config: Config, source: ModelSource, *, reward_model: bool) -> None:
    """Refuse quantised weights where they would be trained, moved, copied or spread.

    Args:
        config: the recipe, with model.adapter settled.
        source: where the model lies.
        reward_model: whether the loss trains one.

    Raises:
        ConfigError: naming the setting.
    """
    kind = config.model.quantization
    if kind is None:
        return
    says = f"model.quantization is {kind}"
    require_bitsandbytes(says, "model.dtype: bfloat16")
    refused = {
        "and all weights are trained, which 8 or 4 bits cannot follow. Set model.lora: true": (
            not config.model.trains_adapter
        ),
        f"and {source.name} is merged first, which rounds what it learnt. Run prospect merge, and start from that": (
            config.model.adapter == "merge" or (source.base is not None and source.base.kind != "model")
        ),
        "and the model comes from GGUF. Take its safetensors, or set model.dtype: bfloat16": source.kind == "gguf",
        "and the model makes images. Set model.dtype: bfloat16": source.kind == "pipeline",
        "and a reward model is saved whole. Set model.dtype: bfloat16": reward_model,
        "and reference.kind is frozen. Leave it out: the reference is the quantised model with its adapter off": (
            config.reference.kind == "frozen"
        ),
        "and reference.sync adds the adapter to the reference's weights. Leave one of them out": (
            config.reference.follows or (config.loss.humanline is not None and config.reference.sync is None)
        ),
        "and train.parallel is fsdp, which cannot spread such weights. Set ddp": config.train.parallel == "fsdp",
    }
    for why, found in refused.items():
        if found:
            raise ConfigError(f"{says} {why}.")


def quantization_options(settings: ModelSettings) -> dict[str, Any]:
    """Return the arguments by which Transformers quantises weights as it loads them."""
    if settings.quantization is None:
        return {}
    from transformers import BitsAndBytesConfig

    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it tells of every cast
    dtype = getattr(torch, settings.dtype)
    if settings.quantization == "int8":
        # No outliers apart: which ones are apart depends on the rows that share a micro-batch.
        return {"quantization_config": BitsAndBytesConfig(load_in_8bit=True, llm_int8_threshold=0.0)}
    four = {"bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": dtype}
    return {"quantization_config": BitsAndBytesConfig(load_in_4bit=True, **four)}


def saved_by_quantization(model: Any, settings: ModelSettings) -> int:
    """Return how many bytes an architecture's frozen linear layers take less than as `settings.dtype`."""
    if settings.quantization is None:
        return 0
    head = (model.get_base_model() if hasattr(model, "get_base_model") else model).get_output_embeddings()
    layers = [m for m in model.modules() if type(m) is torch.nn.Linear and not m.weight.requires_grad and m is not head]
    # int8 has a scale by row, nf4 one by 64 numbers; scales are float32.
    return int(
        sum(
            p.numel() * p.dtype.itemsize
            - (p.numel() + 4 * len(p) if settings.quantization == "int8" else p.numel() * (1 / 2 + 4 / 64))
            for p in (layer.weight for layer in layers)
        )
    )


def with_one_arithmetic(model: Any) -> Any:
    """Return a quantised model whose layers compute alike in training and evaluation.

    On a CPU bitsandbytes has faster layers for evaluation, which round otherwise: a policy would not be its reference
    before the first step.
    """
    for module in model.modules():
        if type(module).__module__.startswith("bitsandbytes."):
            module.register_forward_pre_hook(_as_in_training)
    return model


def _as_in_training(module: torch.nn.Module, _: Any) -> None:
    module.training = True


def dequantised(model: Any, settings: ModelSettings) -> Any:
    """Return a model as an ordinary one of `settings.dtype`, with the numbers that its 8 or 4 bits stand for."""
    if settings.quantization is None:
        return model
    plain = model.dequantize(dtype=getattr(torch, settings.dtype))
    plain.hf_quantizer, plain.is_quantized = None, False
    if hasattr(plain.config, "quantization_config"):
        del plain.config.quantization_config
    return plain
