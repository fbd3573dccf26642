"""Checks of a human-aware loss against its definition: its value function, and that the loss is made of it.

Definition 3.4 of arXiv 2402.01306: f = E[a v(r - E_Q[r])] + C, r = l(y) log(pi / ref), a in {-1, +1}, v never falling
and concave on (0, inf). z is the distance from the reference point, nats.
"""

from __future__ import annotations

import math

import torch

from prospect.losses import values
from prospect.losses.base import Loss
from prospect.losses.checks.arguments import Arguments, CheckError, NotApplicableError, call, with_step

REACH = 80.0  # nats, where a sigmoid with beta 0.1 has flattened
PPO_NOTE = (
    "note: min(e^z, clip_high) is concave in the probability ratio e^z, not in its logarithm z below log clip_high; "
    "arXiv 2402.01306 counts it as human-aware"
)


def the_value_never_falls(loss: Loss) -> None:
    """More reward is never worth less, anywhere."""
    z = _distances(loss)
    v = loss.human_value(z)
    falls = v.diff() < -_rounding(v)
    if bool(falls.any()):
        i = int(falls.nonzero()[0])
        raise CheckError(
            f"expected a value function that never falls; v({z[i]:.3g}) = {v[i]:.6g} and v({z[i + 1]:.3g}) = "
            f"{v[i + 1]:.6g}. Turn its sign, or do not declare is_halo."
        )
    if not v[-1] > v[0]:
        raise CheckError(f"expected a value function that rises; it is {v[0]:.6g} from {z[0]:.3g} to {z[-1]:.3g} nats.")


def the_value_is_concave_in_gains(loss: Loss) -> str | None:
    """Each further gain is worth no more than the one before; a straight line counts.

    The one exception is PPO-Clip's value function, which the paper calls human-aware. It is held to what it is,
    concave in the probability ratio.
    """
    z = _distances(loss)
    z = z[z >= 0]
    if loss.value is values.ppo_clip:
        # Beyond 10 nats e^z is so large that slopes in it are rounding; the value is capped long before.
        _concave(loss, torch.exp(z[z < 10]), z[z < 10])
        return PPO_NOTE
    _concave(loss, z, z)
    return None


def the_loss_is_a_constant_minus_its_value(loss: Loss) -> str | None:
    """On the real loss: with weights of 1 and the reference point at 0, of each kind of completion.

    PPO-Clip is held to it on tokens of advantage 1 and without its KL penalty, which is a term beside the value. A
    token of advantage -1 is clipped at the other end.
    """
    z = _distances(loss)
    settings: dict[str, float] = {
        name: 1.0 for name in ("desirable_weight", "undesirable_weight") if name in loss.hyperparameters
    }
    v = loss.human_value(z, **settings)
    kinds = _kinds(loss, z)
    note = None
    if loss.value is values.ppo_clip:
        note = "note: on tokens of advantage 1, without the KL penalty, which is a term beside the value"
        kinds = {kind: rows for kind, rows in kinds.items() if kind == "desirable"}
        settings |= {name: 0.0 for name in ("kl_penalty",) if name in loss.hyperparameters}
    given = with_step(loss, _all_at(loss, z), settings)
    losses, middle = call(loss, given, **settings), len(z) // 2
    for kind, rows in kinds.items():
        total = losses[rows] + v
        apart = (total - total[middle]).abs()
        if bool((apart > 1e-9 * (1 + v.abs().max())).any()):
            i = int(apart.argmax())
            raise CheckError(
                f"expected loss + value to be one constant for {kind} completions; it is {total[middle]:.6g} at z = "
                f"{z[middle]:.3g} and {total[i]:.6g} at z = {z[i]:.3g}, where the loss is {losses[rows][i]:.6g} "
                f"and the value {v[i]:.6g}. Declare the value function that the loss has."
            )
    return note


def _distances(loss: Loss) -> torch.Tensor:
    """Distances z, (Z,) nats: fine around the reference point, coarse far from it."""
    if not loss.is_halo:
        raise NotApplicableError("it is not declared a human-aware loss (is_halo)")
    if not loss.needs_reference:
        raise CheckError("expected needs_reference: a human-aware loss is one of log(policy / reference).")
    if loss.feedback == "scored":
        raise NotApplicableError("scored completions have no single distance from a reference point")
    end = math.asinh(REACH)
    return torch.sinh(torch.linspace(-end, end, 801, dtype=torch.float64))


def _rounding(v: torch.Tensor) -> torch.Tensor:
    return 1e-12 * (1 + torch.maximum(v[1:].abs(), v[:-1].abs()))


def _concave(loss: Loss, x: torch.Tensor, z: torch.Tensor) -> None:
    v = loss.human_value(z)
    slopes = v.diff() / x.diff()
    noise = _rounding(v) / x.diff()
    rises = slopes.diff() > noise[1:] + noise[:-1]
    if bool(rises.any()):
        i = int(rises.nonzero()[0])
        raise CheckError(
            f"expected gains that are worth less and less (v concave where z > 0); its slope is {slopes[i]:.6g} at z = "
            f"{z[i]:.3g} and {slopes[i + 1]:.6g} at {z[i + 1]:.3g}. Do not declare is_halo."
        )


def _kinds(loss: Loss, z: torch.Tensor) -> dict[str, slice]:
    """Which rows of `_all_at` are of which kind."""
    first, second = slice(0, len(z)), slice(len(z), 2 * len(z))
    if loss.feedback == "demonstration":
        return {"demonstrated": first}
    if loss.feedback == "paired":
        return {"chosen": first, "rejected": second}
    return {"desirable": first, "undesirable": second}


def _all_at(loss: Loss, z: torch.Tensor) -> Arguments:
    """Rows of every kind at distances z: r = z where desirable or chosen, r = -z where not; one token each."""
    none, count = torch.zeros_like(z), len(z)
    ratio = torch.cat([z, -z])
    given = {
        "log_ratio": ratio,
        "desirable": torch.arange(2 * count) < count,
        "chosen": torch.cat([z, none]),
        "rejected": torch.cat([none, -z]),
        "logps": z,
        "token_log_ratio": ratio[:, None],
        "token_logps": z[:, None],
        "completion": torch.ones(count if loss.feedback == "demonstration" else 2 * count, 1, dtype=torch.bool),
        "values": torch.zeros_like(ratio)[:, None],
        "sampled_logps": torch.zeros_like(ratio)[:, None],
        "z0": torch.zeros((), dtype=z.dtype),
        "running_mean": torch.zeros((), dtype=z.dtype),
    }
    return {name: given[name] for name in loss.argument_names if name not in loss.over_step}
