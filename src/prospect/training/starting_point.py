"""Where a run starts: what happens to an adapter that is named, and what the policy is compared with."""

from __future__ import annotations

from prospect.config import Config
from prospect.data.control_tokens import control_token_ids
from prospect.errors import ConfigError
from prospect.losses import Loss
from prospect.model_source import ModelSource, find_model
from prospect.models.loading import load_tokenizer
from prospect.models.reference import kind_of_reference
from prospect.training.online import has_reference


def choose_adapter(config: Config, source: ModelSource, loss: Loss) -> Config:
    """Return the recipe with what happens to an adapter that the run starts from: model.adapter.

    Raises:
        ConfigError: there is no adapter, or it cannot be trained on.
    """
    asked = config.model.adapter
    if source.base is None:
        if asked is not None:
            raise ConfigError(f"model.adapter is {asked}, and {source} is no adapter. Leave model.adapter out.")
        return config
    if asked == "continue" and config.model.lora is not None:
        raise ConfigError(
            f"model.lora is set and model.adapter is continue: the adapter {source.name} keeps its own rank, scale and "
            "layers. Leave model.lora out, or set model.adapter: merge for a fresh adapter on top."
        )
    if asked == "continue" and loss.reward_model:
        raise ConfigError(
            f"model.adapter is continue, and loss {loss.name} gives the model another head, for which the adapter "
            f"{source.name} was not trained. Set model.adapter: merge."
        )
    chosen = asked or ("merge" if config.model.lora is not None or loss.reward_model else "continue")
    return config.model_copy(update={"model": config.model.model_copy(update={"adapter": chosen})})


def continue_images(config: Config) -> Config:
    """Return the recipe of a run that trains an adapter of a pipeline on.

    Raises:
        ConfigError: it asks for another adapter.
    """
    if config.model.lora is not None or config.model.adapter == "merge":
        raise ConfigError(
            f"{config.model.name_or_path} trained an adapter of a pipeline, which is trained on as it is. Leave "
            "model.lora and model.adapter out; or fold it in with diffusers (fuse_lora), and start from that pipeline."
        )
    return config.model_copy(update={"model": config.model.model_copy(update={"adapter": "continue"})})


def check_new_tokens(config: Config, loss: Loss) -> None:
    """Refuse to train an adapter on that has no place for the tokens of the loss.

    Raises:
        ConfigError: naming the setting.
    """
    if config.model.adapter != "continue" or not loss.control_tokens:
        return
    if not control_token_ids(load_tokenizer(config.model)):
        raise ConfigError(
            f"model.adapter is continue, and loss {loss.name} adds tokens whose embeddings the adapter does not train. "
            "Set model.adapter: merge."
        )


def check_named(config: Config, moves: bool) -> None:
    """Refuse settings that would do nothing to another model as reference.

    Args:
        config: the recipe.
        moves: whether the reference follows the policy.

    Raises:
        ConfigError: naming the setting.
        ModelError: there is no such model.
    """
    name = config.reference.name_or_path
    if name is None:
        return
    if config.reference.kind == "adapter_off":
        raise ConfigError(f"reference.kind is adapter_off and reference.name_or_path is {name}. Leave one of them out.")
    if moves:
        raise ConfigError(
            f"reference.sync moves the reference to the policy, and reference.name_or_path is {name}. Leave one of "
            "them out (with loss.humanline set reference.sync.every: 0)."
        )
    find_model(name)


def model_in_words(config: Config, source: ModelSource) -> str:
    """Say what the run starts from, and what of it is trained."""
    trained = {"continue": "trained on", "merge": "folded in"}.get(str(config.model.adapter))
    start = str(source) if trained is None else f"{source}, the adapter {trained}"
    return f"{start}; trained: {_trained(config)}"


def _trained(config: Config) -> str:
    if config.model.adapter == "continue":
        return "that adapter, its dropout off"
    return f"a fresh adapter of rank {config.model.lora.r}" if config.model.lora is not None else "all weights"


def reference_in_words(config: Config, loss: Loss) -> str:
    """Say what the policy is compared with; the recipe is a resolved one."""
    reference, adapter = config.reference, config.model.adapter
    if not has_reference(config, loss):
        return f"none: loss {loss.name} has no reference"
    if reference.name_or_path is not None:
        return f"{find_model(reference.name_or_path)}, another model: rewards need not start at 0"
    kind = kind_of_reference(reference, has_adapter=config.model.trains_adapter, was_there=adapter == "continue")
    if adapter == "continue" and kind == "adapter_off":
        return "the model without its adapter: rewards need not start at 0"
    how = {"continue": ", its adapter included", "merge": ", its adapter folded in"}.get(str(adapter), "")
    held = {
        "frozen": "in a second copy",
        "adapter_as_loaded": "at the memory of a second adapter",
        "adapter_off": "with the fresh adapter off",
    }[kind]
    follows = ", and it follows the policy" if reference.follows else ""
    return f"the model as loaded{how}, {held}{follows}"
