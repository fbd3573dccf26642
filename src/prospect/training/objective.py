"""What a run is made of: the policy to train, what is minimised, and what looks out for collapse."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from prospect import progress
from prospect.config import ReferencePointSettings, ReferenceSettings
from prospect.data.batch import flatten
from prospect.data.render import make_renderer
from prospect.errors import ConfigError, ModelError
from prospect.model_source import find_model
from prospect.models.adapters import compile_layers
from prospect.models.device import default_device
from prospect.models.diffusion.denoiser import Denoiser, load_denoiser, load_frozen
from prospect.models.diffusion.encodings import FOLDER as ENCODINGS
from prospect.models.diffusion.encodings import Encodings
from prospect.models.diffusion.pipelines import Pipeline, read_pipeline
from prospect.models.loading import load_tokenizer
from prospect.models.opening import require_same_vocabulary
from prospect.models.policy import Policy, load_for_scoring, load_policy
from prospect.models.reference import NoReference, Reference, build_reference, check_identity
from prospect.models.reward_model import load_reward_model
from prospect.models.sampling import end_ids
from prospect.models.trained import TrainedModel
from prospect.training.alarms import Watch
from prospect.training.image_medium import ImageMedium
from prospect.training.medium import Medium
from prospect.training.online import has_reference
from prospect.training.prepare import Prepared
from prospect.training.processes.sharding import shard_policy
from prospect.training.processes.world import World
from prospect.training.sampled_point import SampledPoint
from prospect.training.step import Objective
from prospect.training.text_medium import TextMedium


def encode_images(prepared: Prepared, world: World | None = None) -> None:
    """Encode images and prompts that no earlier run has encoded, before there is a model to train; texts need none."""
    if prepared.pipeline is None:
        return
    world, encodings = world or World(), _encodings(prepared, prepared.pipeline)
    held_out = prepared.held_out.examples if prepared.held_out is not None else []
    rows: list[Any] = flatten([*prepared.train.examples, *held_out])
    with progress.phase("encoding images and prompts"):
        encodings.add(rows, world.rank, world.size, prompts=[""] if prepared.config.train.prompt_dropout else ())
    world.barrier()


def _encodings(prepared: Prepared, pipeline: Pipeline) -> Encodings:
    return Encodings(Path(prepared.config.output) / ENCODINGS, pipeline, prepared.config.model.dtype)


def build_policy(prepared: Prepared, *, to_spread: bool = False) -> Any:
    """Load what is trained: a language model, with a value head where the loss asks for one, or another kind of model.

    Args:
        prepared: the run.
        to_spread: whether it stays on the CPU; see `load_policy`.

    Raises:
        ConfigError: settings that this model cannot have.
        ModelError: no such model.
    """
    with progress.phase("loading the model"):
        if prepared.pipeline is not None:
            return load_denoiser(prepared.config, prepared.pipeline, to_spread=to_spread)
        if prepared.loss.reward_model:
            return load_reward_model(prepared.config, prepared.tokenizer, to_spread=to_spread)
        values = prepared.loss.needs_values
        policy = load_policy(prepared.config, prepared.tokenizer, value_head=values, to_spread=to_spread)
    if prepared.config.reference.follows and prepared.config.model.adapter != "continue":
        require_untied_adapter(policy.model)
    return policy


def build_run_reference(
    prepared: Prepared,
    policy: Policy,
    folder: Path,
    *,
    settings: ReferenceSettings | None = None,
    rank: int = 0,
    agree: Callable[[bool], bool] | None = None,
    to_spread: bool = False,
) -> Reference:
    """Make what the policy is compared with.

    Args:
        prepared: the run.
        policy: as it was loaded.
        folder: where the cache lies by default.
        settings: in place of the recipe's.
        rank: see `build_reference`.
        agree: see `build_reference`.
        to_spread: whether a model of its own stays on the CPU; see `load_policy`.

    Raises:
        ConfigError: adapter_off without an adapter.
        ModelError: another model that cannot be loaded, or is of another vocabulary.
    """
    settings = settings or prepared.config.reference

    def named() -> TrainedModel:
        name = str(settings.name_or_path)
        if prepared.pipeline is not None:
            return _named_denoiser(prepared, prepared.pipeline, name, to_spread=to_spread)
        model = prepared.config.model.model_copy(update={"name_or_path": name, "lora": None, "adapter": None})
        require_same_vocabulary(policy.tokenizer, load_tokenizer(model), name)
        return load_for_scoring(model, policy.precision, policy.tokenizer, to_spread=to_spread)

    needed = has_reference(prepared.config, prepared.loss)
    return build_reference(settings, policy, needed, folder, rank=rank, agree=agree, named=named)


def _named_denoiser(prepared: Prepared, pipeline: Pipeline, name: str, *, to_spread: bool) -> Denoiser:
    """Load another pipeline's denoiser; its log-probs are of the same latents, prompts and target.

    Raises:
        ModelError: no pipeline, or one of other encoders or another target.
    """
    source = find_model(name)
    other = read_pipeline(source) if source.kind == "pipeline" else None
    if other is None or (other.encoders, other.target) != (pipeline.encoders, pipeline.target):
        raise ModelError(
            f"{name}: no pipeline with the VAE, text encoders and prediction target of {pipeline.name}; errors of "
            "others are not comparable. Compare with the pipeline that it was trained from, or another of its family."
        )
    return load_frozen(prepared.config, other, to_spread=to_spread)


def require_untied_adapter(model: torch.nn.Module) -> None:
    """Refuse to merge an adapter into a matrix that the model uses twice, of which one use is without it.

    Raises:
        ConfigError: naming both.
    """
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(_plain_name(name))
    for name, module in model.named_modules():
        if not hasattr(module, "get_delta_weight"):
            continue
        own = _plain_name(f"{name}.weight")
        others = [other for other in names[id(module.base_layer.weight)] if other != own]
        if others:
            raise ConfigError(
                f"model.lora.target_modules adapts {own}, which is one matrix with {others[0]} (the model ties them), "
                "and reference.sync would add the adapter to both. Leave both out of model.lora.target_modules, or "
                "leave reference.sync out (with loss.humanline set its every: 0)."
            )


def _plain_name(name: str) -> str:
    """Return a weight's name in the model without its adapter."""
    return name.removeprefix("base_model.model.").replace(".base_layer", "")


def build_watch(prepared: Prepared) -> Watch:
    """Return the detector of collapse: both rewards falling is a sign for losses on thumbs that have a reference."""
    if prepared.pipeline is not None:
        return Watch(rewards_beta=None, errors=True)
    loss = prepared.loss
    anchored = loss.feedback == "unpaired" and loss.needs_reference and not loss.length_normalised
    beta = float(prepared.hyperparameters.get("beta", 1.0))
    lengths = [len(r.completion_ids) for r in flatten(prepared.train.examples) if r.desirable]
    lengths = [] if prepared.config.online is not None else lengths  # nobody has shown how long an answer should be
    return Watch(
        rewards_beta=beta if anchored and loss.direction == "apart" else None,
        wanted_length=sum(lengths) / len(lengths) if lengths else None,
    )


def build_objective(prepared: Prepared, policy: Any, reference: Reference, world: World | None = None) -> Objective:
    """Put together what is minimised."""
    reference.change(lambda frozen: frozen.model.eval())  # copied with LoRA's dropout on, it would draw random numbers
    config, sampled = prepared.config, _sampled_point(prepared.config.reference_point)
    humanline, reduction = config.loss.humanline, config.online and config.online.reduction
    return Objective(
        loss=prepared.loss,
        hyperparameters=prepared.hyperparameters,
        policy=policy,
        reference=reference if prepared.loss.needs_reference else NoReference(),
        max_tokens=prepared.max_tokens,
        medium=_medium(prepared, policy, sampled=sampled is not None),
        reference_point=config.reference_point.kind,
        sampled=sampled,
        seed=config.train.seed,
        sft_weight=config.loss.sft_weight,
        clip=(humanline.low, humanline.high) if humanline else None,
        over_units=reduction == "tokens" if reduction else None,
        logps_are_errors=prepared.pipeline is not None,
        world=world or World(),
    )


def _medium(prepared: Prepared, policy: Any, *, sampled: bool) -> Medium:
    """Return what completions are made of."""
    if prepared.pipeline is not None:
        return ImageMedium(_encodings(prepared, prepared.pipeline), prepared.config.train.prompt_dropout or 0.0)
    return TextMedium(prepared.max_length, _ends(prepared, policy) if sampled else ())


def _sampled_point(settings: ReferencePointSettings) -> SampledPoint | None:
    """Return how z0 is sampled, where the recipe asks for that; `prepare` has filled in the length of samples."""
    if settings.kind != "sampled" or settings.max_new_tokens is None:
        return None
    return SampledPoint(settings.every, settings.completions, settings.max_new_tokens)


def _ends(prepared: Prepared, policy: Policy) -> tuple[int, ...]:
    """Return the tokens that end a completion of the policy."""
    renderer = make_renderer(policy.tokenizer, prepared.rendering)
    return tuple(end_ids(policy.model, policy.tokenizer, renderer))


def place_models(policy: TrainedModel, reference: Reference, *, sharded: bool, compiled: bool) -> None:
    """Bring both models into the shape in which they run. Sharding first: it tries out how to score, uncompiled."""

    def place(policy: Any) -> None:
        if sharded:
            shard_policy(policy, default_device())
        if compiled:
            compile_layers(policy.model)

    place(policy)
    reference.change(place)


def check_first_step(prepared: Prepared, objective: Objective, reference: Reference) -> dict[str, float] | None:
    """Ask both models about the first micro-batch; where another model is the reference, about the whole first step.

    Returns:
        where rewards need not be 0 before the first step, what they are there: `log_ratio`, the mean in nats, and the
        `rows` that it is of; else None.
    """
    examples = next(prepared.plan.steps(0, 1))[1]
    policy: Any = objective.policy
    medium = objective.medium
    groups = prepared.groups(examples)
    compiled, found = prepared.config.train.compile, []
    for group in groups[:1] if reference.starts_equal else groups:
        log_ratio = check_identity(
            policy, reference, medium.collate(flatten(group)).to(policy.device), compiled=compiled
        )
        found += [] if log_ratio is None else log_ratio.tolist()
    if reference.starts_equal:
        return None
    return {"log_ratio": round(sum(found) / len(found), 6), "rows": len(found)}
