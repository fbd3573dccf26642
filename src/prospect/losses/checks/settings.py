"""Checks of what a loss takes and what it refuses: hyperparameters and shapes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from prospect.errors import ConfigError
from prospect.losses.base import Loss
from prospect.losses.checks.arguments import (
    CheckError,
    NotApplicableError,
    call,
    other_value,
    random_arguments,
    with_step,
)


def every_hyperparameter_has_an_effect(loss: Loss) -> None:
    """Check that a setting is used or refused."""
    _needs_hyperparameters(loss)
    given = random_arguments(loss, 24)
    values = call(loss, given)
    for name in loss.hyperparameters:
        other = {name: other_value(loss, name)}
        if torch.equal(call(loss, with_step(loss, given, other), **other), values):
            raise CheckError(
                f"expected other losses at {name} = {other[name]:g} than at {loss.hyperparameters[name]:g}; found the "
                "same 24. Use the hyperparameter or remove it from the signature."
            )


def every_legal_hyperparameter_works(loss: Loss) -> None:
    """Bounds that are legal themselves give finite losses, such as 0 in [0, 1)."""
    _needs_hyperparameters(loss)
    for name in loss.hyperparameters:
        interval = loss.interval(name)
        for bound in (interval.low, interval.high):
            if bound in interval:
                given = with_step(loss, random_arguments(loss), {name: bound})
                if not call(loss, given, **{name: bound}).isfinite().all():
                    raise CheckError(
                        f"expected finite losses at {name} = {bound:g}, which is legal; found others. Leave it out "
                        f'with a round bracket: bounds={{"{name}": "({interval.low:g}, {interval.high:g})"}}.'
                    )


def unknown_hyperparameters_are_refused(loss: Loss) -> None:
    """With the nearest name suggested."""
    message = _refusal(loss, "zzz", 1.0)
    if 'no hyperparameter "zzz"' not in message:
        raise CheckError(f'expected a ConfigError about hyperparameter "zzz"; found {message}.')
    for name in loss.hyperparameters:
        misspelt = f"{name}x"
        if misspelt not in loss.hyperparameters and f'did you mean "{name}"' not in _refusal(loss, misspelt, 1.0):
            raise CheckError(f'expected "{misspelt}" to be refused with "{name}" suggested; found no such word.')


def illegal_hyperparameters_are_refused(loss: Loss) -> None:
    """Check that values out of bounds, not finite or not numbers are refused."""
    _needs_hyperparameters(loss)
    for name in loss.hyperparameters:
        interval = loss.interval(name)
        beyond = [math.nextafter(interval.low, -math.inf), math.nextafter(interval.high, math.inf)]
        ends = [bound for bound in (interval.low, interval.high) if bound not in interval]
        for value in (*beyond, *ends, math.inf, -math.inf, math.nan):
            if "expected a finite number" not in (message := _refusal(loss, name, value)):
                raise CheckError(f"expected {name} = {value} to be refused; found {message}.")
        for wrong in ("high", None, True, [1.0]):
            if "expected a number" not in (message := _refusal(loss, name, wrong)):
                raise CheckError(f"expected {name} = {wrong!r} to be refused as no number; found {message}.")


def wrong_shapes_are_refused(loss: Loss) -> None:
    """Torch would broadcast them: 7 chosen against 1 rejected."""
    given = random_arguments(loss)
    whole = [given[name] for name in loss.argument_names]
    tries: dict[str, list[torch.Tensor]] = {
        "one argument too few": whole[:-1],
        "one too many": [*whole, whole[0]],
    }
    for i, name in enumerate(loss.argument_names):
        if name in loss.over_step:
            continue
        wrong = {f"a dimension more in {name}": whole[i].unsqueeze(0)}
        if whole[i].dim():
            wrong[f"a dimension less in {name}"] = whole[i][0]
            if len(loss.row_arguments) > 1:
                wrong[f"one row in {name}, 7 elsewhere"] = whole[i][:1]
        tries |= {what: [*whole[:i], value, *whole[i + 1 :]] for what, value in wrong.items()}
    for what, arguments in tries.items():
        if not _is_refused(loss, arguments):
            raise CheckError(f"expected {what} to be refused with a TypeError; the loss took it.")


def _needs_hyperparameters(loss: Loss) -> None:
    if not loss.hyperparameters:
        raise NotApplicableError("it takes no hyperparameters")


def _refusal(loss: Loss, name: str, value: object) -> str:
    """Return the message of the refusal, from a call and not from `check` alone; "no refusal" where there is none."""
    try:
        call(loss, random_arguments(loss), **{name: value})
    except ConfigError as error:
        return str(error)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "no refusal"


def _is_refused(loss: Loss, arguments: Sequence[torch.Tensor]) -> bool:
    try:
        loss(*arguments)
    except TypeError:
        return True
    except Exception:
        return False
    return False
