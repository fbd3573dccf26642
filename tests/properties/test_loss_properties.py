"""What every loss must hold, and holds by being registered (DESIGN, section 7)."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

import prospect.losses
from prospect.errors import ConfigError
from prospect.losses import Loss
from prospect.losses.reference_point import estimate_reference_point

LOSSES = list(prospect.losses.all_losses().values())
every_loss = pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)
every_halo = pytest.mark.parametrize("loss", [x for x in LOSSES if x.is_halo], ids=lambda loss: loss.name)
EXTREME = 500.0  # nats: a 250-token completion that the policy likes e^2 times better or worse per token

# Numbers that a loss may be given for a hyperparameter of this name, and numbers that must be refused.
OTHER_VALUES = {"beta": 0.37, "desirable_weight": 1.7, "undesirable_weight": 0.6, "label_smoothing": 0.2}
OUT_OF_BOUNDS = {
    "beta": [0.0, -0.1, math.inf, math.nan],
    "desirable_weight": [-1e-9, math.inf, math.nan],
    "undesirable_weight": [-1e-9, math.inf, math.nan],
    "label_smoothing": [-0.01, 0.51, math.nan],
}


def arguments(
    loss: Loss, first: torch.Tensor, second: torch.Tensor | None = None, z0: float = 0.3
) -> list[torch.Tensor]:
    """What the loss is called with: `first` is its log-ratio (chosen's), `second` the rejected one's."""
    given = {
        "log_ratio": first,
        "chosen": first,
        "rejected": torch.zeros_like(first) if second is None else second,
        "logps": first,
        "desirable": torch.arange(len(first)) % 2 == 0,
        "z0": torch.tensor(z0, dtype=first.dtype),
    }
    return [given[name] for name in loss.argument_names]


def random_arguments(loss: Loss, count: int = 7, seed: int = 0, scale: float = 4.0) -> list[torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    first, second = (scale * torch.randn(count, generator=draw, dtype=torch.float64) for _ in range(2))
    return arguments(loss, first, second)


def ratios(loss: Loss, given: list[torch.Tensor]) -> list[torch.Tensor]:
    """Those arguments through which a gradient flows."""
    return [a for a, name in zip(given, loss.argument_names, strict=True) if name not in ("desirable", "z0")]


def other_hyperparameters(loss: Loss) -> dict[str, float]:
    return {name: OTHER_VALUES.get(name, default * 1.3) for name, default in loss.hyperparameters.items()}


def test_the_suite_is_not_empty() -> None:
    assert {"kto", "dpo", "sft"} <= {loss.name for loss in LOSSES}


@every_loss
@pytest.mark.parametrize("count", [1, 2, 7])
def test_there_is_one_value_per_example(loss: Loss, count: int) -> None:
    assert loss(*random_arguments(loss, count)).shape == (count,)


@every_loss
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_goes_in_and_float32_comes_out(loss: Loss, dtype: torch.dtype) -> None:
    given = [a.to(dtype) if a.is_floating_point() else a for a in random_arguments(loss)]
    values = loss(*given)
    assert values.dtype == torch.float32
    # The arithmetic is float32's, not only the result's type.
    assert torch.equal(values, loss(*(a.float() if a.is_floating_point() else a for a in given)))


@every_loss
def test_float64_stays_float64(loss: Loss) -> None:
    assert loss(*random_arguments(loss)).dtype == torch.float64


@every_loss
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("first", [-EXTREME, 0.0, EXTREME])
@pytest.mark.parametrize("second", [-EXTREME, EXTREME])
@pytest.mark.parametrize("z0", [0.0, EXTREME])
def test_value_and_gradient_are_finite_at_the_extremes(
    loss: Loss, dtype: torch.dtype, first: float, second: float, z0: float
) -> None:
    given = arguments(loss, torch.full((2,), first, dtype=dtype), torch.full((2,), second, dtype=dtype), z0)
    leaves = [a.requires_grad_() for a in ratios(loss, given)]
    values = loss(*given)
    assert values.isfinite().all()
    for gradient in torch.autograd.grad(values.sum(), leaves):
        assert gradient.isfinite().all()


@every_loss
@pytest.mark.parametrize("hyperparameters", ["defaults", "others"])
def test_the_gradient_is_the_numerical_one(loss: Loss, hyperparameters: str) -> None:
    settings = other_hyperparameters(loss) if hyperparameters == "others" else {}
    given = random_arguments(loss, seed=3)
    leaves = [a.requires_grad_() for a in ratios(loss, given)]
    analytic = torch.autograd.grad(loss(*given, **settings).sum(), leaves)
    step = 1e-6
    with torch.no_grad():
        for leaf, gradient in zip(leaves, analytic, strict=True):
            leaf += step
            above = loss(*given, **settings)
            leaf -= 2 * step
            below = loss(*given, **settings)
            leaf += step
            # Rows do not meet in a loss, so moving all at once moves each value by its own derivative.
            torch.testing.assert_close(gradient, (above - below) / (2 * step), rtol=1e-6, atol=1e-8)


@every_loss
def test_every_hyperparameter_has_an_effect(loss: Loss) -> None:
    """A setting is used or refused."""
    given = random_arguments(loss)
    for name, value in other_hyperparameters(loss).items():
        assert not torch.equal(loss(*given, **{name: value}), loss(*given)), name


@every_loss
@pytest.mark.parametrize("at", [-30.0, -1.0, 0.0, 1.0, 30.0])
def test_the_step_raises_desirable_and_chosen_and_lowers_undesirable_and_rejected(loss: Loss, at: float) -> None:
    given = arguments(loss, torch.full((4,), at, dtype=torch.float64), torch.zeros(4, dtype=torch.float64))
    leaves = [a.requires_grad_() for a in ratios(loss, given)]
    first, *second = (-gradient for gradient in torch.autograd.grad(loss(*given).sum(), leaves))
    raised = given[loss.argument_names.index("desirable")] if loss.feedback == "unpaired" else torch.ones(4).bool()
    assert (first[raised] > 0).all()
    assert (first[~raised] < 0).all()
    for gradient in second:
        assert (gradient < 0).all()


@every_loss
def test_rows_do_not_meet(loss: Loss) -> None:
    """Permuted rows give permuted values, and each value is the one its row has alone."""
    given = random_arguments(loss)
    order = torch.tensor([4, 2, 6, 0, 1, 5, 3])
    values = loss(*given)
    assert torch.equal(loss(*(a[order] if a.dim() else a for a in given)), values[order])
    alone = [loss(*(a[i : i + 1] if a.dim() else a for a in given)) for i in range(7)]
    torch.testing.assert_close(torch.cat(alone), values, rtol=1e-12, atol=0)


# The value of each loss where policy and reference are one model. A new loss adds its own here.
AT_STEP_ZERO = {"kto": 0.5, "dpo": math.log(2.0), "sft": 0.0}


@every_loss
def test_the_value_at_step_zero_is_the_closed_form(loss: Loss) -> None:
    assert loss.name in AT_STEP_ZERO, f"add the value of {loss.name} at log-ratio 0 to AT_STEP_ZERO"
    values = loss(*arguments(loss, torch.zeros(4, dtype=torch.float64), z0=0.0))
    torch.testing.assert_close(values, torch.full_like(values, AT_STEP_ZERO[loss.name]), rtol=1e-15, atol=0)


@every_loss
def test_an_unknown_hyperparameter_is_refused_with_the_nearest_name(loss: Loss) -> None:
    given = random_arguments(loss)
    takes = ", ".join(loss.hyperparameters) or "none"
    with pytest.raises(ConfigError, match=f'loss {loss.name} has no hyperparameter "zzz". It takes {takes}'):
        loss(*given, zzz=1.0)
    for name in loss.hyperparameters:
        misspelt = name[:1] + name[2:]
        with pytest.raises(ConfigError, match=f'no hyperparameter "{misspelt}"; did you mean "{name}"'):
            loss(*given, **{misspelt: 1.0})
        with pytest.raises(ConfigError, match=f'did you mean "{name}"'):
            loss.resolve({misspelt: 1.0})


@every_loss
def test_a_hyperparameter_out_of_bounds_is_refused(loss: Loss) -> None:
    for name in loss.hyperparameters:
        for value in OUT_OF_BOUNDS.get(name, [math.inf, math.nan]):
            with pytest.raises(ConfigError, match=f"loss {loss.name}: {name} is {value}; expected a finite number"):
                loss.check({name: value})
        for wrong in ("high", None, True, [1.0]):
            with pytest.raises(ConfigError, match=f"loss {loss.name}: {name} is .*; expected a number"):
                loss.check({name: wrong})


@every_loss
def test_the_bounds_themselves_are_legal(loss: Loss) -> None:
    legal = {
        "desirable_weight": [0.0, 0],
        "undesirable_weight": [0.0],
        "label_smoothing": [0.0, 0.5],
        "beta": [1e-9],
    }
    for name in loss.hyperparameters:
        for value in legal.get(name, []):
            assert loss(*random_arguments(loss), **{name: value}).isfinite().all()


@every_loss
def test_wrong_shapes_are_refused(loss: Loss) -> None:
    given = random_arguments(loss)
    with pytest.raises(TypeError, match="arguments"):
        loss(*given[:-1])
    with pytest.raises(TypeError, match="arguments"):
        loss(*given, given[0])
    with pytest.raises(TypeError, match=r"one value per example, all of one shape \(N,\)"):
        loss(*(a.unsqueeze(1) if a.dim() else a for a in given))
    with pytest.raises(TypeError, match="one shape"):
        loss(*(a[0] if a.dim() else a for a in given))
    if len(ratios(loss, given)) > 1 or loss.feedback == "unpaired":
        with pytest.raises(TypeError, match="one shape"):
            loss(given[0], given[1][:-1], *given[2:])  # torch would broadcast (7,) against (1,)
        with pytest.raises(TypeError, match="one shape"):
            loss(given[0], given[1][:1], *given[2:])
    if loss.needs_reference_point:
        with pytest.raises(TypeError, match="z0"):
            loss(*given[:-1], given[-1].expand(7))


@every_loss
def test_traits_go_together(loss: Loss) -> None:
    assert loss.learning_rate > 0
    assert loss.paper
    assert loss.function.__doc__
    assert loss.resolve({}) == loss.hyperparameters
    assert all(isinstance(default, float) for default in loss.hyperparameters.values())
    if loss.needs_reference_point or loss.is_halo:
        assert loss.needs_reference  # z0 and the value of definition 3.4 are about log-ratios


@every_halo
def test_a_halo_has_a_value_that_never_falls_and_is_concave_in_gains(loss: Loss) -> None:
    """Definition 3.4 of arXiv 2402.01306, on the real loss: the value is a constant minus the loss."""
    z0 = 0.7 if loss.needs_reference_point else 0.0
    log_ratio = torch.linspace(-80, 80, 1601, dtype=torch.float64)
    given = arguments(loss, log_ratio, z0=z0)
    if loss.feedback == "unpaired":
        given[loss.argument_names.index("desirable")] = torch.ones(len(log_ratio), dtype=torch.bool)
    slopes = (-loss(*given)).diff()
    assert (slopes >= -1e-15).all()
    gains = slopes[log_ratio[:-1] > z0]
    assert (gains.diff() <= 1e-15).all()
    assert gains[0] > gains[-1]  # concave, not straight


# -- identities and constants of METHODS.md --


def test_kto_weights_scale_their_own_class_alone() -> None:
    kto = prospect.losses.get_loss("kto")
    given = random_arguments(kto)
    desirable, plain = given[1], kto(*given)
    heavy = kto(*given, desirable_weight=3.0)
    torch.testing.assert_close(heavy[desirable], 3 * plain[desirable])
    assert torch.equal(heavy[~desirable], plain[~desirable])
    assert torch.equal(kto(*given, undesirable_weight=0.0)[~desirable], torch.zeros(3, dtype=torch.float64))


def test_kto_is_lambda_minus_the_human_value() -> None:
    kto = prospect.losses.get_loss("kto")
    ratio, desirable, z0 = random_arguments(kto)
    values = kto(ratio, desirable, z0, beta=0.2, desirable_weight=1.33, undesirable_weight=0.8)
    up = 1.33 - 1.33 * torch.sigmoid(0.2 * (ratio - z0))
    down = 0.8 - 0.8 * torch.sigmoid(0.2 * (z0 - ratio))
    torch.testing.assert_close(values, torch.where(desirable, up, down), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("z", "coefficient"), [(0.0, 0.25), (2.0, 0.104994), (5.0, 6.648e-3), (10.0, 4.54e-5)])
def test_kto_gradient_is_proposition_4_1(z: float, coefficient: float) -> None:
    """lambda beta s(z) s(-z): hard rows, far on the wrong side, are let go."""
    for sign, desirable in ((1.0, True), (-1.0, False)):
        ratio = torch.tensor([-sign * z / 0.1 + 0.5], dtype=torch.float64, requires_grad=True)
        kto = prospect.losses.get_loss("kto")
        kto(ratio, torch.tensor([desirable]), torch.tensor(0.5, dtype=torch.float64), beta=0.1).sum().backward()
        assert ratio.grad is not None
        assert -sign * ratio.grad.item() / 0.1 == pytest.approx(coefficient, rel=1e-4)


def test_kto_still_learns_where_one_minus_sigmoid_would_be_exactly_zero() -> None:
    ratio = torch.tensor([400.0], requires_grad=True)
    value = prospect.losses.get_loss("kto")(ratio, torch.tensor([True]), torch.tensor(0.0))
    value.sum().backward()
    assert value.item() > 0
    assert ratio.grad is not None
    assert ratio.grad.item() < 0


def test_dpo_gradient_tends_to_beta_on_hard_pairs_and_never_vanishes() -> None:
    chosen = torch.tensor([-500.0], dtype=torch.float64, requires_grad=True)
    prospect.losses.get_loss("dpo")(chosen, torch.zeros(1, dtype=torch.float64), beta=0.1).sum().backward()
    assert chosen.grad is not None
    assert chosen.grad.item() == pytest.approx(-0.1, rel=1e-9)


def test_dpo_depends_on_the_margin_alone_and_smoothing_mixes_both_directions() -> None:
    dpo = prospect.losses.get_loss("dpo")
    chosen, rejected = random_arguments(dpo)
    torch.testing.assert_close(dpo(chosen + 9.0, rejected + 9.0), dpo(chosen, rejected))
    mixed = 0.8 * dpo(chosen, rejected) + 0.2 * dpo(rejected, chosen)
    torch.testing.assert_close(dpo(chosen, rejected, label_smoothing=0.2), mixed)


# -- the reference point --


@pytest.mark.parametrize(
    ("rows", "z0", "raw", "stderr"),
    [
        ([1.0, 3.0], 2.0, 2.0, 1.0),
        ([-4.0, 2.0], 0.0, -1.0, 3.0),  # the clamp is on the mean, not on each row: that would give 1
        ([5.0], 5.0, 5.0, 0.0),
        ([0.0, 0.0, 3.0], 1.0, 1.0, 1.0),  # zero rows count
    ],
)
def test_reference_point_is_the_clamped_mean(rows: list[float], z0: float, raw: float, stderr: float) -> None:
    point = estimate_reference_point(torch.tensor(rows))
    assert [float(v) for v in point] == pytest.approx([z0, raw, stderr])
    assert all(v.shape == () for v in point)


def test_reference_point_lets_nan_through_to_the_guard() -> None:
    """Hiding it, as `nanmean` does, would train on an estimate of other rows."""
    assert estimate_reference_point(torch.tensor([1.0, math.nan])).raw.isnan()


def test_reference_point_does_not_depend_on_the_order_of_rows() -> None:
    rows = 100 * torch.randn(999, generator=torch.Generator().manual_seed(0))
    points: list[Any] = [estimate_reference_point(rows[torch.randperm(999)]) for _ in range(5)]
    assert len({p.raw.float().item() for p in points}) == 1
