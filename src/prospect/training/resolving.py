"""What a recipe leaves to its loss and data, filled in, and settings that do not go with the loss, refused."""

from __future__ import annotations

from typing import Any

from prospect.config import Config, ReferencePointSettings, SyncSettings
from prospect.data.batch import flatten
from prospect.data.dataset import Dataset
from prospect.errors import ConfigError
from prospect.feedback.convert.balance import suggest_class_weights
from prospect.losses import Loss
from prospect.training.online import has_reference
from prospect.training.optimizer import check_optimizer
from prospect.training.starting_point import check_named

HUMANLINE_EVERY = 12  # steps; the paper's range is 12 to 24


def resolve_recipe(
    config: Config, loss: Loss, train: Dataset, max_length: int | None, max_tokens: int | None
) -> Config:
    """Fill in whatever the recipe left to the loss, the model or the data.

    Args:
        config: the recipe.
        loss: its loss.
        train: the training data.
        max_length: the longest row in tokens; None of images.
        max_tokens: of a micro-batch; None of images.

    Raises:
        ConfigError: a setting that does not fit the loss or the data.
    """
    values = config.as_dict()
    values["loss"] |= {
        **loss.hyperparameters,
        **_class_weights(config, loss, train),
        **config.loss.hyperparameters,
    }
    values["data"] |= {"max_length": max_length, "class_weights": "none"}
    values["train"]["learning_rate"] = config.train.learning_rate or loss.learning_rate
    values["train"]["max_tokens_per_micro_batch"] = max_tokens
    if config.model.lora is not None and config.model.lora.use_dora:  # see check_options
        values["train"]["precision"] = "fp32"
    values["reference_point"] |= _reference_point(config.reference_point, loss, train)
    _check_modifiers(config, loss)
    if config.data.desirable_share is not None and not all(train.class_counts()):
        raise ConfigError("data.desirable_share mixes two classes, and the feedback has one. Leave it out.")
    _check_sharding(config)
    check_optimizer(config)
    values["reference"] |= _reference(config, loss)
    return Config.model_validate(values)


def _reference_point(settings: ReferencePointSettings, loss: Loss, train: Dataset) -> dict[str, Any]:
    """Return settings of z0: where samples are cut.

    Raises:
        ConfigError: a loss that has no z0, or none that samples can estimate; settings of samples where none are drawn.
    """
    if settings.kind != "step" and not loss.needs_reference_point:
        raise ConfigError(
            f"reference_point is {settings.kind} and loss {loss.name} has no reference point. Leave it out."
        )
    if settings.kind == "sampled":
        if not loss.needs_reference:
            raise ConfigError(
                "reference_point is sampled, which estimates how far the policy is from its reference, and loss "
                f"{loss.name} has no reference. Leave it out."
            )
        longest = max(len(row.completion_ids) for row in flatten(train.examples))
        return {"max_new_tokens": settings.max_new_tokens or longest}
    plain = ReferencePointSettings()
    for name in ("every", "completions", "max_new_tokens"):
        if getattr(settings, name) != getattr(plain, name):
            raise ConfigError(
                f"reference_point.{name} is about samples, and reference_point.kind is {settings.kind}. Set kind: "
                f"sampled, or leave {name} out."
            )
    return {}


def _check_modifiers(config: Config, loss: Loss) -> None:
    """Refuse what changes a loss where it would change nothing.

    Raises:
        ConfigError: naming the setting.
    """
    compares = loss.feedback != "demonstration" and not loss.reward_model and loss.direction != "up"
    if config.loss.sft_weight and not compares:
        raise ConfigError(f"loss.sft_weight adds the sft loss, and loss {loss.name} is no comparison. Leave it out.")
    if config.data.desirable_share is not None and loss.feedback != "unpaired":
        raise ConfigError(f"data.desirable_share is about thumbs, and loss {loss.name} has none. Leave it out.")
    for name, given in (("loss.humanline", config.loss.humanline), ("reference.sync", config.reference.sync)):
        if given is not None and not loss.needs_reference:
            raise ConfigError(f"{name} is about the reference, and loss {loss.name} has none. Leave it out.")
    if config.reference.name_or_path is not None and not has_reference(config, loss):
        raise ConfigError(f"reference.name_or_path names one, and loss {loss.name} has no reference. Leave it out.")


def _check_sharding(config: Config) -> None:
    """Refuse what sharded weights cannot do.

    Raises:
        ConfigError: naming the setting.
    """
    if config.train.parallel != "fsdp":
        return
    if config.reference_point.kind == "micro_batch":
        raise ConfigError("reference_point is micro_batch, whose passes differ by process. Set train.parallel: ddp.")


def _reference(config: Config, loss: Loss) -> dict[str, Any]:
    """Return settings of the reference: humanline's, and no cache where keys would not be found again.

    Raises:
        ConfigError: a cache folder, or an adapter as reference, that could not be used; weights too coarse to follow.
    """
    sync = config.reference.sync
    if sync is None and config.loss.humanline is not None:
        sync = SyncSettings(every=HUMANLINE_EVERY, mix=1.0)
    moves = sync is not None and sync.every > 0
    check_named(config, moves)
    continued = config.model.adapter == "continue"
    if moves and continued and (config.reference.kind != "auto" or (sync and sync.mix != 1)):
        raise ConfigError(
            "reference.sync moves the reference to an adapter that is trained on (model.adapter: continue), which it "
            "can only take whole. Set reference.sync.mix: 1 and leave reference.kind out, or set model.adapter: merge."
        )
    if moves and config.reference.kind == "adapter_off":
        raise ConfigError("reference.sync moves the reference, and adapter_off has no weights. Set kind: frozen.")
    if moves and config.model.lora is not None and config.model.dtype != "float32":
        raise ConfigError(
            f"reference.sync adds the adapter to the reference's weights, and model.dtype is {config.model.dtype}: "
            "what an adapter has learnt is lost in the rounding of such weights, so the reference would not come to "
            "the policy. Set model.dtype: float32, or leave reference.sync out (with loss.humanline set its every: 0)."
        )
    options = config.model.lora.options if config.model.lora is not None else {}
    unmixable = sorted({"use_dora", "lora_bias", "target_parameters"} & options.keys())
    if moves and unmixable:
        raise ConfigError(
            f"reference.sync adds the adapter to the reference's weights, and with model.lora.{unmixable[0]} it is no "
            "sum of the two. Leave one of them out (with loss.humanline set reference.sync.every: 0)."
        )
    by_token = loss.level == "token" or config.loss.humanline is not None
    why = "reference.sync changes its answers" if moves else "it is asked for every token" if by_token else ""
    why = "no completion is seen again" if config.online is not None and not why else why
    why = "an image is scored at another noise in every step" if config.data.resolution is not None else why
    if why and isinstance(config.reference.cache, str):
        raise ConfigError(f"reference.cache is {config.reference.cache} and cannot be used: {why}. Leave it out.")
    return {
        "sync": sync.model_dump() if sync else None,
        "kind": "frozen" if moves and not continued else config.reference.kind,
        "cache": False if why else config.reference.cache,
    }


def _class_weights(config: Config, loss: Loss, train: Dataset) -> dict[str, float]:
    """Return the weights that balance the classes, where the loss takes them and the recipe does not set them."""
    names = {"desirable_weight", "undesirable_weight"}
    counts = train.class_counts()
    takes_them = names <= loss.hyperparameters.keys()
    if (
        config.data.class_weights == "none"
        or not takes_them
        or names & config.loss.hyperparameters.keys()
        or config.data.desirable_share is not None
        or not all(counts)
    ):
        return {}
    weights = suggest_class_weights(*counts)
    # A loss whose own defaults are not 1 keeps their ratio.
    defaults = loss.hyperparameters
    return {
        "desirable_weight": defaults["desirable_weight"] * weights.desirable,
        "undesirable_weight": defaults["undesirable_weight"] * weights.undesirable,
    }
