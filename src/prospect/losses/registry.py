"""How a loss gets its name and is found by it; one's own losses too, in their files."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, get_args

import torch

from prospect.errors import ConfigError
from prospect.losses.base import ARGUMENTS, Estimator, FeedbackKind, Loss
from prospect.losses.declared import no_loss, own_file, unknown_loss
from prospect.user_code import import_file, is_own, source_digest

_REGISTRY: dict[str, Loss] = {}
# Keys of a recipe's loss section that are no hyperparameters: they apply to many losses.
MODIFIERS = ("sft_weight", "humanline")


def loss(
    feedback: FeedbackKind, *, name: str | None = None, **traits: Any
) -> Callable[[Callable[..., torch.Tensor]], Loss]:
    """Register a function as a loss.

    The function takes the tensors of `ARGUMENTS[feedback, level]` (then those that its traits ask for, `z0` for one),
    then keyword-only hyperparameters with defaults, and returns one loss per example, unreduced.

    Args:
        feedback: "unpaired", "paired", "demonstration", "scored" or "sampled".
        name: what recipes call it; the function's own name if not given.
        **traits: further fields of `Loss`.

    Raises:
        ConfigError: a signature that does not fit the traits, traits that do not go together, or a name that is taken.
    """

    def register(function: Callable[..., torch.Tensor]) -> Loss:
        kinds = list(dict.fromkeys(kind for kind, _ in ARGUMENTS))
        if feedback not in kinds:
            raise ConfigError(f'a loss on "{feedback}" feedback: expected one of {", ".join(kinds)}.')
        try:
            record = Loss(function=function, name=name or function.__name__, feedback=feedback, **traits)
        except TypeError as error:
            raise ConfigError(f"loss {name or function.__name__}: {error}. See prospect.losses.Loss.") from None
        _check_traits(record)
        _check_signature(record)
        taken = _REGISTRY.get(record.name)
        if taken is not None and _home(taken) != _home(record):
            raise ConfigError(f'a loss named "{record.name}" exists already, in {_home(taken)}; choose another name.')
        _REGISTRY[record.name] = record
        return record

    return register


def _check_traits(record: Loss) -> None:
    """Refuse traits that contradict each other."""
    levels = [level for kind, level in ARGUMENTS if kind == record.feedback]
    contradictions = {
        f'no loss on {record.feedback} feedback has level "{record.level}", only {" or ".join(levels)}': (
            record.level not in levels
        ),
        "is_halo needs value, its value function, and value needs is_halo": record.is_halo
        != (record.value is not None),
        "a human-aware loss is one of log-ratios, so is_halo needs needs_reference": (
            record.is_halo and not record.needs_reference
        ),
        'values are one per token, so needs_values needs level="token"': record.needs_values
        and record.level != "token",
        'sampled_logps are one per token, so needs_sampled_logps needs level="token"': (
            record.needs_sampled_logps and record.level != "token"
        ),
        'sampled feedback needs advantages="group", "leave_one_out" or "gae", and no other feedback has them': (
            record.advantages not in (get_args(Estimator) if record.feedback == "sampled" else (None,))
        ),
        'advantages="gae" needs needs_values, and sampled feedback has values for nothing else': (
            record.feedback == "sampled" and (record.advantages == "gae") != record.needs_values
        ),
        'length_normalised is about whole completions, so it needs level="sequence"': (
            record.length_normalised and record.level != "sequence"
        ),
        "a reward model has neither reference, reference point nor tokens": record.reward_model
        and (record.needs_reference or record.needs_reference_point or record.level == "token"),
        "control_tokens say a verdict, so they need unpaired feedback": (
            record.control_tokens and record.feedback != "unpaired"
        ),
        f'direction is "{record.direction}"; expected apart, up or down': (
            record.direction not in ("apart", "up", "down")
        ),
        f'mean_over is "{record.mean_over}"; expected examples or tokens': (
            record.mean_over not in ("examples", "tokens")
        ),
    }
    for text, holds in contradictions.items():
        if holds:
            raise ConfigError(f"loss {record.name}: {text}.")


def _check_signature(record: Loss) -> None:
    """Refuse what could not be called, or would be called with one tensor in another's place."""
    parameters = inspect.signature(record.function).parameters.values()
    positional = [p for p in parameters if p.kind is not inspect.Parameter.KEYWORD_ONLY]
    expected = record.argument_names
    gathers = any(p.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD) for p in positional)
    swapped = any(p.name in expected and p.name != name for p, name in zip(positional, expected, strict=False))
    if len(positional) != len(expected) or gathers or swapped:
        takes = ", ".join(p.name for p in positional)
        raise ConfigError(
            f"loss {record.name} takes ({takes}); a loss on {record.feedback} feedback with these traits is "
            f"called with ({', '.join(expected)}). Hyperparameters come after a lone `*`."
        )
    for name, default in record.hyperparameters.items():
        if default is inspect.Parameter.empty:
            raise ConfigError(f"loss {record.name}: hyperparameter {name} has no default; give it one.")
        if name in MODIFIERS:
            raise ConfigError(
                f"loss {record.name}: {name} is a setting of every recipe; choose another name for yours."
            )
    unknown = [name for name in record.bounds if name not in record.hyperparameters]
    if unknown:
        raise ConfigError(f"loss {record.name}: bounds names {unknown[0]}, which is none of its hyperparameters.")
    record.check(record.hyperparameters)


def _home(record: Loss) -> str:
    return record.function.__code__.co_filename


def all_losses() -> dict[str, Loss]:
    """Every registered loss by name."""
    return dict(sorted(_REGISTRY.items()))


def get_loss(name: str) -> Loss:
    """Find a loss by its name, or by `file.py:function` for one's own.

    Raises:
        ConfigError: unknown, with the nearest name suggested.
    """
    if is_own(name):
        return _load_own(name)
    if name in _REGISTRY:
        return _REGISTRY[name]
    raise unknown_loss(name, _REGISTRY)


def source_digests(name: str) -> dict[str, str]:
    """Return the file of a loss of one's own with the SHA-256 of what was imported; nothing for a built-in one.

    Only that file: what it imports itself is not seen.
    """
    return {name.rpartition(":")[0]: source_digest(own_file(name)[0])} if is_own(name) else {}


def _load_own(address: str) -> Loss:
    """Import `file.py:function`; the file is the user's own code and run as such."""
    path, attribute = own_file(address)
    record = getattr(import_file(path), attribute, None)
    if not isinstance(record, Loss):
        raise no_loss(address, path, "nothing" if record is None else type(record).__name__)
    return record
