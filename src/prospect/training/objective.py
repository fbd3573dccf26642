"""What a run is made of: the policy to train, what is minimised, and what looks out for collapse."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from prospect import progress
from prospect.config import ReferencePointSettings, ReferenceSettings
from prospect.data.batch import collate, flatten
from prospect.data.loader import micro_batches
from prospect.data.render import make_renderer
from prospect.errors import ConfigError
from prospect.models.adapters import compile_layers
from prospect.models.loading import default_device, load_tokenizer
from prospect.models.opening import require_same_vocabulary
from prospect.models.policy import Policy, load_for_scoring, load_policy
from prospect.models.reference import NoReference, Reference, build_reference, check_identity
from prospect.models.reward_model import load_reward_model
from prospect.models.sampling import end_ids
from prospect.training.alarms import Watch
from prospect.training.online import has_reference
from prospect.training.prepare import Prepared
from prospect.training.processes.sharding import shard_policy
from prospect.training.processes.world import World
from prospect.training.sampled_point import SampledPoint
from prospect.training.step import Objective
from prospect.training.text_medium import TextMedium


def build_policy(prepared: Prepared, *, to_spread: bool = False) -> Policy:
    """Load what the loss trains: a language model, with a value head where it asks for one, or a reward model.

    Args:
        prepared: the run.
        to_spread: whether it stays on the CPU; see `load_policy`.

    Raises:
        ConfigError: settings that this model cannot have.
        ModelError: no such model.
    """
    with progress.phase("loading the model"):
        if prepared.loss.reward_model:
            return load_reward_model(prepared.config, prepared.tokenizer, to_spread=to_spread)
        values = prepared.loss.needs_values
        policy = load_policy(prepared.config, prepared.tokenizer, value_head=values, to_spread=to_spread)
    sync = prepared.config.reference.sync
    if sync is not None and sync.every and prepared.config.model.adapter != "continue":
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

    def named() -> Policy:
        name = str(settings.name_or_path)
        model = prepared.config.model.model_copy(update={"name_or_path": name, "lora": None, "adapter": None})
        require_same_vocabulary(policy.tokenizer, load_tokenizer(model), name)
        return load_for_scoring(model, policy.precision, policy.tokenizer, to_spread=to_spread)

    needed = has_reference(prepared.config, prepared.loss)
    return build_reference(settings, policy, needed, folder, rank=rank, agree=agree, named=named)


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
    loss, lengths = prepared.loss, [len(r.completion_ids) for r in flatten(prepared.train.examples) if r.desirable]
    lengths = [] if prepared.config.online is not None else lengths  # nobody has shown how long an answer should be
    anchored = loss.feedback == "unpaired" and loss.needs_reference and not loss.length_normalised
    beta = float(prepared.hyperparameters.get("beta", 1.0))
    return Watch(
        rewards_beta=beta if anchored and loss.direction == "apart" else None,
        wanted_length=sum(lengths) / len(lengths) if lengths else None,
    )


def build_objective(prepared: Prepared, policy: Policy, reference: Reference, world: World | None = None) -> Objective:
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
        medium=TextMedium(prepared.max_length, _ends(prepared, policy) if sampled else ()),
        reference_point=config.reference_point.kind,
        sampled=sampled,
        seed=config.train.seed,
        sft_weight=config.loss.sft_weight,
        clip=(humanline.low, humanline.high) if humanline else None,
        over_units=reduction == "tokens" if reduction else None,
        world=world or World(),
    )


def _sampled_point(settings: ReferencePointSettings) -> SampledPoint | None:
    """Return how z0 is sampled, where the recipe asks for that; `prepare` has filled in the length of samples."""
    if settings.kind != "sampled" or settings.max_new_tokens is None:
        return None
    return SampledPoint(settings.every, settings.completions, settings.max_new_tokens)


def _ends(prepared: Prepared, policy: Policy) -> tuple[int, ...]:
    """Return the tokens that end a completion of the policy."""
    renderer = make_renderer(policy.tokenizer, prepared.rendering)
    return tuple(end_ids(policy.model, policy.tokenizer, renderer))


def place_models(policy: Policy, reference: Reference, *, sharded: bool, compiled: bool) -> None:
    """Bring both models into the shape in which they run. Sharding first: it tries out how to score, uncompiled."""

    def place(policy: Policy) -> None:
        if sharded:
            shard_policy(policy, default_device())
        if compiled:
            compile_layers(policy.model)

    place(policy)
    reference.change(place)


def check_first_step(prepared: Prepared, policy: Policy, reference: Reference) -> dict[str, float] | None:
    """Ask both models about the first micro-batch; where another model is the reference, about the whole first step.

    Returns:
        where rewards need not be 0 before the first step, what they are there: `log_ratio`, the mean in nats, and the
        `rows` that it is of; else None.
    """
    examples = next(prepared.plan.steps(0, 1))[1]
    groups = micro_batches(examples, prepared.max_tokens)
    compiled, found = prepared.config.train.compile, []
    for group in groups[:1] if reference.starts_equal else groups:
        log_ratio = check_identity(policy, reference, collate(flatten(group)).to(policy.device), compiled=compiled)
        found += [] if log_ratio is None else log_ratio.tolist()
    if reference.starts_equal:
        return None
    return {"log_ratio": round(sum(found) / len(found), 6), "rows": len(found)}
