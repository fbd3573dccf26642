"""What Transformers loads: models, tokenizers and their configuration, with errors that name the remedy."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch

from prospect.config import ModelSettings
from prospect.data.control_tokens import CONTROL_TOKENS, ask_after_good, control_token_ids
from prospect.errors import ModelError
from prospect.model_source import MODEL_CONFIG, ModelSource, find_model, require_context
from prospect.models.gguf_reader import forget_parsed, parsed_once
from prospect.models.quantization import quantization_options, with_one_arithmetic

DEFAULT_MAX_LENGTH = 2048  # the longest row where neither recipe nor model sets a limit


def load_tokenizer(settings: ModelSettings, *, control_tokens: bool = False) -> Any:
    """Load the tokenizer in the model's folder, or, of an adapter without one, that of its base.

    Args:
        settings: which model.
        control_tokens: whether to add the tokens that state a verdict, where it has none yet.

    Raises:
        ModelError: there is none.
    """
    from transformers import AutoTokenizer

    source = find_model(settings.name_or_path).tokenizer
    options = {"trust_remote_code": settings.trust_remote_code, **_gguf(source)}
    with _reading(
        source,
        settings,
        "tokenizer",
        "A model folder needs tokenizer.json and tokenizer_config.json beside its weights: save it with "
        "tokenizer.save_pretrained(folder).",
    ):
        tokenizer = AutoTokenizer.from_pretrained(source.place, **options)
        if not control_tokens or control_token_ids(tokenizer):
            return tokenizer
        tokenizer = AutoTokenizer.from_pretrained(source.place, extra_special_tokens=CONTROL_TOKENS, **options)
        return ask_after_good(tokenizer)


def load_model_config(settings: ModelSettings) -> Any:
    """Load the model's own configuration, without its weights; of an adapter, that of its base.

    Raises:
        ModelError: there is none.
    """
    from transformers import AutoConfig

    source = find_model(settings.name_or_path).root
    with _reading(
        source,
        settings,
        "configuration",
        "A model folder needs config.json beside its weights: save it with model.save_pretrained(folder).",
    ):
        return AutoConfig.from_pretrained(source.place, trust_remote_code=settings.trust_remote_code, **_gguf(source))


def load_whole(source: ModelSource, settings: ModelSettings) -> Any:
    """Load a causal LM in evaluation mode, refusing one with weights missing.

    Args:
        source: whole weights, or a GGUF file, which is dequantised.
        settings: how they are held.
    """
    from transformers import AutoModelForCausalLM

    with _reading(
        source,
        settings,
        "model",
        "It must be a causal language model with config.json and safetensors weights.",
    ):
        model, info = AutoModelForCausalLM.from_pretrained(source.place, **loading_options(settings), **_gguf(source))
    forget_parsed()
    if info["missing_keys"]:
        missing = sorted(info["missing_keys"])
        raise ModelError(
            f"{source.place}: {len(missing)} weights are missing from the checkpoint, {missing[0]} for one, and "
            "would be random. Is it a model of another kind?"
        )
    model = with_one_arithmetic(model) if settings.quantization is not None else model
    return (as_plain(model) if source.gguf else model).eval()


def _own_code(source: ModelSource, settings: ModelSettings) -> str:
    """Return what to do about code that comes with a model, where it may not run."""
    try:
        brings_code = "auto_map" in source.read(MODEL_CONFIG)
    except ModelError:  # a file that is no JSON; the message says so already
        return ""
    if settings.trust_remote_code or not brings_code:
        return ""
    return " It brings code of its own: read that, and set model.trust_remote_code: true if it may run."


def _attention(error: Exception, settings: ModelSettings) -> str:
    """Return what to do where it is the attention asked for that is not there."""
    asked = settings.attn_implementation
    if asked is None or not re.search(r"attention|attn|sdpa", first_line(error), re.IGNORECASE):
        return ""
    return f" model.attn_implementation is {asked}: null takes what this machine has."


def as_plain(model: Any) -> Any:
    """Return a model that was read from GGUF as one that never was quantised: else it could not be saved."""
    model.hf_quantizer, model.is_quantized = None, False
    del model.config.quantization_config
    return model


def _gguf(source: ModelSource) -> dict[str, str]:
    """Return the arguments by which Transformers reads a GGUF file.

    Raises:
        ModelError: the package that reads it is not installed.
    """
    if not source.gguf:
        return {}
    if importlib.util.find_spec("gguf") is None:
        raise ModelError(f"{source.name}: reading GGUF needs the package gguf. Install it: pip install gguf")
    return {"gguf_file": source.gguf}


@contextmanager
def _reading(source: ModelSource, settings: ModelSettings, what: str, advice: str) -> Iterator[None]:
    """Turn any error of Transformers, which raises half a dozen kinds, into a ModelError.

    Args:
        source: what is read.
        settings: whether its own code may run.
        what: the part of it.
        advice: what a folder of Transformers needs; of GGUF the advice is another.
    """
    shared = parsed_once() if source.gguf and importlib.util.find_spec("gguf") else nullcontext()
    try:
        with shared:
            yield
    except Exception as error:
        if source.gguf:
            raise ModelError(
                f"{source.name}: its {what} could not be read from GGUF ({first_line(error)}). Transformers reads a "
                "list of architectures; where this is none of them, or the file is damaged, take the model's "
                "safetensors."
            ) from error
        advice += _own_code(source, settings) + _attention(error, settings)
        raise ModelError(f"{source.place}: the {what} could not be loaded ({first_line(error)}). {advice}") from error


def loading_options(settings: ModelSettings) -> dict[str, Any]:
    """Return the arguments of every loading: precision, attention, safetensors only, loading report."""
    options: dict[str, Any] = {
        "dtype": getattr(torch, settings.dtype),
        "trust_remote_code": settings.trust_remote_code,
        "use_safetensors": True,
        "output_loading_info": True,
        **quantization_options(settings),
    }
    if settings.attn_implementation is not None:
        options["attn_implementation"] = settings.attn_implementation
    return options


def fit_embeddings(model: Any, tokenizer: Any) -> range:
    """Give the model an embedding for every token; a new one starts as the mean of all others.

    A model often has more rows than its tokenizer has tokens, for the sake of a round number; those stay.

    Returns:
        the ids of the new ones.
    """
    have = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) <= have:
        return range(0)
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    layers = [model.get_input_embeddings(), model.get_output_embeddings()]
    with torch.no_grad():
        for weight in {id(layer.weight): layer.weight for layer in layers if layer is not None}.values():
            weight[have:] = weight[:have].mean(0)
    return range(have, len(tokenizer))


# Settings of a model's configuration that describe its origin or how it is run, not what it computes.
_NOT_ARITHMETIC = {
    "_name_or_path",
    "_diffusers_version",
    "_use_default_values",
    "architectures",
    "dtype",
    "torch_dtype",
    "transformers_version",
    "use_cache",
}


def weights_identity(model: Any, precision: str) -> str:
    """Hashe every weight with its name, shape and dtype, the model's configuration, and the arithmetic.

    The configuration counts: the same weights with another rotary base or softcap are another model.
    """
    own = model.config.to_diff_dict() if hasattr(model.config, "to_diff_dict") else dict(model.config)
    settings = {key: value for key, value in own.items() if key not in _NOT_ARITHMETIC}
    text = json.dumps([precision, settings], sort_keys=True, default=str)
    digest = hashlib.blake2b(text.encode(), digest_size=16)
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def width_of(settings: ModelSettings) -> int:
    """Return how many numbers a hidden state of a model has; 0 where its configuration does not say.

    Raises:
        ModelError: there is no such model.
    """
    return getattr(load_model_config(settings).get_text_config(), "hidden_size", 0)


def resolve_max_length(asked: int | None, model_config: Any) -> int:
    """Return the longest row: what the recipe asks, within what the model can read.

    Raises:
        ConfigError: more is asked than the model's context.
    """
    context = getattr(model_config.get_text_config(), "max_position_embeddings", None)
    require_context(asked, context)
    return asked if asked is not None else min(context or DEFAULT_MAX_LENGTH, DEFAULT_MAX_LENGTH)


def first_line(error: BaseException) -> str:
    """Return the first line of a library's error, or the error's name where it is empty."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
