"""The checks of `prospect losses check` find what they are there for: losses broken on purpose, one fault each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from prospect.losses import Loss, get_loss, values
from prospect.losses.checks import check
from prospect.losses.checks.check import CHECKS, check_loss

Function = Callable[..., torch.Tensor]


def signed(ratio: torch.Tensor, desirable: torch.Tensor) -> torch.Tensor:
    return torch.where(desirable, ratio, -ratio)


def sound(log_ratio, desirable, *, beta=0.1):
    return torch.sigmoid(-beta * signed(log_ratio, desirable))


def sign_flipped(log_ratio, desirable, *, beta=0.1):
    return torch.sigmoid(beta * signed(log_ratio, desirable))


def undesirable_sign_flipped(log_ratio, desirable, *, beta=0.1):
    return torch.sigmoid(-beta * log_ratio) + 0 * desirable


def one_minus_sigmoid(log_ratio, desirable, *, beta=0.1):
    return 1 - torch.sigmoid(beta * signed(log_ratio, desirable))


def mean_returned(log_ratio, desirable, *, beta=0.1):
    return sound(log_ratio, desirable, beta=beta).mean()


def batch_mean(log_ratio, desirable, *, beta=0.1):
    return sound(log_ratio - log_ratio.mean().detach() / 10, desirable, beta=beta)


def unused(log_ratio, desirable, *, beta=0.1, tilt=0.5):
    return sound(log_ratio, desirable, beta=beta)


def overflow(log_ratio, desirable, *, beta=0.3):
    return torch.log(1 + torch.exp(-beta * signed(log_ratio, desirable)))


def half_inside(log_ratio, desirable, *, beta=0.1):
    return sound(log_ratio.bfloat16(), desirable, beta=beta).to(log_ratio.dtype)


def half_unless_float64(log_ratio, desirable, *, beta=0.1):
    narrow = log_ratio if log_ratio.dtype == torch.float64 else log_ratio.bfloat16()
    return sound(narrow, desirable, beta=beta).to(log_ratio.dtype)


def half_out_of_half(log_ratio, desirable, *, beta=0.1):
    return sound(log_ratio, desirable, beta=beta).to(torch.bfloat16)


def float32_inside(log_ratio, desirable, *, beta=0.1):
    return sound(log_ratio.float(), desirable, beta=beta)


def noisy(log_ratio, desirable, *, beta=0.1):
    return sound(log_ratio, desirable, beta=beta) * (1 + 1e-13 * torch.rand(1, dtype=log_ratio.dtype))


def in_place(log_ratio, desirable, *, beta=0.1):
    desirable |= True
    return sound(log_ratio, desirable, beta=beta)


def flat_far_out(log_ratio, desirable, *, beta=1.0):
    return -torch.tanh(beta * signed(log_ratio, desirable))


def half_detached(log_ratio, desirable, *, beta=0.1):
    return sound(log_ratio / 2 + log_ratio.detach() / 2, desirable, beta=beta)


def all_detached(log_ratio, desirable, *, beta=0.1):
    return sound(log_ratio.detach(), desirable, beta=beta)


def flat_at_zero(log_ratio, desirable, *, beta=0.1):
    z = signed(log_ratio, desirable)
    return -beta * torch.where(z >= 0, 1.0, -1.0) * z.abs()


def root_of_a_bound(log_ratio, desirable, *, beta=0.1, power=0.5):
    return sound(log_ratio, desirable, beta=beta) / power


def padding_counts(token_log_ratio, completion, desirable):
    return -torch.where(desirable[:, None], token_log_ratio, -token_log_ratio).sum(1)


def padding_learns(token_log_ratio, completion, desirable):
    ghost = token_log_ratio - token_log_ratio.detach()
    sign = torch.where(desirable, 1.0, -1.0)[:, None].to(token_log_ratio.dtype)
    return -(sign * (token_log_ratio * completion + ghost * ~completion)).sum(1)


def straight(log_ratio, desirable, *, beta=0.1):
    return -beta * signed(log_ratio, desirable)


def convex_in_gains(z: torch.Tensor, *, beta: float = 0.1) -> torch.Tensor:
    return F.softplus(beta * z)


def risk_seeking(log_ratio, desirable, *, beta=0.1):
    return -convex_in_gains(signed(log_ratio, desirable), beta=beta)


def there_and_back(z: torch.Tensor, *, beta: float = 0.1) -> torch.Tensor:
    return -((beta * z - 3) ** 2)


def squared(log_ratio, desirable, *, beta=0.1):
    return (beta * signed(log_ratio, desirable) - 3) ** 2


class Lenient(Loss):
    """Takes every hyperparameter."""

    def check(self, given: Mapping[str, Any]) -> None:
        pass

    def __call__(self, *arguments: torch.Tensor, **hyperparameters: Any) -> torch.Tensor:
        legal = {n: v for n, v in hyperparameters.items() if n in self.hyperparameters and isinstance(v, float)}
        return super().__call__(*arguments, **legal)


class Shapeless(Loss):
    """Takes every shape."""

    def _check_shapes(self, arguments: tuple[torch.Tensor, ...]) -> None:
        pass

    def __call__(self, *arguments: torch.Tensor, **hyperparameters: Any) -> torch.Tensor:
        return super().__call__(*arguments[:2], **hyperparameters)


def unpaired(function: Function, kind: type[Loss] = Loss, **traits: Any) -> Loss:
    return kind(function=function, name=function.__name__, feedback="unpaired", **traits)


def halo(function: Function, value: Function) -> Loss:
    return unpaired(function, is_halo=True, value=value)


TOKEN = {"level": "token"}
HALF = {"half_precision_is_computed_in_float32", "float64_stays_float64", "the_gradient_is_the_numerical_one"}
# What is broken: exactly the checks that find it.
BROKEN: list[tuple[Loss, set[str]]] = [
    (unpaired(mean_returned), {"one_value_per_example"}),
    (unpaired(half_inside), {"the_gradient_is_the_numerical_one"}),
    (unpaired(half_unless_float64), {"half_precision_is_computed_in_float32"}),
    (unpaired(half_out_of_half), HALF),
    (unpaired(float32_inside), {"float64_stays_float64", "the_gradient_is_the_numerical_one"}),
    (unpaired(noisy), {"it_is_a_pure_function"}),
    (unpaired(in_place), {"it_is_a_pure_function"}),
    (
        unpaired(overflow),
        {"values_and_gradients_are_finite_at_the_extremes", "small_values_survive_float32"},
    ),
    (unpaired(one_minus_sigmoid), {"small_values_survive_float32"}),
    (unpaired(half_detached), {"the_gradient_is_the_numerical_one"}),
    (unpaired(all_detached), {"it_learns_from_the_first_step", "the_step_goes_the_right_way"}),
    (unpaired(sign_flipped), {"the_step_goes_the_right_way"}),
    (unpaired(undesirable_sign_flipped), {"the_step_goes_the_right_way"}),
    (unpaired(flat_far_out), {"the_step_goes_the_right_way"}),
    (unpaired(sound, direction="up"), {"the_step_goes_the_right_way"}),
    (unpaired(sound, direction="down"), {"the_step_goes_the_right_way"}),
    (unpaired(flat_at_zero), {"it_learns_from_the_first_step"}),
    (unpaired(batch_mean), {"rows_do_not_meet", "the_gradient_is_the_numerical_one"}),
    (unpaired(padding_counts, **TOKEN), {"only_what_is_there_counts"}),
    (unpaired(padding_learns, **TOKEN), {"only_what_is_there_counts", "the_gradient_is_the_numerical_one"}),
    (unpaired(unused), {"every_hyperparameter_has_an_effect"}),
    (unpaired(root_of_a_bound, bounds={"power": "[0, 1]"}), {"every_legal_hyperparameter_works"}),
    (unpaired(sound, Lenient), {"unknown_hyperparameters_are_refused", "illegal_hyperparameters_are_refused"}),
    (unpaired(sound, Shapeless), {"wrong_shapes_are_refused"}),
    (halo(squared, there_and_back), {"the_value_never_falls"}),
    (halo(risk_seeking, convex_in_gains), {"the_value_is_concave_in_gains"}),
    (halo(sound, values.log_sigmoid), {"the_loss_is_a_constant_minus_its_value"}),
    (halo(straight, values.ppo_clip), {"the_loss_is_a_constant_minus_its_value"}),
    (replace(get_loss("dpo"), value=values.sigmoid), {"the_loss_is_a_constant_minus_its_value"}),
    (replace(get_loss("offline_ppo"), value=values.sigmoid), {"the_loss_is_a_constant_minus_its_value"}),
    (replace(get_loss("kto"), value=values.kahneman_tversky), {"the_loss_is_a_constant_minus_its_value"}),
]  # fmt: skip


def failed(loss: Loss) -> dict[str, str]:
    return {result.name: result.message for result in check_loss(loss) if result.passed is False}


@pytest.mark.parametrize(("loss", "caught_by"), BROKEN, ids=lambda x: x.name if isinstance(x, Loss) else "")
def test_a_fault_is_found_by_its_own_check_and_told(loss: Loss, caught_by: set[str]) -> None:
    found = failed(loss)
    assert caught_by <= set(found), found
    # Without one value per example, or any gradient, most other checks cannot even begin.
    assert set(found) == caught_by or loss.name in ("mean_returned", "all_detached"), found
    assert all("expected" in message or "raised" in message or "direction is" in message for message in found.values())


def test_the_sound_loss_passes_all() -> None:
    assert not failed(unpaired(sound))
    assert not failed(halo(sound, values.sigmoid))


def test_every_check_has_found_something() -> None:
    assert {name for _, caught_by in BROKEN for name in caught_by} == {check.__name__ for check in CHECKS}


def test_a_message_says_what_was_expected_what_was_found_and_what_to_do() -> None:
    assert failed(unpaired(sign_flipped)) == {
        "the_step_goes_the_right_way": 'direction is "apart", so where the policy has it wrong by 30 nats a step '
        "moves desirable completions up; the loss moves log_ratio by -0.00452 there. Turn the sign, or declare another "
        "direction."
    }
    assert failed(unpaired(unused))["every_hyperparameter_has_an_effect"] == (
        "expected other losses at tilt = 0.65 than at 0.5; found the same 24. Use the hyperparameter or remove it from "
        "the signature."
    )
    assert failed(unpaired(mean_returned))["one_value_per_example"] == (
        "the loss raised TypeError: loss mean_returned must give one value per example, (1,); it gave ()"
    )


def test_what_does_not_concern_a_loss_is_said_with_the_reason() -> None:
    results = {result.name: result for result in check_loss(get_loss("sft"))}
    assert results["the_value_never_falls"].passed is None
    assert "is_halo" in results["the_value_never_falls"].message
    assert results["every_hyperparameter_has_an_effect"].message == "it takes no hyperparameters"
    assert results["only_what_is_there_counts"].passed is None


def test_the_exceptions_of_offline_ppo_are_noted_and_not_hidden() -> None:
    results = {result.name: result for result in check_loss(get_loss("offline_ppo"))}
    assert results["the_value_is_concave_in_gains"].passed
    assert "not in its logarithm z below log clip_high" in results["the_value_is_concave_in_gains"].message
    assert "without the KL penalty" in results["the_loss_is_a_constant_minus_its_value"].message
    noted = [r.name for x in ("kto", "dpo", "bco", "hinge") for r in check_loss(get_loss(x)) if r.passed and r.message]
    assert not noted


def test_results_come_in_the_order_of_the_checks() -> None:
    assert [result.name for result in check_loss(get_loss("kto"))] == [c.__name__ for c in check.CHECKS]
