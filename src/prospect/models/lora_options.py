"""What `model.lora` says, as PEFT's own settings: every option of the installed PEFT, but for what breaks a run."""

from __future__ import annotations

import dataclasses
import difflib
from typing import Any

from prospect.config import Config, LoraSettings
from prospect.errors import ConfigError
from prospect.models.loading import first_line

# What PEFT calls what has another name here.
_OURS = {"lora_alpha": "alpha", "lora_dropout": "dropout"}
# What is no setting: a run fills it in.
_FILLED_IN = {
    "task_type",
    "peft_type",
    "auto_mapping",
    "peft_version",
    "base_model_name_or_path",
    "revision",
    "inference_mode",
}
# Options with which a promise would not hold, and why.
_REFUSED = {
    "layer_replication": "repeats layers, so that with its adapter off the model is not the one that was named",
    "kasa_config": "takes away a part of the frozen weights, so that the model is not the one that was named",
    "alora_invocation_tokens": "switches the adapter on at a token of the row, which log-probs by row know nothing of",
    "arrow_config": "chooses among adapters that are there already, and there are none",
    "monteclora_config": "adds noise to the adapter, so that the policy is not its reference before the first step",
    "megatron_config": "is for models of Megatron, which Transformers does not load",
}
# Starts of an adapter that change nothing until it is trained, with the base as it is.
_STARTS = (True, "gaussian")


def peft_settings(settings: LoraSettings) -> dict[str, Any]:
    """Return the arguments of PEFT's LoraConfig.

    Raises:
        ConfigError: an option that PEFT does not have, or that would break what the run promises.
    """
    from peft import LoraConfig

    known = {field.name for field in dataclasses.fields(LoraConfig)} - _FILLED_IN - _OURS.keys() - _REFUSED.keys()
    options = settings.options
    for name, value in options.items():
        if name in _FILLED_IN:
            raise ConfigError(f"model.lora.{name} is filled in by the run. Leave it out.")
        if name in _REFUSED:
            raise ConfigError(f"model.lora.{name} {_REFUSED[name]}. Leave it out.")
        if name not in known:
            raise ConfigError(f"model.lora.{name}: {_unknown(name, {*known, *type(settings).model_fields})}")
        _check_promises(name, value)
    if settings.layers_to_transform is not None and not isinstance(settings.target_modules, list):
        raise ConfigError(
            "model.lora.layers_to_transform: PEFT counts layers only of modules that are listed. Set "
            "model.lora.target_modules to a list of names, such as [q_proj, v_proj]."
        )
    return {
        "r": settings.r,
        "lora_alpha": settings.alpha,
        "lora_dropout": settings.dropout,
        "target_modules": settings.target_modules or (None if "target_parameters" in options else "all-linear"),
        **options,
    }


def check_options(config: Config) -> None:
    """Refuse, before anything is loaded, adapter settings that cannot be used.

    Raises:
        ConfigError: naming the setting.
    """
    from peft import LoraConfig

    settings = config.model
    if settings.lora is None:
        return
    try:
        LoraConfig(**peft_settings(settings.lora))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"model.lora: {first_line(error)}") from error
    if settings.lora.modules_to_save and settings.dtype != "float32":
        raise ConfigError(
            f"model.lora.modules_to_save trains whole modules, and model.dtype is {settings.dtype}: at alignment's "
            "learning rates such weights would not move. Set model.dtype: float32, or leave modules_to_save out."
        )
    if settings.lora.use_dora and (settings.dtype != "float32" or config.train.precision == "bf16"):
        raise ConfigError(
            "model.lora.use_dora divides by lengths of rows of weights, and in 16 bits their rounding makes the policy "
            "another model than its reference before the first step. Leave model.dtype and train.precision out."
        )


def check_used(wrapped: Any, settings: LoraSettings) -> None:
    """Refuse names of modules to train whole that the model does not have; PEFT passes over them.

    Args:
        wrapped: the model with the adapter on it.
        settings: the adapter's.

    Raises:
        ConfigError: naming one of them.
    """
    saved = [name for name, module in wrapped.named_modules() if hasattr(module, "modules_to_save")]
    for asked in settings.modules_to_save or ():
        if not any(name == asked or name.endswith(f".{asked}") for name in saved):
            raise ConfigError(f"model.lora.modules_to_save: the model has no module {asked}.")


def _check_promises(name: str, value: Any) -> None:
    """Refuse values with which the model with its adapter off is not the one that the run starts from."""
    if name == "bias" and value != "none":
        raise ConfigError(
            f"model.lora.bias is {value}, which trains biases of the model itself: with its adapter off it would not "
            "be the model that the run starts from, and the reference would move. Leave it out; lora_bias: true gives "
            "the adapter biases of its own."
        )
    if name == "init_lora_weights" and value not in _STARTS:
        raise ConfigError(
            f"model.lora.init_lora_weights is {value}: such a start changes the frozen weights, or what the model says "
            "before the first step, and the model with its adapter off, which is the reference, would not be the one "
            "that the run starts from. Set it to true or gaussian."
        )


def _unknown(name: str, known: set[str]) -> str:
    near = difflib.get_close_matches(name, known, n=3)
    choice = f"did you mean {' or '.join(near)}?" if near else f"There are {', '.join(sorted(known))}."
    return f"the installed PEFT has no such option of LoraConfig; {choice}"
