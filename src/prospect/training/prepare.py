"""Everything between a recipe and the first step: what a dry run shows, and what training starts from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from prospect import progress
from prospect.config import Config
from prospect.data.batch import flatten
from prospect.data.control_tokens import ask_after_good
from prospect.data.dataset import (
    Dataset,
    Encode,
    load_datasets,
    load_held_out,
    longest_example,
    require_both_classes,
    require_fitting_rows,
    require_sampled_logps,
)
from prospect.data.image_dataset import encode_images
from prospect.data.image_rows import size_of
from prospect.data.loader import Plan, any_shape, micro_batches
from prospect.data.prompts import encode_prompts
from prospect.data.render import Encoder, templates_of
from prospect.data.rounds import StepPlan
from prospect.errors import ConfigError
from prospect.feedback.chat.rendering import Rendering
from prospect.feedback.chat.templates import DEFAULT
from prospect.feedback.frozen.freeze import describe_files
from prospect.losses import Loss, get_loss
from prospect.model_source import ModelSource, find_adapter_of_images, find_model
from prospect.models.device import default_device, has_float64
from prospect.models.diffusion.pipelines import Pipeline, read_pipeline
from prospect.models.loading import load_model_config, load_tokenizer, resolve_max_length
from prospect.models.lora_options import check_options
from prospect.models.quantization import check_quantization
from prospect.training.early import refuse_early
from prospect.training.image_recipe import check_balance, image_encoder, refuse_image_settings, settle_images
from prospect.training.online import check_online, steps_per_pass
from prospect.training.resolving import resolve_recipe
from prospect.training.starting_point import check_new_tokens, choose_adapter, continue_images

# On two CPU cores 1024 was twice as fast as 4096 for a model of 1 million parameters; a GPU wants to be filled.
MICRO_BATCH_TOKENS, MICRO_BATCH_TOKENS_OF_ACCELERATORS = 1024, 16384


@dataclass(frozen=True)
class Prepared:
    """A checked recipe with its data in tokens.

    Attributes:
        config: the resolved recipe; it runs again as it is.
        source: where the model lies that the run starts from.
        loss: the loss.
        hyperparameters: all of the loss's.
        tokenizer: the policy's.
        train: training data.
        held_out: held-out data, if any.
        plan: which examples make which step.
        total_steps: optimizer steps of the whole run.
        steps_per_epoch: those of one pass over the data, or over the prompts that are answered.
        max_length: the longest row, in tokens; 0 of images.
        max_tokens: the budget of a micro-batch, in tokens or images.
        files: hashes of the data's files, and of the manifests of frozen datasets: `train` and, of files, `eval`.
        rendering: how rows became text; the tokenizer has the recipe's chat template.
        pipeline: what makes images; None where the model writes text, and only then is there a tokenizer.
    """

    config: Config
    source: ModelSource
    loss: Loss
    hyperparameters: dict[str, Any]
    tokenizer: Any
    train: Dataset
    held_out: Dataset | None
    plan: StepPlan
    total_steps: int
    steps_per_epoch: int
    max_length: int
    max_tokens: int
    files: dict[str, dict[str, Any]]
    rendering: Rendering
    pipeline: Pipeline | None = None

    def cost(self, row: Any) -> int:
        """Return what a row takes of a micro-batch: its tokens, or 1 of an image."""
        return 1 if self.pipeline is not None else int(row.length)

    def groups(self, examples: Sequence[Any]) -> list[list[Any]]:
        """Cut a step into what goes through the model together, as the step does."""
        shape = any_shape if self.pipeline is None else size_of
        return micro_batches(examples, self.max_tokens, cost=self.cost, shape=shape)


def prepare(config: Config, now: datetime | None = None) -> Prepared:
    """Resolve a recipe against its loss, model and data, refusing early what cannot work.

    Args:
        config: the recipe.
        now: the date for a chat template that prints one, where the recipe sets none; the present by default.

    Raises:
        ConfigError: a setting that does not fit the loss, the model or the data.
        DataError: feedback that cannot be read or cannot feed the loss.
        ModelError: no such model or tokenizer.
    """
    loss = get_loss(config.loss.name)
    loss.check(config.loss.hyperparameters)
    refuse_early(config)
    of_images = find_adapter_of_images(config.model.name_or_path)
    source = of_images[0] if of_images else find_model(config.model.name_or_path)
    require_float64(loss, source)
    config = continue_images(config) if of_images else choose_adapter(config, source, loss)
    check_options(config)
    check_quantization(config, source, reward_model=loss.reward_model)
    if source.kind == "pipeline":
        return _prepare_images(config, source, loss)
    refuse_image_settings(config)
    with progress.phase("reading the feedback"):
        files = _describe_files(config)  # before anything is made of them: a frozen dataset may have been changed
        tokenizer = load_tokenizer(config.model, control_tokens=loss.control_tokens)
        max_length = resolve_max_length(config.data.max_length, load_model_config(config.model))
        check_new_tokens(config, loss)
        config, rendering = _settle_rendering(config, tokenizer, now, control_tokens=loss.control_tokens)
        encoder = Encoder(
            tokenizer,
            max_length,
            end_token=config.data.end_token,
            say_verdict=loss.control_tokens,
            rendering=rendering,
        )
        if config.online is not None:
            check_online(config, loss)
            train: Dataset = encode_prompts(config, tokenizer, rendering, max_length)
            named = config.data.eval is not None
            held_out = load_held_out(config.data, loss.file_kind, encoder, f"loss {loss.name}") if named else None
        else:
            config, train, held_out = _load(config, loss, encoder)
    require_both_classes(train, config.data.allow_one_class)
    if config.train.max_tokens_per_micro_batch is not None:
        require_fitting_rows(train, config.train.max_tokens_per_micro_batch)
    max_tokens = config.train.max_tokens_per_micro_batch or max(
        micro_batch_tokens(default_device()), longest_example(train)[0]
    )
    resolved = resolve_recipe(config, loss, train, max_length, max_tokens)
    return _planned(
        resolved,
        source,
        loss,
        train,
        held_out,
        files,
        tokenizer=tokenizer,
        max_length=max_length,
        max_tokens=max_tokens,
        rendering=rendering,
    )


def require_float64(loss: Loss, source: ModelSource) -> None:
    """Refuse a device without float64 to what sums in it there.

    Raises:
        ConfigError: the model makes images, or the loss takes moments over a step.
    """
    sums = bool(loss.over_step) or source.kind == "pipeline"
    if sums and not has_float64(default_device()):
        what = "errors of images are" if source.kind == "pipeline" else f"what loss {loss.name} needs of a step is"
        raise ConfigError(f"{what} summed in float64, which {default_device().type} lacks. Set train.device: cpu.")


def micro_batch_tokens(device: Any) -> int:
    """Return how many tokens go through a model at once where nobody says it."""
    return MICRO_BATCH_TOKENS if device.type == "cpu" else MICRO_BATCH_TOKENS_OF_ACCELERATORS


def _prepare_images(config: Config, source: ModelSource, loss: Loss) -> Prepared:
    """Do the same where the model makes images."""
    pipeline = read_pipeline(source)
    config = settle_images(config, pipeline, loss)
    with progress.phase("reading the feedback"):
        files = _describe_files(config)
        config, train, held_out = _load(config, loss, image_encoder(config, pipeline, loss), encode_images)
    require_both_classes(train, config.data.allow_one_class)
    resolved = resolve_recipe(config, loss, train, None, None)
    check_balance(resolved, loss, *train.class_counts())
    at_once = resolved.train.images_per_micro_batch
    assert at_once is not None, "it is settled"
    return _planned(resolved, source, loss, train, held_out, files, max_tokens=at_once, pipeline=pipeline)


def _planned(
    config: Config,
    source: ModelSource,
    loss: Loss,
    train: Dataset,
    held_out: Dataset | None,
    files: dict[str, dict[str, Any]],
    *,
    max_tokens: int,
    max_length: int = 0,
    tokenizer: Any = None,
    rendering: Rendering | None = None,
    pipeline: Pipeline | None = None,
) -> Prepared:
    """Deal the examples of a resolved recipe out to steps."""
    settings = config.train
    plan = Plan(
        train.examples, settings.batch_size, settings.seed, loss.needs_reference_point, config.data.desirable_share
    )
    # Refuses here, and not at step 400, data whose steps cannot give a z0: they can in every epoch or in none.
    plan.epoch(0)
    per_epoch = plan.steps_per_epoch if config.online is None else steps_per_pass(config, loss, len(train.examples))
    return Prepared(
        config,
        source,
        loss,
        loss.resolve(config.loss.hyperparameters),
        tokenizer,
        train,
        held_out,
        plan,
        settings.max_steps or per_epoch * settings.epochs,
        per_epoch,
        max_length,
        max_tokens,
        files,
        rendering or Rendering(),
        pipeline,
    )


def require_feedback_for_loss(prepared: Prepared) -> None:
    """Refuse feedback that the loss cannot learn from; a session that is held may be given other rows.

    Raises:
        DataError: the loss needs log-probs of sampled tokens, and the rows have none.
    """
    if prepared.loss.needs_sampled_logps:
        require_sampled_logps(flatten(prepared.train.examples), f"loss {prepared.loss.name}")


def require_evaluable(prepared: Prepared) -> None:
    """Refuse held-out feedback on which a held session could not evaluate its loss.

    Raises:
        ConfigError: the loss needs log-probs of sampled tokens.
    """
    if prepared.loss.needs_sampled_logps and prepared.held_out is not None:
        raise ConfigError(
            f"data.eval is {prepared.config.data.eval!r}, and loss {prepared.loss.name} needs the log-probs with which "
            "tokens were sampled, which feedback files do not have. Set data.eval: null."
        )


def _settle_rendering(
    config: Config, tokenizer: Any, now: datetime | None, *, control_tokens: bool
) -> tuple[Config, Rendering]:
    """Give the tokenizer the recipe's chat template, and the recipe that template's text and its date."""
    data = config.data
    templates = templates_of(tokenizer)
    if data.chat_template is not None:
        templates = templates.choose(data.chat_template)
        tokenizer.chat_template = templates.texts[DEFAULT]
        if control_tokens:
            ask_after_good(tokenizer)
        data = data.model_copy(update={"chat_template": templates.texts[DEFAULT]})
    if data.template_date is None and templates.prints_date:
        data = data.model_copy(update={"template_date": (now or datetime.now()).replace(microsecond=0)})
    rendering = replace(Rendering.of(data), chat_template=None)  # the tokenizer has it
    return config.model_copy(update={"data": data}), rendering


def _describe_files(config: Config) -> dict[str, dict[str, Any]]:
    files = {"train": describe_files(config.data.train)}
    if isinstance(config.data.eval, str | list):
        files["eval"] = describe_files(config.data.eval)
    return files


def _load(
    config: Config, loss: Loss, encoder: Any, encode: Encode | None = None
) -> tuple[Config, Dataset, Dataset | None]:
    """Load the data; a share so small that it cannot be evaluated is trained on instead of held out.

    Raises:
        ConfigError: the recipe names held-out prompts, and they are too few for the loss.
    """
    method = f"loss {loss.name}"
    train, held_out = load_datasets(config.data, loss.file_kind, encoder, config.train.seed, method, encode)
    if held_out is None or not loss.needs_reference_point or _prompts(held_out) > 1:
        return config, train, held_out
    if not isinstance(config.data.eval, float):
        raise ConfigError(
            f"data.eval is {config.data.eval!r} and holds out one single prompt; {method} needs completions of other "
            "prompts for z0, in the evaluation too. Hold out two prompts or more, or set data.eval: null."
        )
    config = config.model_copy(update={"data": config.data.model_copy(update={"eval": None})})
    return config, *load_datasets(config.data, loss.file_kind, encoder, config.train.seed, method, encode)


def _prompts(dataset: Dataset) -> int:
    return len({example[0].prompt_key for example in dataset.examples})
