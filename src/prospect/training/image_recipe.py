"""What a recipe leaves to the model where that makes images, and what of a recipe images cannot have."""

from __future__ import annotations

from typing import Any

from prospect.config import Config, DataSettings, TrainSettings
from prospect.data.image_dataset import ImageEncoder
from prospect.errors import ConfigError
from prospect.losses import Loss
from prospect.models.device import default_device
from prospect.models.diffusion.pipelines import Pipeline

# Full weights as in Diffusion-KTO (arXiv 2404.04465, appendix A), adapters as in diffusers' script.
FULL_RATE, ADAPTER_RATE = 1e-7, 1e-5
# In nats. The papers' 5000 is .61 (KTO) or .31 (DPO) for Stable Diffusion 1.5; losses' own .1 is of texts, whose
# log-ratios are larger.
BETA = 0.5
# Images that go through the denoiser at once where the recipe does not say.
AT_ONCE, AT_ONCE_ON_ACCELERATORS = 8, 4
# Settings of `data` that are about tokens and chat templates.
_OF_TEXTS = (
    "max_length",
    "overlong_prompts",
    "end_token",
    "chat_template",
    "template_arguments",
    "plain_as_chat",
    "system_role",
    "thoughts",
    "unrenderable",
    "template_date",
)


def settle_images(config: Config, pipeline: Pipeline, loss: Loss) -> Config:
    """Refuse what images cannot have, and fill in what the recipe left to the model.

    Raises:
        ConfigError: naming the setting.
    """
    _refuse(config, pipeline, loss)
    resolution = config.data.resolution or pipeline.resolution
    pipeline.check_resolution(resolution)
    values = config.as_dict()
    values["data"]["resolution"] = resolution
    train = values["train"]
    at_once = AT_ONCE if default_device().type == "cpu" else AT_ONCE_ON_ACCELERATORS
    train["images_per_micro_batch"] = train["images_per_micro_batch"] or at_once
    if train["prompt_dropout"] is None:
        train["prompt_dropout"] = pipeline.prompt_dropout
    train["noise_levels"] = train["noise_levels"] or ("shifted" if pipeline.family.flow else "uniform")
    train["learning_rate"] = train["learning_rate"] or usual_rate(config)
    official = values["loss"].pop("official_beta", None)
    if official is not None:
        values["loss"]["beta"] = official * nats_per_official(loss, pipeline, resolution)
    elif "beta" in loss.hyperparameters:
        values["loss"].setdefault("beta", BETA)
    return Config.model_validate(values)


def usual_rate(config: Config) -> float:
    """Return the learning rate of recipes that name none."""
    return ADAPTER_RATE if config.model.trains_adapter else FULL_RATE


def image_encoder(config: Config, pipeline: Pipeline, loss: Loss) -> ImageEncoder:
    """Return how records become rows; the recipe is a settled one."""

    def knows(prompt: str) -> bool:
        return pipeline.family.knows(pipeline.index, prompt)

    assert config.data.resolution is not None, "it is settled"
    return ImageEncoder(config.data.resolution, pipeline.step, knows, say_verdict=loss.control_tokens)


def numbers_of(pipeline: Pipeline, resolution: int) -> int:
    """Return D, the numbers that a square image of this resolution is made of for the denoiser."""
    return int(pipeline.channels * (resolution // pipeline.cell) ** 2)


def nats_per_official(loss: Loss, pipeline: Pipeline, resolution: int) -> float:
    """Return the beta in nats of an official beta of 1: the papers' scripts take means over D numbers.

    Diffusion-KTO's (thumbs) has no factor 1/2 before the error, so it is 2 / D; Diffusion-DPO's (pairs) has it, so it
    is 1 / D.
    """
    return (2.0 if loss.feedback == "unpaired" else 1.0) / numbers_of(pipeline, resolution)


def beta_in_words(config: Config, loss: Loss, pipeline: Pipeline) -> str:
    """Say what beta is in the papers' scripts; "" for losses without one. The recipe is a settled one."""
    if "beta" not in loss.hyperparameters:
        return ""
    assert config.data.resolution is not None, "it is settled"
    beta = float(config.loss.hyperparameters["beta"])
    official = beta / nats_per_official(loss, pipeline, config.data.resolution)
    script = "Diffusion-KTO" if loss.feedback == "unpaired" else "Diffusion-DPO"
    return (
        f"beta {beta:.4g} per nat, which is --beta_dpo {official:.4g} in {script}'s script at "
        f"{config.data.resolution} pixels ({numbers_of(pipeline, config.data.resolution):,} numbers an image)"
    )


def check_balance(config: Config, loss: Loss, desirable: int, undesirable: int) -> None:
    """Refuse thumbs of which the undesirable pull more, unless the recipe asks for that by name.

    A denoiser can raise the errors of all images without bound. Where lambda_D n_D < lambda_U n_U, a loss on thumbs
    is lower there than at its start, and training ends in noise.

    Args:
        config: the recipe, with the loss's hyperparameters filled in.
        loss: the loss.
        desirable: n_D, of the training feedback.
        undesirable: n_U.

    Raises:
        ConfigError: with what to set.
    """
    if loss.feedback != "unpaired" or loss.direction != "apart" or config.data.allow_imbalance:
        return
    share = config.data.desirable_share
    if share is not None:
        desirable, undesirable = round(1000 * share), 1000 - round(1000 * share)
    weights = config.loss.hyperparameters
    up = float(weights.get("desirable_weight", 1.0)) * desirable
    down = float(weights.get("undesirable_weight", 1.0)) * undesirable
    if up < down:
        raise ConfigError(
            f"undesirable images pull {down:.4g} (weight x rows) and desirable ones {up:.4g}; a denoiser then lowers "
            "the loss by making noise of everything. Set data.desirable_share: 0.8, leave the loss's class weights to "
            "data.class_weights: auto, or set data.allow_imbalance: true if you mean it."
        )


def _refuse(config: Config, pipeline: Pipeline, loss: Loss) -> None:
    plain, name = DataSettings(train=""), f"loss {loss.name}"
    text = next((key for key in _OF_TEXTS if getattr(config.data, key) != getattr(plain, key)), None)
    by_token = loss.level == "token" or loss.needs_values or loss.needs_sampled_logps
    options = config.model.lora.options if config.model.lora is not None else {}
    refused: dict[str, Any] = {
        f"model.lora.{next(iter(options), '')}: an adapter of images has r, alpha, dropout and target_modules, which "
        "every reader of its file knows. Leave it out": bool(options),
        f"{name} scores single tokens, and an image is scored as a whole": by_token or loss.feedback == "sampled",
        f"{name} trains a reward model, and {pipeline.name} makes images": loss.reward_model,
        f"{name} compares log-probs without a reference, and of an image only what two models differ by is known": (
            not loss.needs_reference and loss.direction != "up"
        ),
        f"data.{text} is about texts. Leave it out": text is not None,
        "the recipe has an online section, and images are not sampled while a model trains. Leave it out": (
            config.online is not None
        ),
        f"reference_point is {config.reference_point.kind}; images have step or matched": (
            config.reference_point.kind not in ("step", "matched")
        ),
        "model.attn_implementation is of Transformers' models. Leave it out": (
            config.model.attn_implementation is not None
        ),
        "loss.humanline clips tokens, and images have none. Leave it out": config.loss.humanline is not None,
        "train.sample_tokens is about texts. Leave it out": (
            config.train.sample_tokens != TrainSettings().sample_tokens
        ),
        "train.compile compiles the layers of Transformers' models. Leave it out": config.train.compile,
        "train.max_tokens_per_micro_batch is about texts. Set train.images_per_micro_batch": (
            config.train.max_tokens_per_micro_batch is not None
        ),
        f"train.prompt_dropout leaves prompts out, and {pipeline.name} knows listed ones alone. Leave it out": (
            bool(config.train.prompt_dropout and pipeline.family.vocabulary)
        ),
        f"train.noise_levels is shifted, and {pipeline.name}, which does not predict flow, has uniform ones": (
            config.train.noise_levels == "shifted" and not pipeline.family.flow
        ),
        f"loss.official_beta is about beta, which {name} does not have. Leave it out": (
            config.loss.official_beta is not None and "beta" not in loss.hyperparameters
        ),
        "loss.beta and loss.official_beta say the same. Leave one of them out": (
            config.loss.official_beta is not None and "beta" in config.loss.hyperparameters
        ),
        f"{name} states the verdict in the prompt, and {pipeline.name} knows classes alone": (
            loss.control_tokens and bool(pipeline.family.vocabulary)
        ),
    }
    for message, holds in refused.items():
        if holds:
            raise ConfigError(f"{message}.")


def _unless_usual(sample_steps: int) -> int | None:
    return None if sample_steps == TrainSettings().sample_steps else sample_steps


def refuse_image_settings(config: Config) -> None:
    """Refuse settings of images where the model writes text.

    Raises:
        ConfigError: naming the setting.
    """
    given = {
        "data.resolution": config.data.resolution,
        "train.images_per_micro_batch": config.train.images_per_micro_batch,
        "train.prompt_dropout": config.train.prompt_dropout,
        "train.noise_levels": config.train.noise_levels,
        "train.sample_steps": _unless_usual(config.train.sample_steps),
        "loss.official_beta": config.loss.official_beta,
    }
    for name, value in given.items():
        if value is not None:
            raise ConfigError(f"{name} is about images, and {config.model.name_or_path} writes text. Leave it out.")
