"""Checks of a loss's values and gradients. Letters: N examples, T tokens, K completions of one prompt; nats."""

from __future__ import annotations

import itertools

import torch

from prospect.losses.base import Loss
from prospect.losses.checks.arguments import (
    Arguments,
    CheckError,
    NotApplicableError,
    call,
    gradients,
    is_good,
    of_the_policy,
    other_value,
    placed,
    random_arguments,
    rows_of,
    takes_logps,
    with_step,
)

EXTREME = 500.0  # nats: a 250-token completion that the policy likes e^2 times better or worse per token
FAR = 30.0  # nats on the wrong side: far enough for every margin, not yet where sigmoids end


def one_value_per_example(loss: Loss) -> None:
    """Check that a loss is not reduced: only the step knows what to divide by."""
    for count in (1, 2, 7):
        found = tuple(call(loss, random_arguments(loss, count)).shape)
        if found != (count,):
            raise CheckError(f"expected losses of shape ({count},); found {found}. Return one value per example.")


def half_precision_is_computed_in_float32(loss: Loss) -> None:
    """Bf16 has 3 digits: a loss computed in it stops learning early."""
    for dtype in (torch.bfloat16, torch.float16):
        given = random_arguments(loss, dtype=dtype)
        found = call(loss, given)
        if found.dtype != torch.float32:
            raise CheckError(f"expected float32 out of {dtype}; found {found.dtype}. Do not cast to half precision.")
        exact = call(
            loss, with_step(loss, {n: v.double() if v.dtype == dtype else v for n, v in given.items()})
        ).double()
        # Half precision errs by 5e-4 and more, float32 by less than 1e-6 of the terms that cancel in a loss.
        if not torch.allclose(found.double(), exact, rtol=1e-4, atol=1e-4 * exact.abs().mean().item()):
            raise CheckError(
                f"expected the values of float32 arithmetic out of {dtype}, {_few(exact)}; found {_few(found)}. Do not "
                "cast to half precision."
            )


def float64_stays_float64(loss: Loss) -> None:
    """Return the type that tests and theory are computed in."""
    found = call(loss, random_arguments(loss)).dtype
    if found != torch.float64:
        raise CheckError(
            f"expected float64 out of float64; found {found}. Make constants in the arguments' dtype: .to(x.dtype)."
        )


def it_is_a_pure_function(loss: Loss) -> None:
    """Check that the same numbers give the same losses, and are not changed."""
    given = random_arguments(loss)
    kept = {name: value.clone() for name, value in given.items()}
    first, second = call(loss, given).clone(), call(loss, {name: value.clone() for name, value in kept.items()})
    if not torch.equal(first, second):
        raise CheckError(
            f"expected the same losses from a second call, {_few(first)}; found {_few(second)}. A loss has no state "
            "and draws no random numbers."
        )
    for name, value in kept.items():
        if not torch.equal(value, given[name]):
            raise CheckError(
                f"expected {name} as it was; the loss changed it. Use no operation in place, such as add_."
            )


def values_and_gradients_are_finite_at_the_extremes(loss: Loss) -> None:
    """Nothing non-finite may reach the optimizer, however far the policy has gone."""
    ends = (-EXTREME, 0.0, EXTREME)
    for dtype, good, bad, point in itertools.product((torch.float32, torch.bfloat16), ends, ends, (0.0, EXTREME)):
        values, slopes = gradients(loss, placed(loss, good, bad, point=point, dtype=dtype))
        for what, tensor in {"the loss": values, **{f"the gradient in {n}": g for n, g in slopes.items()}}.items():
            if not tensor.isfinite().all():
                broken = tensor[~tensor.isfinite()][0].item()
                raise CheckError(
                    f"expected finite numbers at {good:g} nats desirable, {bad:g} undesirable, z0 {point:g}, {dtype}; "
                    f"{what} is {broken}. Use F.logsigmoid and torch.sigmoid in place of log and exp, or clamp; and "
                    "feed torch.where harmless numbers where it takes the other branch."
                )


def small_values_survive_float32(loss: Loss) -> None:
    """Where 1 - s(x) is written, all is exactly 0 from x = 16.7; s(-x) is not."""
    # Each twice the one before: some scaled distance is then in (16.7, 36.7), where only float32 gives 0.
    for size, good, bad in itertools.product((2.0**k for k in range(10)), (-1, 1), (-1, 1)):
        exact = call(loss, placed(loss, good * size, bad * size))
        found = call(loss, placed(loss, good * size, bad * size, dtype=torch.float32))
        lost = (found == 0) & (exact.abs() > 1e-30)
        if lost.any():
            raise CheckError(
                f"expected {exact[lost][0].item():.3g} at {good * size:g} nats desirable, {bad * size:g} undesirable; "
                "float32 gives exactly 0, and no gradient. Write torch.sigmoid(-x) for 1 - torch.sigmoid(x)."
            )


def the_gradient_is_the_numerical_one(loss: Loss) -> None:
    """At the defaults and at other legal hyperparameters, along a random direction of each argument of the policy.

    `values` of a value head is left out: advantages are detached from it on purpose.
    """
    others: dict[str, float] = {}
    for name in loss.hyperparameters:
        try:
            others[name] = other_value(loss, name)
        except NotApplicableError:
            continue
    for hyperparameters in ({}, others):
        given = with_step(loss, random_arguments(loss, seed=3), hyperparameters)
        values, slopes = gradients(loss, given, **hyperparameters)
        for name in of_the_policy(loss):
            draw = torch.Generator().manual_seed(4)
            direction = torch.randn(given[name].shape, generator=draw, dtype=torch.float64)
            found = _row_sums(slopes[name] * direction)
            expected = _slope_along(loss, given, name, direction, hyperparameters)
            allowed = 1e-5 * expected.abs() + 1e-8 * (1 + values.abs())
            if not bool(((found - expected).abs() <= allowed).all()):
                raise CheckError(
                    f"expected the slope of the losses in {name}, {_few(expected)} along a random direction; autograd "
                    f"found {_few(found)} (hyperparameters {hyperparameters or 'at their defaults'}). A .detach(), a "
                    "rounding or a backward of its own is in the way."
                )


def the_step_goes_the_right_way(loss: Loss) -> None:
    """From far on the wrong side; see `Loss.direction`."""
    # Log-probs are never above 0: there, all moves down until the undesirable end is at -1.
    shift = -(FAR + 1) if takes_logps(loss) else 0.0
    given = placed(loss, shift - FAR, shift + FAR, point=shift)
    _, slopes = gradients(loss, given)
    wanted = {"apart": ("up", "down"), "up": ("up", "up"), "down": ("not up", "down")}[loss.direction]
    for name in of_the_policy(loss):
        if loss.feedback == "sampled" and name != "log_q":
            continue  # a pull to the reference goes its own way, and may be switched off
        good = is_good(loss, name, given)
        for which, rows, want in zip(("desirable", "undesirable"), (good, ~good), wanted, strict=True):
            moves = _moves(loss, -slopes[name], rows, given)
            right = {"up": moves > 0, "down": moves < 0, "not up": moves <= 0}[want]
            if not bool(right.all()):
                move = moves[~right][0].item()
                hint = "Turn the sign, or declare another direction." if move else "It is flat there; scale z down."
                raise CheckError(
                    f'direction is "{loss.direction}", so where the policy has it wrong by {FAR:g} nats a step moves '
                    f"{which} completions {want}; the loss moves {name} by {move:.3g} there. {hint}"
                )


def it_learns_from_the_first_step(loss: Loss) -> None:
    """At the start every log-ratio is 0: a gradient of 0 there would stay 0."""
    at = -1.0 if takes_logps(loss) else 0.0
    _, slopes = gradients(loss, placed(loss, at, at, point=at))
    policy = [slopes[name] for name in of_the_policy(loss)]
    if not all(slope.isfinite().all() for slope in policy) or not any(bool((slope != 0).any()) for slope in policy):
        raise CheckError(
            "expected a finite gradient other than 0 where policy and reference are one; found "
            f"{_few(torch.cat([slope.flatten() for slope in policy]))}. abs() and powers of it have none at 0; use "
            "clamp(min=0) on each side."
        )


def rows_do_not_meet(loss: Loss) -> None:
    """Check that the micro-batch cannot change the result: each loss equals that of its example alone, in any order."""
    given = random_arguments(loss)
    values = call(loss, given)
    order = torch.tensor([4, 2, 6, 0, 1, 5, 3])
    ways = {
        "in another order": call(loss, rows_of(loss, given, order))[order.argsort()],
        "each alone": torch.cat([call(loss, rows_of(loss, given, torch.tensor([i]))) for i in range(7)]),
        "in two parts": torch.cat([call(loss, rows_of(loss, given, part)) for part in torch.arange(7).split(4)]),
    }
    for way, found in ways.items():
        if not torch.allclose(found, values, rtol=1e-9, atol=1e-12):
            raise CheckError(
                f"expected the same losses with the examples {way}, {_few(values)}; found {_few(found)}. Take no mean "
                "or other statistic over rows; declare it in over_step, which sees the whole step."
            )


def only_what_is_there_counts(loss: Loss) -> None:
    """Check that padding and absent completions change neither values nor gradients."""
    if loss.level != "token" and loss.feedback != "scored":
        raise NotApplicableError("it sees one number per completion, so there is no padding")
    given = random_arguments(loss)
    there = given["completion" if loss.level == "token" else "present"]
    names = [n for n in loss.row_arguments if given[n].is_floating_point()]
    other = with_step(loss, {**given, **{n: torch.where(there, given[n], given[n] - 2.5) for n in names}})
    values, found = call(loss, given), call(loss, other)
    if not torch.allclose(values, found, rtol=1e-12, atol=1e-12):
        raise CheckError(
            f"expected the same losses whatever stands in the padding, {_few(values)}; found {_few(found)}. Multiply "
            "by the mask before the sum."
        )
    for name, slope in gradients(loss, given)[1].items():
        if bool((slope[~there] != 0).any()):
            raise CheckError(f"expected no gradient in {name} outside the mask; found {_few(slope[~there])}.")


def _slope_along(
    loss: Loss, given: Arguments, name: str, direction: torch.Tensor, hyperparameters: dict[str, float]
) -> torch.Tensor:
    step = 1e-6
    above = call(loss, {**given, name: given[name] + step * direction}, **hyperparameters)
    below = call(loss, {**given, name: given[name] - step * direction}, **hyperparameters)
    return (above - below) / (2 * step)


def _moves(loss: Loss, rise: torch.Tensor, rows: torch.Tensor, given: Arguments) -> torch.Tensor:
    """How far completions rise: sums over tokens, one number for each where `rows` is true."""
    if loss.level == "token":
        return (rise * given["completion"]).sum(1)[rows[:, 0]]
    return rise[rows & given["present"]] if loss.feedback == "scored" else rise[rows]


def _row_sums(value: torch.Tensor) -> torch.Tensor:
    return value.flatten(1).sum(1) if value.dim() > 1 else value


def _few(value: torch.Tensor) -> str:
    numbers = [f"{x:.6g}" for x in value.flatten()[:3].tolist()]
    return f"[{', '.join(numbers)}{', ...' if value.numel() > 3 else ''}]"
