"""What is put around a loaded model: LoRA, recomputation of activations, compilation."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from prospect.config import LoraSettings
from prospect.errors import ConfigError
from prospect.models.loading import first_line
from prospect.models.lora_options import check_used, peft_settings


@contextmanager
def quiet_peft() -> Iterator[None]:
    """Keep back what PEFT says that a user need not mend.

    It reads an attribute that Transformers has renamed, and fears for a head that is tied to the embeddings and adapted
    alone, which `adapter_files.merge` parts from them.
    """
    with warnings.catch_warnings():
        for said in ("`tie_word_embeddings=True` and a tied layer", "embeddings are no longer tied after merging"):
            warnings.filterwarnings("ignore", message=f".*{said}")
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
        yield


def add_adapter(
    model: Any, settings: LoraSettings, *, task: str | None = "CAUSAL_LM", trained_tokens: Sequence[int] = ()
) -> Any:
    """Wrap a model with a LoRA adapter; the embeddings of `trained_tokens` are trained too."""
    from peft import LoraConfig, get_peft_model

    options = peft_settings(settings)
    if trained_tokens:
        if "trainable_token_indices" in options:
            raise ConfigError("model.lora.trainable_token_indices: the loss adds tokens of its own. Leave it out.")
        options["trainable_token_indices"] = list(trained_tokens)
    try:
        with quiet_peft():
            # What PEFT says of patterns and exclusions that nothing answers to, and then ignores.
            warnings.filterwarnings(
                "error", message=r"The following \w+ keys did not match|You have passed exclude_mod"
            )
            wrapped = get_peft_model(model, LoraConfig(task_type=task, **options)).eval()
    except (TypeError, ValueError, UserWarning, RuntimeWarning) as error:
        said = first_line(error)
        raise ConfigError(f"model.lora{'.target_modules' if 'target' in said.lower() else ''}: {said}") from error
    check_used(wrapped, settings)
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
