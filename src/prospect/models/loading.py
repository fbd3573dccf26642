"""What Transformers loads: models, tokenizers and their configuration, with errors that say what to do."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from prospect.config import ModelSettings
from prospect.data.control_tokens import CONTROL_TOKENS, ask_after_good, control_token_ids
from prospect.errors import ModelError
from prospect.models.folder import looks_local, missing_folder, require_context

DEFAULT_MAX_LENGTH = 2048  # the longest row where neither recipe nor model sets a limit


def load_tokenizer(settings: ModelSettings, *, control_tokens: bool = False) -> Any:
    """Loads the tokenizer that lies with the model.

    Args:
        settings: which model.
        control_tokens: whether it gets the tokens that say a verdict, where it has none yet.

    Raises:
        ModelError: there is none.
    """
    from transformers import AutoTokenizer

    name = existing_model(settings.name_or_path)
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=settings.trust_remote_code)
        if not control_tokens or control_token_ids(tokenizer):
            return tokenizer
        tokenizer = AutoTokenizer.from_pretrained(
            name, trust_remote_code=settings.trust_remote_code, extra_special_tokens=CONTROL_TOKENS
        )
        return ask_after_good(tokenizer)
    except Exception as error:  # Transformers raises half a dozen kinds here, some without a message
        raise ModelError(
            f"{name}: no tokenizer could be loaded ({first_line(error)}). A model folder needs "
            "tokenizer.json and tokenizer_config.json beside its weights: save it with "
            "tokenizer.save_pretrained(folder)."
        ) from error


def load_model_config(settings: ModelSettings) -> Any:
    """Loads the model's own configuration, without its weights.

    Raises:
        ModelError: there is none.
    """
    from transformers import AutoConfig

    name = existing_model(settings.name_or_path)
    try:
        return AutoConfig.from_pretrained(name, trust_remote_code=settings.trust_remote_code)
    except Exception as error:  # as above
        raise ModelError(
            f"{name}: the model's configuration could not be read ({first_line(error)}). A model folder needs "
            "config.json beside its weights: save it with model.save_pretrained(folder)."
        ) from error


def load_causal_lm(settings: ModelSettings) -> Any:
    """Loads a Transformers causal LM in evaluation mode, refusing one with weights missing."""
    from transformers import AutoModelForCausalLM

    name = existing_model(settings.name_or_path)
    try:
        model, info = AutoModelForCausalLM.from_pretrained(name, **loading_options(settings))
    except Exception as error:  # as above
        raise ModelError(
            f"{name}: the model could not be loaded ({first_line(error)}). It must be a causal language "
            "model with config.json and safetensors weights."
        ) from error
    if info["missing_keys"]:
        missing = sorted(info["missing_keys"])
        raise ModelError(
            f"{name}: {len(missing)} weights are missing from the checkpoint, {missing[0]} for one, and "
            "would be random. Is it an adapter, or a model of another kind?"
        )
    return model.eval()


def loading_options(settings: ModelSettings) -> dict[str, Any]:
    """What Transformers is told whatever it loads: precision, attention, safetensors only, and to say what it found."""
    options: dict[str, Any] = {
        "dtype": getattr(torch, settings.dtype),
        "trust_remote_code": settings.trust_remote_code,
        "use_safetensors": True,
        "output_loading_info": True,
    }
    if settings.attn_implementation is not None:
        options["attn_implementation"] = settings.attn_implementation
    return options


def load_trained(name: str) -> tuple[Any, Any]:
    """Loads a model to generate with, a whole one or an adapter on its base, and its tokenizer.

    Raises:
        ModelError: there is none, or weights are missing.
    """
    settings = ModelSettings(name_or_path=name)
    tokenizer = load_tokenizer(settings)
    adapter = Path(name).expanduser() / "adapter_config.json"
    if not adapter.exists():
        return load_causal_lm(settings).to(default_device()), tokenizer
    from peft import PeftModel

    base = json.loads(adapter.read_text(encoding="utf-8"))["base_model_name_or_path"]
    model = load_causal_lm(ModelSettings(name_or_path=base))
    fit_embeddings(model, tokenizer)
    with quiet_peft():
        return PeftModel.from_pretrained(model, str(adapter.parent)).to(default_device()).eval(), tokenizer


@contextmanager
def quiet_peft() -> Iterator[None]:
    """PEFT reads an attribute that Transformers has renamed; nothing that a user could mend."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
        yield


def fit_embeddings(model: Any, tokenizer: Any) -> None:
    """Gives the model an embedding for every token; a new one starts as the mean of all others.

    A model often has more rows than its tokenizer has tokens, for the sake of a round number; those stay.
    """
    have = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) <= have:
        return
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    layers = [model.get_input_embeddings(), model.get_output_embeddings()]
    with torch.no_grad():
        for weight in {id(layer.weight): layer.weight for layer in layers if layer is not None}.values():
            weight[have:] = weight[:have].mean(0)


# Settings of a model's configuration that say where it came from or how it is run, not what it computes.
_NOT_ARITHMETIC = {"_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version", "use_cache"}


def weights_identity(model: Any, precision: str) -> str:
    """Hashes every weight with its name, shape and dtype, the model's configuration, and the arithmetic.

    The configuration counts: the same weights with another rotary base or softcap are another model.
    """
    settings = {key: value for key, value in model.config.to_diff_dict().items() if key not in _NOT_ARITHMETIC}
    text = json.dumps([precision, settings], sort_keys=True, default=str)
    digest = hashlib.blake2b(text.encode(), digest_size=16)
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def default_device() -> torch.device:
    """The first GPU, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def resolve_precision(precision: str, device: torch.device) -> str:
    """Turns "auto" into bf16 on a GPU that has it, else fp32."""
    if precision != "auto":
        return precision
    return "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "fp32"


def resolve_max_length(asked: int | None, model_config: Any) -> int:
    """The longest row: what the recipe asks, within what the model can read.

    Raises:
        ConfigError: more is asked than the model's context.
    """
    context = getattr(model_config.get_text_config(), "max_position_embeddings", None)
    require_context(asked, context)
    return asked if asked is not None else min(context or DEFAULT_MAX_LENGTH, DEFAULT_MAX_LENGTH)


def existing_model(name: str) -> str:
    """A local path must exist: a mistyped one would be looked up on the hub, with a puzzling answer."""
    path = Path(name).expanduser()
    if looks_local(name) and not path.is_dir():
        raise missing_folder(name)
    return str(path) if path.is_dir() else name


def first_line(error: BaseException) -> str:
    """What a library's error says first, or its name where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
