"""What is put around a loaded model: LoRA, recomputation of activations, compilation."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from prospect.config import LoraSettings
from prospect.errors import ConfigError
from prospect.models.loading import first_line


@contextmanager
def quiet_peft() -> Iterator[None]:
    """PEFT reads an attribute that Transformers has renamed; nothing that a user could mend."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
        yield


def add_adapter(
    model: Any, settings: LoraSettings, *, task: str | None = "CAUSAL_LM", trained_tokens: Sequence[int] = ()
) -> Any:
    """Wrap a model with a LoRA adapter; the embeddings of `trained_tokens` are trained too."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=settings.r,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=settings.target_modules or "all-linear",
        trainable_token_indices=list(trained_tokens) or None,
        task_type=task,
    )
    try:
        with quiet_peft():
            wrapped = get_peft_model(model, config).eval()
    except ValueError as error:
        raise ConfigError(f"model.lora.target_modules: {first_line(error)}") from error
    for name, module in wrapped.named_modules():
        if "lora_dropout" in name:
            module.train()
    return wrapped


def checkpointed_layers(model: Any) -> list[Any]:
    """Return the layers of a model that Transformers marks as such."""
    from transformers.modeling_layers import GradientCheckpointingLayer

    return [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]


def enable_gradient_checkpointing(model: Any) -> None:
    """Recompute activations in the backward pass, without switching dropout on.

    Raises:
        ConfigError: the model does not support it.
    """
    if not model.supports_gradient_checkpointing:
        raise ConfigError(f"train.gradient_checkpointing: {type(model).__name__} does not support it. Set it to false.")
    # Renamed in Transformers 5.2x; both take the same first argument.
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable({"use_reentrant": False})
    # Layers recompute only in training mode, which would also switch their dropout on: so the flag is set on
    # the layers themselves and not on what is inside them. A layer that drops out by itself keeps the rate as
    # a number (OPT does), and it is set to 0.
    for module in checkpointed_layers(model):
        module.training = True
        for name, value in vars(module).items():
            if "dropout" in name and isinstance(value, float):
                setattr(module, name, 0.0)


def compile_layers(model: Any) -> None:
    """Compile each layer by itself, for any length of rows: one compilation serves all layers.

    Layer by layer because the head's own pass, adapters and sharding come between layer and model.
    """
    for module in checkpointed_layers(model):
        module.compile(dynamic=True)
