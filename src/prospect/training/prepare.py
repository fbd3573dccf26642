"""Everything between a recipe and the first step: what a dry run shows, and what training starts from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from prospect import progress
from prospect.config import Config, ReferencePointSettings, SyncSettings
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
from prospect.data.loader import Plan
from prospect.data.prompts import encode_prompts
from prospect.data.render import Encoder, templates_of
from prospect.data.rounds import StepPlan
from prospect.errors import ConfigError
from prospect.feedback.chat.rendering import Rendering
from prospect.feedback.chat.templates import DEFAULT
from prospect.feedback.convert.balance import suggest_class_weights
from prospect.feedback.frozen.freeze import describe_files
from prospect.losses import Loss, get_loss
from prospect.model_source import ModelSource, find_model
from prospect.models.diffusion.pipelines import Pipeline, read_pipeline
from prospect.models.loading import default_device, load_model_config, load_tokenizer, resolve_max_length
from prospect.training.early import refuse_early
from prospect.training.image_recipe import check_balance, image_encoder, refuse_image_settings, settle_images
from prospect.training.online import check_online, has_reference, steps_per_pass
from prospect.training.starting_point import check_named, check_new_tokens, choose_adapter

HUMANLINE_EVERY = 12  # steps; the paper's range is 12 to 24
# On two CPU cores 1024 was twice as fast as 4096 for a model of 1 million parameters; a GPU wants to be filled.
MICRO_BATCH_TOKENS = {"cpu": 1024, "cuda": 16384}


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
    source = find_model(config.model.name_or_path)
    config = choose_adapter(config, source, loss)
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
        MICRO_BATCH_TOKENS[default_device().type], longest_example(train)[0]
    )
    resolved = _resolve(config, loss, train, max_length, max_tokens)
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


def _prepare_images(config: Config, source: ModelSource, loss: Loss) -> Prepared:
    """Do the same where the model makes images."""
    pipeline = read_pipeline(source)
    config = settle_images(config, pipeline, loss)
    with progress.phase("reading the feedback"):
        files = _describe_files(config)
        config, train, held_out = _load(config, loss, image_encoder(config, pipeline, loss), encode_images)
    require_both_classes(train, config.data.allow_one_class)
    resolved = _resolve(config, loss, train, None, None)
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


def _resolve(config: Config, loss: Loss, train: Dataset, max_length: int | None, max_tokens: int | None) -> Config:
    """Fill in whatever the recipe left to the loss, the model or the data."""
    values = config.as_dict()
    values["loss"] |= {
        **loss.hyperparameters,
        **_class_weights(config, loss, train),
        **config.loss.hyperparameters,
    }
    values["data"] |= {"max_length": max_length, "class_weights": "none"}
    values["train"]["learning_rate"] = config.train.learning_rate or loss.learning_rate
    values["train"]["max_tokens_per_micro_batch"] = max_tokens
    values["reference_point"] |= _reference_point(config.reference_point, loss, train)
    check_modifiers(config, loss)
    if config.data.desirable_share is not None and not all(train.class_counts()):
        raise ConfigError("data.desirable_share mixes two classes, and the feedback has one. Leave it out.")
    _check_sharding(config)
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


def check_modifiers(config: Config, loss: Loss) -> None:
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
